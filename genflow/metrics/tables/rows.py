"""What the metrics of tables take and give: rows of numbers with their columns, and a figure with its floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from genflow.errors import InputError

__all__ = ["CLASSES", "Figure", "TableColumn", "subsample", "is_class", "place_count", "table_rows"]

CLASSES = ("class", "boolean")
"""The kinds of columns whose numbers are places among classes; all others are numbers."""


class TableColumn(Protocol):
    """What a metric asks of a column; `genflow.data.kinds.Column` has it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> str:
        """`class` or `boolean`, or something else for numbers."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of its classes."""


@dataclass(frozen=True)
class _Number:
    """A column of numbers that nobody described."""

    name: str
    kind: str = "continuous"
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A figure of samples of a table, and what it is held against.

    Attributes:
        value: The figure of the samples.
        standard_error: Its standard error; NaN where there is none.
        floor: The same figure of the training rows in the place of the samples: what rows of the right law have. No
            model is better than that, but by chance or by copying.
        parts: What it is the mean of, by name: columns, pairs of columns, learners.

    Example:
        >>> Figure(0.32, floor=0.28)
        Figure(value=0.32, standard_error=nan, floor=0.28, parts={})
        >>> print(Figure(0.0123456, 0.00041, floor=0.0098))
        0.01235 ±0.00041, floor 0.0098
    """

    value: float
    standard_error: float = math.nan
    floor: float = math.nan
    parts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """To two digits of the standard error, to three of its own without one; the floor where there is one."""
        error = self.standard_error
        scale, digits = (error, 2) if 0 < error < math.inf else (abs(self.value), 3)
        places = max(0, digits - 1 - math.floor(math.log10(scale))) if 0 < scale < math.inf else digits
        text = f"{self.value:.{places}f}"
        text += "" if math.isnan(error) else f" ±{error:.{places}f}"
        return text if math.isnan(self.floor) else f"{text}, floor {self.floor:.3g}"


def table_rows(
    samples: Any, train: Any, test: Any, columns: Sequence[TableColumn] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Sequence[TableColumn]]:
    """The three tables as float64, `(n, d)`, and a column for each of theirs.

    NaN is a value that is missing, of any column.

    Args:
        samples: Rows of a model.
        train: The rows that it was trained on.
        test: Rows that it has not seen.
        columns: What the columns hold; numbers, where it is not given.

    Raises:
        InputError: Other shapes, no rows, infinite values, a place that no class has.
    """
    tables = {"samples": samples, "train": train, "test": test}
    found = {name: np.asarray(table, dtype=np.float64) for name, table in tables.items()}
    for name, rows in found.items():
        if rows.ndim != 2 or not rows.size:
            raise InputError(f"{name}: the shape {rows.shape} came; rows and columns, neither of them none, would do")
    described = [_Number(f"x{j + 1}") for j in range(found["train"].shape[1])] if columns is None else list(columns)
    for name, rows in found.items():
        if rows.shape[1] != len(described):
            raise InputError(f"{name}: {rows.shape[1]} columns came, {len(described)} are wanted")
        for column, values in zip(described, rows.T):
            _check(f"{name}: column {column.name!r}", column, values)
    return found["samples"], found["train"], found["test"], described


def is_class(column: TableColumn) -> bool:
    """Whether its numbers are places among classes."""
    return column.kind in CLASSES


def place_count(column: TableColumn) -> int:
    """How many classes a column has."""
    return len(column.classes) or (2 if column.kind == "boolean" else 0)


def subsample(rows: np.ndarray, size: int | None, seed: int) -> np.ndarray:
    """At most so many rows, drawn without replacement; all of them, in their order, where there are no more."""
    if size is None or len(rows) <= size:
        return rows
    return rows[np.random.default_rng(seed).permutation(len(rows))[:size]]


def _check(where: str, column: TableColumn, values: np.ndarray) -> None:
    if np.isinf(values).any():
        raise InputError(f"{where}: row {int(np.isinf(values).argmax())} is infinite; finite or missing would do")
    if not is_class(column):
        return
    seen, count = values[~np.isnan(values)], place_count(column)
    wrong = (seen != np.rint(seen)) | (seen < 0) | (seen >= count)
    if wrong.any():
        raise InputError(f"{where}: {seen[wrong][0]:g} came; the place of one of {count} classes, from 0, would do")
