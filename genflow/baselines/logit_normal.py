"""Flow matching at logit-normal times, the straight path of large models of pictures."""

from __future__ import annotations

from typing import Any

from genflow.baselines.presets import extends, matching
from genflow.models.matching import Matching
from genflow.paths import LogitNormal

__all__ = ["logit_normal"]


@extends(matching)
def logit_normal(dim: int, mean: float = 0.0, std: float = 1.0, **options: Any) -> Matching:
    r"""Straight paths, looked at half way more often than at their ends.

    .. math::
        \min_v E_{t, x, z} |v((1 - t) x + t z, t) - (z - x)|^2, \qquad
        \log \tfrac{t}{1 - t} \sim N(m, s^2)

    Args:
        dim: Dimension of a point.
        mean: The mean :math:`m` of the logit; below 0 the times come to lie nearer to the data.
        std: Its deviation :math:`s`.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        Esser et al. 2024, Scaling rectified flow transformers, https://arxiv.org/abs/2403.03206

    Example:
        >>> from genflow.baselines.logit_normal import logit_normal
        >>> logit_normal(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return matching(dim, "logit-normal", times=LogitNormal(mean, std), **options)
