"""What a training may take: seconds, iterations, or evaluations of its network."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from genflow.draws import check_count
from genflow.errors import InputError

__all__ = ["Budget", "check_one", "parse_seconds"]

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


def check_one(**limits: object) -> None:
    """Refuses more than one limit of a training.

    Args:
        limits: The limits by their arguments, `None` where they were not given.

    Raises:
        InputError: Several were given.

    Example:
        >>> check_one(budget="60s", iterations=10, evaluations=None)
        Traceback (most recent call last):
        ...
        genflow.errors.InputError: budget, iterations: both came; give one of them
    """
    given = [name for name, limit in limits.items() if limit is not None]
    if len(given) > 1:
        raise InputError(f"{', '.join(given)}: {'both' if len(given) == 2 else 'all'} came; give one of them")


class Budget:
    """What is left of a training's seconds, of its iterations, or of the evaluations of its network.

    The clock starts with the model's own work, `start`: what it does until it can be used counts, the reading of the
    data before that does not.

    Args:
        seconds: Seconds.
        iterations: Optimizer steps.
        evaluations: Evaluations of the network in the losses of the steps, each row and each point in time counted: a
            loss that solves an equation takes as many for a row as the solver does, any other takes one. Backward
            passes, validation and what computes a part again are not counted. The step that reaches it is the last.
            Exactly one of the three is given.
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
        *,
        evaluations: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        limits = {"s": seconds, "iterations": iterations, "evaluations": evaluations}
        given = {unit: limit for unit, limit in limits.items() if limit is not None}
        if len(given) != 1:
            raise InputError("budget, iterations, evaluations: give exactly one of them")
        ((self.unit, limit),) = given.items()
        if self.unit != "s":
            check_count(limit, self.unit)
        self.timed = self.unit == "s"
        self.total = float(limit)
        self.clock = clock
        self.reserve = 0.0
        self._begin: float | None = None
        self._before = 0.0  # seconds of earlier sessions
        self._spent = 0  # iterations or evaluations

    def like(self, limit: float) -> Budget:
        """A new one in the same unit, on the same clock.

        Args:
            limit: Seconds, iterations or evaluations.

        Example:
            >>> Budget(iterations=9).like(4).total
            4.0
        """
        if self.timed:
            return Budget(limit, clock=self.clock)
        return Budget(**{self.unit: int(limit)}, clock=self.clock)

    def start(self) -> None:
        """Starts the clock, where it does not run yet."""
        if self._begin is None:
            self._begin = self.clock()

    def step(self, evaluations: int = 0) -> None:
        """Counts an optimizer step, and so many evaluations of the network in it."""
        self._spent += evaluations if self.unit == "evaluations" else 1

    def spend(self, seconds: float = 0.0, counted: int = 0) -> None:
        """Counts what was spent in an earlier session, or before the clock was started.

        Args:
            seconds: Seconds.
            counted: Iterations or evaluations, where they are the limit.
        """
        self._before += seconds
        self._spent += counted

    @property
    def seconds(self) -> float:
        """Seconds on the clock so far, whatever the limit."""
        return self._before + (0.0 if self._begin is None else self.clock() - self._begin)

    @property
    def used(self) -> float:
        """What was spent so far of that which is limited."""
        return self.seconds if self.timed else self._spent

    @property
    def left(self) -> float:
        """What is left, without the reserve."""
        return max(0.0, self.total - self.reserve - self.used)

    @property
    def slack(self) -> float:
        """How much longer than its allowance a stage may take on a clock, so that it does not end before."""
        return max(0.005 * self.total, 0.05)

    @property
    def seconds_left(self) -> float:
        """Seconds left, the reserve included; infinite where steps are counted."""
        return max(0.0, self.total - self.used) if self.timed else math.inf
