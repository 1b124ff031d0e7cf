r"""Gower's distance of two rows of a table, in which every column weighs the same.

.. math::
    d(x, y) = \sum_j d_j(x_j, y_j), \qquad d_j = \frac{|x_j - y_j|}{\max_j - \min_j} \text{ of numbers}, \qquad
    d_j = \mathbb 1[x_j \ne y_j] \text{ of classes,}

the least and the greatest value being those of the training rows. A missing value is a value of its own: 0 from another
missing one, and 1 from any number between the least and the greatest, as from any class.

It is the :math:`L^1` distance of vectors: a class is half of its unit vector; a number is itself, or, in a column with
gaps, the pair :math:`(v, 1 - v) / 2` of a vector whose third entry, a half, stands for a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.metrics.tables.rows import TableColumn, is_class, place_count

__all__ = ["Coded", "Gower", "distances", "portions"]

_NUMBERS = 1 << 20  # distances at once: 8 megabytes, which an allocator takes again and again


@dataclass(frozen=True)
class Coded:
    """Rows as vectors.

    Attributes:
        numbers: Scaled numbers, `(n, p)`, float64.
        classes: Unit vectors of classes, side by side, `(n, q)`, float32.
        count: How many columns of classes they stand for.
    """

    numbers: Float[Tensor, "n p"]
    classes: Float[Tensor, "n q"]
    count: int

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> Coded:
        return Coded(self.numbers[part], self.classes[part], self.count)

    def matrix(self) -> np.ndarray:
        """Numbers and unit vectors side by side, `(n, p + q)`: what a learner takes."""
        return torch.cat([self.numbers, self.classes.double()], 1).numpy()


@dataclass(frozen=True)
class Gower:
    """The units of Gower's distance, those of the training rows.

    Attributes:
        columns: The columns.
        low: The least value of each, `(d,)`.
        span: The greatest minus the least, 1 where they are one, `(d,)`.
        gaps: Whether values of a column are missing, here or in other tables, `(d,)`.

    Example:
        >>> import numpy as np
        >>> train = np.array([[0.0, 1.0], [10.0, 3.0]])
        >>> gower = Gower.fit(train)
        >>> distances(gower(train), gower(np.array([[5.0, 3.0]])))
        tensor([[1.5000],
                [0.5000]], dtype=torch.float64)
    """

    columns: Sequence[TableColumn | None]
    low: np.ndarray
    span: np.ndarray
    gaps: np.ndarray

    @classmethod
    def fit(cls, train: np.ndarray, columns: Sequence[TableColumn] | None = None, *others: np.ndarray) -> Gower:
        """The units of training rows.

        Args:
            train: Training rows, `(n, d)`.
            columns: Their columns; numbers where they are not given.
            others: Further tables that will be coded: values may be missing there that are not missing here.
        """
        seen = ~np.isnan(train)
        low = np.where(seen.any(0), np.where(seen, train, np.inf).min(0), 0.0)
        high = np.where(seen.any(0), np.where(seen, train, -np.inf).max(0), 0.0)
        gaps = np.any([np.isnan(table).any(0) for table in (train, *others)], axis=0)
        given = [None] * train.shape[1] if columns is None else list(columns)
        return cls(given, low, np.where(high > low, high - low, 1.0), gaps)

    def __call__(self, rows: np.ndarray) -> Coded:
        """Rows as vectors.

        Args:
            rows: Rows, `(n, d)`; NaN where a value is missing.
        """
        numbers, classes = [np.empty((len(rows), 0))], [np.empty((len(rows), 0), dtype=np.float32)]
        count = 0
        for j, column in enumerate(self.columns):
            values = rows[:, j]
            if column is not None and is_class(column):
                names = place_count(column)
                places = np.where(np.isnan(values), names, values).astype(int)
                classes.append(np.eye(names + 1, dtype=np.float32)[places])
                count += 1
                continue
            scaled = (values - self.low[j]) / self.span[j]
            if self.gaps[j]:
                gone = np.isnan(scaled)
                either = np.stack([scaled, 1 - scaled, gone], 1) / 2
                numbers.append(np.where(gone[:, None], [[0.0, 0.0, 0.5]], either))
            else:
                numbers.append(scaled[:, None])
        return Coded(torch.from_numpy(np.hstack(numbers)), torch.from_numpy(np.hstack(classes)), count)


def distances(x: Coded, y: Coded) -> Float[Tensor, "n m"]:
    """Gower's distance of every two rows."""
    if not x.count:
        return torch.cdist(x.numbers, y.numbers, p=1)
    differing = (x.count - x.classes @ y.classes.T).double()  # whole numbers, exact
    return differing if not x.numbers.shape[1] else differing + torch.cdist(x.numbers, y.numbers, p=1)


def portions(rows: int, others: int, numbers: int | None = None) -> Iterator[slice]:
    """Slices of rows whose distances from all others fit into memory.

    Args:
        rows: The number of rows.
        others: The number of those that they are held against.
        numbers: At most so many distances at once, but those of one row at least; 8 megabytes where it is not given.

    Example:
        >>> [part.start for part in portions(5, 10, 20)]
        [0, 2, 4]
    """
    size = max(1, (numbers or _NUMBERS) // max(1, others))
    for start in range(0, rows, size):
        yield slice(start, min(rows, start + size))
