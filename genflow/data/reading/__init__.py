"""Tables as they come: text, Parquet, NPY, frames, arrays. What is wrong is one line, what is guessed a remark."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from genflow.data.reading.array import as_array, from_array, read_npy
from genflow.data.reading.classes import refuse_classes_of_few_rows
from genflow.data.reading.frame import from_frame, read_parquet
from genflow.data.reading.table import NO_CLASSES, Classes, Table
from genflow.data.reading.text import read_text
from genflow.errors import InputError

__all__ = [
    "NO_CLASSES",
    "PARQUET",
    "TABLES",
    "Classes",
    "Table",
    "as_array",
    "from_array",
    "from_frame",
    "read_table",
    "refuse_classes_of_few_rows",
]

_TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".text")
PARQUET = (".parquet", ".pq")
"""Endings of Parquet files."""
TABLES = (*_TEXT, *PARQUET, ".npy")
"""Endings of files that are read as tables."""


def read_table(
    path: str | PathLike[str], wanted: Sequence[str | int] | None = None, classes: Classes = NO_CLASSES
) -> Table:
    """A table as it is in the file, not yet checked for missing values.

    Args:
        path: The file.
        wanted: Columns that will be asked for: text in others is no error.
        classes: Columns of which text makes classes.

    Raises:
        InputError: No such file, an unsupported ending, an empty one, or anything wrong in it.
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
        return read_npy(path, classes)
    return (read_parquet if ending in PARQUET else read_text)(path, wanted, classes)
