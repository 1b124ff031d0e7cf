r"""How far must samples of a table be carried to become rows of it?

.. math:: W_1(p, q) = \min_{\pi \in \Pi(p, q)} \int d(x, y) \, d\pi(x, y)

with Gower's distance :math:`d`: the figure of the ForestDiffusion paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genflow.metrics.tables.gower import Gower, distances
from genflow.metrics.tables.rows import Figure, TableColumn, subsample, table_rows
from genflow.metrics.wasserstein import transport_cost

__all__ = ["w1"]


def w1(
    samples: Any,
    train: Any,
    test: Any,
    columns: Sequence[TableColumn] | None = None,
    *,
    max_points: int | None = 2000,
    seed: int = 0,
) -> Figure:
    r"""The exact :math:`W_1` of samples and test rows, each column scaled by the range of the training rows.

    Samples and training rows are cut to one size, so that figure and floor are of as many rows.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: Training rows: they give the scale, and the floor.
        test: Test rows.
        columns: What the columns hold; numbers where it is not given.
        max_points: Larger tables are cut to this many rows at random; memory grows as its square, time as its cube.
            `None` keeps all, as the published figures do.
        seed: Seed of the cut.

    Returns:
        The distance, a sum over the columns: 1 is the range of one of them, or one class for another.

    Raises:
        InputError: Tables of other columns, infinite values, unknown classes.
        SolverError: Where no optimal plan was found.

    References:
        | Generating and Imputing Tabular Data via Diffusion and Flow-based Gradient-Boosted Trees (Jolicoeur-Martineau
          et al., 2024)
        | https://arxiv.org/abs/2309.09968
        | A General Coefficient of Similarity and Some of Its Properties (Gower, 1971)
        | https://doi.org/10.2307/2528823

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import w1
        >>> rows = np.array([[0.0, 0.0], [2.0, 4.0]])
        >>> w1(rows + [1.0, 1.0], rows, rows).value  # half a range in one column, a quarter in the other
        0.75
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    size = min(len(x), len(real), max_points or len(x))
    x, floor, y = subsample(x, size, seed), subsample(real, size, seed + 1), subsample(y, max_points, seed + 2)
    gower = Gower.fit(real, described, x, y)
    target = gower(y)

    def distance(rows: np.ndarray) -> float:
        return transport_cost(distances(gower(rows), target))

    return Figure(distance(x), floor=distance(floor))
