r"""A control variate: the estimator sees only what a field of known divergence leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.interfaces import DivergenceEstimator, Estimate, Velocity

__all__ = ["ControlVariate"]


class ControlVariate(DivergenceEstimator):
    r"""An estimate of the difference to a surrogate, plus the surrogate's own divergence.

    .. math::
        \nabla \cdot v \approx \widehat{\nabla \cdot (v - u)} + \nabla \cdot u

    It has the bias of the estimator, none for a random one, whatever the surrogate :math:`u` is, and the variance of
    the difference: with the surrogate's Jacobian :math:`C`, Hutchinson's formulas hold with :math:`S` of
    :math:`J - C`. A surrogate helps if its divergence is cheap and its Jacobian near; the mean Jacobian over the rows,
    `gf.velocities.Linear.fit`, takes away all of the variance that the rows have in common.

    Args:
        estimator: What estimates the difference, such as `Hutchinson(4)`.
        surrogate: A velocity :math:`u` of known divergence. A checkpoint remembers its constructor's arguments, not its
            weights: enough for `Linear`.

    Example:
        >>> import torch, genflow as gf
        >>> swirl = gf.as_velocity(lambda x, t, condition: x @ torch.ones(3, 3) + x.sin())
        >>> linear = gf.velocities.Linear([torch.ones(3, 3).tolist()])
        >>> estimator = gf.divergences.ControlVariate(gf.divergences.Hutchinson(), linear)
        >>> x = torch.zeros(2, 3)
        >>> estimator(swirl, x, torch.tensor(0.0)).divergence  # the rest is diagonal: signs leave no variance
        tensor([6., 6.])
    """

    def __init__(self, estimator: DivergenceEstimator, surrogate: Velocity):
        self.estimator, self.surrogate = estimator, surrogate
        self.has_per_probe = estimator.has_per_probe

    def estimates(self, probes: Tensor | None) -> int:
        return self.estimator.estimates(probes)

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor | None:
        return self.estimator.probes(x, event_ndim, generator)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        u, known = self.surrogate.divergence(x, t, condition)
        rest = self.estimator(_Difference(velocity, self.surrogate), x, t, probes, condition)
        per_probe = None if rest.per_probe is None else rest.per_probe + known
        return Estimate(rest.velocity + u, rest.divergence + known, None, per_probe, rest.pushes)


class _Difference(Velocity):
    """The field v - u, by the two fields' own ways of pushing tangents."""

    def __init__(self, first: Velocity, second: Velocity):
        super().__init__()
        self.first, self.second = first, second
        self.event_ndim, self.interval, self.channels = first.event_ndim, first.interval, first.channels
        self.closed_form = first.closed_form and second.closed_form

    def forward(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        return self.first(x, t, condition) - self.second(x, t, condition)

    def pushforward(self, x: Tensor, t: Tensor, tangents: Tensor, condition: Any = None) -> tuple[Tensor, Tensor]:
        (v, pushed), (u, known) = (f.pushforward(x, t, tangents, condition) for f in (self.first, self.second))
        return v - u, pushed - known

    def pullback(self, x: Tensor, t: Tensor, cotangents: Tensor, condition: Any = None) -> tuple[Tensor, Tensor]:
        (v, pulled), (u, known) = (f.pullback(x, t, cotangents, condition) for f in (self.first, self.second))
        return v - u, pulled - known

    def divergence(self, x: Tensor, t: Tensor, condition: Any = None) -> tuple[Tensor, Tensor]:
        (v, whole), (u, known) = (f.divergence(x, t, condition) for f in (self.first, self.second))
        return v - u, whole - known
