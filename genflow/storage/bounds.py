"""A limit on what is allocated while a file becomes a model, so that a wrong number in it can't ask for 40 GB."""

from __future__ import annotations

import itertools
import math
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Bounds", "Exceeded", "TooLong"]

_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


class Exceeded(Exception):
    """More was asked for than the file has use for."""


class TooLong(Exceeded):
    """More operations than there may be."""


class Bounds(TorchDispatchMode):
    """Within it, every operation is asked for the size of its result before it is done.

    Args:
        bytes: Bytes that all results may take together.
        operations: How many operations there may be: a limit on loops.
        each: Whether the limit is on each result alone, for a computation that keeps few of them.
    """

    def __init__(self, bytes: int, operations: int, each: bool = False):
        super().__init__()
        self.bytes, self.operations, self.each = bytes, operations, each
        self._used = self._done = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler: two seconds and 800 modules, for nothing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._done += 1
        if self._done > self.operations:
            raise TooLong(f"more than {self.operations} operations")
        if not func._schema.is_mutable and not func.is_view:
            self._used = _size(func, args, kwargs) + (0 if self.each else self._used)
            if self._used > self.bytes:
                raise Exceeded(f"more than {self.bytes / 2**20:.0f} MB asked for")
        return func(*args, **kwargs)


def _size(func: Any, args: Any, kwargs: Any) -> int:
    """Bytes of the result, from the arguments alone. (The device `meta` would tell, but loads sympy for that.)"""
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args)} | kwargs
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    dtype = kwargs.get("dtype")
    width = dtype.itemsize if dtype else max((tensor.element_size() for tensor in tensors), default=8)
    return width * max(_requested_numbers(func._schema.name, given), _product_numbers(func._schema.name, tensors))


def _requested_numbers(name: str, given: dict[str, Any]) -> int:
    """How many numbers the arguments ask for in so many words: `zeros(size)`, `linspace(…, steps)`, `eye(n)`, …"""
    if name == "aten::arange":
        start, stop, step = given.get("start", 0), given["end"], given.get("step", 1)
        return max(0, math.ceil((stop - start) / step))
    if isinstance(given.get("size"), list | tuple):
        return math.prod(int(length) for length in given["size"])
    if name == "aten::eye":
        return int(given["n"]) * int(given.get("m", given["n"]))
    if name in ("aten::repeat", "aten::repeat_interleave") and isinstance(given.get("repeats"), int | list | tuple):
        repeats = given["repeats"]
        return int(given["self"].numel()) * (repeats if isinstance(repeats, int) else math.prod(repeats))
    return int(given.get("steps", given.get("n", 0)) or 0)


def _product_numbers(name: str, tensors: list[Tensor]) -> int:
    """How many numbers can come of these: a product of matrices, one shape for all, or all of them side by side."""
    if name in _PRODUCTS:
        left, right = tensors[-2:]
        return math.prod(left.shape[:-1]) * right.shape[-1]
    columns = list(itertools.zip_longest(*(tensor.shape[::-1] for tensor in tensors), fillvalue=1))
    if all(length in (1, max(column)) for column in columns for length in column):
        return math.prod(map(max, columns)) if tensors else 0
    return sum(tensor.numel() for tensor in tensors)
