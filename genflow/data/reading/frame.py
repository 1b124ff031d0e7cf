"""Frames of pandas as tables, and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genflow.data.dataset import default_columns
from genflow.data.reading.classes import classes as classes_of
from genflow.data.reading.names import distinct
from genflow.data.reading.table import NO_CLASSES, NO_NUMBER, Classes, Table, shown, wanted_positions
from genflow.errors import InputError
from genflow.extras import extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["from_frame", "read_parquet"]


def from_frame(
    frame: pd.DataFrame, origin: str, wanted: Sequence[str | int] | None = None, classes: Classes = NO_CLASSES
) -> Table:
    """A table of a frame. Its index is no column, unless it is asked for by its name.

    Args:
        frame: The frame.
        origin: What an error calls it.
        wanted: Columns that will be asked for: text in others is no error.
        classes: Columns of which text makes classes.

    Raises:
        InputError: It is empty, or text stands in a column that is wanted.
    """
    frame, remarks = _without_index(frame, wanted)
    if frame.size == 0:
        raise InputError(f"{origin}: a table of {frame.shape[0]} rows and {frame.shape[1]} columns came; it is empty")
    count = frame.shape[1]
    named = list(frame.columns) != list(range(count))  # the numbers that pandas gives; '0' is a name
    names, same = distinct([str(name) for name in frame.columns]) if named else (default_columns(count), [])
    return _numbers(frame, Table(np.empty(0), names, named, origin, [*remarks, *same]), wanted, classes)


def read_parquet(path: Path, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    """The table of a Parquet file; for the arguments see `from_frame`."""
    with extra("data"):
        import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError, TypeError) as error:
        raise InputError(f"{path}: it can't be read as Parquet ({str(error).splitlines()[0]})") from None
    return from_frame(frame, str(path), wanted, classes)


def _without_index(frame: pd.DataFrame, wanted: Sequence[str | int] | None) -> tuple[pd.DataFrame, list[str]]:
    """A frame without its index, and a remark if that may have held something: a name, or other than whole numbers."""
    names = [name for name in frame.index.names if name is not None]
    kept = [name for name in names if name in (wanted or ()) and name not in frame.columns]
    if kept:
        frame = frame.reset_index(level=kept)
    dropped = [str(name) for name in names if name not in kept]
    if dropped:
        return frame, [
            f"the index {', '.join(dropped)} of the frame is no column: left out; reset_index() makes it one"
        ]
    if not names and frame.index.nlevels == 1 and frame.index.dtype.kind not in "iu":
        return frame, [f"the index of the frame ({frame.index.dtype}) is no column: left out"]
    return frame, []


def _numbers(frame: pd.DataFrame, table: Table, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    """Fills a table with a frame's values as doubles; text in a column that is wanted is an error, or makes classes."""
    with extra("data"):
        import pandas as pd

    chosen = wanted_positions(table.columns, wanted)
    allowed, forced = ({table.position(c) for c in columns} for columns in (classes.allowed, classes.forced))
    values = np.full(frame.shape, np.nan)
    for j in range(frame.shape[1]):
        column = frame.iloc[:, j]
        if j in forced or (j in allowed and _is_text(column)):
            values[:, j], table.classes[j] = classes_of(list(column), column.isna().to_numpy())
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
            values[:, j] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        elif j in chosen:
            if column.dtype.kind in "mMc" or isinstance(column.dtype, pd.CategoricalDtype):
                raise InputError(
                    f"{table.origin}: {table.label(j)}: {column.dtype} is no real number; leave it out with columns="
                )
            numbers = pd.to_numeric(column, errors="coerce")
            wrong = (numbers.isna() & column.notna()).to_numpy()
            if wrong.any():
                i = int(wrong.argmax())
                raise InputError(f"{table.place(i, j)}: {shown(column.iloc[i])} is not a number; {NO_NUMBER}")
            values[:, j] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    table.values = values
    return table


def _is_text(column: pd.Series) -> bool:
    """Whether a column holds words, or the categories of a frame."""
    with extra("data"):
        import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return True
    if pd.api.types.is_numeric_dtype(column.dtype) or column.dtype.kind in "mMc":
        return False
    return bool((pd.to_numeric(column, errors="coerce").isna() & column.notna()).any())
