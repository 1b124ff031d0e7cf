"""Tables written so that they are read back: numbers to the last bit, any names, and nothing a spreadsheet computes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from io import BytesIO
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genflow.data.dataset import default_columns
from genflow.data.reading import PARQUET, as_array, as_pandas
from genflow.data.reading.names import cell, escape
from genflow.errors import InputError
from genflow.extras import extra
from genflow.storage import atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WRITABLE", "write"]

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": " "}
WRITABLE = (*_SEPARATORS, *PARQUET, ".xlsx", ".npy")
"""Endings of files that tables are written to."""


def write(path: str | PathLike[str], array: Any, columns: Sequence[str] | None = None) -> None:
    """Writes a table, in the format of its ending: .csv, .tsv (with a header), .txt (blanks), .parquet, .xlsx, .npy.

    The file appears whole or not at all; one that is there is replaced. In text, a name that is more than a plain word
    stands in quotes, and one that a spreadsheet would take for a formula gets an apostrophe; `read` undoes both.

    Args:
        path: The file.
        array: Values, `(rows, columns)` or `(rows,)`, an array or a tensor; of objects, where some are words; or a
            frame, whose dtypes a format keeps that can.
        columns: Names of the columns; those of a frame, or x1, x2, … where they are not given. NPY and .txt hold none.

    Raises:
        InputError: An unsupported ending, a folder that does not exist, names that do not fit or are not all
            different, words in a file that holds numbers only.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
        >>> write(path, [[0.1, 2.0]], ["a", "2019"])
        >>> path.read_text()
        'a,"2019"\\n0.1,2.0\\n'
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in WRITABLE:
        raise InputError(f"{path}: ending {ending!r} is not supported; give one of {' '.join(WRITABLE)}")
    frame = as_pandas(array)
    values = np.asarray(as_array(array)) if frame is None else np.empty((len(frame), frame.shape[1]))
    values = values.reshape(len(values), -1)
    if columns is None:
        columns = default_columns(values.shape[1]) if frame is None else list(frame.columns)
    names = [str(name) for name in columns]
    if len(names) != values.shape[1]:
        raise InputError(f"{path}: {len(names)} column names came for {values.shape[1]} columns")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: {len(twice)} columns are called {twice[0]!r}; give each a name of its own")
    words = values.dtype.kind not in "fiub" if frame is None else not all(map(_is_number, frame.dtypes))
    if words and ending in (".npy", ".txt"):
        advice = "a name that ends in .csv or .parquet would do"
        raise InputError(f"{path}: {ending} holds numbers only, and words came; {advice}")
    with atomic.file(path) as part:
        if ending == ".npy":
            np.save(part, values if frame is None else frame.to_numpy(dtype=np.float64, na_value=np.nan))
            return
        if frame is None:
            with extra("data"):
                import pandas as pd
            frame = pd.DataFrame(values)
            frame = frame.infer_objects() if words else frame
        frame = frame.apply(_with_words).set_axis(names, axis=1) if words else frame.set_axis(names, axis=1)
        if ending in PARQUET:
            frame.to_parquet(part, index=False)
        elif ending == ".xlsx":
            _write_excel(part, frame)
        else:
            _write_text(part, frame, ending)


def _with_words(column: pd.Series) -> pd.Series:
    """A column whose intervals, and categories that are no numbers, are words: in a file they would be no such."""
    with extra("data"):
        import pandas as pd

    if isinstance(column.dtype, pd.IntervalDtype):
        return column.astype("object").map(str, na_action="ignore")
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories(lambda value: value if isinstance(value, Real) else str(value))
    return column


def _is_number(dtype: Any) -> bool:
    return dtype.kind in "fiub"


def _write_text(path: Path, frame: pd.DataFrame, ending: str) -> None:
    separator = _SEPARATORS[ending]
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            if ending != ".txt":
                file.write(separator.join(map(cell, frame.columns)) + "\n")
            if all(map(_is_number, frame.dtypes)):
                frame.to_csv(file, sep=separator, index=False, header=False, lineterminator="\n")
            else:
                columns = [[_cell(value) for value in column] for _, column in frame.items()]
                file.writelines(separator.join(row) + "\n" for row in zip(*columns))
    except UnicodeEncodeError as error:
        found = error.object[error.start : error.end]
        raise InputError(f"columns: {found!a} is no character that a file of text can hold; rename it") from None


def _write_excel(path: Path, frame: pd.DataFrame) -> None:
    """A sheet of a frame, its dates without the zone that no sheet holds, words as words."""
    with extra("data"):
        import pandas as pd

    plain = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_localize(None)
        if isinstance(column.dtype, pd.PeriodDtype):
            column = column.dt.to_timestamp()
        plain[escape(str(name))] = column.map(lambda value: escape(value) if isinstance(value, str) else value)
    sheet = BytesIO()  # an archive that a full disk breaks off would complain on its own, too
    pd.DataFrame(plain).to_excel(sheet, index=False, engine="openpyxl")
    path.write_bytes(sheet.getbuffer())


def _cell(value: Any) -> str:
    """A value as text; a date without a time that is midnight."""
    if isinstance(value, str):
        return cell(value)
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    if hasattr(value, "isoformat") and not isinstance(value, time):
        return str(value.date() if hasattr(value, "tzinfo") and value.time() == time() and not value.tzinfo else value)
    return str(value.item() if isinstance(value, np.generic) else value)
