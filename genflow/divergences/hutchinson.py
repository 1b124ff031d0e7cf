"""Hutchinson's estimator of the divergence."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.divergences.probes import check_distribution, check_mode, draw_probes, population, spread
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity

__all__ = ["Hutchinson"]


class Hutchinson(DivergenceEstimator):
    r"""The mean over random probes of :math:`\varepsilon^\top J \varepsilon`, unbiased for :math:`\operatorname{tr} J`.

    .. math::
        \nabla \cdot v \approx \frac{1}{n} \sum_{i=1}^n \varepsilon_i^\top J \varepsilon_i, \qquad
        E[\varepsilon \varepsilon^\top] = I

    With the symmetric part :math:`S` of :math:`J`, its variance is

    ============  =========================================================================================
    Rademacher    :math:`\frac{2}{n} \sum_{i \neq j} S_{ij}^2`
    Gaussian      :math:`\frac{2}{n} |S|_F^2`
    Hadamard      :math:`\frac{2}{n} \frac{m - n}{m - 1} \sum_{i \neq j} S_{ij}^2`, m the next power of two
    orthogonal    :math:`\frac{2}{n} \frac{d}{d + 2} \frac{d - n}{d - 1} |S - \frac{\operatorname{tr} S}{d} I|_F^2`
    ============  =========================================================================================

    Args:
        n: Number of probes. Two or more give log p a standard error, integrated in the same solve.
        distribution: `rademacher`, `gaussian`, `orthogonal` or `hadamard`. Of orthogonal ones there are d, of Hadamard
            ones the next power of two, and all of them are exact.
        mode: `push` multiplies :math:`J \varepsilon` in forward mode; `pull` :math:`J^\top \varepsilon` in reverse
            mode, for networks that have no forward mode.

    Raises:
        InputError: A number of probes below one; an unknown distribution or mode; more orthogonal probes than
            there are.

    References:
        | Hutchinson 1989, https://doi.org/10.1080/03610918908812806
        | Bekas, Kokiopoulou, Saad 2007, for Hadamard probes, https://doi.org/10.1016/j.apnum.2007.01.003
        | Avron, Toledo 2011, for the variances, https://doi.org/10.1145/1944345.1944349

    Example:
        >>> import torch, genflow as gf
        >>> double = gf.as_velocity(lambda x, t, condition: 2 * x)
        >>> estimator = gf.divergences.Hutchinson(n=4)
        >>> x = torch.randn(3, 5)
        >>> probes = estimator.probes(x, event_ndim=1, generator=torch.Generator().manual_seed(0))
        >>> estimator(double, x, torch.tensor(0.0), probes).divergence
        tensor([10., 10., 10.])
    """

    has_per_probe = True
    n: int

    def __init__(self, n: int = 1, distribution: str = "rademacher", mode: str = "push"):
        check_distribution(n, distribution)
        check_mode(mode)
        self.n, self.distribution, self.mode = n, distribution, mode

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor:
        return draw_probes(self.n, self.distribution, x, event_ndim, generator)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        if probes is None:
            probes = self.probes(x, velocity.event_ndim, None)
        push = velocity.pushforward if self.mode == "push" else velocity.pullback
        v, pushed = push(x, t, probes, condition)
        estimates = (pushed * probes).flatten(probes.ndim - velocity.event_ndim).sum(-1)
        size = math.prod(x.shape[x.ndim - velocity.event_ndim :])
        per_probe = spread(estimates, population(self.distribution, size))
        return Estimate(v, estimates.mean(0), pushed, per_probe, pushes=len(probes))
