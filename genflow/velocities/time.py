"""How time and a condition enter a network: its biases and gains are linear in features of both."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Velocity

__all__ = ["TimeSeries", "check_condition", "cosine_features", "modulation"]


class TimeSeries(Velocity):
    """A field that is a cosine series in time, over an interval that its parts keep: a part is the same field there."""

    series: tuple[float, float]

    def live(self, interval: tuple[float, float], series: tuple[float, float] | None) -> None:
        """Says on which times it lives, for a constructor.

        Args:
            interval: The times.
            series: The interval of the series; by default the same.
        """
        self.interval = (float(interval[0]), float(interval[1]))
        self.series = self.interval if series is None else (float(series[0]), float(series[1]))

    def on(self, interval: tuple[float, float]) -> Velocity:
        other = super().on(interval)
        other._arguments["series"] = self.series
        return other


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


def modulation(
    weight: Float[Tensor, "outputs features"],
    x: Float[Tensor, "*shape"],
    t: Tensor,
    condition: Any,
    interval: tuple[float, float],
    condition_dim: int,
) -> Float[Tensor, "*rows outputs"]:
    r"""Biases and gains, linear in the cosine features of time and in the condition: :math:`W_t f(t) + W_c c`.

    One vector for one time and no condition, or one that all rows share; else one for each row.

    Args:
        weight: The matrix :math:`(W_t, W_c)`.
        x: The points, for their dtype.
        t: Times, a scalar or `(*batch,)`.
        condition: Vectors :math:`c` of the dimension `condition_dim`, or `None` where that is 0.
        interval: The interval :math:`(t_0, t_1)` of the series.
        condition_dim: Dimension of the condition.

    Raises:
        InputError: The condition is missing, unexpected, or of another dimension.
    """
    check_condition(condition, condition_dim, "the velocity")
    count = weight.shape[1] - condition_dim
    of_time = nn.functional.linear(cosine_features(t.to(x.dtype), interval, count), weight[:, :count])
    if condition is None:
        return of_time
    condition, of_condition = condition.to(x.dtype), weight[:, count:]
    if of_time.ndim == 1:  # one time for all rows is one bias for all of them: no copies of it
        return nn.functional.linear(condition, of_condition, of_time)
    return of_time + nn.functional.linear(condition, of_condition)


def check_condition(condition: Any, condition_dim: int, owner: str) -> None:
    """Refuses a condition that is missing, unexpected, or of another dimension.

    Args:
        condition: The condition that came.
        condition_dim: The dimension that it should have, 0 for none.
        owner: What the error calls the one that takes it.

    Raises:
        InputError: It is not what the owner was built for.
    """
    if condition is None and not condition_dim:
        return
    if not condition_dim:
        raise InputError(f"condition: one came, but {owner} was built with condition_dim=0; leave it out")
    if not isinstance(condition, Tensor) or not condition.ndim or condition.shape[-1] != condition_dim:
        vectors = isinstance(condition, Tensor) and condition.ndim
        came = "none" if condition is None else f"one of dimension {condition.shape[-1]}" if vectors else f"{condition}"
        raise InputError(f"condition: a vector of dimension {condition_dim} is wanted, {came} came")
