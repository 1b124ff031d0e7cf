"""A time by which work has to be done: set around it, looked at within it.

What runs under a budget (a validation, the settling of a grid, a log density of many rows) is called from far outside
of where its time goes, the evaluations of a velocity. A deadline is set around the call; a solve looks at it before
each evaluation and gives up when it has passed.

Example:
    >>> import torch, genflow as gf
    >>> flow = gf.Flow(gf.velocities.Shallow(dim=2))
    >>> with deadline(0.0):
    ...     flow.log_prob(torch.zeros(3, 2))
    Traceback (most recent call last):
    ...
    genflow.deadline.OutOfTime: the time that was left is over
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["OutOfTime", "check_time", "deadline", "time_left"]

_Ends = tuple[tuple[Callable[[], float], float], ...]
_ENDS: ContextVar[_Ends] = ContextVar("ends", default=())  # of every deadline around, each on its own clock


class OutOfTime(Exception):
    """Work was given up at its deadline; what it would have changed is as it was."""


@contextmanager
def deadline(seconds: float, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Work within is given up after so many seconds; of deadlines around each other, the earliest counts.

    Args:
        seconds: How long it may take; infinite for no end.
        clock: What tells the time.
    """
    token = _ENDS.set((*_ENDS.get(), (clock, clock() + seconds)))
    try:
        yield
    finally:
        _ENDS.reset(token)


def time_left() -> float:
    """Seconds until the earliest deadline; infinite where there is none."""
    return min((end - clock() for clock, end in _ENDS.get()), default=math.inf)


def check_time() -> None:
    """To be called where work can be given up.

    Raises:
        OutOfTime: A deadline has passed.
    """
    ends = _ENDS.get()
    if ends and time_left() <= 0:
        raise OutOfTime("the time that was left is over")
