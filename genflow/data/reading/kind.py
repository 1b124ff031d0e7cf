"""What kind of column values make: numbers on a grid, words as classes, and those that nothing can be learned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genflow.data.atoms import decimal_notations
from genflow.data.conditions import class_name
from genflow.data.kinds import Column

__all__ = ["FEW_CLASSES", "TRUTH", "decimal_grid", "distinct_words", "number_column", "truth_column", "word_column"]

TRUTH = ("False", "True")
"""The classes of a boolean."""
FEW_CLASSES = 20
"""So many classes may have a single row each."""
_MOST_DECIMALS = 10
_LOOKED_AT = 1000  # values that mostly tell that there is no grid


def decimal_grid(values: np.ndarray) -> float:
    """The width of the decimal grid that numbers stand on: 1, 0.1, 0.01, …; 0 where they stand on none.

    Args:
        values: Numbers, without gaps.

    Example:
        >>> decimal_grid(np.array([0.5, 1.25])), decimal_grid(np.array([3.0, 10.0])), decimal_grid(np.array([1 / 3]))
        (0.01, 1.0, 0.0)
    """
    values = values[np.isfinite(values)]
    if _decimals(values[:_LOOKED_AT]) is None or (decimals := _decimals(values)) is None:
        return 0.0
    return float(f"1e{-decimals}")


def _decimals(values: np.ndarray) -> int | None:
    return next((count for count, _ in decimal_notations(values, range(_MOST_DECIMALS + 1))), None)


def number_column(name: str, values: np.ndarray, dtype: str = "float64", **known: Any) -> Column:
    """The column of numbers: whole ones, others, or one that is everywhere the same.

    Args:
        name: Its name.
        values: The numbers, `(n,)`, NaN where one is missing.
        dtype: The dtype that samples come back in.
        known: Further attributes, such as the unit of durations; a `kind` that is said is not asked for.

    Example:
        >>> number_column("age", np.array([41.0, 17.0]), "int64")
        Column(name='age', kind='integer', ..., grid=1.0, missing=False, unit='', dtype='int64', ...)
    """
    there = values[~np.isnan(values)]
    column = Column(name, missing=len(there) < len(values), dtype=dtype, **known)
    if "kind" not in known and not len(there):
        return replace(column, kind="constant")
    if "kind" not in known and not column.missing and (there == there[0]).all() and np.isfinite(there[0]):
        value = int(there[0]) if dtype.lower().startswith(("int", "uint")) else float(there[0])
        return replace(column, kind="constant", value=value)
    grid = decimal_grid(there)
    kind = known.get("kind") or ("integer" if grid == 1.0 and np.isfinite(there).all() else "continuous")
    return replace(column, kind=kind, grid=grid)


def truth_column(name: str, values: np.ndarray, dtype: str, classes: Sequence[str] = TRUTH) -> Column:
    """The column of truth values, 0 or 1, NaN where one is missing."""
    there = values[~np.isnan(values)]
    missing = len(there) < len(values)
    if not len(there):
        return Column(name, "constant", dtype=dtype)
    if not missing and (there == there[0]).all():
        value = bool(there[0]) if dtype in ("bool", "boolean") else classes[int(there[0])]
        return Column(name, "constant", dtype=dtype, value=value)
    return Column(name, "boolean", tuple(classes), grid=1.0, missing=missing, dtype=dtype)


def distinct_words(words: Sequence[str], missing: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different words in the order in which they come, and the place of each row's among them, -1 for none."""
    places: dict[str, int] = {}
    found = [-1 if gone else places.setdefault(word, len(places)) for word, gone in zip(words, missing, strict=True)]
    return list(places), np.array(found, dtype=np.int64)


def word_column(
    name: str,
    values: Sequence[Any],
    missing: np.ndarray,
    dtype: str = "str",
    kind: str = "",
    order: Sequence[str] = (),
) -> tuple[np.ndarray, Column]:
    """The place of each word among the classes, which are sorted, NaN where it is missing; and their column.

    A column of different words in most rows is an identifier: names, tickets, free text.

    Args:
        name: Its name.
        values: Words, or numbers that are names of classes.
        missing: Where there is none.
        dtype: The dtype that samples come back in.
        kind: `class` where it is one in any case.
        order: The classes in an order of their own, such as the categories of a frame.

    Example:
        >>> numbers, column = word_column("city", ["Oslo", 1.0, "Graz"] * 2, np.array([False, False, False] * 2))
        >>> numbers[:3], column.classes
        (array([2., 0., 1.]), ('1', 'Graz', 'Oslo'))
    """
    found, places = distinct_words(values, missing)  # few of them are named
    named = [class_name(value) for value in found]
    classes = list(order) or sorted(set(named))
    place = {text: k for k, text in enumerate(classes)}
    code = np.array([*(place[text] for text in named), np.nan])
    numbers = code[places]
    column = Column(name, "class", tuple(classes), grid=1.0, missing=bool(missing.any()), dtype=dtype)
    known = int((~missing).sum())
    if kind == "class":
        return numbers, column
    if not classes or (not column.missing and len(set(named)) == 1):
        return numbers, replace(column, kind="constant", value=found[0] if found else None)
    if len(named) > max(FEW_CLASSES, known / 2) or (len(named) == known and known >= FEW_CLASSES / 2):
        return numbers, replace(column, kind="identifier")
    return numbers, column
