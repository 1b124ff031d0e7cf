"""Columns of words as classes, and which of them are none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from genflow.data.conditions import class_name
from genflow.data.reading.table import Table
from genflow.errors import InputError

__all__ = ["classes", "refuse_classes_of_few_rows"]

_FEW = 20  # classes may have a single row each
_MONTH = "(jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]*"
_DATE = re.compile(
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}([ T].*)?"  # 2012-01-31, with a time or without
    r"|\d{1,2}([-/.])\d{1,2}\3\d{2,4}( .*)?"  # 31.1.2012
    rf"|\d{{1,2}}[-. ]*{_MONTH}[-. ,]*\d{{2,4}}"  # 31-Jan-12
    rf"|{_MONTH}[-. ]*\d{{1,2}}[-., ]+\d{{2,4}}",  # January 31, 2012
    re.IGNORECASE,
)


def classes(values: Sequence[Any], missing: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The place of each value among the names of all, which are sorted; NaN where it is missing.

    Args:
        values: The values of a column, words or numbers.
        missing: Where there is none.

    Example:
        >>> classes(["b", 1.0, "b"], np.array([False, False, True]))
        (array([ 1.,  0., nan]), ['1', 'b'])
    """
    found, places = np.unique(
        [class_name(value) for value, gone in zip(values, missing, strict=True) if not gone], return_inverse=True
    )
    result = np.full(len(values), np.nan)
    result[~missing] = places
    return result, [str(name) for name in found]


def refuse_classes_of_few_rows(table: Table, columns: Collection[int], forced: Collection[int]) -> None:
    """Refuses dates and other columns of words that nothing can be learned from.

    Args:
        table: The table.
        columns: Where the columns of the condition stand.
        forced: Those that the user calls classes.

    Raises:
        InputError: A column of dates that nobody calls classes, or one with more classes than half of the rows.
    """
    for j in columns:
        names = table.classes[j]
        rows = len(table.values)
        what = f"condition: {table.label(j)} of {table.origin}"
        if names and j not in forced and all(_DATE.fullmatch(name) for name in names):
            raise InputError(
                f"{what} holds dates such as {names[0]}, {len(names)} of them, which make no classes; make numbers of "
                "them, such as the day of the year, leave it out, or name it in classes="
            )
        if len(names) > max(_FEW, rows / 2):
            raise InputError(
                f"{what} has {len(names)} classes in {rows} rows, too few of each to learn from; leave it out, or join "
                "classes"
            )
