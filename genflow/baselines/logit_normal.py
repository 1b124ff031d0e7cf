"""Flow matching at logit-normal times, the straight path of large models of pictures."""

from __future__ import annotations

from typing import Any

from genflow.baselines.networks import network
from genflow.models.matching import Matching
from genflow.paths import LogitNormal

__all__ = ["logit_normal"]


def logit_normal(
    dim: int,
    mean: float = 0.0,
    std: float = 1.0,
    width: int = 128,
    depth: int = 3,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    condition_dim: int = 0,
    condition_dropout: float = 0.0,
    **parts: Any,
) -> Matching:
    r"""Straight paths, looked at half way more often than at their ends.

    .. math::
        \min_v E_{t, x, z} |v((1 - t) x + t z, t) - (z - x)|^2, \qquad
        \log \tfrac{t}{1 - t} \sim N(m, s^2)

    Args:
        dim: Dimension of a point.
        mean: The mean :math:`m` of the logit; below 0 the times come to lie nearer to the data.
        std: Its deviation :math:`s`.
        width: Width of the network.
        depth: Its residual layers.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Parts of the flow; `velocity` is the network.

    References:
        Esser et al. 2024, Scaling rectified flow transformers, https://arxiv.org/abs/2403.03206

    Example:
        >>> from genflow.baselines.logit_normal import logit_normal
        >>> logit_normal(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return Matching(
        network(dim, width, depth, condition_dim, condition_dropout, parts),
        times=LogitNormal(mean, std),
        batch_size=batch_size,
        learning_rate=learning_rate,
        condition_dropout=condition_dropout,
        name="logit-normal",
        **parts,
    )
