"""Which columns of a table are modelled, what they hold, and what becomes of missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from genflow.data.identifiers import mark_identifiers
from genflow.data.kinds import KINDS, Column, Schema
from genflow.data.reading import Hints, Table
from genflow.data.reading.dates import is_clock
from genflow.data.reading.kind import FEW_CLASSES, number_column
from genflow.data.reading.table import written
from genflow.errors import InputError

__all__ = ["MISSING", "Selection", "select"]

MISSING = ("value", "drop", "refuse")
"""What may be done about missing values."""
_SAID = (*KINDS, "identifier")
_OTHERS = "\u2026"  # the name of classes that are not known
_REPEATED = 3  # rows at a value that may stand for a missing one, at least
_SHARE = 0.005  # of all rows


@dataclass(frozen=True)
class Selection:
    """What is asked for of a table; see `genflow.data.load`.

    Attributes:
        columns: Columns to keep, `None` for all.
        drop: Columns to leave out.
        kinds: The kinds of columns, where they are not to be found from their values.
        condition: Columns that the others are conditioned on.
        classes: Those of them that hold classes although they look like numbers.
        missing: One of `MISSING`.
        missing_values: Values that stand for missing ones.
        sheet: The sheet of an Excel file.
        like: The columns of another table, whose kinds and places of classes those of the same names take.
    """

    columns: Sequence[str | int] | None = None
    drop: Sequence[str | int] = ()
    kinds: Mapping[str | int, str] = field(default_factory=dict)
    condition: Sequence[str | int] = ()
    classes: Sequence[str | int] = ()
    missing: str = "value"
    missing_values: Sequence[float | str] = ()
    sheet: str | int | None = None
    like: Schema | None = None

    def __post_init__(self) -> None:
        if self.missing not in MISSING:
            raise InputError(f"missing: {self.missing!r} came; {', '.join(MISSING)} would do")
        for column, kind in self.kinds.items():
            if kind not in _SAID:
                raise InputError(f"kinds: {kind!r} came for {column!r}; one of {', '.join(_SAID)} would do")
        stray = next((column for column in self.classes if column not in self.condition), None)
        if stray is not None:
            raise InputError(f"classes: {stray!r} is no column of the condition; name it there, too")

    @property
    def wanted(self) -> list[str | int] | None:
        """The columns that are asked for by name or position; `None` for all."""
        return None if self.columns is None else [*self.columns, *self.condition]

    @property
    def hints(self) -> Hints:
        """What a reader has to know of columns."""
        ignored: dict[str | int, str | Column] = dict.fromkeys(self.drop, "ignored")
        return ignored | {**self.known} | dict(self.kinds) | dict.fromkeys(self.classes, "class")

    @property
    def known(self) -> dict[str, Column]:
        """The modelled columns of the other table, by their names."""
        return {} if self.like is None else {column.name: column for column in self.like.modelled}


def select(table: Table, selection: Selection) -> tuple[Table, Schema, int]:
    """The columns that are modelled and behind them those of the condition; all columns of samples; how many are given.

    Args:
        table: The table as it was read.
        selection: What is asked for.

    Raises:
        InputError: A column that is not there, nothing left to model, values that are missing and must not be, a
            condition that nothing can be learned of.
    """
    given = [table.position(column) for column in selection.condition]
    dropped = {table.position(column) for column in selection.drop}
    if both := [table.columns[j] for j in given if j in dropped]:
        raise InputError(f"drop: {both[0]!r} is part of the condition; name it in one of them")
    said = {table.position(column): kind for column, kind in selection.kinds.items()}
    if selection.like is not None:
        known = selection.known
        own = zip(table.columns, table.kinds, strict=True)
        table = table.recoded([known.get(name, column) for name, column in own])
        said |= {table.position(name): column.kind for name, column in known.items() if name in table.columns}
        for j, column in enumerate(table.kinds):  # classes that the other table has not are one behind its own
            if column.classes and (table.values[:, j] == len(column.classes)).any():
                table.kinds[j] = replace(column, classes=(*column.classes, _OTHERS))
    if selection.missing_values:
        _set_missing(table, selection.missing_values)
    else:
        _remark_on_sentinels(table)
    chosen = selection.columns is not None
    if selection.columns is None:
        stay = [j for j in range(len(table.columns)) if j not in dropped]
        table = mark_identifiers(table, {*given, *said})
    else:
        asked = table.select(list(selection.columns))  # refuses what is not there, or twice
        stay = [table.columns.index(name) for name in asked.columns]
        stay += [j for j in given if j not in stay]
    kinds = [replace(column, condition=j in given) for j, column in enumerate(table.kinds)]
    modelled = [j for j in stay if kinds[j].modelled]
    if given and not [j for j in stay if j not in given]:
        raise InputError("condition: every column is part of it; leave at least one to be modelled")
    if not modelled:
        _refuse_nothing_left(table, stay)
    for j in given:
        _check_condition(table, j)
    _remark_on_left_out(table, [j for j in stay if j not in given], chosen)
    table = _handle_gaps(table, [*modelled, *given], selection.missing)
    picked = table.checked(gaps=True, among=[*modelled, *given]).select([*modelled, *given])
    incomplete = np.isnan(picked.values).any(0)
    picked.kinds = [replace(column, missing=bool(gap)) for column, gap in zip(picked.kinds, incomplete, strict=True)]
    now = {column.name: column for column in picked.kinds}
    for j, name in enumerate(picked.columns):
        if j >= len(modelled) and incomplete[j]:
            count = int(np.isnan(picked.values[:, j]).sum())
            raise InputError(
                f"condition: {table.origin}: column {name!r} is missing in {count} rows; missing=drop leaves them out"
            )
    columns = [_bare(replace(now.get(kinds[j].name, kinds[j]), condition=kinds[j].condition)) for j in stay]
    return picked, Schema(tuple(columns)), len(given)


def _bare(column: Column) -> Column:
    """A column without the words of an identifier, which no model needs."""
    return column if column.kind in KINDS else replace(column, classes=())


def _set_missing(table: Table, values: Sequence[float | str]) -> None:
    """Makes missing values of those that stand for them."""
    words = {str(value) for value in values}
    numbers = [number for value in values if (number := _number(value)) is not None]
    for j, column in enumerate(table.kinds):
        if column.classes:
            places = [k for k, name in enumerate(column.classes) if name in words]
            table.values[np.isin(table.values[:, j], places), j] = np.nan
        elif column.kind in ("integer", "continuous") and not column.unit:
            hit = np.isin(table.values[:, j], numbers)
            if hit.any():
                table.values[hit, j] = np.nan
                table.kinds[j] = number_column(column.name, table.values[:, j], column.dtype, sign=column.sign)


def _number(value: float | str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _remark_on_sentinels(table: Table) -> None:
    """Says which values stand far out and repeat: -200, -999 and the like may mean that there is none."""
    found: dict[float, list[int]] = {}
    for j, column in enumerate(table.kinds):
        if column.kind not in ("integer", "continuous") or column.unit:
            continue
        known = table.values[np.isfinite(table.values[:, j]), j]
        values, counts = np.unique(known, return_counts=True)
        if len(values) < 5:
            continue
        for place, rest in ((0, values[1:]), (-1, values[:-1])):
            with np.errstate(over="ignore"):  # a distance beyond all numbers is infinite
                gap = abs(values[place] - rest[0 if place == 0 else -1])
                far = gap > rest[-1] - rest[0] and _looks_like_one(values[place])
            if far and counts[place] >= max(_REPEATED, _SHARE * len(known)):
                found.setdefault(float(values[place]), []).append(j)
    for value, columns in found.items():
        low = [
            j
            for j, column in enumerate(table.kinds)
            if column.kind in ("integer", "continuous") and j not in columns and np.nanmin(table.values[:, j]) == value
        ]
        names = [table.columns[j] for j in sorted({*columns, *low})]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        number = written(value)
        table.remarks.append(
            f"{number} stands far from the other values of {shown}, and repeats: if it means that there is none, "
            f"missing_values={number} says so"
        )


def _looks_like_one(value: float) -> bool:
    """Whether a value is a round negative number, or of nines or ones: -200, -1, 999, -9999."""
    digits = written(abs(value))
    return float(value).is_integer() and (set(digits) in ({"9"}, {"8"}) or (value < 0 and digits.strip("0") in "1259"))


def _refuse_nothing_left(table: Table, stay: Sequence[int]) -> None:
    if not stay:
        raise InputError(f"drop: every column of {table.origin} came; leave at least one to be modelled")
    j = stay[0]
    column = table.kinds[j]
    if column.kind == "constant":
        advice = "a density needs columns that vary"
        raise InputError(f"{table.origin}: {table.label(j)} is constant ({_quote_hint(column.value)}); {advice}")
    raise InputError(
        f"{table.origin}: {table.label(j)} holds another word in nearly every row, and there is no other column to "
        "model; kinds= says what it holds"
    )


def _check_condition(table: Table, j: int) -> None:
    """Refuses a condition that nothing can be learned of; says in what units a date is one."""
    column, rows = table.kinds[j], len(table.values)
    what = f"condition: {table.label(j)} of {table.origin}"
    count = len(column.classes)
    if column.kind == "constant":
        raise InputError(f"{what} is constant ({_quote_hint(column.value)}); leave it out")
    if count > max(FEW_CLASSES, rows / 2) or (column.kind == "identifier" and count):
        raise InputError(
            f"{what} has {count} classes in {rows} rows, too few of each to learn from; leave it out, or join classes"
        )
    if column.kind == "date":
        since = "midnight" if column.format and is_clock(column.format) else "1970"
        table.remarks.append(
            f"{table.label(j)} of the condition holds dates: it is the number of {column.unit} since {since}"
        )


def _remark_on_left_out(table: Table, stay: Sequence[int], chosen: bool) -> None:
    constant = [j for j in stay if table.kinds[j].kind == "constant"]
    if constant:
        shown = ", ".join(f"{table.columns[j]} ({_quote_hint(table.kinds[j].value)})" for j in constant[:6])
        more = f" and {len(constant) - 6} more" if len(constant) > 6 else ""
        table.remarks.append(f"constant: {shown}{more}; left out of the model, samples have it")
    for j in stay:
        column = table.kinds[j]
        if column.kind == "identifier" and column.classes:
            table.remarks.append(
                f"{table.label(j)} holds {len(column.classes)} different words in {len(table.values)} rows: left out "
                f"as an identifier; kinds={{{column.name!r}: 'class'}} keeps it"
            )


def _quote_hint(value: object) -> str:
    if value is None:
        return "missing everywhere"
    return written(value) if isinstance(value, float) else str(value)[:30]


def _handle_gaps(table: Table, columns: Sequence[int], missing: str) -> Table:
    """What becomes of rows that miss a value: `"value"` keeps them, `"drop"` leaves them out.

    Raises:
        InputError: `"refuse"`, and one is missing.
    """
    if missing == "refuse":
        table.checked(among=columns)
    rows = np.isnan(table.values[:, columns]).any(1)
    if not rows.any() or missing == "value":
        return table
    if rows.all():
        raise InputError(f"missing: {table.origin}: every row misses a value, so missing=drop leaves none")
    kept = table.without_rows(rows)
    kept.remarks.append(f"{int(rows.sum())} rows of {len(rows)} miss a value: left out")
    return kept
