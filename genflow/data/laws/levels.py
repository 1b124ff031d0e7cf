"""Columns of few values: classes, answers, counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.data.laws.law import Piece, Valued
from genflow.numerics.normal import log_mass, quantile

__all__ = ["Levels"]

_SAME = 1e-3  # of a grid's width


class Levels(Valued):
    r"""A law on finitely many values, in an order of their own: the :math:`k`-th owns its share of the line.

    .. math:: x_k \mapsto \Bigl( \Phi^{-1} \sum_{j < k} p_j, \; \Phi^{-1} \sum_{j \le k} p_j \Bigr)

    What is none of the values has a finite log p, too. It owns an interval at an end of the line, the lower one if it
    is less than all of them, each of half the mass `rest`. Of numbers in rising order, what lies between two of them
    owns an interval between theirs, each of the same part of the mass `between`: a new number falls between any two of
    those that have been seen alike. A number of the line there comes back as the value beside it, or, of values on a
    grid, as one of the grid's own points there.

    Args:
        count: The number of values.
        values: The values in their order, `(count,)`, NaN for a missing one.
        probabilities: :math:`p_k > 0`, `(count,)`; what they sum up to is made 1, but for `rest` and `between`.
        unit: The width of the grid by which a probability is divided where the column is one of decimals; 1 for counts.
        rest: Mass of what is beyond the values.
        between: Mass of what is between them, where they are numbers in rising order. The missing value is above all.
        grid: Distance of the points that are possible there; 0 where nothing is known of them. Numbers that differ by
            less than a thousandth of it are the same: by arithmetic they get other last digits.
        gap: Where the missing value stands, -1 for nowhere; it is found in the values.

    Example:
        >>> import torch
        >>> law = Levels(3, [5.0, torch.nan, 1.0], [0.5, 0.25, 0.25], rest=0.01)
        >>> law.value(torch.tensor([-1.0, 0.5, 1.5], dtype=torch.float64))
        tensor([5., nan, 1.], dtype=torch.float64)
        >>> piece = law.piece(torch.tensor([5.0, 2.0], dtype=torch.float64))
        >>> torch.special.ndtr(piece.high) - torch.special.ndtr(piece.low)
        tensor([0.4950, 0.0050], dtype=torch.float64)

    References:
        Hill 1968, Posterior distribution of percentiles: Bayes' theorem for sampling from a population,
        https://doi.org/10.1080/01621459.1968.11009286
    """

    def __init__(
        self,
        count: int,
        values: Sequence[float] | Tensor | None = None,
        probabilities: Sequence[float] | Tensor | None = None,
        unit: float = 1.0,
        rest: float = 1e-6,
        gap: int = -1,
        between: float = 0.0,
        grid: float = 0.0,
    ):
        super().__init__(count, values, probabilities, gap)
        self.unit, self.rest, self.between, self.grid = float(unit), float(rest), float(between), float(grid)

    def config(self) -> dict[str, Any]:
        return {
            "count": self.count, "unit": self.unit, "rest": self.rest, "gap": self.gap, "between": self.between,
            "grid": self.grid,
        }  # fmt: skip

    @property
    def whole(self) -> bool:
        return True

    def intervals(self) -> tuple[Tensor, Tensor]:
        shares = self._shares()
        return quantile(shares[0].log(), shares[1].log()), quantile(shares[2].log(), shares[3].log())

    def _shares(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mass below and above the lower ends of the intervals, and below and above the upper ones."""
        end, space = 0.5 * self.rest, self._space
        p = self.probabilities / self.probabilities.sum() * (1 - self.rest - (self.count - 1) * space)
        # A space follows each value but the last. Without spaces an end is the next one's beginning, to the last bit.
        none, spaced = p.new_zeros(1), p + space
        below, above = spaced.cumsum(0), spaced.flip(0).cumsum(0).flip(0)
        lower, upper = torch.cat([none, below[:-1]]), torch.cat([above[1:], none])
        return lower + end, above - space + end, below - space + end, upper + end

    @property
    def _space(self) -> float:
        """The mass of what lies between two values that are neighbours."""
        return self.between / (self.count - 1) if self._rises else 0.0

    @property
    def _rises(self) -> bool:
        if self.between <= 0 or self.count < 2:
            return False
        values = self.values
        seen = values[:-1] if self.gap == self.count - 1 else values
        return bool((seen.diff() > 0).all())  # nor is one no number

    def _points(self, place: Tensor) -> Tensor:
        """How many points are possible between each of these values and the next."""
        if self.grid <= 0:
            return torch.ones_like(place)
        apart = (self.values[place + 1] - self.values[place]).nan_to_num(nan=0.0)
        return ((apart / self.grid).round().long() - 1).clamp(min=1)

    def piece(self, x: Tensor) -> Piece:
        low, high = self.intervals()
        keys, order = self.values.nan_to_num(nan=math.inf).sort()
        asked, slack = x.nan_to_num(nan=math.inf), _SAME * self.grid
        at = torch.searchsorted(keys, (asked - slack).contiguous()).clamp(max=self.count - 1)
        known = (keys[at] == asked) | ((keys[at] - asked).abs() <= slack)
        place, under = order[at], asked < keys[0]
        a = torch.where(known, low[place], torch.where(under, -math.inf, high[-1]))
        b = torch.where(known, high[place], torch.where(under, low[0], math.inf))
        zero = torch.zeros_like(x)
        slope = zero - math.log(self.unit)
        if self._rises and len(new := (~known & (asked > keys[0]) & (asked < keys[-1])).nonzero().flatten()):
            before = place[new] - 1  # all points of a space share its interval
            a[new], b[new] = high[before], low[place[new]]
            slope[new] -= self._points(before).to(slope).log()
        return Piece(a, b, slope, zero)

    def value(self, z: Tensor) -> Tensor:
        low, high = self.intervals()
        place = torch.searchsorted(high[:-1].contiguous(), z.contiguous())
        found = self.values[place]
        if self._rises and len(inner := ((z < low[place]) & (place > 0)).nonzero().flatten()):
            before = place[inner] - 1
            share = (log_mass(high[before], z[inner]).exp() / self._space).clamp(max=1.0)
            points = self._points(before)
            below, above = self.values[before], self.values[before + 1]
            on_grid = below + self.grid * (share * points).ceil().clamp(min=1)
            nearest = torch.where((share > 0.5) & ~above.isnan(), above, below)
            # Behind the last number there is the missing value alone, and between neighbours of the grid nothing.
            has_room = (self.grid > 0) & (on_grid < above - 0.5 * self.grid)
            found[inner] = torch.where(has_room, on_grid, nearest)
        return found
