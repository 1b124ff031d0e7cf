"""Velocities on graphs or pictures, for rows that hold an event's entries one behind the other."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity

__all__ = ["Flattened"]


class Flattened(Velocity):
    r"""A velocity whose events have axes of their own, on rows: entry by entry the same field.

    A table whose columns are measurements at the nodes of a graph, node by node, is a table of such rows, and so are
    pictures. Divergence and pushed tangents are those of the velocity: reshaping changes no trace.

    Args:
        velocity: The velocity, which says its `event_shape`. It is copied.
        interval: The times :math:`(t_0, t_1)`; those of the velocity by default.

    Raises:
        InputError: A velocity that does not say the shape of its events.

    Example:
        >>> import torch, genflow as gf
        >>> path = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
        >>> rows = gf.velocities.Flattened(gf.velocities.Chebyshev(path, features=2))
        >>> rows(torch.randn(5, 6), torch.tensor(0.5)).shape
        torch.Size([5, 6])
    """

    event_ndim = 1

    def __init__(self, velocity: Velocity, interval: tuple[float, float] | None = None):
        super().__init__()
        self.shape: tuple[int, ...] = getattr(velocity, "event_shape", ())
        if not self.shape:
            raise InputError(f"velocity: a {type(velocity).__name__} came, without event_shape; a graph's would do")
        self.dim = torch.Size(self.shape).numel()
        self.velocity = velocity.on(velocity.interval if interval is None else interval)
        self.interval = self.velocity.interval
        self.closed_form, self.channels = velocity.closed_form, velocity.channels

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.velocity.scale_output(factor)  # type: ignore[operator]

    def on(self, interval: tuple[float, float]) -> Flattened:
        return Flattened(self.velocity, interval)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self.velocity(self._event(x), t, self._given(condition)).reshape(x.shape)

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, pushed = self.velocity.pushforward(self._event(x), t, self._event(tangents), self._given(condition))
        return v.reshape(x.shape), pushed.reshape(tangents.shape)

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, pulled = self.velocity.pullback(self._event(x), t, self._event(cotangents), self._given(condition))
        return v.reshape(x.shape), pulled.reshape(cotangents.shape)

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        v, divergence = self.velocity.divergence(self._event(x), t, self._given(condition))
        return v.reshape(x.shape), divergence

    def _event(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.dim:
            raise InputError(f"x: rows of {x.shape[-1]} columns came; {self.dim}, for events of {self.shape}, would do")
        return x.unflatten(-1, self.shape)

    def _given(self, condition: Any) -> Any:
        """Of a condition, too, the entries of a node stand side by side."""
        return condition.unflatten(-1, (self.shape[0], -1)) if isinstance(condition, Tensor) else condition
