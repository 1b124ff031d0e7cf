"""A plain function as a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError, name_of_function
from genflow.interfaces import Scheduler, check_function

__all__ = ["FunctionScheduler", "as_scheduler"]


class FunctionScheduler(Scheduler):
    """A scheduler made of a plain function; see `as_scheduler`."""

    def __init__(self, function: Callable[..., Any], steps: int = 8):
        self.function, self.steps = function, steps

    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        steps = self.steps if steps is None else steps
        times = torch.as_tensor(self.function(start, stop, steps), dtype=dtype, device=device)
        if times.shape != (steps + 1,):
            name = name_of_function(self.function)
            raise InputError(
                f"scheduler: {name} returned the shape {tuple(times.shape)}; "
                f"{steps + 1} times are wanted for {steps} steps"
            )
        return times


def as_scheduler(function: Scheduler | Callable[..., Sequence[float] | Tensor], steps: int = 8) -> Scheduler:
    r"""A plain `f(start, stop, steps)` as a scheduler; a scheduler is returned as it is.

    Args:
        function: Returns `steps + 1` times from `start` to `stop`, which may run in either direction.
        steps: The number of steps where none is asked for.

    Raises:
        InputError: Something that can't be called; when called, another number of times.

    Example:
        >>> import genflow as gf
        >>> squared = gf.as_scheduler(lambda a, b, n: [a + (b - a) * (k / n) ** 2 for k in range(n + 1)], steps=2)
        >>> squared.times(0.0, 1.0)
        tensor([0.0000, 0.2500, 1.0000])
    """
    check_function("scheduler", function, Scheduler)
    return function if isinstance(function, Scheduler) else FunctionScheduler(function, steps)
