"""How often a network is evaluated: counted around the work, added to by the solves within it.

What a step of a training takes of a network is known deep inside of its loss, where a solve ends; who counts it stands
around the step. Between them lie models and flows that need not know.

Example:
    >>> import torch, genflow as gf
    >>> flow = gf.Flow(gf.velocities.Shallow(dim=2), gf.schedulers.Uniform(8), gf.solvers.Euler())
    >>> with tally() as evaluations:
    ...     log_p = flow.log_prob(torch.zeros(3, 2))
    >>> evaluations.count  # 3 rows, 8 steps
    24
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Tally", "add", "tally"]


@dataclass
class Tally:
    """What has been counted.

    Attributes:
        count: Evaluations, one for each row and point in time.
    """

    count: int = 0


_AROUND: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[Tally]:
    """Within, evaluations are counted."""
    counted = Tally()
    token = _AROUND.set(counted)
    try:
        yield counted
    finally:
        _AROUND.reset(token)


def add(evaluations: int) -> None:
    """To be called where a network has been evaluated more often than once for each row.

    Args:
        evaluations: How often, each row counted.
    """
    around = _AROUND.get()
    if around is not None:
        around.count += evaluations
