r"""Are samples copies of training rows?

A sample of a model that knows the law, and not the rows, has a training row as its nearest no more often than by
chance: among :math:`n` training rows and :math:`m` that were held out, all of them drawn from one law,

.. math:: \mathbb P(\text{the nearest is a training row}) = \frac{n}{n + m} .
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from genflow.metrics.tables.gower import Gower, distances, portions
from genflow.metrics.tables.rows import Figure, TableColumn, subsample, table_rows

__all__ = ["privacy"]


def privacy(
    samples: Any,
    train: Any,
    test: Any,
    columns: Sequence[TableColumn] | None = None,
    *,
    max_points: int | None = 10_000,
    seed: int = 0,
) -> Figure:
    r"""The share of samples whose closest record, in Gower's distance, is a training row rather than one held out.

    Of rows that are equally near, each counts by its part. Distances are taken a portion at a time, so that memory
    grows as the number of rows alone.

    With the share :math:`w_r` of samples whose nearest is row :math:`r`, and training rows dealt at random among all
    :math:`N = n + m`, the variance of the share is

    .. math:: \frac{n m}{N (N - 1)} \Bigl( \sum_r w_r^2 - \frac1N \Bigr) .

    Args:
        samples: Rows of a model, `(k, d)`, NaN where a value is missing.
        train: Training rows, :math:`n`: all of them, since a copy is one of a certain row.
        test: Rows held out, :math:`m`.
        columns: What the columns hold; numbers where it is not given.
        max_points: More samples, or rows held out, are cut to this many at random. `None` keeps all.
        seed: Seed of the cut.

    Returns:
        The share; its standard error if no sample is a copy, see above; as the floor :math:`n / (n + m)`, and 1 is the
        worst. `parts` are the median distances from a sample to the closest of either kind.

    Raises:
        InputError: Tables of other columns, infinite values, unknown classes.

    References:
        | Holdout-Based Empirical Assessment of Mixed-Type Synthetic Data (Platzer & Reutterer, 2021)
        | https://doi.org/10.3389/fdata.2021.679939

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import privacy
        >>> train, test = np.random.default_rng(0).normal(size=(2, 100, 3))
        >>> copied = privacy(train, train, test)
        >>> copied.value, copied.floor
        (1.0, 0.5)
    """
    x, real, held, described = table_rows(samples, train, test, columns)
    x, held = subsample(x, max_points, seed), subsample(held, max_points, seed + 1)
    gower = Gower.fit(real, described, x, held)
    drawn, rows = gower(x), gower(np.concatenate([real, held]))
    n, m = len(real), len(held)
    weights = torch.zeros(n + m, dtype=torch.float64)
    closest = torch.empty(len(drawn), 2, dtype=torch.float64)
    for part in portions(len(drawn), len(rows)):
        apart = distances(drawn[part], rows)
        nearest = (apart == apart.amin(1, keepdim=True)).double()
        weights += (nearest / nearest.sum(1, keepdim=True)).sum(0)
        closest[part, 0], closest[part, 1] = apart[:, :n].amin(1), apart[:, n:].amin(1)
    weights /= len(drawn)
    spread = n * m / ((n + m) * (n + m - 1)) * (weights.square().sum().item() - 1 / (n + m))
    medians = closest.median(0).values.tolist()
    parts = dict(zip(("to training rows", "to rows held out"), medians))
    return Figure(weights[:n].sum().item(), max(spread, 0.0) ** 0.5, n / (n + m), parts)
