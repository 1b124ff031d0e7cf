"""What a density can't say about a table: repeated values, duplicate rows, columns that follow from others.

On a value that many rows share, a continuous density has no largest likelihood: the narrower the spike, the better.
Rows that stand in the training part and in the test part reward copying.

Values are recorded on a grid, such as hundredths, which makes a few of them equal by chance and is harmless. A column
has atoms if it has few values (ten rows to each, on average), or if values stand out from their neighbours: a smooth
density, rounded to any grid, gives neighbouring values about the same number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from genflow.data.scales import moments, standardize

__all__ = [
    "Repeats",
    "decimal_notations",
    "dependent_columns",
    "duplicate_rows",
    "grid_width",
    "grid_widths",
    "isolated_share",
    "meet_by_chance",
    "outstanding_values",
    "repeats",
]

_COARSE = 10  # rows for each distinct value, from where on a column counts as one of atoms
_OUTSTANDING = 6.0  # times the mean number of rows on the neighbouring values, from where on a value stands out
_SHARE = 0.01  # of all rows on such values, from where on a column counts as one of atoms
_ATOM = 0.002  # of all rows on one value, from where on it is an atom of its own
_NEIGHBOURS = 5  # distinct values on either side
_GROUP = 30  # distinct values that it takes to tell a grid: a divisor by chance has the probability 2^-29


@dataclass(frozen=True)
class Repeats:
    """How the values of a column repeat.

    Attributes:
        distinct: The number of distinct values.
        share: The share of rows whose value another row has too.
        outstanding: The share of rows on values that have far more rows than their neighbours.
        most: The value that most rows have, and how many.
        coarse: Whether there are few values.
        atoms: Whether there are few, or some stand out: a likelihood on this column rewards spikes.
    """

    distinct: int
    share: float
    outstanding: float
    most: tuple[float, int]
    coarse: bool
    atoms: bool


def repeats(column: np.ndarray) -> Repeats:
    """How the values of a column repeat.

    Args:
        column: Values, `(n,)`.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=10_000)
        >>> repeats(x).share, repeats(x.round(3)).atoms, repeats(x.round(1)).atoms, repeats(np.maximum(x, -2)).atoms
        (0.0, False, True, True)
    """
    values, counts = np.unique(column, return_counts=True)
    n = len(column)
    share = float(counts[counts > 1].sum() / n)
    outstanding = float(counts[_stand_out(counts)].sum() / n)
    coarse = n >= _COARSE * len(values)
    most = float(values[counts.argmax()]), int(counts.max())
    return Repeats(len(values), share, outstanding, most, coarse, coarse or outstanding > _SHARE)


def outstanding_values(column: np.ndarray) -> np.ndarray:
    """The values that have far more rows than their neighbours, and a share of all rows that counts.

    Args:
        column: Values, `(n,)`.

    Example:
        >>> import numpy as np
        >>> outstanding_values(np.maximum(np.random.default_rng(0).normal(size=10_000), -1))
        array([-1.])
    """
    values, counts = np.unique(column, return_counts=True)
    return values[_stand_out(counts) & (counts > _ATOM * len(column))]


def _stand_out(counts: np.ndarray) -> np.ndarray:
    """Which values have far more rows than those beside them, `(values,)`."""
    width = min(_NEIGHBOURS, len(counts) - 1)
    if width == 0 or counts.max() < 2:
        return np.zeros(len(counts), dtype=bool)
    total = np.concatenate([np.zeros(1), counts.cumsum()])
    index = np.arange(len(counts))
    low, high = np.maximum(index - width, 0), np.minimum(index + width + 1, len(counts))
    around = (total[high] - total[low] - counts) / (high - low - 1)
    return np.asarray(counts > _OUTSTANDING * around)


def grid_width(values: np.ndarray) -> float:
    r"""The widest grid :math:`w` with all values in :math:`v_0 + w \mathbb Z`.

    Decimal numbers first (the greatest common divisor of their distances, in units of the last decimal), be they stored
    in double or single precision; where values are not decimal, the smallest distance between two of them.

    Args:
        values: Values, in any order.

    Example:
        >>> import numpy as np
        >>> grid_width(np.array([0.5, 1.25, 3.0])), grid_width(np.array([10.0, 30.0, 70.0]))
        (0.25, 20.0)
    """
    values = np.unique(values)
    if len(values) < 2:
        return 0.0
    for decimals, whole in decimal_notations(values, range(-12, 13)):
        divisor = int(np.gcd.reduce(np.diff(whole).astype(np.int64)))
        if divisor > 0:
            return float(divisor / 10.0**decimals)
    return float(_distances(values).min())


def decimal_notations(values: np.ndarray, decimals: range) -> Iterator[tuple[int, np.ndarray]]:
    """The numbers of decimals with which values are written, and the values in units of the last; none for others.

    They may be stored in double or in single precision.

    Args:
        values: Values, finite.
        decimals: The numbers of decimals that are tried; one below zero is of tens, hundreds, ….

    Example:
        >>> import numpy as np
        >>> next(decimal_notations(np.array([0.5, 1.25]), range(11)))
        (2, array([ 50., 125.]))
    """
    largest = float(np.abs(values).max(initial=0.0))
    with np.errstate(over="ignore"):
        single = largest < 3e38 and bool((values.astype(np.float32) == values).all())
    for precision, most in ((1e-15, 2**52), (6e-8, 2**23)) if single else ((1e-15, 2**52),):
        for count in decimals:
            scale = 10.0**count
            if largest * scale > most:
                break
            whole = np.rint(values * scale)
            if (np.abs(values * scale - whole) <= precision * np.abs(whole)).all():
                yield count, whole


def grid_widths(column: np.ndarray) -> np.ndarray:
    """The width of the grid at each value, `(n,)`: a number written with six digits has a coarser one the larger it is.

    Args:
        column: Values, `(n,)`.

    Example:
        >>> import numpy as np
        >>> x = np.concatenate([np.arange(100, 999) / 100, np.arange(100, 999) / 10])
        >>> widths = grid_widths(x)
        >>> float(widths[0]), float(widths[-1])
        (0.01, 0.1)
    """
    finest = grid_width(column)
    magnitude = np.abs(column)
    smallest = magnitude[magnitude > 0].min(initial=np.inf)
    decades = np.floor(np.log10(np.maximum(magnitude, min(smallest, 1.0)))).astype(int)
    widths = np.full(len(column), finest)
    below = finest
    for decade in np.unique(decades):  # upwards: a decade with few values takes the width of the one below
        mine = decades == decade
        values = np.unique(column[mine])
        if len(values) >= _GROUP:
            below = max(below, grid_width(values))
        widths[mine] = below
    return widths


def isolated_share(column: np.ndarray, width: np.ndarray) -> float:
    """The share of rows whose value has no neighbour on the grid: noise of the grid's width leaves a spike there.

    Args:
        column: Values, `(n,)`.
        width: The grid's width at each value, `(n,)`.

    Example:
        >>> import numpy as np
        >>> isolated_share(np.array([1.0, 2.0, 2.0, 7.0]), np.ones(4))
        0.25
    """
    values, first, counts = np.unique(column, return_index=True, return_counts=True)
    gaps = np.concatenate([[np.inf], _distances(values), [np.inf]])
    alone = np.minimum(gaps[:-1], gaps[1:]) / 1.5 > width[first]
    return float(counts[alone].sum() / len(column))


def _distances(values: np.ndarray) -> np.ndarray:
    """Distances of neighbours; infinite where they pass the largest double."""
    with np.errstate(over="ignore"):
        return np.diff(values)


def duplicate_rows(rows: np.ndarray) -> np.ndarray:
    """Which rows repeat an earlier one exactly, `(n,)`.

    Args:
        rows: Rows, `(n, dim)`.

    Example:
        >>> import numpy as np
        >>> duplicate_rows(np.array([[1, 2], [3, 4], [1, 2]]))
        array([False, False,  True])
    """
    return _first_alike(rows) != np.arange(len(rows))


def _first_alike(rows: np.ndarray) -> np.ndarray:
    """The first row that equals each row, `(n,)`."""
    rows = np.ascontiguousarray(rows) + 0  # of two zeros, the one without a sign
    data, width = rows.tobytes(), rows[:1].nbytes
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(data[i * width : (i + 1) * width], i) for i in range(len(rows))], dtype=np.intp)


def meet_by_chance(rows: np.ndarray) -> bool:
    r"""Whether equal rows are chance and no copies: there are few values in every column.

    Were the columns independent, two rows would be equal with the probability :math:`\prod_j \sum_v p_j(v)^2`. Copies
    make equal rows far more frequent; dependence makes them somewhat so: a hundredth of what is found is enough.

    Args:
        rows: Rows, `(n, dim)`.

    Example:
        >>> import numpy as np
        >>> dice = np.random.default_rng(0).integers(6, size=(1000, 2))
        >>> weights = np.random.default_rng(0).normal(size=(500, 2))
        >>> meet_by_chance(dice), meet_by_chance(np.concatenate([weights, weights]))
        (True, False)
    """
    pairs = len(rows) * (len(rows) - 1.0)

    def equal(counts: np.ndarray) -> float:
        return float((counts * (counts - 1.0)).sum()) / pairs

    found = equal(np.bincount(_first_alike(rows)))
    expected = math.prod(equal(np.unique(column, return_counts=True)[1]) for column in rows.T)
    return expected > 0.01 * found


def dependent_columns(rows: np.ndarray, columns: Sequence[str]) -> list[str]:
    """Columns that are, to rounding, linear functions of those before them: a density on them is infinite.

    Args:
        rows: Rows, `(n, dim)`, every column varying.
        columns: Their names.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> dependent_columns(np.column_stack([x, x[:, 0] - 2 * x[:, 1]]), ["a", "b", "c"])
        ['c']
    """
    if len(rows) <= rows.shape[1]:
        return []
    x = torch.from_numpy(np.asarray(rows, dtype=np.float64))
    factor = np.linalg.qr(standardize(x, *moments(x)).numpy() / math.sqrt(len(rows)), mode="r")
    return [name for name, rest in zip(columns, np.abs(np.diag(factor)), strict=True) if rest < 1e-7]
