"""What every law of a column answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.in_double import InDouble
from genflow.interfaces import Component

__all__ = ["ColumnLaw", "Piece", "Valued"]


class Piece(NamedTuple):
    """What a value owns of the line.

    Attributes:
        low: :math:`a`, `(n,)`; of a value with a density the point itself.
        high: :math:`b`, `(n,)`; the same point, where the value has a density.
        log_slope: :math:`\\log dz/dx` of a value with a density; of one that owns an interval what is added to the
            logarithm of its mass, minus the logarithm of the width of its grid where that is how it is counted.
        log_unit: The part of it that a change of units changes, `(n,)`: that of values with a density.
    """

    low: Tensor
    high: Tensor
    log_slope: Tensor
    log_unit: Tensor


class ColumnLaw(Component, InDouble, ABC):
    """The law of a column; see the formula above. What is fitted is in buffers, in float64."""

    @property
    def random(self) -> bool:
        """Whether there are values that own an interval."""
        return True

    @property
    def whole(self) -> bool:
        """Whether the `intervals` are all of the line, but for what the training rows never had."""
        return False

    @abstractmethod
    def piece(self, x: Float[Tensor, " n"]) -> Piece:
        """What each value owns of the line.

        Args:
            x: Values in float64, NaN where one is missing.
        """

    def cell(self, x: Float[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The ends of the interval whose numbers are those of a value, also where a density stands for its mass.

        Args:
            x: Values in float64, NaN where one is missing.
        """
        piece = self.piece(x)
        return piece.low, piece.high

    def side(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """-1 of values below all that the column can have, 1 of those above, 0 of the others."""
        return torch.zeros_like(x)

    def intervals(self) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """The lower and the upper ends of the line's intervals that each belong to one value, in rising order.

        Cells of a grid under a smooth law are not among them: there are many, and a density goes smoothly over them.
        """
        return torch.empty(0), torch.empty(0)

    @abstractmethod
    def value(self, z: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The value that owns each number of the line, NaN for a missing one."""

    def _keep(self, **buffers: Any) -> None:
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).detach().clone())


class Valued(ColumnLaw):
    """A law with values of positive probability. A checkpoint holds finite numbers: where the gap stands it says apart.

    Args:
        count: The number of values.
        values: The values, `(count,)`, NaN for a missing one.
        probabilities: Their probabilities, `(count,)`.
        gap: Where the missing one stands, -1 for nowhere.
    """

    known: Tensor
    probabilities: Tensor

    def __init__(self, count: int, values: Any, probabilities: Any, gap: int):
        super().__init__()
        self.count = int(count)
        given = torch.arange(count) if values is None else values
        given = torch.as_tensor(given, dtype=torch.float64)
        if given.isnan().any():
            gap = int(given.isnan().long().argmax())
        self.gap = int(gap)
        self._keep(
            known=given.nan_to_num(nan=0.0),
            probabilities=torch.full((count,), 0.5 / count) if probabilities is None else probabilities,
        )

    @property
    def values(self) -> Tensor:
        """The values, NaN for a missing one."""
        if self.gap < 0:
            return self.known
        return torch.where(torch.arange(self.count, device=self.known.device) == self.gap, math.nan, self.known)
