"""Smooth laws: values have a density."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from genflow.data.laws.law import ColumnLaw, Piece
from genflow.data.scales import original, standardize
from genflow.numerics.normal import between, log_density, log_mass, quantile

__all__ = ["LogNormal", "Normal", "Smooth", "Weibull"]


class Smooth(ColumnLaw):
    r"""A law of values between bounds, each of which has a density.

    A value at a bound or beyond owns the outermost interval of mass `rest`, which stands for what the training rows
    never had.

    Args:
        mean: A location, of the values or of their logarithms.
        std: A scale, likewise.
        low: The lower bound, minus infinity for none.
        high: The upper bound, infinity for none.
        rest: Mass of what is out of bounds.
        unit: The standard deviation of the values; the scale where it is not given.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        low: float = -math.inf,
        high: float = math.inf,
        rest: float = 1e-6,
        unit: float | None = None,
    ):
        super().__init__()
        self.low, self.high, self.rest = float(low), float(high), float(rest)
        self.unit = float(std) if unit is None else float(unit)
        self._keep(mean=mean, std=std)

    def config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "rest": self.rest, "unit": self.unit}

    @property
    def random(self) -> bool:
        return False

    @property
    def plain(self) -> bool:
        """Whether it is standardization and no more."""
        return False

    @abstractmethod
    def _point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`z` and :math:`\log dz/dx` of values between the bounds."""

    @abstractmethod
    def _value(self, z: Tensor) -> Tensor:
        """The values of numbers of the line, before the bounds are seen to."""

    @abstractmethod
    def _typical(self) -> Tensor:
        """Some value between the bounds."""

    def side(self, x: Tensor) -> Tensor:
        return (x >= self.high).to(x) - (x <= self.low).to(x)

    def piece(self, x: Tensor) -> Piece:
        side = self.side(x)
        inside = side == 0
        z, log_slope = self._point(torch.where(inside, x, self._typical()))
        log_unit = torch.full_like(z, -math.log(self.unit))
        if bool(inside.all()):
            return Piece(z, z, log_slope, log_unit)
        edge = math.inf * torch.ones_like(z)
        cut = torch.special.ndtri(torch.full_like(z, self.rest))
        low = torch.where(inside, z, torch.where(side < 0, -edge, -cut))
        high = torch.where(inside, z, torch.where(side < 0, cut, edge))
        return Piece(low, high, torch.where(inside, log_slope, 0.0), torch.where(inside, log_unit, 0.0))

    def value(self, z: Tensor) -> Tensor:
        return self._value(z).clamp(self.low, self.high)


class Normal(Smooth):
    r"""A normal law, cut off at bounds. Without bounds it is standardization, :math:`z = y`.

    .. math::
        y = \frac{x - \mu}{s}, \qquad
        \Phi(z) = \frac{\Phi(y) - \Phi(y_a)}{\Phi(y_b) - \Phi(y_a)}

    For the arguments see `Smooth`.

    Example:
        >>> import torch
        >>> law = Normal(1.0, 1.0, low=0.0)
        >>> z = law.piece(torch.tensor([0.01, 1.0, 9.0], dtype=torch.float64)).low
        >>> law.value(z).round(decimals=6), bool((law.value(torch.randn(99, dtype=torch.float64)) > 0).all())
        (tensor([0.0100, 1.0000, 9.0000], dtype=torch.float64), True)
    """

    @property
    def plain(self) -> bool:
        return self.low == -math.inf and self.high == math.inf

    def _point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = standardize(x[:, None], self.mean[None], self.std[None])[:, 0]
        log_slope = -self.std.log().expand_as(y)
        if self.plain:
            return y, log_slope
        a, b = self._edges(y)
        log_all = log_mass(a, b)
        z = quantile(log_mass(a, y) - log_all, log_mass(y, b) - log_all)
        return z, log_slope + log_density(y) - log_all - log_density(z)

    def _value(self, z: Tensor) -> Tensor:
        if not self.plain:
            z = between(*self._edges(z), torch.special.log_ndtr(z), torch.special.log_ndtr(-z))
        return original(z[:, None], self.mean[None], self.std[None])[:, 0]

    def _typical(self) -> Tensor:
        inner = between(*self._edges(self.mean), *torch.full((2,), 0.5, dtype=self.mean.dtype).log())
        return self.mean + self.std * inner

    def _edges(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = ((bound - self.mean) / self.std for bound in (self.low, self.high))
        return low.expand_as(like), high.expand_as(like)


class _Logarithmic(Smooth):
    r"""Values by the logarithm of their distance from the lower bound, :math:`y = (\log (x - a) - \mu) / s`."""

    def _logarithm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`y` and :math:`\log dy/dx`."""
        g = (x - self.low).log()
        return (g - self.mean) / self.std, -self.std.log() - g

    def _exponential(self, y: Tensor) -> Tensor:
        return self.low + (self.mean + self.std * y).exp()

    def _typical(self) -> Tensor:
        return self._exponential(torch.zeros_like(self.mean))


class LogNormal(_Logarithmic):
    r"""Values whose distance from the lower bound has a normal logarithm: their density vanishes at the bound.

    .. math:: z = \frac{\log (x - a) - \mu}{s}

    For the arguments see `Smooth`.

    Example:
        >>> import torch
        >>> LogNormal(0.0, 1.0, low=0.0).value(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
        tensor([0.3679, 1.0000, 2.7183], dtype=torch.float64)
    """

    def _point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._logarithm(x)

    def _value(self, z: Tensor) -> Tensor:
        return self._exponential(z)


class Weibull(_Logarithmic):
    r"""Values whose distance from the lower bound is an exponential number to a power: a density that need not vanish.

    .. math:: 1 - \Phi(z) = \exp \bigl( -e^{y} \bigr), \qquad y = \frac{\log (x - a) - \mu}{s}

    For a scale :math:`s = 1` it is the exponential law, whose density at the bound is its largest; for a smaller one
    the density vanishes there.

    Example:
        >>> import torch
        >>> law = Weibull(0.0, 1.0, low=0.0)
        >>> z = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
        >>> x = law.value(z)
        >>> torch.allclose((-x).exp(), torch.special.ndtr(-z)), torch.allclose(law.piece(x).low, z, atol=1e-9)
        (True, True)
    """

    def _point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self._logarithm(x)
        hazard = y.exp()
        z = quantile((-torch.expm1(-hazard)).log(), -hazard)
        return z, y - hazard + log_slope - log_density(z)

    def _value(self, z: Tensor) -> Tensor:
        return self._exponential((-torch.special.log_ndtr(-z)).log())
