r"""The law of one column as a map of its values to pieces of the line of standard normal numbers.

A value that has a probability owns an interval of the line, whose mass under the standard normal law is that
probability; a value that has a density owns a point.

.. math::
    x \mapsto (a, b), \quad P(X = x) = w \, (\Phi(b) - \Phi(a)) \qquad \text{or} \qquad
    x \mapsto z, \quad f(x) = \varphi(z) \, \frac{dz}{dx}

Every number of the line belongs to a value that the column can have, so the inverse of any number is one: whole numbers
come back as whole numbers, classes as classes, gaps as gaps, and bounds hold.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.data.scales import original, standardized
from genflow.interfaces import Component
from genflow.numerics.normal import between, log_density, log_mass, quantile

__all__ = ["Atoms", "ColumnLaw", "Grid", "Levels", "Piece", "Smooth"]

_FAR = 1e4  # standard deviations, beyond which a squeeze is the identity to rounding


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


class ColumnLaw(Component, nn.Module, ABC):
    """The law of a column; see the formula above. What is fitted is in buffers, in float64."""

    @property
    def random(self) -> bool:
        """Whether there are values that own an interval."""
        return True

    @abstractmethod
    def piece(self, x: Float[Tensor, " n"]) -> Piece:
        """What each value owns of the line.

        Args:
            x: Values in float64, NaN where one is missing.
        """

    def side(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """-1 of values below all that the column can have, 1 of those above, 0 of the others."""
        return torch.zeros_like(x)

    @abstractmethod
    def value(self, z: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The value that owns each number of the line, NaN for a missing one."""

    def _keep(self, **buffers: Any) -> None:
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).detach().clone())


class _Valued(ColumnLaw):
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


class Smooth(ColumnLaw):
    r"""A normal law, cut off at bounds: values have a density.

    .. math::
        y = \frac{g(x) - \mu}{s}, \qquad
        \Phi(z) = \frac{\Phi(y) - \Phi(y_a)}{\Phi(y_b) - \Phi(y_a)}, \qquad g(x) = x \text{ or } \log(x - a)

    Without bounds it is standardization, :math:`z = y`. A value at a bound or beyond owns the outermost interval of
    mass `rest`, which stands for what the training rows never had.

    Args:
        mean: :math:`\mu`; zero where it is not given.
        std: :math:`s`; one where it is not given.
        low: The lower bound :math:`a`, minus infinity for none.
        high: The upper bound :math:`b`, infinity for none.
        logarithm: Whether :math:`g` is the logarithm of the distance from the lower bound.
        rest: Mass of what is out of bounds.

    Example:
        >>> import torch
        >>> law = Smooth(1.0, 1.0, low=0.0)
        >>> z = law.piece(torch.tensor([0.01, 1.0, 9.0], dtype=torch.float64)).low
        >>> law.value(z).round(decimals=6), bool((law.value(torch.randn(99, dtype=torch.float64)) > 0).all())
        (tensor([0.0100, 1.0000, 9.0000], dtype=torch.float64), True)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        low: float = -math.inf,
        high: float = math.inf,
        logarithm: bool = False,
        rest: float = 1e-6,
    ):
        super().__init__()
        self.low, self.high, self.logarithm, self.rest = float(low), float(high), bool(logarithm), float(rest)
        self._keep(mean=mean, std=std)

    def config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "logarithm": self.logarithm, "rest": self.rest}

    @property
    def random(self) -> bool:
        return False

    @property
    def plain(self) -> bool:
        """Whether it is standardization and no more."""
        return not (self.bounded or self.logarithm)

    @property
    def bounded(self) -> bool:
        """Whether the normal law is cut off."""
        return not self.logarithm and (self.low > -math.inf or self.high < math.inf)

    def side(self, x: Tensor) -> Tensor:
        return (x >= self.high).to(x) - (x <= self.low).to(x)

    def piece(self, x: Tensor) -> Piece:
        side = self.side(x)
        inside = side == 0
        kept = torch.where(inside, x, self._middle(x))
        y, log_slope = self._standardized(kept)
        log_unit = -self.std.log().expand_as(y)
        z = y
        if self.bounded:
            a, b = self._edges(y)
            log_all = log_mass(a, b)
            z = quantile(log_mass(a, y) - log_all, log_mass(y, b) - log_all)
            log_slope = log_slope + log_density(y) - log_all - log_density(z)
        if bool(inside.all()):
            return Piece(z, z, log_slope, log_unit)
        edge = math.inf * torch.ones_like(z)
        cut = torch.special.ndtri(torch.full_like(z, self.rest))
        low = torch.where(inside, z, torch.where(side < 0, -edge, -cut))
        high = torch.where(inside, z, torch.where(side < 0, cut, edge))
        return Piece(low, high, torch.where(inside, log_slope, 0.0), torch.where(inside, log_unit, 0.0))

    def value(self, z: Tensor) -> Tensor:
        if self.bounded:
            a, b = self._edges(z)
            y = between(a, b, torch.special.log_ndtr(z), torch.special.log_ndtr(-z))
        else:
            y = z
        x = original(y[:, None], self.mean[None], self.std[None])[:, 0]
        if self.logarithm:
            x = self.low + x.exp()
        return x.clamp(self.low, self.high)

    def _middle(self, x: Tensor) -> Tensor:
        middle = self.low + self.mean.exp() if self.logarithm else self.mean.clamp(self.low, self.high)
        return middle.expand_as(x)

    def _standardized(self, x: Tensor) -> tuple[Tensor, Tensor]:
        g = (x - self.low).log() if self.logarithm else x
        y = standardized(g[:, None], self.mean[None], self.std[None])[:, 0]
        log_slope = -self.std.log().expand_as(y)
        return y, log_slope - g if self.logarithm else log_slope

    def _edges(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = ((bound - self.mean) / self.std for bound in (self.low, self.high))
        return low.expand_as(like), high.expand_as(like)


class Grid(ColumnLaw):
    r"""A smooth law whose values are recorded on a grid: each owns the cell around it.

    .. math:: x \mapsto \bigl( z(x - w/2), \; z(x + w/2) \bigr)

    The bounds of the smooth law are half a cell beyond the least and the greatest value. Cells of a fine grid, over
    which no density changes, are points: their mass is the density in the middle by the width.

    Args:
        smooth: The smooth law.
        width: The width :math:`w` of the grid.
        origin: A point of the grid.
        counted: Whether log p is that of a count; otherwise it is a density, per unit, the mass of a cell by its width.
        fine: Whether the cells are points.

    Example:
        >>> import torch
        >>> law = Grid(Smooth(2.0, 1.5, low=-0.5), 1.0)
        >>> piece = law.piece(torch.tensor([0.0, 3.0], dtype=torch.float64))
        >>> piece.low, piece.high
        (tensor([  -inf, 0.2846], dtype=torch.float64), tensor([-1.1930,  0.9676], dtype=torch.float64))
        >>> law.value(torch.tensor([-7.0, 0.9], dtype=torch.float64))
        tensor([0., 3.], dtype=torch.float64)
    """

    def __init__(self, smooth: Smooth, width: float, origin: float = 0.0, counted: bool = True, fine: bool = False):
        super().__init__()
        self.smooth, self.width, self.origin = smooth, float(width), float(origin)
        self.counted, self.fine = bool(counted), bool(fine)

    def config(self) -> dict[str, Any]:
        return {
            "smooth": self.smooth,
            "width": self.width,
            "origin": self.origin,
            "counted": self.counted,
            "fine": self.fine,
        }

    @property
    def random(self) -> bool:
        return not self.fine

    def side(self, x: Tensor) -> Tensor:
        return self.smooth.side(x)

    def piece(self, x: Tensor) -> Piece:
        if self.fine:
            found = self.smooth.piece(x)
            point = found.low == found.high
            return found._replace(log_slope=found.log_slope + self.counted * point * math.log(self.width))
        low, high = self.smooth.low, self.smooth.high
        half = 0.5 * self.width
        middle = x.clamp(low + half, high - half)
        outside = self.side(x) != 0
        a = self.smooth.piece((middle - half).clamp(min=low)).low
        b = self.smooth.piece((middle + half).clamp(max=high)).high
        beyond = self.smooth.piece(torch.where(outside, x, middle))
        zero = torch.zeros_like(a)
        return Piece(
            torch.where(outside, beyond.low, a),
            torch.where(outside, beyond.high, b),
            zero if self.counted else zero - math.log(self.width),
            zero if self.counted else -self.smooth.std.log().expand_as(a),
        )

    def value(self, z: Tensor) -> Tensor:
        half = 0.5 * self.width
        inside = self.smooth.value(z).clamp(self.smooth.low + half, self.smooth.high - half)
        return self.origin + ((inside - self.origin) / self.width).round() * self.width


class Levels(_Valued):
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

    def _line(self) -> tuple[Tensor, Tensor]:
        """The lower and upper end of each value's interval."""
        p, end = self.probabilities / self.probabilities.sum() * (1 - self.rest), 0.5 * self.rest
        below = torch.cat([p.new_zeros(1), p.cumsum(0)]) + end
        above = torch.cat([p.flip(0).cumsum(0).flip(0), p.new_zeros(1)]) + end
        edges = quantile(below.log(), above.log())
        return edges[:-1], edges[1:]

    def piece(self, x: Tensor) -> Piece:
        low, high = self._line()
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
        _, high = self._line()
        return self.values[torch.searchsorted(high[:-1].contiguous(), z.contiguous())]


class Atoms(_Valued):
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
        >>> law = Atoms(Smooth(1.0, 1.0, low=0.0), 2, [0.0, torch.nan], [0.4, 0.1])
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

    def _line(self) -> tuple[Tensor, Tensor]:
        """The lower and upper end of each atom's interval: what it owns of the line of the rest, and its own mass."""
        missing = self.values.isnan()
        values = torch.where(missing, self._fallback(), self.values)
        at, side = self.rest.piece(values), torch.where(missing, 1.0, self.rest.side(values))
        first = torch.arange(self.count, device=self.values.device)
        end = side * math.inf
        return (
            self._squeezed(torch.where(side == 0, at.low, end), first),
            self._squeezed(torch.where(side == 0, at.high, end), first + 1),
        )

    def _squeezed(self, y: Tensor, first: Tensor) -> Tensor:
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

    def piece(self, x: Tensor) -> Piece:
        low, high = self._line()
        keys = self.values.nan_to_num(nan=math.inf)
        asked = x.nan_to_num(nan=math.inf).contiguous()
        first = torch.searchsorted(keys, asked)  # atoms below
        is_atom = keys[first.clamp(max=self.count - 1)] == asked
        place = first.clamp(max=self.count - 1)
        fallback = self._fallback().expand_as(x)
        inner = self.rest.piece(torch.where(is_atom | x.isnan(), fallback, x))
        point = inner.low == inner.high
        a, b = self._squeezed(inner.low, first), self._squeezed(inner.high, first)
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
        low, high = self._line()
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
