"""What the benchmarks share: timing several functions in one process, in turns."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Timings", "interleaved"]


class Timings(dict[str, list[float]]):
    """Seconds of each function, one for each round."""

    def ratio(self, name: str, reference: str) -> tuple[float, float, float]:
        """Median and quartiles, over the rounds, of the time of one function by that of the reference."""
        ratios = [a / b for a, b in zip(self[name], self[reference], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return middle, low, high

    def text(self, name: str, reference: str) -> str:
        """The same, to be printed."""
        middle, low, high = self.ratio(name, reference)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def interleaved(functions: Mapping[str, Callable[[], object]], rounds: int = 31) -> Timings:
    """Times all functions once in each round, in an order that is drawn anew, after one round that does not count.

    What else the machine does then meets all of them alike, and a ratio within a round hardly sees it.
    """
    names = list(functions)
    timings = Timings({name: [] for name in names})
    order = random.Random(0)
    for function in functions.values():
        function()
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            begin = time.perf_counter()
            functions[name]()
            timings[name].append(time.perf_counter() - begin)
    return timings
