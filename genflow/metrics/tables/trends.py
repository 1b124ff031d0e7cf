r"""Do every two columns of the samples go together as they do in the table?

.. math::
    1 - \tfrac12 |\rho - \rho'| \text{ of numbers}, \qquad
    1 - \tfrac12 \sum_{kl} |p_{kl} - q_{kl}| \text{ where one is a class,}

with correlations :math:`\rho` and the shares :math:`p_{kl}` of a contingency table, in which a number stands in one of
ten bins. A missing value has no place in a correlation: numbers with gaps are binned too, a gap in a bin of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from genflow.errors import InputError
from genflow.metrics.tables.rows import Figure, TableColumn, is_class, place_count, table_rows

__all__ = ["BINS", "trends"]

BINS = 10
"""Of equal width between the least and the greatest number of the test rows, the outer ones open."""


def trends(
    samples: Any, train: Any, test: Any, columns: Sequence[TableColumn] | None = None, *, seed: int = 0
) -> Figure:
    """The mean, over all pairs of columns, of how alike they go together in samples and test rows: 0 to 1, the best.

    Correlation similarity of two columns of numbers, and contingency similarity of all other pairs, as in SDMetrics;
    the bins are those of the test rows for all tables. A column that is constant in a table has the correlation 0
    there.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: Training rows, for the floor.
        test: Test rows.
        columns: What the columns hold; numbers where it is not given.
        seed: Not used: nothing is random here.

    Returns:
        The mean; each pair's own score in `parts`, as `first, second`.

    Raises:
        InputError: Tables of other columns, or of a single one, infinite values, unknown classes.

    References:
        | SDMetrics: CorrelationSimilarity, ContingencySimilarity
        | https://docs.sdv.dev/sdmetrics

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import trends
        >>> x = np.arange(5.0)
        >>> rows, opposed = np.stack([x, x], 1), np.stack([x, -x], 1)
        >>> abs(round(trends(opposed, rows, rows).value, 4))  # correlations of 1 and -1
        0.0
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    if len(described) < 2:
        raise InputError("columns: a single one came; a trend needs two")
    gaps = np.any([np.isnan(rows).any(0) for rows in (x, real, y)], axis=0)
    numbers = [not is_class(column) and not gap for column, gap in zip(described, gaps)]
    sizes = [place_count(column) + 1 if is_class(column) else BINS + 1 for column in described]
    binned = [_bin(rows, y, described) for rows in (x, real, y)]
    correlations = [_correlations(rows, numbers) for rows in (x, real, y)]

    def scores(table: int, reference: int = 2) -> list[float]:
        found = []
        for j, k in pairs:
            if numbers[j] and numbers[k]:
                found.append(1 - abs(correlations[table][j, k] - correlations[reference][j, k]) / 2)
            else:
                p, q = (_contingency(binned[i][:, [j, k]], sizes[j], sizes[k]) for i in (table, reference))
                found.append(1 - float(np.abs(p - q).sum()) / 2)
        return found

    pairs = list(combinations(range(len(described)), 2))
    values, floors = scores(0), scores(1)
    names = [f"{described[j].name}, {described[k].name}" for j, k in pairs]
    return Figure(float(np.mean(values)), floor=float(np.mean(floors)), parts=dict(zip(names, values)))


def _bin(rows: np.ndarray, reference: np.ndarray, columns: Sequence[TableColumn]) -> np.ndarray:
    """Places of classes, and of the bins of numbers, from 0; what is missing comes last."""
    places = np.empty(rows.shape, dtype=np.int64)
    for j, column in enumerate(columns):
        gone = np.isnan(rows[:, j])
        if is_class(column):
            places[:, j] = np.where(gone, place_count(column), rows[:, j]).astype(int)
            continue
        seen = reference[~np.isnan(reference[:, j]), j]
        inner = np.linspace(seen.min(), seen.max(), BINS + 1)[1:-1] if len(seen) else np.zeros(0)
        places[:, j] = np.where(gone, BINS, np.digitize(rows[:, j], inner))
    return places


def _contingency(places: np.ndarray, first: int, second: int) -> np.ndarray:
    """The share of rows in each of the cells of two columns, `(first * second,)`."""
    return np.bincount(places[:, 0] * second + places[:, 1], minlength=first * second) / len(places)


def _correlations(rows: np.ndarray, numbers: Sequence[bool]) -> np.ndarray:
    """Pearson's correlations of the columns of numbers, `(d, d)`, 0 where a column is constant; 0 of all others."""
    chosen = np.flatnonzero(numbers)
    centred = rows[:, chosen] - rows[:, chosen].mean(0)
    length = np.sqrt((centred**2).sum(0))
    # By rounding, a constant column is a few last digits away from its mean.
    flat = length <= 1e-12 * np.sqrt(len(rows)) * np.abs(rows[:, chosen]).max(0, initial=0.0)
    unit = np.where(flat, 0.0, centred / np.where(flat, 1.0, length))
    found = np.zeros((rows.shape[1],) * 2)
    found[np.ix_(chosen, chosen)] = unit.T @ unit
    return found
