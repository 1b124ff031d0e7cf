r"""The order of classes on the line: neighbours are alike.

A cell of the line has two neighbours, and what a model blurs goes to them. So classes stand in the order of a number
that says what they are: their place on the first principal axis of what the other columns are, on average, in their
rows,

.. math:: s_k = v^\top \frac{n_k}{n_k + n_0} \bigl( \bar y_k - \bar y \bigr)

with standardized numbers and indicators of the classes of the other columns for :math:`y`; means of few rows count
less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genflow.data.kinds import Column

__all__ = ["class_order"]

_FEW = 10  # rows of a class whose mean counts half
_MOST_CLASSES = 32  # of another column that becomes indicators


def class_order(rows: np.ndarray, columns: Sequence[Column], j: int) -> np.ndarray:
    """The places of a column's classes in the order in which they stand on the line, NaN for a missing value.

    Args:
        rows: Training rows, `(n, dim)`.
        columns: What the columns hold.
        j: Which column.

    Example:
        >>> size = np.repeat([0.0, 5.0, 1.0], 50)
        >>> rows = np.column_stack([size, np.repeat([0.0, 1.0, 2.0], 50)])
        >>> order = class_order(rows, [Column("size"), Column("name", "class", ("S", "XL", "M"))], 1)
        >>> order.tolist() in ([0.0, 2.0, 1.0], [1.0, 2.0, 0.0])
        True
    """
    own = rows[:, j]
    count = len(columns[j].classes)
    places = np.where(np.isnan(own), count, own).astype(int)
    size = count + columns[j].missing
    codes = np.append(np.arange(count, dtype=np.float64), np.nan)[:size]
    features = [feature for k, column in enumerate(columns) if k != j for feature in _features(rows[:, k], column)]
    if size < 3 or not features:
        return codes
    y = np.column_stack(features)
    totals = np.bincount(places, minlength=size)[:size].astype(np.float64)
    means = np.zeros((size, y.shape[1]))
    np.add.at(means, places, y)
    means /= (totals + _FEW)[:, None]
    _, _, axes = np.linalg.svd(means * np.sqrt(totals)[:, None], full_matrices=False)
    axis = axes[0] * np.sign(axes[0][np.abs(axes[0]).argmax()])
    return codes[np.argsort(means @ axis, kind="stable")]


def _features(values: np.ndarray, column: Column) -> list[np.ndarray]:
    """Columns of mean zero that say what a column holds."""
    gone = np.isnan(values)
    found = [gone - gone.mean()] if gone.any() else []
    if column.kind in ("class", "boolean"):
        count = min(len(column.classes), _MOST_CLASSES)
        return found + [(values == place) - float((values == place).mean()) for place in range(count)]
    known = values[~gone]
    deviation = known.std() if len(known) else 0.0
    if not (np.isfinite(deviation) and deviation > 0):
        return found
    return [*found, np.where(gone, 0.0, (values - known.mean()) / deviation)]
