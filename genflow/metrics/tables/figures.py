"""All figures of a table's samples, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genflow.metrics.tables.manifold import NEIGHBOURS, manifold
from genflow.metrics.tables.privacy import privacy
from genflow.metrics.tables.rows import Figure, TableColumn, table_rows
from genflow.metrics.tables.shapes import shapes
from genflow.metrics.tables.transport import w1
from genflow.metrics.tables.trends import trends
from genflow.metrics.tables.utility import utility

__all__ = ["table_figures"]


def table_figures(
    samples: Any,
    train: Any,
    test: Any,
    columns: Sequence[TableColumn] | None = None,
    *,
    target: str | int | None = None,
    seed: int = 0,
    notify: Callable[[str], None] = lambda what: None,
) -> dict[str, Figure]:
    """Every figure of samples of a table, by name.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: The rows that it was trained on.
        test: Rows that it has not seen.
        columns: What the columns hold; numbers where it is not given.
        target: The column that `utility` tells from the others; without one it is left out.
        seed: Seed of everything random.
        notify: Called with what is being done.

    Returns:
        `w1`, `shapes`, `trends` of two columns or more, `precision`, `recall`, `density`, `coverage` of more than five
        rows, `utility` with a target, `privacy`.

    Raises:
        InputError: Tables of other columns, infinite values, unknown classes, an unknown target.

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import table_figures
        >>> samples, train, test = np.random.default_rng(0).normal(size=(3, 50, 2))
        >>> list(table_figures(samples, train, test))
        ['w1', 'shapes', 'trends', 'precision', 'recall', 'density', 'coverage', 'privacy']
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    given = (x, real, y, described)
    found: dict[str, Figure] = {}
    asked: dict[str, Callable[[], Figure | dict[str, Figure]]] = {
        "w1": lambda: w1(*given, seed=seed),
        "shapes": lambda: shapes(*given),
        "trends": lambda: trends(*given),
        "manifold": lambda: manifold(*given, seed=seed),
        "utility": lambda: utility(*given, target=-1 if target is None else target, seed=seed),
        "privacy": lambda: privacy(*given, seed=seed),
    }
    if len(described) < 2:
        del asked["trends"]
    if min(len(x), len(real), len(y)) <= NEIGHBOURS:
        del asked["manifold"]
    if target is None:
        del asked["utility"]
    for name, figure in asked.items():
        notify(name)
        computed = figure()
        found.update(computed if isinstance(computed, dict) else {name: computed})
    return found
