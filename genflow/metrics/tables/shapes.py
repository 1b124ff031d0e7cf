r"""Has each column of the samples the right law by itself?

.. math::
    1 - \sup_x |F(x) - G(x)| \text{ of numbers}, \qquad
    1 - \tfrac12 \sum_k |p_k - q_k| \text{ of classes.}

A missing value is one more class, and of numbers the largest of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genflow.metrics.tables.rows import Figure, TableColumn, is_class, place_count, table_rows

__all__ = ["kolmogorov_smirnov", "shapes", "total_variation"]


def shapes(
    samples: Any, train: Any, test: Any, columns: Sequence[TableColumn] | None = None, *, seed: int = 0
) -> Figure:
    """The mean, over the columns, of how alike their laws in samples and test rows are: from 0 to 1, the best.

    The complement of the Kolmogorov–Smirnov statistic of numbers, and of the total variation of classes, as in
    SDMetrics; there missing values are left out.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: Training rows, for the floor.
        test: Test rows.
        columns: What the columns hold; numbers where it is not given.
        seed: Not used: nothing is random here.

    Returns:
        The mean; each column's own score in `parts`.

    Raises:
        InputError: Tables of other columns, infinite values, unknown classes.

    References:
        | SDMetrics: KSComplement, TVComplement
        | https://docs.sdv.dev/sdmetrics

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import shapes
        >>> rows = np.arange(8.0)[:, None]
        >>> shapes(rows + 2, rows, rows).value  # a quarter of either lies where the other has nothing
        0.75
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    values, floors = (
        [_score(column, *pair) for column, *pair in zip(described, rows.T, y.T)] for rows in (x, real)
    )  # fmt: skip
    parts = {column.name: value for column, value in zip(described, values)}
    return Figure(float(np.mean(values)), floor=float(np.mean(floors)), parts=parts)


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> float:
    r""":math:`\sup_t |F(t) - G(t)|` of two samples of numbers, NaN being larger than all of them.

    Example:
        >>> kolmogorov_smirnov(np.array([0.0, 1.0]), np.array([1.0, np.nan]))
        0.5
    """
    x, y = (np.sort(np.where(np.isnan(values), np.inf, values)) for values in (x, y))
    at = np.concatenate([x, y])
    below = [np.searchsorted(values, at, side="right") / len(values) for values in (x, y)]
    return float(np.abs(below[0] - below[1]).max())


def total_variation(x: np.ndarray, y: np.ndarray, count: int) -> float:
    r""":math:`\frac12 \sum_k |p_k - q_k|` of two samples of places, NaN being one more.

    Args:
        x: Places from 0, `(n,)`.
        y: Places, `(m,)`.
        count: How many classes there are.
    """
    p, q = (
        np.bincount(np.where(np.isnan(values), count, values).astype(int), minlength=count + 1) / len(values)
        for values in (x, y)
    )
    return float(np.abs(p - q).sum() / 2)


def _score(column: TableColumn, x: np.ndarray, y: np.ndarray) -> float:
    return 1 - (total_variation(x, y, place_count(column)) if is_class(column) else kolmogorov_smirnov(x, y))
