"""Tables in files: read whatever a path names, say precisely what is wrong with it, write atomically.

=====================================  ========================================================================
ending                                 what is read
=====================================  ========================================================================
.csv .tsv .txt .dat .data .text        text: comma, semicolon, tab or blanks; with a header or without one
.parquet .pq                           Parquet, every column a number
.npy                                   a NumPy array, `(rows, columns)` or `(rows,)`
=====================================  ========================================================================
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genflow.data.conditions import Encoding, class_name, labelled
from genflow.data.dataset import default_columns
from genflow.errors import InputError
from genflow.storage import atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLES", "Classes", "Table", "read", "read_with_condition", "write"]

_TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".text")
_PARQUET = (".parquet", ".pq")
TABLES = (*_TEXT, *_PARQUET, ".npy")
"""Endings of files that are read as tables."""

_MISSING = {"", "na", "n/a", "nan", "-nan", "null", "none", "#n/a", "<na>"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Classes:
    """Columns, by name or position, that may hold classes, and those that do even where they look like numbers."""

    allowed: Sequence[str | int] = ()
    forced: Sequence[str | int] = ()


NO_CLASSES = Classes()


class Table:
    """Numbers with column names, and where they come from.

    Args:
        values: Values, `(rows, columns)`, float64.
        columns: Names of the columns.
        named: Whether the names stand in the source, and were not given by `default_columns`.
        origin: What an error calls the source.
        remarks: What was noticed on the way.
        line: The line (from 1) of a row (from 0) in a file of text.
        classes: Of each column the names of its classes, whose places are its values; none for numbers.
    """

    def __init__(
        self,
        values: np.ndarray,
        columns: Sequence[str],
        named: bool,
        origin: str,
        remarks: Sequence[str] = (),
        line: Callable[[int], int] | None = None,
        classes: Sequence[Sequence[str]] | None = None,
    ):
        self.values, self.columns, self.named, self.origin = values, list(columns), named, origin
        self.remarks, self.line = list(remarks), line
        self.classes = [[] for _ in self.columns] if classes is None else [list(names) for names in classes]

    def place(self, i: int, j: int) -> str:
        """How an error names a value: its row from 1, its line in a file of text, its column."""
        line = "" if self.line is None else f" (line {self.line(i)})"
        return f"{self.origin}: row {i + 1}{line}, {self.label(j)}"

    def label(self, j: int) -> str:
        """How an error names a column: its name, or its number where it has none."""
        return f"column {self.columns[j]!r}" if self.named else f"column {j + 1}"

    def position(self, column: str | int) -> int:
        """Where a column stands, which is named by its name or its position.

        Raises:
            InputError: It is not there.
        """
        position = _position(self.columns, column)
        if position is None:
            raise InputError(f"{self.origin}: no column {column!r}; it has {_listed(self.columns)}")
        return position

    def select(self, columns: Sequence[str | int] | None) -> Table:
        """The wanted columns, by name or by position from 0.

        Raises:
            InputError: A column that is not there.
        """
        if columns is None:
            return self
        wanted = [columns] if isinstance(columns, str | int) else list(columns)
        if not wanted:
            raise InputError(f"{self.origin}: columns is empty; name at least one of {_listed(self.columns)}")
        positions = [self.position(column) for column in wanted]
        names = [self.columns[j] for j in positions]
        if len(set(names)) < len(names):
            raise InputError(f"{self.origin}: a column is asked for twice in {_listed(names)}")
        classes = [self.classes[j] for j in positions]
        return Table(self.values[:, positions], names, True, self.origin, self.remarks, self.line, classes)

    def expect(self, columns: Sequence[str]) -> Table:
        """The columns of another table: by name where they have these names, else by position.

        Raises:
            InputError: Another number of columns, or named ones that are not these.
        """
        if self.columns == list(columns):
            return self
        if set(columns) <= set(self.columns):
            return self.select(list(columns))
        count = len(self.columns)
        if self.named and list(columns) != default_columns(len(columns)):
            missing = [name for name in columns if name not in self.columns]
            extra = [name for name in self.columns if name not in columns]
            rest = f"; not asked for: {_listed(extra)}" if extra else ""
            raise InputError(f"{self.origin}: missing columns: {_listed(missing)}{rest}")
        if count != len(columns):
            raise InputError(f"{self.origin}: {count} columns came, {len(columns)} are wanted: {_listed(columns)}")
        return Table(self.values, columns, True, self.origin, self.remarks, self.line, self.classes)

    def recoded(self, classes: Sequence[Sequence[str]]) -> Table:
        """The same rows with the classes of another table.

        Raises:
            InputError: A class that is none of those.
        """
        values = self.values.copy()
        for j, (own, names) in enumerate(zip(self.classes, classes, strict=True)):
            if names:
                places = np.array([names.index(name) if name in names else -1 for name in own])
                values[:, j] = places[self.values[:, j].astype(int)]
                if (values[:, j] < 0).any():
                    i = int((values[:, j] < 0).argmax())
                    found = own[int(self.values[i, j])]
                    raise InputError(f"{self.place(i, j)}: {found!r} is none of the classes {_listed(names)}")
        return Table(values, self.columns, self.named, self.origin, self.remarks, self.line, classes)

    def checked(self) -> Table:
        """Itself, if every value is finite.

        Raises:
            InputError: NaN or an infinite value, with its row and column.
        """
        finite = np.isfinite(self.values)
        if not finite.all():
            i, j = (int(k) for k in np.argwhere(~finite)[0])
            more = int((~finite).sum()) - 1
            rest = f", and {more} more like it" if more else ""
            what = "a missing value (NaN)" if np.isnan(self.values[i, j]) else f"{self.values[i, j]}"
            raise InputError(f"{self.place(i, j)}: {what}{rest}; drop or fill such rows")
        return self


def read(path: str | PathLike[str], columns: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """The numbers of a table and the names of its columns.

    Args:
        path: The file; see the endings above.
        columns: The columns that are wanted, such as those a model was trained on. A file that has columns of these
            names may have others too; in one without names, the number of columns has to be the same.

    Raises:
        InputError: No such file, an empty one, an unsupported ending, text in a column, a missing or infinite value,
            rows of different length, wrong columns: one line, with row and column.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("height,weight\\n1.7,65\\n1.8,80\\n")
        >>> read(path)
        (array([[ 1.7, 65. ],
               [ 1.8, 80. ]]), ['height', 'weight'])
    """
    table = read_table(path, columns)
    if columns is not None:
        table = table.expect(columns)
    return table.checked().values, table.columns


def read_with_condition(
    path: str | PathLike[str], columns: Sequence[str], encoding: Encoding
) -> tuple[np.ndarray, Any]:
    """The numbers of a table and the conditions of its rows, as `genflow.data.Conditions` has them.

    Args:
        path: The file.
        columns: The columns of numbers that are wanted; none of them, for the conditions alone.
        encoding: The encoding, for the condition's columns.

    Raises:
        InputError: As `read`.
    """
    names = [*columns, *encoding.columns]
    table = read_table(path, names, Classes(forced=encoding.class_columns)).expect(names).checked()
    count = len(columns)
    return table.values[:, :count], labelled(table.values[:, count:], table.classes[count:])


def read_table(
    path: str | PathLike[str], wanted: Sequence[str | int] | None = None, classes: Classes = NO_CLASSES
) -> Table:
    """A table as it is in the file, not yet checked for missing values.

    Args:
        path: The file.
        wanted: Columns that will be asked for: text in others is no error.
        classes: Columns of which text makes classes.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a file")
    if ending not in TABLES:
        raise InputError(f"{path}: ending {ending!r} is not supported; give one of {' '.join(TABLES)}, or a picture")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if ending == ".npy":
        return _read_npy(path, classes)
    return (_read_parquet if ending in _PARQUET else _read_text)(path, wanted, classes)


def from_array(array: Any, origin: str, classes: Classes = NO_CLASSES) -> Table:
    """A table of an array or a tensor, `(rows, columns)` or `(rows,)`."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() and array.element_size() < 4 else array).numpy()
    try:
        values = np.asarray(array)
    except ValueError:
        raise InputError(f"{origin}: rows of different length came; give (rows, columns)") from None
    if values.dtype.kind not in "fiub":
        raise InputError(f"{origin}: an array of {values.dtype} came; give real numbers")
    if values.ndim not in (1, 2) or values.size == 0:
        raise InputError(
            f"{origin}: an array of the shape {values.shape} came; give (rows, columns), neither of them zero"
        )
    values = np.asarray(values.astype(np.float64)).reshape(len(values), -1)
    if isinstance(array, np.ma.MaskedArray):  # what stands behind a mask is no value, often -9999
        values = np.where(np.ma.getmaskarray(array).reshape(values.shape), np.nan, values)
    table = Table(values, default_columns(values.shape[1]), False, origin)
    for j in {table.position(column) for column in classes.forced}:
        table.values[:, j], table.classes[j] = _classes(values[:, j])
    return table


def from_frame(
    frame: pd.DataFrame, origin: str, wanted: Sequence[str | int] | None = None, classes: Classes = NO_CLASSES
) -> Table:
    """A table of a pandas frame."""
    names = _unique([str(name) for name in frame.columns])
    named = names != [str(j) for j in range(len(names))]
    if frame.size == 0:
        raise InputError(f"{origin}: a table of {frame.shape[0]} rows and {frame.shape[1]} columns came; it is empty")
    columns = names if named else default_columns(len(names))
    return _numbers(frame, Table(np.empty(0), columns, named, origin), wanted, classes)


def _read_npy(path: Path, classes: Classes) -> Table:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InputError(f"{path}: it can't be read as an array of numbers; write it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: several arrays came; give a file of one, as numpy.save writes it")
    return from_array(array, str(path), classes)


def _read_parquet(path: Path, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError, TypeError) as error:
        raise InputError(f"{path}: it can't be read as Parquet ({str(error).splitlines()[0]})") from None
    return from_frame(frame, str(path), wanted, classes)


def _read_text(path: Path, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: it is not text in UTF-8; save it as such, or as Parquet or NPY") from None
    head, comment, separator, decimal = _sniff(text[: 1 << 16])
    if not head:
        raise InputError(f"{path}: the file holds no numbers")
    fields = given = _fields(head[0], separator)
    if len(head) > 1 and len(_fields(head[1], separator)) == len(fields) + 1 and not _is_number(fields[0], decimal):
        fields = ["", *fields]  # a header that has no name for the row's number, as R writes it
    named = sum(not _is_number(field, decimal) for field in fields) > len(fields) / 2
    if comment and not named and len(_fields(comment, separator)) == len(fields):
        names: list[str] | None = _fields(comment, separator)  # a header behind '#', as numpy.savetxt writes it
    else:
        names = fields if named else None
    skip = _lines_up_to(text, head[0]) if named else 0
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=separator or r"\s+", decimal=decimal, header=None, skiprows=skip, comment="#",
            index_col=False, skipinitialspace=True, low_memory=False,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file holds no rows, only a header") from None
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise InputError(f"{path}: it can't be read as a table ({str(error).splitlines()[0]})") from None
        expected, line, saw = found.groups()
        raise InputError(f"{path}: line {line} has {saw} values, the lines before it have {expected}") from None
    if frame.shape[1] > 1 and frame.iloc[:, -1].isna().all() and (names is None or len(names) < frame.shape[1]):
        frame = frame.iloc[:, :-1]  # a separator at the end of every line
    if names is not None and len(names) != frame.shape[1]:
        raise InputError(f"{path}: the header names {len(names)} columns, the rows have {frame.shape[1]} values")
    if names is not None and len(names) > len(given) and not _counts(frame.iloc[:, 0].to_numpy()):
        raise InputError(f"{path}: the header names {len(given)} columns, the rows have {frame.shape[1]} values")
    if frame.isna().to_numpy().any():
        _find_short_row(path, text, separator, frame.shape[1], skip)
    remarks = []
    if names is not None and names[0] == "" and frame.shape[1] > 1 and _counts(frame.iloc[:, 0].to_numpy()):
        frame, names = frame.iloc[:, 1:], names[1:]
        remarks.append("the first column has no name and counts the rows: left out")
    columns = default_columns(frame.shape[1])
    if names is not None:
        columns = _unique([name or default for name, default in zip(names, columns, strict=True)])

    def line_of(row: int) -> int:
        with_rows = (number for number, line in enumerate(text.splitlines(), 1) if number > skip and _content(line))
        return next(itertools.islice(with_rows, row, None), 0)

    table = Table(np.empty(0), columns, names is not None, str(path), remarks, line_of)
    return _numbers(frame, table, wanted, classes)


def _sniff(text: str) -> tuple[list[str], str, str, str]:
    """The first lines with numbers, the last comment before them, the separator ('' for blanks), the decimal point."""
    head: list[str] = []
    comment = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment = comment if head else line.strip().lstrip("# ")
        elif _content(line):
            head.append(_content(line))
        if len(head) == 10:
            break
    if len(head) > 2 and len(text) == 1 << 16:
        head.pop()  # it may be cut
    body = head[1:] or head
    for separator in (";", "\t", ","):
        if head and all(separator in line for line in body):
            # 1,5 2,5: blanks between numbers with a decimal comma
            blanks = [line.split() for line in body]
            if separator == "," and all(len(row) > 1 and all(map(_DECIMAL_COMMA.fullmatch, row)) for row in blanks):
                return head, comment, "", ","
            fields = [field for line in body for field in _fields(line, separator)]
            comma = separator != "," and any(_DECIMAL_COMMA.fullmatch(field) for field in fields)
            return head, comment, separator, "," if comma else "."
    return head, comment, "", "."


def _fields(line: str, separator: str) -> list[str]:
    parts = next(csv.reader([line], delimiter=separator, skipinitialspace=True)) if separator else line.split()
    return [part.strip().strip("\"'").strip() for part in parts]


def _is_number(field: str, decimal: str = ".") -> bool:
    try:
        float(field.replace(",", ".") if decimal == "," else field)
    except ValueError:
        return False
    return True


def _content(line: str) -> str:
    return line.split("#")[0].strip()


def _lines_up_to(text: str, header: str) -> int:
    """How many lines of the file end with its header."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if _content(line) == header), 0)


def _find_short_row(path: Path, text: str, separator: str, count: int, skip: int) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#")[0].strip("\r\n ")
        fields = len(_fields(content, separator)) if number > skip and content else count
        if fields < count:
            raise InputError(f"{path}: line {number} has {fields} values, the first row has {count}")


def _counts(column: np.ndarray) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …"""
    return column.dtype.kind == "i" and column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _unique(names: Sequence[str]) -> list[str]:
    """Names, the second 'a' called 'a.2'."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return result


def _numbers(frame: pd.DataFrame, table: Table, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    """Fills a table with a frame's values as doubles; text in a column that is wanted is an error, or makes classes."""
    import pandas as pd

    names = table.columns
    if wanted is None:
        chosen = set(names)
    else:
        positions = [_position(names, column) for column in wanted]
        # Other names: all columns may be meant, in their order.
        chosen = set(names) if None in positions else {names[j] for j in positions if j is not None}
    allowed, forced = ({table.position(c) for c in columns} for columns in (classes.allowed, classes.forced))
    values = np.full(frame.shape, np.nan)
    for j, name in enumerate(names):
        column = frame.iloc[:, j]
        if j in forced or (j in allowed and _is_text(column)):
            values[:, j], table.classes[j] = _classes(column)
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
            values[:, j] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        elif name in chosen:
            if column.dtype.kind in "mMc" or isinstance(column.dtype, pd.CategoricalDtype):
                raise InputError(
                    f"{table.origin}: {table.label(j)}: {column.dtype} is no real number; leave it out with columns="
                )
            numbers = pd.to_numeric(column, errors="coerce")
            wrong = (numbers.isna() & column.notna()).to_numpy()
            if wrong.any():
                i = int(wrong.argmax())
                found = str(column.iloc[i])
                found = repr(found if len(found) <= 40 else found[:37] + "...")
                advice = "encode it as numbers, or leave the column out with columns="
                raise InputError(f"{table.place(i, j)}: {found} is not a number; {advice}")
            values[:, j] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    table.values = values
    return table


def _position(names: Sequence[str], column: str | int) -> int | None:
    """Where a column stands: by its name; a number, or a text of digits that is no name, is its position from 0."""
    if isinstance(column, str):
        if column in names:
            return names.index(column)
        if re.fullmatch(r"-?\d{1,9}", column) is None:
            return None
    return int(column) % len(names) if -len(names) <= int(column) < len(names) else None


def _is_text(column: pd.Series) -> bool:
    """Whether a column holds words, or the categories of a frame."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return True
    if pd.api.types.is_numeric_dtype(column.dtype) or column.dtype.kind in "mMc":
        return False
    return bool((pd.to_numeric(column, errors="coerce").isna() & column.notna()).any())


def _classes(column: Any) -> tuple[np.ndarray, list[str]]:
    """The place of each value among the names of all, which are sorted; NaN where it is missing."""
    import pandas as pd

    known = np.asarray(pd.notna(column))
    found, places = np.unique([class_name(value) for value in column[known]], return_inverse=True)
    values = np.full(len(column), np.nan)
    values[known] = places
    return values, [str(name) for name in found]


def write(path: str | PathLike[str], array: Any, columns: Sequence[str] | None = None) -> None:
    """Writes a table, in the format of its ending: .csv (with a header), .tsv, .txt (blanks), .parquet, .npy.

    The file appears whole or not at all; one that is there is replaced.

    Args:
        path: The file.
        array: Values, `(rows, columns)` or `(rows,)`, an array or a tensor.
        columns: Names of the columns; x1, x2, … where they are not given. NPY and .txt hold none.

    Raises:
        InputError: An unsupported ending, a folder that does not exist, a number of names that does not fit.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
        >>> write(path, [[0.1, 2.0]], ["a", "b"])
        >>> path.read_text()
        'a,b\\n0.1,2.0\\n'
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".csv", ".tsv", ".txt", *_PARQUET, ".npy"):
        raise InputError(f"{path}: ending {ending!r} is not supported; give one of .csv .tsv .txt .parquet .npy")
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() and array.element_size() < 4 else array).numpy()
    values = np.asarray(array)
    values = values.reshape(len(values), -1)
    names = default_columns(values.shape[1]) if columns is None else list(columns)
    if len(names) != values.shape[1]:
        raise InputError(f"{path}: {len(names)} column names came for {values.shape[1]} columns")
    with atomic.file(path) as temporary:
        if ending == ".npy":
            np.save(temporary, values)
            return
        import pandas as pd

        frame = pd.DataFrame(values, columns=names)
        if ending in _PARQUET:
            frame.to_parquet(temporary, index=False)
        else:
            separator = {".csv": ",", ".tsv": "\t", ".txt": " "}[ending]
            frame.to_csv(temporary, sep=separator, index=False, header=ending != ".txt", lineterminator="\n")


def _listed(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
