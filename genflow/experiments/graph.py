"""Blocks on the sensor network of the data set `sensors`, for the experiment of that name."""

from __future__ import annotations

from typing import Any

from genflow.data import SensorNetwork
from genflow.naming import registry
from genflow.velocities import Flattened

__all__ = ["on_sensors"]


def on_sensors(dim: int, kind: str = "chebyshev", condition_dim: int = 0, **options: Any) -> Flattened:
    """A velocity on the network's links, for rows of measurements, under the condition of others of the same sensors.

    Args:
        dim: Number of sensors, one column each.
        kind: `chebyshev` or `graph-attention`.
        condition_dim: Columns of the condition, as many for each sensor; 0 for none.
        options: Further arguments of that velocity.

    Example:
        >>> on_sensors(12, condition_dim=12, width=8).velocity.event_shape
        (12, 1)
    """
    velocity = registry.lookup("velocity", kind)
    return Flattened(velocity(SensorNetwork(dim).adjacency, condition_features=condition_dim // dim, **options))
