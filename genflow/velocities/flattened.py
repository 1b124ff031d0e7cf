"""Velocities on graphs or pictures, for rows that hold an event's entries one behind the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.wrappers import Question, Wrapper

__all__ = ["Flattened"]


class Flattened(Wrapper):
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

    own = frozenset({"event_ndim", "dim", "event_shape", "condition_ndim"})
    event_ndim = 1
    event_shape = None
    condition_ndim = 1
    dim: int

    def __init__(self, velocity: Velocity, interval: tuple[float, float] | None = None):
        super().__init__()
        if not velocity.event_shape:
            raise InputError(f"velocity: a {type(velocity).__name__} came, without event_shape; a graph's would do")
        self.shape = tuple(velocity.event_shape)
        self.dim = torch.Size(self.shape).numel()
        self.velocity = velocity.on(velocity.interval if interval is None else interval)
        self.choose(interval=tuple(self.velocity.interval))

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        events = map(self._event, vectors)
        answer = super().ask(question, self._event(x), t, self._given(condition), *events)
        if isinstance(answer, Tensor):
            return answer.reshape(x.shape)
        v, second = answer
        return v.reshape(x.shape), second.reshape(vectors[0].shape) if vectors else second

    def _event(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.dim:
            raise InputError(f"x: rows of {x.shape[-1]} columns came; {self.dim}, for events of {self.shape}, would do")
        return x.unflatten(-1, self.shape)

    def _given(self, condition: Any) -> Any:
        """Of a condition for each node, too, the entries of a node stand side by side."""
        of_nodes = isinstance(condition, Tensor) and self.velocity.condition_ndim > 1
        return condition.unflatten(-1, (self.shape[0], -1)) if of_nodes else condition
