r"""Local flow matching: from one state of the Ornstein–Uhlenbeck flow to the next, which a proximal step discretizes.

C. Xu, X. Cheng, Y. Xie, Local flow matching generative models, 2024, https://arxiv.org/abs/2410.02548
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.base import StandardNormal
from genflow.flow import Flow
from genflow.models.stages import MatchingPath, OnPath, beside, straight
from genflow.paths import LogNormal, Trigonometric

__all__ = ["arc", "contractions", "diffuse", "is_normal", "local_path"]

_TIMES = LogNormal(-0.5, 1.2)  # of an unpreconditioned network at data of one unit; see docs/experiments.md


def contractions(steps: Sequence[float], base: Any) -> list[float]:
    r"""The times :math:`\gamma_k` in which the flow contracts the mean as proximal steps of :math:`h_k` do.

    .. math:: e^{-\gamma_k} = 1 / (1 + h_k / \sigma^2)

    Args:
        steps: The steps :math:`h_k`.
        base: The law that they lead to: :math:`N(0, \sigma^2 I)`; of another, :math:`\sigma` is taken for 1.

    Example:
        >>> import math, genflow as gf
        >>> [round(math.exp(-gamma), 4) for gamma in contractions([0.25, 1.0], gf.StandardNormal(2))]
        [0.8, 0.5]
    """
    variance = base.scale**2 if is_normal(base) else 1.0
    return [math.log1p(step / variance) for step in steps]


def local_path(flow: Flow, gammas: Sequence[float], circular: bool = False) -> MatchingPath:
    r"""The path of the last of these times, from one state of the flow to the next.

    It is straight, as published, or the flow itself: with :math:`\cos\theta = e^{-\gamma}` that is
    :math:`x_\theta = x \cos\theta + \sigma z \sin\theta`, and the mean of its rate, given where it is, is the field of
    its probability flow, which the scheme's blocks become as their steps go to 0. There, :math:`\log\tan\theta` is
    drawn from :math:`N(-1/2, 1.2^2)`, cut off at the block's ends, as the logarithm of a diffusion's noise is (Karras
    et al. 2022, https://arxiv.org/abs/2206.00364).

    A base that is not normal has no such flow in closed form: its draws are approached on straight paths instead, by
    the same shares of the way.

    Args:
        flow: The flow, for its base.
        gammas: The times :math:`\gamma` that lead there, in units of the Ornstein–Uhlenbeck flow's own.
        circular: Whether it is the flow itself.
    """
    base = flow.base
    if is_normal(base):
        if circular:
            return _along(arc(gammas), base.scale)
        return straight(_states(sum(gammas[:-1]), gammas[-1], base.scale))
    before, after = sum(gammas[:-1]), sum(gammas)

    def towards(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z = flow.noise_like(x, generator)
        return torch.lerp(z, x, math.exp(-before)), torch.lerp(z, x, math.exp(-after))

    return straight(towards)


def _states(before: float, gamma: float, scale: float) -> Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]:
    """Two states of the flow, a time of gamma apart."""

    def states(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        left = diffuse(x, before, generator, scale)
        return left, diffuse(left, gamma, generator, scale)

    return states


def arc(gammas: Sequence[float]) -> tuple[float, float]:
    """The part of a quarter of the circle that the flow passes through in the last of these times, as shares of it.

    Args:
        gammas: The times.

    Example:
        >>> import math
        >>> arc([math.log(2), math.inf])
        (0.6666666666666667, 1.0)
    """
    first, last = (math.acos(math.exp(-sum(gammas[:k]))) * 2 / math.pi for k in (len(gammas) - 1, len(gammas)))
    return first, last


def _along(part: tuple[float, float], scale: float) -> MatchingPath:
    """The flow itself, along a part of a quarter of a circle."""
    first, last = part
    circle = Trigonometric(first, last)

    def path(x: Tensor, u: Tensor, generator: torch.Generator) -> OnPath:
        t = _TIMES.quantile(u, circle)
        z = scale * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        at = beside(t, x)
        point = circle.alpha(at) * x + circle.sigma(at) * z
        rate = (last - first) * (circle.alpha_dot(at) * x + circle.sigma_dot(at) * z)
        return OnPath(point, rate, (t - first) / (last - first))

    return path


def diffuse(x: Tensor, gamma: float, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    r"""The state of the Ornstein–Uhlenbeck flow to :math:`N(0, \sigma^2 I)` after a time.

    .. math:: e^{-\gamma} x + \sigma \sqrt{1 - e^{-2\gamma}} \, z, \qquad z \sim N(0, I)

    Args:
        x: Points.
        gamma: The time :math:`\gamma`, in units of the flow's own, :math:`\sigma^2`.
        generator: Source of randomness.
        scale: The deviation :math:`\sigma`.
    """
    if gamma == 0:
        return x
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return math.exp(-gamma) * x + scale * math.sqrt(-math.expm1(-2 * gamma)) * z


def is_normal(base: Any) -> bool:
    """Whether a law is a normal one, to which the Ornstein–Uhlenbeck flow is in closed form."""
    return type(base) is StandardNormal  # a law derived from it may be another
