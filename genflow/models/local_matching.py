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

__all__ = ["contractions", "diffuse", "local_path"]


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
    variance = base.scale**2 if _is_normal(base) else 1.0
    return [math.log1p(step / variance) for step in steps]


def local_path(flow: Flow, gammas: Sequence[float]) -> Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]:
    """The ends of the paths of the last of these times: `(rows, generator) -> (left, right)`.

    A base that is not normal has no such flow in closed form: its draws are approached on straight paths instead, by
    the same shares of the way.

    Args:
        flow: The flow, for its base.
        gammas: The times that lead there, in units of the Ornstein–Uhlenbeck flow's own.
    """
    base, before = flow.base, sum(gammas[:-1])

    def diffusion(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        left = diffuse(x, before, generator, base.scale)
        return left, diffuse(left, gammas[-1], generator, base.scale)

    def straight(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z = flow.noise_like(x, generator)
        return torch.lerp(z, x, math.exp(-before)), torch.lerp(z, x, math.exp(-sum(gammas)))

    return diffusion if _is_normal(base) else straight


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


def _is_normal(base: Any) -> bool:
    return type(base) is StandardNormal  # a law derived from it may be another
