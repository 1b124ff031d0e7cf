"""Hutchinson's estimator with a finite difference in place of the derivative."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.divergences.probes import check_distribution, draw_probes, population, spread
from genflow.errors import InputError
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity

__all__ = ["FiniteDifference"]


class FiniteDifference(DivergenceEstimator):
    r"""One further evaluation of the velocity for each probe, and no second differentiation.

    .. math::
        \nabla \cdot v \approx
        \frac{1}{n} \sum_{i=1}^n \varepsilon_i \cdot \frac{v(x + \sigma \varepsilon_i) - v(x)}{\sigma}, \qquad
        \sigma = \sigma_0 / \sqrt{d}

    Its bias is of the order :math:`\sigma^2`. A too small :math:`\sigma` costs digits: in float32 the difference is
    rounded at about :math:`10^{-7} |v| / \sigma`.

    Args:
        sigma0: Scale :math:`\sigma_0` of the displacement :math:`\sigma \varepsilon`, whose length is about as much.
        n: Number of probes.
        distribution: `rademacher`, `gaussian`, `orthogonal` or `hadamard`.

    Raises:
        InputError: A scale that is not positive; a number of probes below one; an unknown distribution; more
            orthogonal probes than there are.

    References:
        Xu, Cheng, Xie 2023, Normalizing flow neural networks by JKO scheme, https://arxiv.org/abs/2212.14424

    Example:
        >>> import torch, genflow as gf
        >>> cube = gf.as_velocity(lambda x, t, condition: x**3)
        >>> x = torch.zeros(1, 1, dtype=torch.float64)
        >>> gf.divergences.FiniteDifference(sigma0=0.02)(cube, x, torch.tensor(0.0)).divergence  # a bias of σ²
        tensor([0.0004], dtype=torch.float64)
    """

    has_per_probe = True
    n: int

    def __init__(self, sigma0: float = 0.02, n: int = 1, distribution: str = "rademacher"):
        check_distribution(n, distribution)
        if not (sigma0 > 0 and math.isfinite(sigma0)):
            raise InputError(f"sigma0: {sigma0} came; a positive number such as 0.02 would do")
        self.sigma0, self.n, self.distribution = sigma0, n, distribution

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor:
        return draw_probes(self.n, self.distribution, x, event_ndim, generator)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        if probes is None:
            probes = self.probes(x, velocity.event_ndim, None)
        size = math.prod(x.shape[x.ndim - velocity.event_ndim :])
        sigma = self.sigma0 / math.sqrt(size)
        v = velocity(x, t, condition)
        pushed = torch.stack([velocity(torch.add(x, probe, alpha=sigma), t, condition) - v for probe in probes]) / sigma
        estimates = (pushed * probes).flatten(probes.ndim - velocity.event_ndim).sum(-1)
        per_probe = spread(estimates, population(self.distribution, size))
        return Estimate(v, estimates.mean(0), pushed, per_probe, pushes=len(probes))
