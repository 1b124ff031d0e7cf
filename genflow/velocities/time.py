"""How time and a condition enter a network: as the features that its biases and gains are linear in."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError

__all__ = ["cosine_features", "modulation_features"]


def cosine_features(
    t: Float[Tensor, "*times"], interval: tuple[float, float], count: int
) -> Float[Tensor, "*times {count}"]:
    r"""The features :math:`\cos(\pi k \tau)`, :math:`k = 0, \dots, K - 1`, with :math:`\tau = (t - t_0) / (t_1 - t_0)`.

    They are complete on the interval, and the first is the constant.

    Args:
        t: Times.
        interval: The interval :math:`(t_0, t_1)`.
        count: Their number :math:`K`.
    """
    start, stop = interval
    k = torch.arange(count, dtype=t.dtype, device=t.device)
    return torch.cos((t.unsqueeze(-1) - start) * (math.pi / (stop - start)) * k)


def modulation_features(
    x: Float[Tensor, "*shape"], t: Tensor, condition: Any, interval: tuple[float, float], count: int, condition_dim: int
) -> Float[Tensor, "*batch features"]:
    r"""The cosine features of time, followed by the condition's entries where there is one.

    One vector for one time and no condition, else one for each row.

    Args:
        x: The points, for their dtype.
        t: Times, a scalar or `(*batch,)`.
        condition: Vectors of the dimension `condition_dim`, or `None` where that is 0.
        interval: The interval :math:`(t_0, t_1)` of the series.
        count: Terms of the series.
        condition_dim: Dimension of the condition.

    Raises:
        InputError: The condition is missing, unexpected, or of another dimension.
    """
    features = cosine_features(t.to(x.dtype), interval, count)
    if not condition_dim:
        if condition is not None:
            raise InputError("condition: one came, but the velocity was built with condition_dim=0")
        return features
    if condition is None or condition.shape[-1] != condition_dim:
        came = "none" if condition is None else f"one of dimension {condition.shape[-1]}"
        raise InputError(f"condition: a vector of dimension {condition_dim} is wanted, {came} came")
    shape = torch.broadcast_shapes(features.shape[:-1], condition.shape[:-1])
    return torch.cat([features.expand(*shape, -1), condition.to(x.dtype).expand(*shape, -1)], dim=-1)
