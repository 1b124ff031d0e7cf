"""A table: numbers, the kinds of its columns, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genflow.data.conditions import class_name
from genflow.data.dataset import default_columns
from genflow.data.kinds import Column, nanoseconds
from genflow.data.reading.kind import number_column
from genflow.data.reading.notation import is_number
from genflow.errors import InputError

__all__ = [
    "NO_HINTS",
    "NO_NUMBER",
    "Hints",
    "Table",
    "confirm_kinds",
    "hints_at",
    "kind_said",
    "quote",
    "wanted_positions",
    "written",
]

NO_NUMBER = "mend it, or leave the column out with drop="
"""What an error advises where a value is no number."""

Hints = Mapping[str | int, "str | Column"]
"""Of columns, by name or position, the kind that they have in any case, or the column of a table that is known."""


NO_HINTS: Hints = {}


class Table:
    """Numbers, the kinds of their columns, and where they come from.

    Args:
        values: Values, `(rows, columns)`, float64, as `genflow.data.kinds.Column` makes numbers of them.
        columns: Names of the columns.
        named: Whether the names stand in the source, and were not given by `default_columns`.
        origin: What an error calls the source.
        remarks: What was noticed on the way.
        line: The line (from 1) of a row (from 0) in a file of text.
        kinds: What each column holds; numbers, where it is not said.
        strays: Words among numbers that are read as missing, by row and name of the column.
        before: How many columns of the source stand before these.
    """

    def __init__(
        self,
        values: np.ndarray,
        columns: Sequence[str],
        named: bool,
        origin: str,
        remarks: Sequence[str] = (),
        line: Callable[[int], int] | None = None,
        kinds: Sequence[Column] | None = None,
        strays: Mapping[tuple[int, str], str] | None = None,
        before: int = 0,
    ):
        self.values, self.columns, self.named, self.origin = values, list(columns), named, origin
        self.remarks, self.line, self._before = list(remarks), line, before
        self.strays = dict(strays or {})
        if kinds is None and values.ndim == 2:
            kinds = [number_column(name, column) for name, column in zip(self.columns, values.T, strict=True)]
        self.kinds = list(kinds or [])

    @property
    def classes(self) -> list[list[str]]:
        """Of each column the names of its classes, whose places are its values; none for numbers."""
        return [list(column.classes) for column in self.kinds]

    def place(self, i: int, j: int) -> str:
        """How an error names a value: its row from 1, its line in a file of text, its column."""
        line = "" if self.line is None else f" (line {self.line(i)})"
        return f"{self.origin}: row {i + 1}{line}, {self.label(j)}"

    def label(self, j: int) -> str:
        """How an error names a column: its name, or its number where it has none."""
        return f"column {self.columns[j]!r}" if self.named else f"column {self._before + j + 1}"

    def position(self, column: str | int) -> int:
        """Where a column stands, which is named by its name or its position.

        Raises:
            InputError: It is not there.
        """
        position = _position(self.columns, column)
        if position is None:
            meant = not isinstance(column, str) or _POSITION.fullmatch(column)
            places = f", at positions 0 to {len(self.columns) - 1}" if meant else ""
            raise InputError(f"{self.origin}: no column {column!r}; it has {_some_names(self.columns)}{places}")
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
            raise InputError(f"{self.origin}: columns is empty; name at least one of {_some_names(self.columns)}")
        positions = [self.position(column) for column in wanted]
        names = [self.columns[j] for j in positions]
        if len(set(names)) < len(names):
            raise InputError(f"{self.origin}: a column is asked for twice in {_some_names(names)}")
        kinds = [self.kinds[j] for j in positions]
        named = self.named or positions != list(range(len(self.columns)))  # a number says where a column stood at first
        return Table(self.values[:, positions], names, named, self.origin, self.remarks, self.line, kinds, self.strays)

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
            rest = f"; not asked for: {_some_names(extra)}" if extra else ""
            raise InputError(f"{self.origin}: missing columns: {_some_names(missing)}{rest}")
        if count != len(columns):
            raise InputError(f"{self.origin}: {count} columns came, {len(columns)} are wanted: {_some_names(columns)}")
        renamed = dict(zip(self.columns, columns, strict=True))
        kinds = [replace(column, name=name) for column, name in zip(self.kinds, columns, strict=True)]
        strays = {(i, renamed[name]): word for (i, name), word in self.strays.items()}
        return Table(self.values, columns, True, self.origin, self.remarks, self.line, kinds, strays)

    def without_rows(self, gone: np.ndarray) -> Table:
        """The rows that are left.

        Args:
            gone: Which are left out, `(rows,)`.
        """
        rows = np.flatnonzero(~gone)
        places = {int(i): k for k, i in enumerate(rows)}
        line = self.line
        strays = {(places[i], name): word for (i, name), word in self.strays.items() if i in places}
        return Table(
            self.values[rows], self.columns, self.named, self.origin, self.remarks,
            None if line is None else lambda row: line(int(rows[row])), self.kinds, strays,
        )  # fmt: skip

    def recoded(self, kinds: Sequence[Column]) -> Table:
        """The same rows in the numbers of another table: places among its classes, counts of its units.

        A class that the other has not gets the place behind all of them, `len(classes)`.

        Args:
            kinds: The columns of the other, one for each of these.

        Raises:
            InputError: Words in a column of numbers, or none that are dates in a column of dates.
        """
        values = self.values.copy()
        for j, (own, other) in enumerate(zip(self.kinds, kinds, strict=True)):
            values[:, j] = self._recode_column(j, own, other)
        return Table(values, self.columns, self.named, self.origin, self.remarks, self.line, kinds, self.strays)

    def _recode_column(self, j: int, own: Column, other: Column) -> np.ndarray:
        column = self.values[:, j]
        if np.isnan(column).all():
            return column
        if other.classes:
            names = list(own.classes) or [class_name(value) for value in np.unique(column[~np.isnan(column)])]
            if not own.classes and other.kind == "boolean" and set(names) <= {"0", "1"}:
                return column
            codes = np.searchsorted(np.unique(column[~np.isnan(column)]), column) if not own.classes else column
            spelt = {name.lower(): k for k, name in enumerate(other.classes)} if other.kind == "boolean" else {}
            known = {name: k for k, name in enumerate(other.classes)}
            places = [known.get(name, spelt.get(name.lower(), len(other.classes))) for name in names]
            gone = np.isnan(column)
            return np.where(gone, np.nan, np.array(places, dtype=np.float64)[np.where(gone, 0, codes).astype(int)])
        if own.classes and own.kind != "boolean":
            i = next(i for i, value in enumerate(column) if value == value and not is_number(own.classes[int(value)]))
            what = "a date" if other.kind == "date" else "a number"
            raise InputError(f"{self.place(i, j)}: {quote(own.classes[int(column[i])])} is not {what}; {NO_NUMBER}")
        if own.unit and other.unit and own.unit != other.unit:
            return column * (nanoseconds(own.unit) / nanoseconds(other.unit))
        if bool(own.unit) != bool(other.unit) and "date" in (own.kind, other.kind):
            i = int(np.argmin(np.isnan(column)))
            what, came = ("a date", written(column[i])) if other.kind == "date" else ("a number", "a date")
            raise InputError(f"{self.place(i, j)}: {came} came, {what} is wanted")
        return column

    def numbers(self) -> Table:
        """Itself, if every column holds numbers.

        Raises:
            InputError: A word or a date, with its row and column.
        """
        for j, column in enumerate(self.kinds):
            for i in np.flatnonzero(~np.isnan(self.values[:, j])) if column.classes or column.kind == "date" else ():
                if column.kind == "date":
                    raise InputError(f"{self.place(int(i), j)}: a date is not a number; {NO_NUMBER}")
                word = column.classes[int(self.values[i, j])]
                if column.kind != "boolean" and not is_number(word):
                    raise InputError(f"{self.place(int(i), j)}: {quote(word)} is not a number; {NO_NUMBER}")
        return self

    def checked(self, gaps: bool = False, among: Sequence[int] | None = None) -> Table:
        """Itself, if every value is finite.

        Args:
            gaps: Whether values may be missing.
            among: The columns that count, `None` for all.

        Raises:
            InputError: An infinite value, or a missing one, with its row and column.
        """
        wrong = np.isinf(self.values) if gaps else ~np.isfinite(self.values)
        if among is not None:
            wrong[:, [j for j in range(wrong.shape[1]) if j not in among]] = False
        if wrong.any():
            i, j = (int(k) for k in np.argwhere(wrong)[0])
            if (word := self.strays.get((i, self.columns[j]))) is not None:
                raise InputError(f"{self.place(i, j)}: {quote(word)} is not a number; {NO_NUMBER}")
            more = int(wrong.sum()) - 1
            rest = f", and {more} more like it" if more else ""
            what = "a missing value (NaN)" if np.isnan(self.values[i, j]) else f"{self.values[i, j]}"
            raise InputError(f"{self.place(i, j)}: {what}{rest}; drop or fill such rows")
        return self


def kind_said(hint: str | Column | None) -> str:
    """The kind that a hint says, '' for none."""
    return hint.kind if isinstance(hint, Column) else hint or ""


def hints_at(names: Sequence[str], hints: Hints) -> dict[int, str | Column]:
    """The hints by the places of their columns; those of columns that are not there are left to whoever needs them."""
    found = {_position(names, column): hint for column, hint in hints.items()}
    return {j: hint for j, hint in found.items() if j is not None}


def confirm_kinds(table: Table, hints: Hints) -> Table:
    """The table, its columns of the kinds that a user says.

    Args:
        table: The table.
        hints: What is said of some columns.

    Raises:
        InputError: Values that are not of that kind.
    """
    for j, said in hints_at(table.columns, hints).items():
        column, values = table.kinds[j], table.values[:, j]
        if not isinstance(said, str) or said == "ignored" or column.kind == "constant":
            continue
        numbers = column.kind in ("integer", "continuous") and said in ("integer", "continuous")
        broken = (values != np.floor(values)) & ~np.isnan(values)
        if numbers and said == "integer" and broken.any():
            i = int(broken.argmax())
            raise InputError(
                f"{table.place(i, j)}: {values[i]:.15g} is no integer, as kinds says; 'continuous' would do"
            )
        if numbers or said == "identifier":
            table.kinds[j] = replace(column, kind=said)
        elif said != column.kind:
            advice = "'class'" if column.kind in ("class", "identifier") else f"{column.kind!r} or 'class'"
            of = f"{table.label(j)} of {table.origin}"
            raise InputError(f"kinds: {said!r} came for {of}, which its values are not; {advice} would do")
    return table


def wanted_positions(names: Sequence[str], wanted: Sequence[str | int] | None, named: bool = False) -> set[int]:
    """Where the columns stand that are asked for.

    Where one is not there: those that are, if the names stand in the source; else all, since its place may be meant.
    """
    positions = {_position(names, column) for column in wanted or ()}
    found = {position for position in positions if position is not None}
    return set(range(len(names))) if wanted is None or (None in positions and not (named and found)) else found


def _position(names: Sequence[str], column: str | int) -> int | None:
    """Where a column stands: by its name; a number, or a text of digits that is no name, is its position from 0."""
    if isinstance(column, str):
        if column in names:
            return names.index(column)
        if _POSITION.fullmatch(column) is None:
            return None
    return int(column) if 0 <= int(column) < len(names) else None


_POSITION = re.compile(r"-?[0-9]{1,9}")  # what is meant for one


def quote(value: Any) -> str:
    """A value as an error quotes it, cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def written(number: float) -> str:
    """A number for people: a whole one with all of its digits, others with six.

    Args:
        number: The number.

    Example:
        >>> written(5305629.0), written(0.1234567), written(-999.0), written(1e300)
        ('5305629', '0.123457', '-999', '1e+300')
    """
    whole = float(number).is_integer() and abs(number) < _EXACT
    return f"{number:.0f}" if whole else f"{number:.6g}"


_EXACT = 2.0**53  # up to which floats tell whole numbers apart


def _some_names(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
