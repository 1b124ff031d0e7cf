"""A plain function as a velocity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from genflow.interfaces import Velocity

__all__ = ["FunctionVelocity", "as_velocity"]


class FunctionVelocity(Velocity):
    """A velocity made of a plain function; see `as_velocity`."""

    def __init__(
        self, function: Callable[..., Tensor], event_ndim: int = 1, interval: tuple[float, float] = (0.0, 1.0)
    ):
        super().__init__()
        self.function = function
        self.event_ndim = event_ndim
        self.interval = (float(interval[0]), float(interval[1]))

    def forward(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        return self.function(x, t, condition)


def as_velocity(
    function: Callable[..., Tensor], event_ndim: int = 1, interval: tuple[float, float] = (0.0, 1.0)
) -> Velocity:
    r"""A plain `f(x, t, condition)` as a `Velocity`; a velocity is returned as it is.

    If `function` is a module, its parameters are those of the velocity.

    Args:
        function: The field :math:`f(x, t, c)`.
        event_ndim: Rank of its events.
        interval: The times :math:`(t_0, t_1)` on which it lives.

    Example:
        >>> import torch, genflow as gf
        >>> rotation = gf.as_velocity(lambda x, t, condition: torch.stack([-x[..., 1], x[..., 0]], -1))
        >>> rotation.divergence(torch.ones(1, 2), torch.tensor(0.0))[1]
        tensor([0.])
    """
    return function if isinstance(function, Velocity) else FunctionVelocity(function, event_ndim, interval)
