"""Fewer rows of a data set that is already split."""

from __future__ import annotations

import numpy as np

from genflow.errors import InputError

__all__ = ["fewer"]

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def fewer(parts: Parts, rows: int | None) -> Parts:
    """The same share of each part, drawn by `numpy.random.default_rng(0)`, in the order in which they stand.

    Args:
        parts: Training, validation and test rows.
        rows: How many are left in all, at most; `None` for all.

    Example:
        >>> import numpy as np
        >>> [len(part) for part in fewer((np.zeros(800), np.zeros(100), np.zeros(100)), 50)]
        [40, 5, 5]
    """
    total = sum(map(len, parts))
    if rows is None or rows >= total:
        return parts
    if rows < 10:
        raise InputError(f"rows: {rows} came; at least 10 would do")
    rng = np.random.default_rng(0)
    train, validation, test = (
        part[np.sort(rng.choice(len(part), max(1, round(len(part) * rows / total)), replace=False))] for part in parts
    )
    return train, validation, test
