"""Where the density of a column's rows jumps on their line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch

from genflow.data.laws.law import ColumnLaw

__all__ = ["CelledLine", "celled_line", "celled_lines"]

_LEAST, _COARSE = 0.03, 0.1  # probability of a value that is worth a cell: rarer ones are alike to their neighbours
_MOST = 256  # edges of a table, above which only the coarse ones are
_NOTHING, _LITTLE = 1e-3, 1e-2  # probability that does not count: of a cell; in all, of what shares one with others


class CelledLine(NamedTuple):
    """The cells on the line of one column.

    Attributes:
        edges: Their inner edges, in rising order; none of a column without cells.
        smooth: Whether there is a density, or are several values, in one of the cells.
        mass: The probability of the values that are worth a cell; 0 where there is no edge.
        noise: Whether the column follows from others, so that it is standard normal whatever they are.
    """

    edges: list[float] = []
    smooth: bool = True
    mass: float = 0.0
    noise: bool = False


def celled_line(law: ColumnLaw, least: float = _LEAST) -> CelledLine:
    """The cells of the values that are not rare; what lies between two of them is a cell, too.

    Args:
        law: The law of the column.
        least: Probability from which on a value has a cell of its own.

    Example:
        >>> from genflow.data.laws import Levels
        >>> line = celled_line(Levels(3, [0.0, 1.0, 2.0], [0.5, 0.48, 0.02], rest=0.0))
        >>> [round(edge, 3) for edge in line.edges], line.smooth, round(line.mass, 3)
        ([0.0, 2.054], False, 0.98)
    """
    low, high = law.intervals()
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    own = mass >= least
    # Where values own the whole line, nothing is beyond the first and the last of them.
    first, last = (low.min().item(), high.max().item()) if law.whole else (-math.inf, math.inf)
    edges, shares = list[float](), [0.0]
    for edge in sorted({*low[own].tolist(), *high[own].tolist()}):
        share = NormalDist().cdf(edge)
        if first < edge < last and share - shares[-1] > _NOTHING and 1 - share > _NOTHING:
            edges.append(edge)
            shares.append(share)
    if not edges:
        return CelledLine()
    middle = torch.special.ndtr(low) + 0.5 * mass
    cells = torch.bucketize(middle, middle.new_tensor(shares[1:]))
    alone = torch.zeros(len(edges) + 1, dtype=mass.dtype).scatter_reduce(0, cells, mass, "amax")
    total = mass.sum()
    owned = (mass[own].sum() / total if law.whole else mass[own].sum()).item()
    return CelledLine(edges, not law.whole or (total - alone.sum()).item() > _LITTLE, owned)


def celled_lines(laws: Sequence[ColumnLaw]) -> list[CelledLine] | None:
    """The cells of a table's columns, fewer of them where they would be very many; `None` where there are none.

    Args:
        laws: The law of each column.
    """
    found = [celled_line(law) for law in laws]
    if sum(len(line.edges) for line in found) > _MOST:
        found = [celled_line(law, _COARSE) for law in laws]
    return found if any(line.edges for line in found) else None
