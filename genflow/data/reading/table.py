"""A table: numbers with column names, classes where there are any, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genflow.data.dataset import default_columns
from genflow.errors import InputError

__all__ = ["NO_CLASSES", "NO_NUMBER", "Classes", "Table", "shown", "wanted_positions"]

NO_NUMBER = "encode it as numbers, or leave the column out with columns="
"""What an error advises where a value is no number."""


@dataclass(frozen=True)
class Classes:
    """Columns, by name or position, that may hold classes, and those that do even where they look like numbers."""

    allowed: Sequence[str | int] = ()
    forced: Sequence[str | int] = ()


NO_CLASSES = Classes()


class Table:
    """Numbers with column names, and where they come from.

    Args:
        values: Values, `(rows, columns)`, float64.
        columns: Names of the columns.
        named: Whether the names stand in the source, and were not given by `default_columns`.
        origin: What an error calls the source.
        remarks: What was noticed on the way.
        line: The line (from 1) of a row (from 0) in a file of text.
        classes: Of each column the names of its classes, whose places are its values; none for numbers.
    """

    def __init__(
        self,
        values: np.ndarray,
        columns: Sequence[str],
        named: bool,
        origin: str,
        remarks: Sequence[str] = (),
        line: Callable[[int], int] | None = None,
        classes: Sequence[Sequence[str]] | None = None,
    ):
        self.values, self.columns, self.named, self.origin = values, list(columns), named, origin
        self.remarks, self.line = list(remarks), line
        self.classes = [[] for _ in self.columns] if classes is None else [list(names) for names in classes]

    def place(self, i: int, j: int) -> str:
        """How an error names a value: its row from 1, its line in a file of text, its column."""
        line = "" if self.line is None else f" (line {self.line(i)})"
        return f"{self.origin}: row {i + 1}{line}, {self.label(j)}"

    def label(self, j: int) -> str:
        """How an error names a column: its name, or its number where it has none."""
        return f"column {self.columns[j]!r}" if self.named else f"column {j + 1}"

    def position(self, column: str | int) -> int:
        """Where a column stands, which is named by its name or its position.

        Raises:
            InputError: It is not there.
        """
        position = _position(self.columns, column)
        if position is None:
            raise InputError(f"{self.origin}: no column {column!r}; it has {_listed(self.columns)}")
        return position

    def select(self, columns: Sequence[str | int] | None) -> Table:
        """The wanted columns, by name or by position from 0.

        Raises:
            InputError: A column that is not there.
        """
        if columns is None:
            return self
        wanted = [columns] if isinstance(columns, str | int) else list(columns)
        if not wanted:
            raise InputError(f"{self.origin}: columns is empty; name at least one of {_listed(self.columns)}")
        positions = [self.position(column) for column in wanted]
        names = [self.columns[j] for j in positions]
        if len(set(names)) < len(names):
            raise InputError(f"{self.origin}: a column is asked for twice in {_listed(names)}")
        classes = [self.classes[j] for j in positions]
        return Table(self.values[:, positions], names, True, self.origin, self.remarks, self.line, classes)

    def expect(self, columns: Sequence[str]) -> Table:
        """The columns of another table: by name where they have these names, else by position.

        Raises:
            InputError: Another number of columns, or named ones that are not these.
        """
        if self.columns == list(columns):
            return self
        if set(columns) <= set(self.columns):
            return self.select(list(columns))
        count = len(self.columns)
        if self.named and list(columns) != default_columns(len(columns)):
            missing = [name for name in columns if name not in self.columns]
            extra = [name for name in self.columns if name not in columns]
            rest = f"; not asked for: {_listed(extra)}" if extra else ""
            raise InputError(f"{self.origin}: missing columns: {_listed(missing)}{rest}")
        if count != len(columns):
            raise InputError(f"{self.origin}: {count} columns came, {len(columns)} are wanted: {_listed(columns)}")
        return Table(self.values, columns, True, self.origin, self.remarks, self.line, self.classes)

    def recoded(self, classes: Sequence[Sequence[str]]) -> Table:
        """The same rows with the classes of another table.

        Raises:
            InputError: A class that is none of those.
        """
        values = self.values.copy()
        for j, (own, names) in enumerate(zip(self.classes, classes, strict=True)):
            if names:
                places = np.array([names.index(name) if name in names else -1 for name in own])
                values[:, j] = places[self.values[:, j].astype(int)]
                if (values[:, j] < 0).any():
                    i = int((values[:, j] < 0).argmax())
                    found = own[int(self.values[i, j])]
                    raise InputError(f"{self.place(i, j)}: {found!r} is none of the classes {_listed(names)}")
        return Table(values, self.columns, self.named, self.origin, self.remarks, self.line, classes)

    def checked(self) -> Table:
        """Itself, if every value is finite.

        Raises:
            InputError: NaN or an infinite value, with its row and column.
        """
        finite = np.isfinite(self.values)
        if not finite.all():
            i, j = (int(k) for k in np.argwhere(~finite)[0])
            more = int((~finite).sum()) - 1
            rest = f", and {more} more like it" if more else ""
            what = "a missing value (NaN)" if np.isnan(self.values[i, j]) else f"{self.values[i, j]}"
            raise InputError(f"{self.place(i, j)}: {what}{rest}; drop or fill such rows")
        return self


def wanted_positions(names: Sequence[str], wanted: Sequence[str | int] | None) -> set[int]:
    """Where the columns stand that are asked for; all of them if one is not there, since its place may be meant."""
    positions = {_position(names, column) for column in wanted or ()}
    found = {position for position in positions if position is not None}
    return set(range(len(names))) if wanted is None or None in positions else found


def _position(names: Sequence[str], column: str | int) -> int | None:
    """Where a column stands: by its name; a number, or a text of digits that is no name, is its position from 0."""
    if isinstance(column, str):
        if column in names:
            return names.index(column)
        if re.fullmatch(r"-?\d{1,9}", column) is None:
            return None
    return int(column) % len(names) if -len(names) <= int(column) < len(names) else None


def shown(value: Any) -> str:
    """A value as an error quotes it, cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _listed(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
