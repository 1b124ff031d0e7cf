"""Arrays and tensors as tables, NPY and NPZ files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import Tensor

from genflow.data.dataset import default_columns
from genflow.data.reading.frame import from_frame
from genflow.data.reading.kind import number_column, truth_column, word_column
from genflow.data.reading.names import distinct
from genflow.data.reading.table import NO_HINTS, Hints, Table, hints_at, kind_said
from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["as_array", "from_array", "read_npy"]


def as_array(array: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() and array.element_size() < 4 else array).numpy()
    return array


def from_array(array: Any, origin: str, hints: Hints = NO_HINTS) -> Table:
    """A table of an array or a tensor, `(rows, columns)` or `(rows,)`. What a mask hides is missing.

    Raises:
        InputError: Complex numbers, another shape, or none at all.
    """
    array = as_array(array)
    try:
        values = np.asarray(array)
    except ValueError:
        raise InputError(f"{origin}: rows of different length came; give (rows, columns)") from None
    if values.ndim not in (1, 2) or values.size == 0:
        raise InputError(
            f"{origin}: an array of the shape {values.shape} came; give (rows, columns), neither of them zero"
        )
    if values.dtype.kind in "OUTmM" or "date" in hints.values():
        return _of_objects(array, origin, hints)
    if values.dtype.kind not in "fiub":
        raise InputError(f"{origin}: an array of {values.dtype} came; give real numbers")
    dtype = str(values.dtype.newbyteorder("="))
    values = np.asarray(values.astype(np.float64)).reshape(len(values), -1)
    if isinstance(array, np.ma.MaskedArray):  # what stands behind a mask is no value, often -9999
        values = np.where(np.ma.getmaskarray(array).reshape(values.shape), np.nan, values)
    names = default_columns(values.shape[1])
    kinds = []
    said = hints_at(names, hints)
    for j, name in enumerate(names):
        kind = kind_said(said.get(j))
        if kind == "class":
            values[:, j], column = word_column(
                name,
                list(values[:, j]),
                np.isnan(values[:, j]),
                dtype if dtype.startswith(("int", "uint")) else "str",
                kind,
            )
        elif dtype == "bool":
            column = truth_column(name, values[:, j], dtype)
        else:
            column = number_column(name, values[:, j], dtype, **({"kind": kind} if kind in _NUMBERS else {}))
        kinds.append(column)
    return Table(values, names, False, origin, kinds=kinds)


_NUMBERS = ("integer", "continuous", "identifier")


def _of_objects(array: Any, origin: str, hints: Hints) -> Table:
    """A table of an array of objects, words or dates."""
    with extra("data"):
        import pandas as pd

    frame = pd.DataFrame(np.asarray(array).reshape(len(array), -1)).infer_objects()
    if isinstance(array, np.ma.MaskedArray):
        frame = frame.mask(np.ma.getmaskarray(array).reshape(frame.shape))
    return from_frame(frame, origin, None, hints)


def read_npy(content: bytes, origin: str, hints: Hints = NO_HINTS) -> Table:
    """The table of a file that `numpy.save` or `numpy.savez` wrote; of several arrays, their columns side by side.

    Raises:
        InputError: It is none, or holds objects, which would have to be unpickled.
    """
    advice = "write it with numpy.save"
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else dict(found.items())
    except (ValueError, EOFError, OSError):
        raise InputError(f"{origin}: it can't be read as an array of numbers; {advice}") from None
    if len(arrays) == 1:
        (only,) = arrays.values()
        return from_array(only, origin, hints)
    rows = {array.shape[:1] for array in arrays.values()}
    if len(rows) != 1 or any(array.ndim not in (1, 2) for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:6])
        raise InputError(f"{origin}: arrays of different lengths came ({shapes}); {advice}, one array of all rows")
    tables = {name: from_array(array, origin) for name, array in arrays.items()}
    names = [
        name if len(table.columns) == 1 else f"{name}_{column[1:]}"
        for name, table in tables.items()
        for column in table.columns
    ]
    titles, remarks = distinct(names)
    values = np.concatenate([table.values for table in tables.values()], 1)
    kinds = [column for table in tables.values() for column in table.kinds]
    whole = Table(values, default_columns(len(titles)), False, origin, remarks, kinds=kinds).expect(titles)
    for j, hint in hints_at(titles, hints).items():
        if kind_said(hint) == "class" and not whole.kinds[j].classes:
            column = values[:, j]
            values[:, j], whole.kinds[j] = word_column(titles[j], list(column), np.isnan(column), "int64", "class")
    return whole
