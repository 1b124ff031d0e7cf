r"""Do samples lie where rows of the table lie, and the other way round?

With balls :math:`B_k(y)` from a row to its :math:`k`-th neighbour in its own table, of :math:`n` test rows :math:`y_i`
and :math:`m` samples :math:`x_j`,

.. math::
    \text{precision} = \frac1m \sum_j \mathbb 1\bigl[x_j \in \textstyle\bigcup_i B_k(y_i)\bigr], \qquad
    \text{recall} = \frac1n \sum_i \mathbb 1\bigl[y_i \in \textstyle\bigcup_j B_k(x_j)\bigr],

.. math::
    \text{density} = \frac{1}{k m} \sum_{ij} \mathbb 1[x_j \in B_k(y_i)], \qquad
    \text{coverage} = \frac1n \sum_i \mathbb 1\bigl[\exists j: x_j \in B_k(y_i)\bigr].

Precision and recall believe a single row far out; density and coverage do not. Under equal laws, of numbers without
repeated values, the mean of the density is 1, and that of the coverage
:math:`1 - \prod_{l=1}^{k} (n - l) / (n + m - l)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.metrics.likelihood import mean_and_se
from genflow.metrics.tables.gower import Coded, Gower, distances, portions
from genflow.metrics.tables.rows import Figure, TableColumn, subsample, table_rows

__all__ = ["NEIGHBOURS", "manifold"]

NEIGHBOURS = 5
"""The number of neighbours that Naeem et al. choose."""


def manifold(
    samples: Any,
    train: Any,
    test: Any,
    columns: Sequence[TableColumn] | None = None,
    *,
    neighbours: int = NEIGHBOURS,
    max_points: int | None = 10_000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Precision, recall, density and coverage of samples against test rows, in Gower's distance.

    Balls are closed: a row that many others repeat has a ball of radius 0, and contains them. Samples and training rows
    are cut to one size, since all four depend on it. Distances are taken a portion at a time, so that memory grows as
    the number of rows alone.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: Training rows: they give the scale, and the floor.
        test: Test rows.
        columns: What the columns hold; numbers where it is not given.
        neighbours: The number :math:`k`.
        max_points: Larger tables are cut to this many rows at random; time grows as its square. `None` keeps all.
        seed: Seed of the cut.

    Returns:
        A figure for each of `precision`, `recall`, `density`, `coverage`. The standard error is that of the rows whose
        mean it is, the balls being what they are.

    Raises:
        InputError: Tables of other columns, infinite values, unknown classes; no more rows than neighbours.

    References:
        | Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019)
        | https://arxiv.org/abs/1904.06991
        | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
        | https://arxiv.org/abs/2002.09797

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import manifold
        >>> train, test, near = np.random.default_rng(0).normal(size=(3, 50, 2))
        >>> found = manifold(near + [100.0, 0.0], train, test)
        >>> [found[name].value for name in ("precision", "recall", "density", "coverage")]
        [0.0, 0.0, 0.0, 0.0]
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    size = min(len(x), len(real), max_points or len(x))
    x, floor, y = subsample(x, size, seed), subsample(real, size, seed + 1), subsample(y, max_points, seed + 2)
    fewest = min(len(x), len(y))
    if not 1 <= neighbours < fewest:
        raise InputError(f"neighbours: {neighbours} came for {fewest} rows; from 1 to {fewest - 1} would do")
    gower = Gower.fit(real, described, x, y)
    target = gower(y)
    radii = _radii(target, neighbours)
    found, floors = (_overlap(target, radii, gower(rows), neighbours) for rows in (x, floor))
    return {name: Figure(*found[name], floor=floors[name][0]) for name in found}


def _radii(rows: Coded, neighbours: int) -> Float[Tensor, " n"]:
    """The distance of each row from its k-th neighbour among the others."""
    radii = torch.empty(len(rows), dtype=torch.float64)
    for part in portions(len(rows), len(rows)):
        radii[part] = distances(rows[part], rows).kthvalue(neighbours + 1, -1).values  # the first is the row itself
    return radii


def _overlap(
    real: Coded, real_radii: Float[Tensor, " n"], drawn: Coded, neighbours: int
) -> dict[str, tuple[float, float]]:
    """The four figures, each with its standard error."""
    drawn_radii = _radii(drawn, neighbours)
    containing = torch.zeros(len(drawn), dtype=torch.float64)  # how many balls of real rows contain each sample
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    for part in portions(len(real), len(drawn)):
        apart = distances(real[part], drawn)
        within = apart <= real_radii[part, None]
        containing += within.sum(0)
        covered[part] = within.any(1)
        recalled[part] = (apart <= drawn_radii).any(1)
    return {
        "precision": mean_and_se(containing > 0),
        "recall": mean_and_se(recalled),
        "density": mean_and_se(containing / neighbours),
        "coverage": mean_and_se(covered),
    }
