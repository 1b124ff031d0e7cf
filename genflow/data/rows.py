"""Rows for a trained model, in whatever form they come: a frame, a file, an array, a tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genflow.data.conditions import Encoding, label
from genflow.data.kinds import Column, Schema
from genflow.data.reading import Hints, Table, as_pandas, from_frame, read_table
from genflow.errors import InputError

__all__ = ["check_dense", "condition_hints", "rows_of", "split_condition"]


def rows_of(
    source: Any,
    columns: Sequence[str],
    encoding: Encoding | None = None,
    argument: str = "x",
    schema: Schema | None = None,
    gaps: bool = False,
) -> tuple[Tensor, Any]:
    """The rows, `(*batch, columns)`, and their conditions where the source brings them along.

    Args:
        source: A frame or the path of a table, whose columns are taken by name, in any order; an array, a list
            or a tensor, `(*batch, columns)`. A tensor keeps its gradient, and floating-point numbers their precision.
        columns: Names of the columns.
        encoding: The encoding, where the model has a condition: its columns are looked for beside the others.
        argument: What an error calls the source.
        schema: What the columns hold: in a frame or a file words become places, dates counts, a class that is not known
            the place behind all others; a value may be missing where some were.
        gaps: Whether any value may be missing.

    Raises:
        InputError: Other columns, words in place of numbers, a value that is missing or infinite, with its place.

    Example:
        >>> import pandas as pd
        >>> rows_of(pd.DataFrame({"b": [2.0], "a": [1.0]}), ["a", "b"])[0]
        tensor([[1., 2.]], dtype=torch.float64)
    """
    condition = None
    if isinstance(source, str | PathLike) or _is_frame(source):
        x, condition = _of_table(source, columns, encoding, argument, schema, gaps)
    else:
        check_dense(source, argument)
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
    _check_finite(x, columns, argument, schema, gaps)
    return x, condition


def check_dense(source: Any, argument: str) -> None:
    """Refuses a tensor whose numbers are not there one by one: sparse, quantized, nested, or of no device.

    Raises:
        InputError: Such a tensor.
    """
    if not isinstance(source, Tensor):
        return
    if source.is_meta:
        raise InputError(f"{argument}: a meta tensor came, which holds no numbers; one of a device would do")
    if source.is_nested or source.layout is not torch.strided:
        kind = "nested" if source.is_nested else str(source.layout).removeprefix("torch.").removeprefix("_")
        raise InputError(f"{argument}: a tensor of the layout {kind} came; a dense one, x.to_dense(), would do")
    if source.is_quantized:
        raise InputError(f"{argument}: a quantized tensor came; its numbers, x.dequantize(), would do")


def split_condition(table: Table, encoding: Encoding, schema: Schema | None = None) -> tuple[np.ndarray, Any]:
    """The numbers of a table, and the conditions that stand behind them, as a user gives them.

    Args:
        table: Its last columns are the condition's.
        encoding: What makes vectors of them.
        schema: What they were in the table of the training, in which units dates.

    Raises:
        InputError: Words where the condition is a number.
    """
    count = len(table.columns) - len(encoding.columns)
    behind = table.select(encoding.columns)
    numbers = [j for j, names in enumerate(encoding.classes) if not names]
    known = {} if schema is None else {column.name: column for column in schema.conditions}
    for j in numbers:
        name = encoding.columns[j]
        number = known.get(name, _as_number(behind.kinds[j]))
        behind.values[:, j] = behind.select([name]).recoded([number]).checked().values[:, 0]
    classes = [behind.classes[j] if names else [] for j, names in enumerate(encoding.classes)]
    return table.values[:, :count], label(behind.values, classes)


def condition_hints(encoding: Encoding | None, schema: Schema | None = None) -> dict[str | int, str | Column]:
    """What a reader has to know of the condition's columns: which hold classes, how dates are written, and units."""
    if encoding is None:
        return {}
    known = [] if schema is None else [column for column in schema.conditions if column.kind == "date" or column.sign]
    return {**{column.name: column for column in known}, **dict.fromkeys(encoding.class_columns, "class")}


def _as_number(column: Column) -> Column:
    """What a column of the condition is, if it is a number: a date is one, a word is none."""
    return column if column.kind == "date" else Column(column.name, unit=column.unit)


def _is_frame(source: Any) -> bool:
    root = type(source).__module__.partition(".")[0]
    return root == "pandas" or (root not in ("builtins", "numpy", "torch") and as_pandas(source) is not None)


def _of_table(
    source: Any, columns: Sequence[str], encoding: Encoding | None, argument: str, schema: Schema | None, gaps: bool
) -> tuple[Tensor, Any]:
    frame = None if isinstance(source, str | PathLike) else as_pandas(source)
    given = [] if encoding is None else encoding.columns
    known = {} if schema is None else {column.name: column for column in schema.modelled}
    hints: dict[str | int, str | Column] = {name: known[name] for name in columns if name in known}
    classes = condition_hints(encoding, schema)
    names = [*columns, *given]

    def table(wanted: Sequence[str], hints: Hints) -> Table:
        return from_frame(frame, argument, wanted, hints) if frame is not None else read_table(source, wanted, hints)

    def fitting(found: Table) -> Table:
        kinds = [known.get(name, column) for name, column in zip(found.columns, found.kinds, strict=True)]
        found = found.recoded(kinds) if known else found.numbers()
        for j, name in enumerate(found.columns):
            gone = np.isnan(found.values[:, j])
            if gone.any() and name in known and not known[name].missing:
                i = int(gone.argmax())
                word = found.strays.get((i, name))
                if gaps and word is None:
                    continue
                what = "a missing value (NaN)" if word is None else f"{word!r} is not a number"
                raise InputError(f"{found.place(i, j)}: {what}; the model knows no gaps there, fill it")
        return found.checked(gaps=bool(known) or gaps)

    whole = table(names, hints | classes)
    if encoding is None or not set(given) <= set(whole.columns):
        return torch.from_numpy(fitting(whole.expect(columns)).values), None
    whole = whole.expect(names)
    _, condition = split_condition(whole, encoding, schema)
    return torch.from_numpy(fitting(whole.select(list(range(len(columns))))).values), condition


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


def _check_finite(
    x: Tensor, columns: Sequence[str], argument: str, schema: Schema | None = None, gaps: bool = False
) -> None:
    if torch._C._functorch.maybe_current_level() is not None:  # under vmap and its like no value can be looked at
        return
    finite = x.detach().isfinite()
    if gaps:
        finite |= x.detach().isnan()
    elif schema is not None:
        finite |= x.detach().isnan() & torch.tensor([column.missing for column in schema.modelled], device=x.device)
    if finite.all():
        return
    *place, j = (int(k) for k in (~finite).nonzero()[0])
    value = x.detach()[(*place, j)].item()
    what = "a missing value (NaN)" if value != value else f"{value}"
    row = f"row {place[0] + 1}, " if len(place) == 1 else f"row {tuple(place)}, " if place else ""
    raise InputError(f"{argument}: {row}column {columns[j]!r}: {what}; drop or fill such rows")
