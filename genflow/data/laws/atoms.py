"""Values of positive probability among others: zeros, piles at a bound, gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.data.laws.law import ColumnLaw, Piece, Valued
from genflow.numerics.normal import quantile

__all__ = ["Atoms"]

_FAR = 1e4  # standard deviations, beyond which a squeeze is the identity to rounding


class Atoms(Valued):
    r"""A law with values of positive probability among others.

    .. math:: F(x) = p_c C(x) + \sum_{a_k \le x} p_k, \qquad p_c = 1 - \sum_k p_k

    with the law :math:`C` of the rest. An atom stands where its value does, a missing value above all.

    Args:
        rest: The law of the other values.
        count: The number of atoms.
        values: The atoms :math:`a_k`, `(count,)`, in rising order, NaN for missing ones last.
        probabilities: :math:`p_k > 0`, `(count,)`.
        gap: Where the missing value stands, -1 for nowhere; it is found in the values.

    Example:
        >>> import torch
        >>> from genflow.data.laws import Normal
        >>> law = Atoms(Normal(1.0, 1.0, low=0.0), 2, [0.0, torch.nan], [0.4, 0.1])
        >>> z = torch.tensor([-2.0, -0.2, 2.5], dtype=torch.float64)
        >>> law.value(z)
        tensor([0.0000, 0.1351,    nan], dtype=torch.float64)
        >>> piece = law.piece(torch.tensor([0.0, 1.0, torch.nan], dtype=torch.float64))
        >>> (torch.special.ndtr(piece.high) - torch.special.ndtr(piece.low)).round(decimals=6)
        tensor([0.4000, 0.0000, 0.1000], dtype=torch.float64)
    """

    def __init__(
        self,
        rest: ColumnLaw,
        count: int,
        values: Sequence[float] | Tensor | None = None,
        probabilities: Sequence[float] | Tensor | None = None,
        gap: int = -1,
    ):
        super().__init__(count, values, probabilities, gap)
        self.rest = rest

    def config(self) -> dict[str, Any]:
        return {"rest": self.rest, "count": self.count, "gap": self.gap}

    def intervals(self) -> tuple[Tensor, Tensor]:
        # What an atom owns of the line of the rest, and its own mass.
        missing = self.values.isnan()
        values = torch.where(missing, self._fallback(), self.values)
        at, side = self.rest.piece(values), torch.where(missing, 1.0, self.rest.side(values))
        first = torch.arange(self.count, device=self.values.device)
        end = side * math.inf
        return (
            self._squeeze(torch.where(side == 0, at.low, end), first),
            self._squeeze(torch.where(side == 0, at.high, end), first + 1),
        )

    def _squeeze(self, y: Tensor, first: Tensor) -> Tensor:
        """The number of the line for one of the rest's, above the first so many atoms."""
        log_c = torch.log1p(-self.probabilities.sum())
        under, over = self._masses(first)
        return quantile(
            torch.logaddexp(log_c + torch.special.log_ndtr(y), under.log()),
            torch.logaddexp(log_c + torch.special.log_ndtr(-y), over.log()),
        )

    def _masses(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """The mass of the first so many atoms, and that of the others."""
        p, zero = self.probabilities, self.probabilities.new_zeros(1)
        return torch.cat([zero, p.cumsum(0)])[first], torch.cat([p.flip(0).cumsum(0).flip(0), zero])[first]

    def _places(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How many atoms are below each value, whether it is one, and values of the rest, any for an atom."""
        keys = self.values.nan_to_num(nan=math.inf)
        asked = x.nan_to_num(nan=math.inf).contiguous()
        first = torch.searchsorted(keys, asked)
        is_atom = keys[first.clamp(max=self.count - 1)] == asked
        return first, is_atom, torch.where(is_atom | x.isnan(), self._fallback().expand_as(x), x)

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.intervals()
        first, is_atom, others = self._places(x)
        place, (a, b) = first.clamp(max=self.count - 1), self.rest.cell(others)
        return (
            torch.where(is_atom, low[place], self._squeeze(a, first)),
            torch.where(is_atom, high[place], self._squeeze(b, first)),
        )

    def piece(self, x: Tensor) -> Piece:
        low, high = self.intervals()
        first, is_atom, others = self._places(x)
        place, inner = first.clamp(max=self.count - 1), self.rest.piece(others)
        point = inner.low == inner.high
        a, b = self._squeeze(inner.low, first), self._squeeze(inner.high, first)
        log_c = torch.log1p(-self.probabilities.sum())
        # A point of the rest stays one; its slope is that of the squeeze, too.
        y, z = (torch.where(point, part, 0.0) for part in (inner.low, a))
        slope = log_c + 0.5 * (z - y) * (z + y)
        slope = torch.where((y.abs() > _FAR) & (z.abs() > 0.5 * y.abs()), 0.0, slope)  # it tends to 0 on a free side
        log_slope = inner.log_slope + torch.where(point, slope, 0.0)
        zero = torch.zeros_like(x)
        return Piece(
            torch.where(is_atom, low[place], a),
            torch.where(is_atom, high[place], torch.where(point, a, b)),
            torch.where(is_atom, zero, log_slope),
            torch.where(is_atom, zero, inner.log_unit),
        )

    def _fallback(self) -> Tensor:
        """Some value of the rest, so that what is computed in an atom's place is finite."""
        return self.rest.value(self.probabilities.new_zeros(1))

    def value(self, z: Tensor) -> Tensor:
        low, high = self.intervals()
        first = torch.searchsorted(high.contiguous(), z.contiguous())
        place = first.clamp(max=self.count - 1)
        inside = (first < self.count) & (z >= low[place])
        log_c = torch.log1p(-self.probabilities.sum())
        under, over = self._masses(first)
        log_under = _log_difference(torch.special.log_ndtr(z), under) - log_c
        log_over = _log_difference(torch.special.log_ndtr(-z), over) - log_c
        y = quantile(log_under.clamp(max=0.0), log_over.clamp(max=0.0))
        return torch.where(inside, self.values[place], self.rest.value(torch.where(inside, 0.0, y)))


def _log_difference(log_p: Tensor, q: Tensor) -> Tensor:
    """The logarithm of p - q, where p is greater but for rounding."""
    ratio = q.log() - log_p
    return log_p + torch.log1p(-ratio.clamp(max=-1e-300).exp()).clamp(min=-745.0)
