"""What a training may take: seconds, or iterations."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from genflow.draws import check_count
from genflow.errors import InputError

__all__ = ["Budget", "parse_seconds"]

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_seconds(text: str | float, name: str = "budget") -> float:
    """Seconds from a number or from a text such as `30s`, `2min`, `1.5h`.

    Args:
        text: What was asked for.
        name: What the argument goes by.

    Raises:
        InputError: Something else.

    Example:
        >>> parse_seconds("2min")
        120.0
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", str(text))
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise InputError(f"{name}: {text!r} came; a time such as 30s, 2min or 1h would do")
    return float(match[1]) * _UNITS[match[2]]


class Budget:
    """What is left of a training's seconds or of its iterations.

    The clock starts with the model's own work, `start`: what it does until it can be used counts, the reading of the
    data before that does not.

    Args:
        seconds: Seconds.
        iterations: Optimizer steps; exactly one of the two is given.
        clock: What tells the time, wall time by default. On one thread of a busy machine `time.process_time` gives a
            training the seconds that it would have had alone, more or less.

    Attributes:
        reserve: Seconds that the stages leave for what comes after them; see `GenerativeModel.settle`.

    Example:
        >>> import time, genflow as gf
        >>> budget = gf.training.Budget(seconds=0.5, clock=time.process_time)
        >>> gf.models.FlowMatching(2, width=16).fit("two-moons", budget=budget).dim
        2
    """

    def __init__(
        self,
        seconds: float | None = None,
        iterations: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        if (seconds is None) == (iterations is None):
            raise InputError("budget, iterations: give exactly one of them")
        if iterations is not None:
            check_count(iterations, "iterations")
        self.timed = seconds is not None
        self.total = float(seconds if seconds is not None else iterations)  # type: ignore[arg-type]
        self.clock = clock
        self.reserve = 0.0
        self._begin: float | None = None
        self._before = 0.0  # seconds of earlier sessions
        self._steps = 0

    def start(self) -> None:
        """Starts the clock, where it does not run yet."""
        if self._begin is None:
            self._begin = self.clock()

    def step(self) -> None:
        """Counts an optimizer step."""
        self._steps += 1

    def spend(self, seconds: float = 0.0, steps: int = 0) -> None:
        """Counts what was spent in an earlier session, or before the clock was started."""
        self._before += seconds
        self._steps += steps

    @property
    def seconds(self) -> float:
        """Seconds on the clock so far, whatever the limit."""
        return self._before + (0.0 if self._begin is None else self.clock() - self._begin)

    @property
    def used(self) -> float:
        """Seconds or steps spent so far."""
        return self.seconds if self.timed else self._steps

    @property
    def left(self) -> float:
        """Seconds or steps left, without the reserve."""
        return max(0.0, self.total - self.reserve - self.used)

    @property
    def seconds_left(self) -> float:
        """Seconds left, the reserve included; infinite where steps are counted."""
        return max(0.0, self.total - self.used) if self.timed else math.inf
