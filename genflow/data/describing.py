"""What the columns of a data set hold, in words: kinds, ranges, gaps, and values that many rows share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genflow.data.atoms import repeats
from genflow.data.dataset import Dataset
from genflow.data.kinds import Column, Schema
from genflow.data.reading.table import written

__all__ = ["Described", "describe_columns"]

_NAMED = 4  # classes
_ATOMS = 3  # values


@dataclass(frozen=True)
class Described:
    """One column in words.

    Attributes:
        name: Its name.
        kind: What it holds, and in which unit; and that it is left out, or given.
        values: Its range, or its classes.
        missing: The share of rows that miss it, '' for none.
        atoms: The values that many rows share.
    """

    name: str
    kind: str
    values: str
    missing: str = ""
    atoms: str = ""


def describe_columns(data: Dataset) -> list[Described]:
    """The columns of a data set in words, those that are left out among them.

    Args:
        data: The data set.

    Example:
        >>> import genflow as gf
        >>> rows = np.random.default_rng(0).integers(1, 6, size=(100, 2))
        >>> describe_columns(gf.data.load(rows))[0]
        Described(name='x1', kind='integer', values='1 to 5', missing='', atoms='5 values')
    """
    rows = np.concatenate([part.numpy() for part in data.parts().values()])
    schema = data.schema or Schema(tuple(Column(name) for name in data.columns))
    modelled = iter(rows.T)
    return [_describe_column(column, next(modelled) if column.modelled else None) for column in schema.columns]


def _describe_column(column: Column, numbers: np.ndarray | None) -> Described:
    kind = f"{column.kind} ({column.unit})" if column.unit else column.kind
    if column.kind == "constant":
        return Described(column.name, kind, str(column.value), "100 %" if column.value is None else "", "comes back")
    if column.kind == "identifier":
        return Described(column.name, f"{kind}, left out", "")
    if numbers is None:
        return Described(column.name, f"{kind}, given", _classes(column))
    known = numbers[~np.isnan(numbers)]
    share = 100 * (1 - len(known) / max(len(numbers), 1))
    missing = f"{share:.2g} %" if share else ""
    if column.classes:
        return Described(column.name, kind, _classes(column, known), missing, f"{len(column.classes)} classes")
    low, high = (_value(column, number) for number in (known.min(), known.max())) if len(known) else ("", "")
    return Described(column.name, kind, f"{low} to {high}", missing, _atoms(column, known))


def _classes(column: Column, known: np.ndarray | None = None) -> str:
    """The names of the classes, the most frequent first."""
    names = list(column.classes)
    if known is not None and len(known):
        names = [
            names[place] for place in np.argsort(-np.bincount(known.astype(int), minlength=len(names)), kind="stable")
        ]
    return ", ".join(names[:_NAMED]) + (f", … ({len(names)})" if len(names) > _NAMED else "")


def _value(column: Column, number: float) -> str:
    """A number as the table has it."""
    if column.kind == "date" or column.unit:
        value = replace(column, missing=False).series(np.array([number])).iloc[0]
        return str(value).removesuffix(" 00:00:00")
    return written(number)


def _atoms(column: Column, known: np.ndarray) -> str:
    """Values that many rows share: how many there are, or which stand out."""
    if not len(known):
        return ""
    found = repeats(known)
    if not found.atoms:
        return f"grid {column.grid:g}" if column.grid and found.share > 0.05 else ""
    if found.coarse:
        return f"{found.distinct} values"
    value, rows = found.most
    return f"{100 * found.outstanding:.2g} % on few values, {rows} rows at {_value(column, value)}"
