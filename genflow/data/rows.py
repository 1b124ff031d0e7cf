"""Rows for a trained model, in whatever form they come: a frame, a file, an array, a tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genflow.data.conditions import Encoding, labelled
from genflow.data.reading import Classes, Table, from_frame, read_table
from genflow.errors import InputError

__all__ = ["rows_of"]


def rows_of(
    source: Any, columns: Sequence[str], encoding: Encoding | None = None, argument: str = "x"
) -> tuple[Tensor, Any]:
    """The rows, `(*batch, columns)`, and their conditions where the source brings them along.

    Args:
        source: A pandas frame or the path of a table, whose columns are taken by name, in any order; an array, a list
            or a tensor, `(*batch, columns)`. A tensor keeps its gradient, and floating-point numbers their precision.
        columns: Names of the columns.
        encoding: The encoding, where the model has a condition: its columns are looked for beside the others.
        argument: What an error calls the source.

    Raises:
        InputError: Other columns, words in place of numbers, a value that is missing or infinite, with its place.

    Example:
        >>> import pandas as pd
        >>> rows_of(pd.DataFrame({"b": [2.0], "a": [1.0]}), ["a", "b"])[0]
        tensor([[1., 2.]], dtype=torch.float64)
    """
    condition = None
    if isinstance(source, str | PathLike) or _is_frame(source):
        x, condition = _of_table(source, columns, encoding, argument)
    else:
        x = source if isinstance(source, Tensor) else _of_array(source, argument)
    if not x.is_floating_point() and not x.is_complex():
        x = x.double()
    if x.is_complex():
        raise InputError(f"{argument}: numbers of {x.dtype} came; real ones would do")
    x = x.float() if x.element_size() < 4 else x
    if len(columns) == 1 and x.ndim == 1 and len(x) != 1:  # one column, as `load` takes it
        x = x[:, None]
    if not x.ndim or x.shape[-1] != len(columns):
        raise InputError(f"{argument}: rows of {len(columns)} numbers are wanted, the shape {tuple(x.shape)} came")
    _check_finite(x, columns, argument)
    return x, condition


def _is_frame(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas"


def _of_table(source: Any, columns: Sequence[str], encoding: Encoding | None, argument: str) -> tuple[Tensor, Any]:
    frame = source if isinstance(source, str | PathLike) else source.to_frame() if source.ndim == 1 else source
    given = [] if encoding is None else encoding.columns

    def table(names: Sequence[str], classes: Sequence[str]) -> Table:
        kinds = Classes(forced=classes)
        if isinstance(frame, str | PathLike):
            return read_table(frame, names, kinds)
        return from_frame(frame, argument, names, kinds)

    held = table(columns, []).columns if given else []
    if encoding is None or not set(given) <= set(held):
        return torch.from_numpy(table(columns, []).expect(columns).checked().values), None
    names = [*columns, *given]
    whole = table(names, encoding.class_columns).expect(names).checked()
    count = len(columns)
    return torch.from_numpy(whole.values[:, :count]), labelled(whole.values[:, count:], whole.classes[count:])


def _of_array(source: Any, argument: str) -> Tensor:
    try:
        values = np.asarray(source)
        if isinstance(source, np.ma.MaskedArray):
            values = np.ma.filled(source.astype(np.float64), np.nan)
    except ValueError:
        raise InputError(f"{argument}: rows of different length came; give (rows, columns)") from None
    if values.dtype.kind == "O":  # None among numbers
        with contextlib.suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.dtype.kind not in "fiub":
        kind = type(source).__name__ if values.dtype.kind == "O" else f"array of {values.dtype}"
        raise InputError(f"{argument}: a {kind} came; rows of numbers, a frame or a path would do")
    dtype = values.dtype.newbyteorder("=") if values.dtype.kind == "f" and values.dtype.itemsize in (4, 8) else "f8"
    return torch.from_numpy(np.array(values, dtype=dtype, order="C"))  # of its own: any strides, read-only or not


def _check_finite(x: Tensor, columns: Sequence[str], argument: str) -> None:
    if torch._C._functorch.maybe_current_level() is not None:  # under vmap and its like no value can be looked at
        return
    finite = x.detach().isfinite()
    if finite.all():
        return
    *place, j = (int(k) for k in (~finite).nonzero()[0])
    value = x.detach()[(*place, j)].item()
    what = "a missing value (NaN)" if value != value else f"{value}"
    row = f"row {place[0] + 1}, " if len(place) == 1 else f"row {tuple(place)}, " if place else ""
    raise InputError(f"{argument}: {row}column {columns[j]!r}: {what}; drop or fill such rows")
