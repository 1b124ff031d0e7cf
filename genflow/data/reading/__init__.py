"""Tables as they come: text, Excel, Parquet, Arrow, NPY, compressed or not; frames, arrays. What is wrong is one line,
what is guessed a remark."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from genflow.data.reading.array import as_array, from_array, read_npy
from genflow.data.reading.excel import EXCEL, read_excel
from genflow.data.reading.frame import as_pandas, from_frame, read_arrow, read_parquet
from genflow.data.reading.packed import PACKED, unpack
from genflow.data.reading.table import NO_HINTS, Hints, Table, confirm_kinds
from genflow.data.reading.text import read_text
from genflow.errors import InputError

__all__ = [
    "EXCEL",
    "NO_HINTS",
    "PACKED",
    "PARQUET",
    "TABLES",
    "Hints",
    "Table",
    "as_array",
    "as_pandas",
    "confirm_kinds",
    "from_array",
    "from_frame",
    "read_table",
]

_TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".text", ".tab", ".psv", ".asc", ".prn", ".test")
_NUMPY = (".npy", ".npz")
PARQUET = (".parquet", ".pq")
"""Endings of Parquet files."""
_ARROW = (".feather", ".arrow", ".ipc")
_PLAIN = (*_TEXT, *PARQUET, *_ARROW, *EXCEL, *_NUMPY)
TABLES = (*_PLAIN, *PACKED)
"""Endings of files that are read as tables; of a compressed one the ending before the last counts, too."""


def read_table(
    path: str | PathLike[str],
    wanted: Sequence[str | int] | None = None,
    hints: Hints = NO_HINTS,
    sheet: str | int | None = None,
) -> Table:
    """A table as it is in the file, with whatever is missing in it.

    Args:
        path: The file.
        wanted: Columns that will be asked for: the others stay empty.
        hints: What is known of some columns.
        sheet: The sheet of an Excel file, by its name or its place from 0.

    Raises:
        InputError: No such file, an unsupported ending, an empty one, or anything wrong in it.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a file")
    if ending == ".xls":
        raise InputError(f"{path}: the old format of Excel is not supported; save it as .xlsx or .csv")
    if ending not in TABLES:
        raise InputError(f"{path}: ending {ending!r} is not supported; give one of {' '.join(TABLES)}, or a picture")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    content, ending, remark = unpack(path, _PLAIN, _TEXT)
    if sheet is not None and ending not in EXCEL:
        raise InputError(f"sheet: {sheet!r} came, and {path} has no sheets; leave it out")
    table = _of_kind(ending, content, str(path), wanted, hints, sheet)
    table.remarks[:0] = [remark] if remark else []
    return table


def _of_kind(
    ending: str,
    content: bytes,
    origin: str,
    wanted: Sequence[str | int] | None,
    hints: Hints,
    sheet: str | int | None,
) -> Table:
    if ending in _NUMPY:
        return read_npy(content, origin, hints)
    if ending in PARQUET:
        return read_parquet(content, origin, wanted, hints)
    if ending in _ARROW:
        return read_arrow(content, origin, wanted, hints)
    if ending in EXCEL:
        return read_excel(content, origin, wanted, hints, sheet)
    return read_text(content, origin, wanted, hints)
