"""A plain function as a velocity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from genflow.interfaces import NoiseSchedule, Velocity, check_function

__all__ = ["FunctionVelocity", "as_velocity"]

# What a module, or another object that can be called, may declare as a velocity does. No more than that: its gradients
# are found by automatic differentiation, so it has no closed form.
_OFFERED: dict[str, Any] = {
    "dim": int, "event_shape": tuple, "condition_dim": int, "condition_optional": bool, "noise": NoiseSchedule,
    "denoise": Callable, "diffusion": Callable, "scale_output": Callable,
}  # fmt: skip


class FunctionVelocity(Velocity):
    """A velocity made of a plain function; see `as_velocity`."""

    def __init__(
        self, function: Callable[..., Tensor], event_ndim: int = 1, interval: tuple[float, float] = (0.0, 1.0)
    ):
        super().__init__()
        self.function = function
        self.event_ndim = event_ndim
        self.interval = (float(interval[0]), float(interval[1]))
        for name, kind in _OFFERED.items():
            offered = getattr(function, name, None)
            if isinstance(offered, kind):
                object.__setattr__(self, name, offered)

    def forward(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        return self.function(x, t, condition)


def as_velocity(
    function: Callable[..., Tensor], event_ndim: int = 1, interval: tuple[float, float] = (0.0, 1.0)
) -> Velocity:
    r"""A plain `f(x, t, condition)` as a `Velocity`; a velocity is returned as it is.

    If `function` is a module, its parameters are those of the velocity; and of what a `Velocity` may declare, its
    attributes `dim`, `event_shape`, `condition_dim`, `noise`, `denoise`, … are those of the velocity, too.

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
    check_function("velocity", function, Velocity)
    return function if isinstance(function, Velocity) else FunctionVelocity(function, event_ndim, interval)
