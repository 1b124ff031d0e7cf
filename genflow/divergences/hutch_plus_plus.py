r"""Hutch++: the part of the trace that a few directions hold exactly, and Hutchinson's estimate of the rest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.divergences.probes import check_mode, draw_probes, orthonormal, spread
from genflow.errors import InputError
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity

__all__ = ["HutchPlusPlus"]


class HutchPlusPlus(DivergenceEstimator):
    r"""A sketch of the Jacobian's range, its trace there, and random probes of what is left.

    .. math::
        Q = \operatorname{orth}(J S), \qquad
        \nabla \cdot v \approx \operatorname{tr} Q^\top J Q + \frac{d - k}{m} \sum_{j=1}^m g_j^\top J g_j

    with :math:`k` Gaussian probes :math:`S` and :math:`m` orthonormal directions :math:`g_j`, uniform in the complement
    of :math:`Q`. Both are drawn once for each solve, for each point; :math:`Q` follows the Jacobian along the path.
    Whatever :math:`Q` is, the mean over :math:`g` is the trace, and :math:`k + m = d` give it exactly. Its variance is
    that of :math:`m` orthogonal probes of :math:`(I - QQ^\top) J (I - QQ^\top)`: small where few directions carry the
    Jacobian, larger than Hutchinson's where all carry alike, for :math:`2 k + m` pushes. Gradients take :math:`Q` as
    given; their mean is the divergence's all the same.

    Args:
        n: Tangents pushed in one evaluation, :math:`2 k + m`.
        sketch: How many directions :math:`k` are pushed exactly; a third of n by default.
        mode: `push` for forward mode, `pull` for reverse mode.

    Raises:
        InputError: No direction for the sketch, or none left for the rest; more than d of both; an unknown mode.

    References:
        Meyer, Musco, Musco, Woodruff 2021, Hutch++: Optimal stochastic trace estimation,
        https://arxiv.org/abs/2010.09649. Orthonormal directions for the rest are ours.

    Example:
        >>> import torch, genflow as gf
        >>> ones = gf.as_velocity(lambda x, t, condition: x.sum(-1, keepdim=True).expand_as(x))  # a Jacobian of rank 1
        >>> x = torch.zeros(3, 5, dtype=torch.float64)
        >>> gf.divergences.HutchPlusPlus(n=3)(ones, x, torch.tensor(0.0)).divergence.float()
        tensor([5., 5., 5.])
    """

    has_per_probe = True
    n: int

    def __init__(self, n: int = 9, sketch: int | None = None, mode: str = "push"):
        check_mode(mode)
        sketch = n // 3 if sketch is None else sketch
        self.choose(sketch=sketch)
        if sketch < 1 or n - 2 * sketch < 1:
            raise InputError(f"n, sketch: {n}, {sketch} came; n = 3 or more and 1 <= sketch < n / 2 would do")
        self.n, self.sketch, self.mode = n, sketch, mode

    def estimates(self, probes: Tensor | None) -> int:
        return self.n - 2 * self.sketch

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor:
        size = math.prod(x.shape[x.ndim - event_ndim :])
        if self.n - self.sketch > size:
            raise InputError(f"n: {self.n} came for {size} dimensions; Exact() takes {size} pushes and leaves no error")
        return draw_probes(self.n - self.sketch, "gaussian", x, event_ndim, generator)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        if probes is None:
            probes = self.probes(x, velocity.event_ndim, None)
        k, size = self.sketch, math.prod(x.shape[x.ndim - velocity.event_ndim :])
        push = velocity.pushforward if self.mode == "push" else velocity.pullback
        with torch.no_grad():
            image = push(x, t, probes[:k], condition)[1]
            # Gaussian directions made orthonormal behind Q are uniform in its complement.
            directions = orthonormal(torch.cat([image, probes[k:]]), velocity.event_ndim)
        v, pushed = push(x, t, directions, condition)
        held = (pushed * directions).flatten(directions.ndim - velocity.event_ndim).sum(-1)
        estimates = held[:k].sum(0) + (size - k) * held[k:]
        per_probe = spread(estimates, size - k)
        return Estimate(v, estimates.mean(0), None, per_probe, pushes=self.n)
