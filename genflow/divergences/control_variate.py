r"""A control variate: the estimator sees only what a field of known divergence leaves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genflow.interfaces import DivergenceEstimator, Estimate, Velocity
from genflow.wrappers import Composed, Question, WrappedEstimator

__all__ = ["ControlVariate"]


class ControlVariate(WrappedEstimator):
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

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        u, known = self.surrogate.divergence(x, t, condition)
        rest = self.estimator(_Difference(velocity, self.surrogate), x, t, probes, condition)
        per_probe = None if rest.per_probe is None else rest.per_probe + known
        return Estimate(rest.velocity + u, rest.divergence + known, None, per_probe, rest.pushes)


class _Difference(Composed):
    """The field v - u, by the two fields' own ways of pushing tangents."""

    own = frozenset({"interval", "noise", "denoise", "diffusion", "scale_output"})
    noise = denoise = diffusion = scale_output = None

    def __init__(self, first: Velocity, second: Velocity):
        super().__init__()
        self.first, self.second = first, second
        self.event_ndim, self.interval = first.event_ndim, first.interval

    def parts(self) -> tuple[Velocity, Velocity]:
        return self.first, self.second

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        first, second = (question(field, x, t, *vectors, condition) for field in self.parts())
        if isinstance(first, Tensor):
            return first - second
        return tuple(a - b for a, b in zip(first, second, strict=True))
