"""Items of a dataset of torch, such as people have them, as rows with a label; read in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from genflow.data.conditions import class_name
from genflow.errors import InputError

__all__ = ["Item", "Iterated", "Mapped", "item_of", "stacked"]

Item = tuple[np.ndarray, str | None]
"""A row of numbers, or a picture of bytes `(channels, height, width)`; the name of its class, where it has one."""


def item_of(given: Any) -> Item:
    """An item as a row, or a picture, and its label.

    Args:
        given: A row, or a pair of a row and its label. A row is an array, a tensor, a list of numbers, or a picture of
            PIL.

    Raises:
        InputError: Something else.

    Example:
        >>> item_of(([1.0, 2.0], 3))
        (array([1., 2.]), '3')
    """
    label = None
    if isinstance(given, tuple | list) and (not given or not _is_number(given[0])):
        if len(given) not in (1, 2):
            raise InputError(f"data: an item of {len(given)} parts came; a row, or a row and its label, would do")
        given, label = given[0], (_label(given[1]) if len(given) == 2 else None)
    picture = not isinstance(given, Tensor | np.ndarray | list | tuple)  # of PIL
    if isinstance(given, Tensor):
        given = given.detach().float() if given.dtype.itemsize < 4 and given.is_floating_point() else given.detach()
        given = given.cpu()
    row = np.asarray(given)
    if row.dtype.kind not in "fiub":
        raise InputError(
            f"data: an item that is a {type(given).__name__} came; numbers, or a pair with a label, would do"
        )
    if picture and row.ndim == 3:
        row = np.moveaxis(row, -1, 0)  # PIL has the colours behind
    if row.ndim < 2:
        return row.reshape(-1), label
    row = row if row.ndim == 3 else row[None]
    if row.dtype != np.uint8 or row.ndim != 3 or len(row) not in (1, 3):
        raise InputError(
            f"data: an item of the shape {tuple(np.shape(given))}, {row.dtype}, came; a row of numbers, or a picture "
            "of bytes (height, width) or (1 or 3 channels, height, width), would do"
        )
    return row, label


def stacked(items: Sequence[Item | InputError]) -> tuple[np.ndarray, list[str | None]] | InputError:
    """Items as one array and their labels; what went wrong in a process of its own is said in this one."""
    for item in items:
        if isinstance(item, InputError):
            return item
        if item[0].shape != items[0][0].shape:  # type: ignore[index]
            shapes = f"{items[0][0].shape} and {item[0].shape}"  # type: ignore[index]
            return InputError(f"data: items of the shapes {shapes} came; items of one shape would do")
    return np.stack([row for row, _ in items]), [label for _, label in items]  # type: ignore[misc]


class Mapped(Dataset[Any]):
    """Items by their places.

    Args:
        items: A map-style dataset.
    """

    def __init__(self, items: Any):
        self.items = items

    def __getitem__(self, place: int) -> Item | InputError:
        try:
            return item_of(self.items[place])
        except InputError as error:
            return error


class Iterated(IterableDataset[Any]):
    """Items one after the other, behind the first few, again and again.

    Args:
        items: An iterable dataset that begins again with each pass.
        first: How many are left out in each pass.
    """

    def __init__(self, items: Any, first: int):
        self.items, self.first = items, first

    def __iter__(self) -> Iterator[Item | InputError]:
        while True:
            count = 0
            for count, item in enumerate(self.items, 1):
                if count > self.first:
                    try:
                        yield item_of(item)
                    except InputError as error:
                        yield error
            if count <= self.first:
                yield InputError("data: the iterable gave no more rows to train on; one that begins again would do")
                return


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number) or (
        isinstance(value, Tensor | np.ndarray) and not value.ndim
    )


def _label(value: Any) -> str:
    """The name of a class; a number that is none, and what is no single value, are no labels."""
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) == 1:
        value = value.item()
    if not isinstance(value, bool | int | str | np.integer | np.bool_):
        came = f"{value!r}" if isinstance(value, float) else f"a {type(value).__name__}"
        raise InputError(f"condition: the label {came} came; the number or the name of a class would do")
    return class_name(value)
