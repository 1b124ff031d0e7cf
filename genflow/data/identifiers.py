"""Columns that number the rows: nothing can be learned of them, and they hide rows that are copies of each other."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from genflow.data.atoms import duplicate_rows
from genflow.data.reading import Table

__all__ = ["mark_identifiers"]

_NAMES = re.compile(
    r"(.*[\W_])?(id|ids|uid|guid)|idx|index|row|rows|row[ _]?(id|index|nr|no|num|number|name|names)|(nr|no|#)\.?"
    r"|unnamed: [\d._]+|level_\d+|__index_level_\d+__|",
    re.IGNORECASE,
)
_CAMEL = re.compile(r".*[a-z](Id|ID)")


def mark_identifiers(table: Table, given: Collection[int] = ()) -> Table:
    """A table whose columns that number its rows are identifiers, and a remark on each.

    A column does if it is 0, 1, 2, … or 1, 2, 3, … in the order of the rows; if it is called `id`, `customer_id`,
    `PassengerId`, `index`, `row`, `Unnamed: 0` or the like and holds whole numbers, none of them in two different rows;
    or if it is the first of a table without names and holds each of these numbers once, in any order. Any other column
    with each of them once is remarked on. One column is left in any case.

    Args:
        table: The table.
        given: Columns that stay.

    Example:
        >>> import numpy as np
        >>> rows = np.column_stack([np.arange(20), np.random.default_rng(0).normal(size=(20, 2))])
        >>> table = mark_identifiers(Table(rows, ["Id", "a", "b"], True, "data"))
        >>> table.kinds[0].kind, table.remarks
        ('identifier', ["column 'Id' numbers the rows (0 to 19): left out; columns= keeps it"])
    """
    numbered = [j for j, column in enumerate(table.kinds) if column.kind == "integer" and j not in given]
    found = [j for j in numbered if _numbers_rows(table, j)]
    if not any(column.modelled for j, column in enumerate(table.kinds) if j not in found and j not in given):
        found = []
    for j in found:
        column = table.values[:, j]
        span = f"{column.min():.15g} to {column.max():.15g}"
        table.remarks.append(f"{table.label(j)} numbers the rows ({span}): left out; columns= keeps it")
        table.kinds[j] = replace(table.kinds[j], kind="identifier")
    for j in numbered:
        if j not in found and not table.kinds[j].missing and _counts(np.sort(table.values[:, j])):
            advice = "if it numbers the rows, leave it out with drop="
            table.remarks.append(
                f"{table.label(j)} has every number from {table.values[:, j].min():g} on once: {advice}"
            )
    return table


def _numbers_rows(table: Table, j: int) -> bool:
    column = table.values[:, j]
    if len(column) < 2 or table.kinds[j].missing:
        return False
    if _counts(column):
        return True
    if not table.named:
        return j == 0 and _counts(np.sort(column))
    name = table.columns[j].strip()
    if not (_NAMES.fullmatch(name) or _CAMEL.fullmatch(name)):
        return False
    distinct = len(np.unique(column))
    return distinct == len(column) or (
        distinct >= len(column) / 2 and distinct == int((~duplicate_rows(table.values)).sum())
    )


def _counts(column: np.ndarray) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …"""
    return column[0] in (0, 1) and bool((np.diff(column) == 1).all())
