"""What is done row by row: a portion at a time, each row under its own condition, a graph only where one is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genflow.numerics.portions import Portions

__all__ = ["FEW_NUMBERS", "ByPortions", "graph", "of_each"]

FEW_NUMBERS = 1 << 14
"""Numbers that need no portions, such as 1024 rows of 16 columns."""


class ByPortions:
    """Operations on many rows under their conditions, so many rows at once as there is memory for.

    An operation goes by a name, by which its need of memory is remembered; see `genflow.numerics.portions`.

    Example:
        >>> import torch
        >>> add = lambda rows, condition: rows + condition
        >>> ByPortions().map("add", add, torch.zeros(2, 3, 1), torch.ones(3, 1)).shape
        torch.Size([2, 3, 1])
    """

    def __init__(self) -> None:
        self._portions = Portions()

    def map(self, operation: Any, compute: Callable[..., Tensor], x: Tensor, condition: Any, *rest: Any) -> Tensor:
        """`compute(rows, their condition, *rest)` of all rows.

        Args:
            operation: The name of the operation.
            compute: What is done to a portion, `(n, d) -> (n, *shape)`.
            x: The rows, `(*batch, d)`.
            condition: The condition of each, or the one that all share.
            rest: Further arguments.
        """
        flat = x.reshape(-1, x.shape[-1])
        each = of_each(condition, x.shape[:-1])
        parts = self._portions.run(
            (operation, flat.dtype, flat.device),
            len(flat),
            lambda start, stop: compute(flat[start:stop], each(slice(start, stop)), *rest),
            _few(flat.shape[-1]),
        )
        whole = torch.cat(parts)
        return whole.reshape((*x.shape[:-1], *whole.shape[1:]))

    def draw(
        self,
        operation: Any,
        draw: Callable[[int, Any], tuple[Tensor, ...]],
        batch: Sequence[int],
        dim: int,
        condition: Any,
    ) -> tuple[Tensor, ...]:
        """What `draw(count, their condition)` draws, the rows of a batch one below the other.

        Args:
            operation: The name of the operation.
            draw: What draws a portion.
            batch: The shape of the batch.
            dim: The number of columns of a row.
            condition: The condition of each, or the one that all share.
        """
        each = of_each(condition, batch)
        parts = self._portions.run(
            operation, math.prod(batch), lambda start, stop: draw(stop - start, each(slice(start, stop))), _few(dim)
        )
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))


@contextmanager
def graph(differentiable: bool, *inputs: Any) -> Iterator[bool]:
    """Records a graph only where it is wanted, or where an input is part of one; says whether it does.

    Args:
        differentiable: Whether it is wanted.
        inputs: What may be part of one.
    """
    needed = differentiable or any(isinstance(part, Tensor) and part.requires_grad for part in inputs)
    with torch.set_grad_enabled(needed and torch.is_grad_enabled()):
        yield torch.is_grad_enabled()


def _few(dim: int) -> int:
    """Rows that need no portions, without a graph; with one, every step of a solver is kept."""
    return 0 if torch.is_grad_enabled() else FEW_NUMBERS // dim


def of_each(condition: Any, batch: Sequence[int]) -> Callable[[Any], Any]:
    """The condition of the rows of an index, of those of a batch one below the other: their vectors, or the shared one.

    Args:
        condition: The condition of each row, or the one that all share.
        batch: The shape of the batch.
    """
    if not (isinstance(condition, Tensor) and condition.ndim > 1):
        return lambda index: condition
    vectors = condition.expand(*batch, -1).reshape(-1, condition.shape[-1])
    return lambda index: vectors[index]
