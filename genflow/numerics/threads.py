"""Threads that wait for each other: on a busy machine several are slower than one, at times a hundred times slower."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genflow.errors import InputError

__all__ = ["check_threads", "choose", "chosen", "hindrance", "unhindered"]

_PAIRS, _LAYERS, _SECONDS = 15, 10, 0.3  # of the measurement; a tenth of a second where nobody has to wait
_WORSE = 1.5  # how many times slower threads must be to be given up: less may be the chance of a moment

_MOST = 256  # more than a machine of fewer cores can start is a slip of the hand
_chosen: int | None = None


def check_threads(threads: int) -> None:
    """Refuses a number of threads that is none, or far above that of the cores.

    Raises:
        InputError: Such a number.
    """
    most = max(_MOST, 4 * (os.cpu_count() or 1))
    if not 1 <= threads <= most:
        raise InputError(f"threads: {threads} came; 1 to {most} would do")


def choose(threads: int) -> None:
    """Sets torch's threads for good: no measurement gives them up again.

    Raises:
        InputError: See `check_threads`.
    """
    global _chosen
    check_threads(threads)
    torch.set_num_threads(threads)
    _chosen = threads


@contextmanager
def chosen(threads: int) -> Iterator[None]:
    """Within, so many threads, as by `choose`; behind it those of before."""
    global _chosen
    before = torch.get_num_threads(), _chosen
    choose(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        _chosen = before[1]


def hindrance() -> float:
    """How many times longer the layers of a small network take on torch's threads than on one of them.

    Below 1 where they help. Far above where another process has the core that one of them runs on: the others spin
    until it has had its turn, up to ten milliseconds for a layer of a tenth of one.

    Example:
        >>> hindrance() > 0
        True
    """
    threads = torch.get_num_threads()
    rows, weights = torch.ones(300, 128), torch.full((128, 128), 1 / 128)
    seconds = {threads: 0.0, 1: 0.0}
    begin = time.perf_counter()
    try:
        with torch.inference_mode():
            for pair in range(_PAIRS + 1):
                for count in seconds:
                    torch.set_num_threads(count)
                    since = time.perf_counter()
                    for _ in range(_LAYERS):
                        torch.tanh(rows @ weights)
                    seconds[count] += (pair > 0) * (time.perf_counter() - since)  # the first time they are started
                if pair and time.perf_counter() - begin > _SECONDS:
                    break
    finally:
        torch.set_num_threads(threads)
    return seconds[threads] / seconds[1]


@contextmanager
def unhindered() -> Iterator[str | None]:
    """Within, one thread, if several would be slower; says so in the remark that it gives.

    Who has said how many he wants, by `choose` or by `OMP_NUM_THREADS`, keeps them.
    """
    threads = torch.get_num_threads()
    if threads in (1, _chosen) or "OMP_NUM_THREADS" in os.environ or (worse := hindrance()) < _WORSE:
        yield None
        return
    with chosen(1):
        yield (
            f"trained on one thread, since {threads} took {worse:.2g} times as long on this busy machine; "
            "torch.set_num_threads(1) at the start of a program spares its other work the same"
        )
