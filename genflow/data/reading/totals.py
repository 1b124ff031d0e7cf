"""A last row that is no row of the table: the sums, or the means, of those above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genflow.data.reading.cells import strip_signs
from genflow.data.reading.notation import Numbers, is_gap, is_missing

__all__ = ["last_row_of_totals"]

_WORDS = {
    "total", "totals", "grand total", "sum", "sums", "average", "averages", "avg", "mean", "means",
    "summe", "gesamt", "mittelwert", "somme", "moyenne", "suma", "promedio",
}  # fmt: skip
_FEWEST = 3  # rows above


def last_row_of_totals(columns: Sequence[Sequence[str]]) -> tuple[str, bool] | None:
    """What the last row calls itself, and whether it is the sums or the means of the rows above it.

    It is, if all of its numbers are. `None` if it has no such name: a word like `Total`, or a gap below words.

    Args:
        columns: The fields of each column.

    Example:
        >>> last_row_of_totals([["a", "b", "c", "Total"], ["1.5", "2", "4", "7.5"]])
        ('Total', True)
        >>> last_row_of_totals([["a", "b", "c", "Sum"], ["1.5", "2", "4", "9"]])
        ('Sum', False)
    """
    if len(columns[0]) <= _FEWEST:
        return None
    last = [column[-1].strip() for column in columns]
    own = (text for text, column in zip(last, columns) if text.rstrip(":").lower() in _WORDS and _is_new(column))
    word = next(own, "")
    if not word and not _is_gap(columns[0]):
        return None
    beside = (_numbers(column) for column, text in zip(columns, last) if not is_gap(text) and text != word)
    known = [each for each in beside if each is not None]
    same = bool(known) and any(all(_is(mean, *each) for each in known) for mean in (False, True))
    return (word, same) if word or (same and any(values[-1] for values, _ in known)) else None


def _is_new(column: Sequence[str]) -> bool:
    """Whether the last field is none of those above it, as the name of a class would be."""
    return column[-1] not in column[:-1]


def _is_gap(column: Sequence[str]) -> bool:
    """Whether the last field is empty, and none above it."""
    return not column[-1].strip() and not any(is_missing(text) for text in column[:-1])


def _numbers(column: Sequence[str]) -> tuple[np.ndarray, float] | None:
    """The numbers of a column, and half a unit of the last digit of the last of them; `None` for words."""
    meanings = Numbers(column).meanings
    if not meanings:
        bare = strip_signs(column)
        meanings = bare[0].meanings if bare is not None and len(column) - 1 not in bare[2] else []
    if not meanings:
        return None
    decimals = column[-1].rpartition(next(iter(meanings[0].decimals)))[2]
    digits = sum(map(str.isdigit, decimals)) if len(decimals) < len(column[-1]) else 0
    return meanings[0].values, 0.5 * 10.0**-digits


def _is(mean: bool, values: np.ndarray, half: float) -> bool:
    """Whether the last number is the sum, or the mean, of those above it, up to its last digit."""
    above = values[:-1][~np.isnan(values[:-1])]
    if not len(above):
        return False
    total, size = above.sum(), np.abs(above).sum()
    count = len(above) if mean else 1
    return bool(abs(values[-1] - total / count) <= half * (1 + 1e-9) + 1e-9 * size / count)
