"""Arrays and tensors as tables, and NPY files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genflow.data.dataset import default_columns
from genflow.data.reading.classes import classes as classes_of
from genflow.data.reading.table import NO_CLASSES, Classes, Table
from genflow.errors import InputError

__all__ = ["as_array", "from_array", "read_npy"]


def as_array(array: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() and array.element_size() < 4 else array).numpy()
    return array


def from_array(array: Any, origin: str, classes: Classes = NO_CLASSES) -> Table:
    """A table of an array or a tensor, `(rows, columns)` or `(rows,)`. What a mask hides is missing.

    Raises:
        InputError: No real numbers, another shape, or none at all.
    """
    array = as_array(array)
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
        table.values[:, j], table.classes[j] = classes_of(list(values[:, j]), np.isnan(values[:, j]))
    return table


def read_npy(path: Path, classes: Classes = NO_CLASSES) -> Table:
    """The table of a file that `numpy.save` wrote.

    Raises:
        InputError: It is none, or holds objects, which would have to be unpickled.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InputError(f"{path}: it can't be read as an array of numbers; write it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: several arrays came; give a file of one, as numpy.save writes it")
    return from_array(array, str(path), classes)
