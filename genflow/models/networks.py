"""The network that every regression has by default, so that a comparison compares the methods."""

from __future__ import annotations

from typing import Any

from genflow.interfaces import Path, Velocity
from genflow.paths import Prediction
from genflow.velocities import ProbabilityFlow, conditional, optional

__all__ = ["along", "network"]


def network(
    dim: int, width: int, depth: int, condition_dim: int, condition_dropout: float, parts: dict[str, Any]
) -> Velocity:
    """The residual network, or the `velocity` of the parts, which is taken from them.

    Args:
        dim: Dimension of a point.
        width: Width of the residual network.
        depth: Its layers.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Parts of a flow.
    """
    given = parts.pop("velocity", None)
    if given is None:
        return conditional(dim, width, depth, condition_dim, condition_dropout)
    return optional(given, condition_dim, condition_dropout)


def along(path: Path, prediction: Prediction, field: Velocity, clock: Any = "log_snr") -> ProbabilityFlow:
    """A network along a path; one that is a probability flow already follows its own.

    Args:
        path: The path.
        prediction: What the network predicts.
        field: The network.
        clock: What it is told of the time; see `ProbabilityFlow`.
    """
    return field if isinstance(field, ProbabilityFlow) else ProbabilityFlow(field, path, prediction, clock)
