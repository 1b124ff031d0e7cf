"""Where the density of a column's rows jumps on their line."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch

from genflow.data.laws.law import ColumnLaw

__all__ = ["CelledLine", "celled_line", "celled_lines"]

_LEAST, _COARSE = 0.03, 0.1  # probability of a value that is worth a cell: rarer ones are alike to their neighbours
_MOST = 256  # edges of a table, above which only the coarse ones are
_ONE = 1e-6  # edges that are closer are one


class CelledLine(NamedTuple):
    """The cells on the line of one column.

    Attributes:
        edges: Their inner edges, in rising order; none of a column without cells.
        smooth: Whether there is a density between them, or many values that are too rare for cells of their own.
        mass: The probability of the values that own a cell.
    """

    edges: list[float] = []
    smooth: bool = True
    mass: float = 0.0


def celled_line(law: ColumnLaw, least: float = _LEAST) -> CelledLine:
    """The cells of the values that are not rare; what lies between two of them is a cell, too.

    Args:
        law: The law of the column.
        least: Probability from which on a value has a cell of its own.

    Example:
        >>> from genflow.data.laws import Levels
        >>> celled_line(Levels(3, [0.0, 1.0, 2.0], [0.5, 0.49, 0.01], rest=0.0))
        CelledLine(edges=[0.0], smooth=False, mass=0.99)
    """
    low, high = law.intervals()
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    own = mass >= least
    end = NormalDist().inv_cdf(1 - least / 2)  # what is left beyond it is not worth a cell either
    edges = list[float]()
    for edge in sorted({*low[own].tolist(), *high[own].tolist()}):
        if abs(edge) < end and not (edges and edge - edges[-1] < _ONE):
            edges.append(edge)
    owned = mass[own].sum().item()
    return CelledLine(edges, 1 - owned >= least, owned)


def celled_lines(laws: Sequence[ColumnLaw]) -> list[CelledLine] | None:
    """The cells of a table's columns, fewer of them where they would be very many; `None` where there are none.

    Args:
        laws: The law of each column.
    """
    found = [celled_line(law) for law in laws]
    if sum(len(line.edges) for line in found) > _MOST:
        found = [celled_line(law, _COARSE) for law in laws]
    return found if any(line.edges for line in found) else None
