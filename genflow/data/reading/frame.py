"""Frames as tables: pandas, and through narwhals whatever else is one; Parquet, Feather and Arrow files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from genflow.data.conditions import class_name
from genflow.data.dataset import default_columns
from genflow.data.kinds import NULLABLE, Column, spelt_values
from genflow.data.reading.cells import truth_of
from genflow.data.reading.dates import counts
from genflow.data.reading.kind import number_column, truth_column, word_column
from genflow.data.reading.names import name_all
from genflow.data.reading.table import NO_HINTS, Hints, Table, hints_at, kind_said, wanted_positions
from genflow.data.reading.text import fill_table
from genflow.errors import InputError
from genflow.extras import extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_pandas", "from_frame", "read_arrow", "read_parquet"]


def as_pandas(source: Any) -> pd.DataFrame | None:
    """A frame of pandas, Polars, Arrow, Modin … as one of pandas; `None` if it is no frame.

    Example:
        >>> import pyarrow
        >>> as_pandas(pyarrow.table({"a": [1, 2]})).columns.tolist(), as_pandas([1, 2])
        (['a'], None)
    """
    if type(source).__module__.partition(".")[0] == "pandas":
        return source.to_frame() if hasattr(source, "to_frame") else source
    if isinstance(source, np.ndarray):
        return None if source.dtype.names is None else _of_records(source)
    if type(source).__module__ in ("builtins", "torch") or isinstance(source, str | list | tuple):
        return None
    with extra("data"):
        import narwhals as nw

    try:
        found = nw.from_native(source, pass_through=True, allow_series=True)
    except nw.exceptions.DuplicateError:  # of the names of columns, which Arrow has nothing against
        return source.to_pandas()
    if isinstance(found, nw.LazyFrame):
        found = found.collect()
    if isinstance(found, nw.Series):
        found = found.to_frame()
    if isinstance(found, nw.DataFrame):
        return found.to_pandas()
    return source.to_pandas() if hasattr(source, "to_pandas") else None


def _of_records(records: np.ndarray) -> pd.DataFrame:
    """A frame of an array of records; what a mask hides is missing."""
    with extra("data"):
        import pandas as pd

    columns = {}
    for name in records.dtype.names or ():
        field = records.ravel()[name]
        values = np.ma.getdata(field)
        values = values.astype(values.dtype.newbyteorder("="))
        column: pd.Series = pd.Series(list(values) if values.ndim > 1 or values.dtype.names else values)
        gone = np.ma.getmaskarray(field) if values.ndim == 1 and not values.dtype.names else np.zeros(len(field), bool)
        dtype: Any = NULLABLE.get(str(column.dtype), str(column.dtype))
        columns[name] = column.astype(dtype).mask(gone) if gone.any() else column
    return pd.DataFrame(columns)


def from_frame(
    frame: pd.DataFrame, origin: str, wanted: Sequence[str | int] | None = None, hints: Hints = NO_HINTS
) -> Table:
    """A table of a frame. A level of its index that has a name is a column.

    Args:
        frame: The frame.
        origin: What an error calls it.
        wanted: Columns that will be asked for: the others stay empty.
        hints: What is known of some columns.

    Raises:
        InputError: It is empty, or a column holds what is neither number, word nor date.
    """
    frame, remarks = _with_named_index(frame)
    if frame.size == 0:
        raise InputError(f"{origin}: a table of {frame.shape[0]} rows and {frame.shape[1]} columns came; it is empty")
    count = frame.shape[1]
    named = list(frame.columns) != list(range(count))  # the numbers that pandas gives; '0' is a name
    titles = [_title(name) for name in frame.columns]
    names, same = name_all(titles) if named else (default_columns(count), [])
    table = Table(np.empty(0), names, named, origin, [*remarks, *same])
    said = hints_at(names, hints)
    chosen = wanted_positions(names, wanted, named) | set(said)
    chosen -= {j for j, hint in said.items() if hint == "ignored"}
    values = np.full(frame.shape, np.nan)
    kinds = [Column(name, "identifier") for name in names]
    for j in sorted(chosen):
        values[:, j], kinds[j] = _fill_column(frame.iloc[:, j], table, j, said.get(j))
    table.values, table.kinds = values, kinds
    return table


def read_parquet(content: bytes, origin: str, wanted: Sequence[str | int] | None, hints: Hints) -> Table:
    """The table of a Parquet file; for the arguments see `from_frame`."""
    with extra("data"):
        import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (ValueError, OSError, TypeError) as error:
        raise InputError(f"{origin}: it can't be read as Parquet ({str(error).splitlines()[0]})") from None
    return from_frame(frame, origin, wanted, hints)


def read_arrow(content: bytes, origin: str, wanted: Sequence[str | int] | None, hints: Hints) -> Table:
    """The table of a Feather or an Arrow file, in its format of files or of streams."""
    with extra("data"):
        import pyarrow as pa
        from pyarrow import feather

    try:
        found = feather.read_table(pa.BufferReader(content))
    except (ValueError, OSError):
        try:
            found = pa.ipc.open_stream(content).read_all()
        except (ValueError, OSError) as error:
            raise InputError(f"{origin}: it can't be read as Arrow ({str(error).splitlines()[0]})") from None
    return from_frame(found.to_pandas(), origin, wanted, hints)


def _title(name: Any) -> str | None:
    """The name of a column, `None` where it has none; of one with several levels, all of them."""
    if isinstance(name, tuple):
        return " ".join(str(part) for part in name if str(part))
    return None if name is None or name != name else str(name)


def _with_named_index(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A frame with the named levels of its index as columns, and a remark if another may have held something."""
    names = [name for name in frame.index.names if name is not None]
    kept = [name for name in names if name not in frame.columns]
    if kept:
        frame = frame.reset_index(level=kept)
    if dropped := [str(name) for name in names if name not in kept]:
        return frame, [f"the index {', '.join(dropped)} of the frame has the name of a column: left out"]
    if not names and frame.index.nlevels == 1 and frame.index.dtype.kind not in "iu":
        return frame, [f"the index of the frame ({frame.index.dtype}) is no column: left out"]
    return frame, []


def _fill_column(column: pd.Series, table: Table, j: int, hint: str | Column | None) -> tuple[np.ndarray, Column]:
    """The numbers of a column, and what it holds.

    Raises:
        InputError: Complex numbers, lists and the like.
    """
    with extra("data"):
        import pandas as pd

    if isinstance(column.dtype, pd.ArrowDtype):
        column = _of_pandas(column)
    name, dtype = table.columns[j], str(column.dtype)
    kind = kind_said(hint)
    said = {"kind": kind} if kind in ("integer", "continuous") else {}
    gone = column.isna().to_numpy(dtype=bool)
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = [class_name(value) for value in column.cat.categories]
        words = [class_name(value) for value in column.astype("object")]
        if kind in ("", "class", "boolean"):
            return word_column(name, words, gone, _category(column, order), "class" if len(order) > 1 else kind, order)
        column = pd.Series(words).where(~gone)
    if isinstance(column.dtype, pd.IntervalDtype):
        return word_column(name, [str(value) for value in column], gone, dtype, kind)
    if kind == "class":
        plain = dtype if dtype.lower().startswith(("int", "uint")) else "str" if dtype != "object" else "object"
        return word_column(name, list(column), gone, plain, kind="class")
    if pd.api.types.is_bool_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return values, truth_column(name, values, dtype)
    if column.dtype.kind == "M" or isinstance(column.dtype, pd.PeriodDtype):
        return _dates(column, name, dtype, gone)
    if column.dtype.kind == "m":
        values, unit = counts(column.to_numpy())
        return values, number_column(name, values, dtype, unit=unit, **said)
    if pd.api.types.is_complex_dtype(column.dtype):
        raise InputError(f"{table.origin}: {table.label(j)}: {dtype} is no real number; leave it out with drop=")
    if pd.api.types.is_numeric_dtype(column.dtype):
        if not kind and column.dtype.kind in "iu" and _are_beyond_doubles(column[~gone]):
            return word_column(name, [class_name(value) for value in column], gone, dtype)
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if kind == "date":
            return _of_text(column, table, j, hint, gone)
        found = number_column(name, values, dtype, **said)
        return values, found
    return _objects(column, table, j, hint, gone)


def _category(column: pd.Series, order: Sequence[str]) -> str:
    """The dtype of categories; with that of their values where the words spell these."""
    categories = column.cat.categories
    dtype = str(categories.dtype)
    values = None if dtype in ("object", "str", "string") else spelt_values(order, dtype)
    inner = f"[{dtype}]" if values is not None and values.equals(categories) else ""
    return f"category{inner}{', ordered' if column.cat.ordered else ''}"


def _of_pandas(column: pd.Series) -> pd.Series:
    """A column of Arrow in pandas' own dtype, where the one that it has can't be told by its name."""
    with extra("data"):
        import pandas as pd

    try:
        if column.dtype.kind != "M":
            pd.api.types.pandas_dtype(str(column.dtype))
            return column
    except (NotImplementedError, TypeError):
        pass
    import pyarrow as pa

    found = pa.array(column).to_pandas()
    found.index = column.index
    return found


def _are_beyond_doubles(numbers: pd.Series) -> bool:
    """Whether there are whole numbers that no double tells from their neighbours."""
    return any(abs(int(number)) > 2**53 for number in (numbers.min(), numbers.max())) if len(numbers) else False


def _dates(column: pd.Series, name: str, dtype: str, gone: np.ndarray) -> tuple[np.ndarray, Column]:
    with extra("data"):
        import pandas as pd

    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    elif isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    elif isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype("datetime64[us]")
    values, unit = counts(column.to_numpy())
    different = np.unique(values[~gone])
    if not gone.any() and len(different) == 1:
        return values, Column(name, "constant", dtype=dtype, value=str(column.iloc[0]))
    grid = float(np.gcd.reduce(np.diff(different).astype(np.int64))) if len(different) > 1 else 1.0
    kind = "date" if len(different) else "constant"
    return values, Column(name, kind, grid=grid, missing=bool(gone.any()), unit=unit, dtype=dtype)


def _objects(
    column: pd.Series, table: Table, j: int, hint: str | Column | None, gone: np.ndarray
) -> tuple[np.ndarray, Column]:
    """Words, decimals, dates of Python, truth values: a column of objects."""
    with extra("data"):
        import pandas as pd

    name, dtype = table.columns[j], str(column.dtype)
    known = column[~gone]
    types = set(map(type, known))
    if types and types <= {bool, np.bool_}:
        values = column.map({False: 0.0, True: 1.0}).to_numpy(dtype=np.float64)
        return values, truth_column(name, values, "boolean" if gone.any() else "bool")
    if types and all(issubclass(each, Decimal) for each in types):
        values = np.array([np.nan if lost else float(value) for value, lost in zip(column, gone)])
        return values, number_column(name, values, dtype)
    if types and all(issubclass(each, date) for each in types):
        zones = {value.tzinfo for value in known if isinstance(value, datetime)}
        stamps = pd.to_datetime(column, utc=True) if len(zones) > 1 else pd.to_datetime(column)
        values, found = _dates(stamps, name, str(stamps.dtype), gone)
        return values, found if stamps.dt.time.nunique() > 1 else _as_dates(found)
    if types == {time} and not any(value.tzinfo for value in known):
        days = pd.to_timedelta(pd.Series([None if lost else str(value) for value, lost in zip(column, gone)]))
        values, found = _dates(pd.Timestamp(0) + days, name, dtype if "pyarrow" in dtype else "time", gone)
        form = "%H:%M:%S.%f" if any(value.microsecond for value in known) else "%H:%M:%S"
        return values, replace(found, format=form) if found.kind == "date" else replace(found, value=known.iloc[0])
    if any(issubclass(each, complex | np.complexfloating) for each in types):
        raise InputError(f"{table.origin}: {table.label(j)}: complex is no real number; leave it out with drop=")
    if types and all(issubclass(each, int | np.integer) for each in types) and _are_beyond_doubles(known):
        return word_column(name, [class_name(value) for value in column], gone, "object")
    if types and all(issubclass(each, Real | Decimal) for each in types):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        whole = all(issubclass(each, int | np.integer) for each in types)
        return values, number_column(name, values, "int64" if whole else "float64")
    nested = list | tuple | dict | set | np.ndarray | np.void | bytes
    if any(issubclass(each, nested) for each in types):
        came = next(each.__name__ for each in types if issubclass(each, nested))
        i = next(i for i, value in enumerate(column) if type(value).__name__ == came)
        raise InputError(f"{table.place(i, j)}: a {came} came; leave the column out with drop=")
    return _of_text(column, table, j, hint, gone)


def _as_dates(column: Column) -> Column:
    """A column of Python's own dates."""
    return Column(**{**column.config(), "dtype": "object"}) if column.kind == "date" else column


def _of_text(
    column: pd.Series, table: Table, j: int, hint: str | Column | None, gone: np.ndarray
) -> tuple[np.ndarray, Column]:
    """A column of words, which may spell numbers or dates, read as that of a file."""
    cells = ["" if lost else class_name(value) for value, lost in zip(column, gone)]
    different = set(cells) - {""}
    if hint is None and not any(map(_has_digit, different)) and truth_of("", cells) is None:  # words and nothing else
        return word_column(table.columns[j], cells, gone, str(column.dtype))
    alone = Table(np.empty(0), [table.columns[j]], table.named, table.origin, before=j)
    found = fill_table([cells], alone, ";", None, {} if hint is None else {0: hint})
    table.remarks += [remark for remark in alone.remarks if not remark.startswith("one column")]
    table.strays |= alone.strays
    kind = found.kinds[0]
    if kind.kind in ("class", "identifier", "constant") and kind.dtype == "str":
        kind = Column(**{**kind.config(), "dtype": str(column.dtype)})
    return found.values[:, 0], kind


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)
