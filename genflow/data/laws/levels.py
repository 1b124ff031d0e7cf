"""Columns of few values: classes, answers, counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.data.laws.law import Piece, Valued
from genflow.numerics.normal import quantile

__all__ = ["Levels"]


class Levels(Valued):
    r"""A law on finitely many values, in an order of their own: the :math:`k`-th owns its share of the line.

    .. math:: x_k \mapsto \Bigl( \Phi^{-1} \sum_{j < k} p_j, \; \Phi^{-1} \sum_{j \le k} p_j \Bigr)

    What is none of the values owns an interval at an end of the line, the lower one if it is less than all of them,
    each of half the mass `rest`: it has a finite log p, and a number of the line there comes back as the value beside
    it.

    Args:
        count: The number of values.
        values: The values in their order, `(count,)`, NaN for a missing one.
        probabilities: :math:`p_k > 0`, `(count,)`; what they sum up to is made :math:`1 -` `rest`.
        unit: The width of the grid by which a probability is divided where the column is one of decimals; 1 for counts.
        rest: Mass of what is none of the values.
        gap: Where the missing value stands, -1 for nowhere; it is found in the values.

    Example:
        >>> import torch
        >>> law = Levels(3, [5.0, torch.nan, 1.0], [0.5, 0.25, 0.25], rest=0.01)
        >>> law.value(torch.tensor([-1.0, 0.5, 1.5], dtype=torch.float64))
        tensor([5., nan, 1.], dtype=torch.float64)
        >>> piece = law.piece(torch.tensor([5.0, 2.0], dtype=torch.float64))
        >>> torch.special.ndtr(piece.high) - torch.special.ndtr(piece.low)
        tensor([0.4950, 0.0050], dtype=torch.float64)
    """

    def __init__(
        self,
        count: int,
        values: Sequence[float] | Tensor | None = None,
        probabilities: Sequence[float] | Tensor | None = None,
        unit: float = 1.0,
        rest: float = 1e-6,
        gap: int = -1,
    ):
        super().__init__(count, values, probabilities, gap)
        self.unit, self.rest = float(unit), float(rest)

    def config(self) -> dict[str, Any]:
        return {"count": self.count, "unit": self.unit, "rest": self.rest, "gap": self.gap}

    @property
    def whole(self) -> bool:
        return True

    def intervals(self) -> tuple[Tensor, Tensor]:
        p, end = self.probabilities / self.probabilities.sum() * (1 - self.rest), 0.5 * self.rest
        below = torch.cat([p.new_zeros(1), p.cumsum(0)]) + end
        above = torch.cat([p.flip(0).cumsum(0).flip(0), p.new_zeros(1)]) + end
        edges = quantile(below.log(), above.log())
        return edges[:-1], edges[1:]

    def piece(self, x: Tensor) -> Piece:
        low, high = self.intervals()
        keys, order = self.values.nan_to_num(nan=math.inf).sort()
        asked = x.nan_to_num(nan=math.inf)
        at = torch.searchsorted(keys, asked.contiguous()).clamp(max=self.count - 1)
        known = keys[at] == asked
        place, under = order[at], asked < keys[0]
        zero = torch.zeros_like(x)
        return Piece(
            torch.where(known, low[place], torch.where(under, -math.inf, high[-1])),
            torch.where(known, high[place], torch.where(under, low[0], math.inf)),
            zero - math.log(self.unit),
            zero,
        )

    def value(self, z: Tensor) -> Tensor:
        _, high = self.intervals()
        return self.values[torch.searchsorted(high[:-1].contiguous(), z.contiguous())]
