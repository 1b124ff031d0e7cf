"""From a table to a data set: duplicates dropped, atoms found and dealt with, and every step remarked on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from genflow.data.atoms import (
    Repeats,
    dependent_columns,
    duplicate_rows,
    grid_widths,
    isolated_share,
    meet_by_chance,
    repeats,
)
from genflow.data.dataset import FEWEST_ROWS, Dataset, assemble, conditions, split
from genflow.data.kinds import Column, Schema
from genflow.data.reading import Table
from genflow.data.scales import far_row
from genflow.errors import InputError

__all__ = ["ATOMS", "check_size", "from_table"]

ATOMS = ("cells", "keep", "dequantize", "drop")
"""What may be done about repeated values."""
_SHOWN = 6  # columns that a remark names


def from_table(
    table: Table,
    test: Table | None,
    atoms: str,
    name: str,
    seed: int = 0,
    condition: int = 0,
    schema: Schema | None = None,
) -> Dataset:
    """A data set of a table, in which values may be missing.

    Args:
        table: The rows to split, columns that vary.
        test: The user's own test rows, or `None`.
        atoms: One of `ATOMS`; see `genflow.data.load`.
        name: The name of the data set.
        seed: Seed of the noise.
        condition: How many columns, the last ones, are the condition. Rows are compared as a whole; what is said and
            done about repeated values is about the others.
        schema: The columns of samples.

    Raises:
        InputError: Too few rows, a value too far out, or no column left.
    """
    rows, columns, origin = table.values, table.columns, table.origin
    check_size(len(rows), origin, "", test is None)
    count = rows.shape[1] - condition  # of the columns that are modelled
    if atoms != "cells":
        _refuse_words_and_gaps(table.kinds[:count], atoms)
    _refuse_far_values(table, test)

    remarks = list(table.remarks)
    rows, chance = _drop_copies(rows, remarks)
    given, columns = columns[count:], columns[:count]
    found = [_repeats(column, kind) for column, kind in zip(rows.T, table.kinds[:count])]
    check_size(len(rows), origin, "distinct ", test is None)
    if test is not None and not chance:
        rows = _drop_test_rows(rows, test.values, remarks)
        check_size(len(rows), origin, "remaining ", False)

    # The user's test rows go through the same steps as the others.
    everything = rows if test is None else np.concatenate([rows, test.values])
    everything, known = everything[:, :count], everything[:, count:]
    if atoms == "dequantize":
        everything = _dequantize(everything, columns, found, np.random.default_rng([seed, 1]), remarks)
    elif any(repeat.atoms for repeat in found):
        shown = _some_in_words(
            [_repeat_in_words(kind, repeat) for kind, repeat in zip(table.kinds, found) if repeat.atoms]
        )
        if atoms == "cells":
            advice = "each has a probability, and log p is that of counts there (per unit, where they are decimals)"
            remarks.append(f"repeated values in {shown}: {advice}")
        elif atoms == "keep":
            advice = "a likelihood there rewards spikes; atoms=cells, dequantize or drop makes it comparable"
            remarks.append(f"repeated values in {shown}: {advice}")
        else:
            kept = [j for j, repeat in enumerate(found) if not repeat.atoms]
            if not kept:
                raise InputError(
                    f"{origin}: every column has repeated values, atoms=drop leaves none; try atoms=dequantize"
                )
            gone = {column for column, repeat in zip(columns, found) if repeat.atoms}
            everything, columns = everything[:, kept], [columns[j] for j in kept]
            schema = None if schema is None else Schema(tuple(c for c in schema.columns if c.name not in gone))
            remarks.append(f"repeated values in {shown}: left out")

    numbers = [j for j, kind in enumerate(table.kinds[count:]) if not kind.classes]
    plain = [column for column in columns if not table.kinds[table.columns.index(column)].classes]
    chosen = everything[: len(rows), [columns.index(column) for column in plain]]
    with_known = np.concatenate([known[: len(rows), numbers], chosen], 1)
    complete = with_known[~np.isnan(with_known).any(1)]
    dependent = _dependent_columns(complete, [*(given[j] for j in numbers), *plain])
    dependent = [column for column in dependent if column in columns]
    # What has a probability has a bounded one, whatever it follows from.
    counted = [c for c in dependent if atoms == "cells" and found[table.columns.index(c)].coarse]
    for which, advice in (
        ([c for c in dependent if c not in counted], "a likelihood there has no bound, leave them out"),
        (counted, "samples keep to it as far as it is learned, leave them out where it has to hold"),
    ):
        if which:
            remarks.append(f"linear functions of the columns before them: {_some_in_words(which)}; {advice}")

    remarks = [f"{name}: {remark}" for remark in remarks]
    parts = _parts(everything, len(rows), test is None)
    data = assemble(name, parts, columns, remarks=remarks, seed=seed, schema=schema, cells=atoms == "cells")
    if condition:
        data.condition = conditions(_parts(known, len(rows), test is None), given, table.classes[count:])
    return data


def _refuse_words_and_gaps(kinds: Sequence[Column], atoms: str) -> None:
    """Raises an error where a treatment of repeated values knows numbers only."""
    for column in kinds:
        if column.classes or column.missing:
            holds = "classes" if column.classes else "missing values"
            raise InputError(f"atoms: {atoms!r} came, and column {column.name!r} holds {holds}; atoms=cells would do")


def _repeats(column: np.ndarray, kind: Column) -> Repeats:
    """How the numbers of a column repeat; classes are meant to."""
    if kind.classes:
        return Repeats(len(kind.classes), 0.0, 0.0, (0.0, 0), False, False)
    known = column[~np.isnan(column)]
    return repeats(known)


def _dependent_columns(rows: np.ndarray, columns: Sequence[str]) -> list[str]:
    """See `dependent_columns`; those that do not vary in complete rows are none."""
    varies = [j for j in range(rows.shape[1]) if len(rows) and (rows[:, j] != rows[0, j]).any()]
    return dependent_columns(rows[:, varies], [columns[j] for j in varies]) if varies else []


def _refuse_far_values(table: Table, test: Table | None) -> None:
    """Raises an error for a value beside which the rest of its column is one and the same number to a model."""
    rows = len(table.values)
    for j in range(table.values.shape[1]):
        if table.classes[j]:
            continue
        whole = np.concatenate([part.values[:, j] for part in (table, test) if part is not None])
        known = np.flatnonzero(~np.isnan(whole))
        column = torch.from_numpy(whole[known])
        if len(known) < 2 or (column == column[0]).all():
            continue
        far = far_row(column)
        if far is not None:
            i = int(known[far])
            place = table.place(i, j) if test is None or i < rows else test.place(i - rows, j)
            raise InputError(
                f"{place}: {whole[i]:g} is so far out that most of the other values are the same beside it in single "
                "precision; mend or drop the row, or give the column's logarithm"
            )


def _parts(everything: np.ndarray, count: int, with_test: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three parts: split from the first `count` rows, behind which the user's own test rows may stand."""
    train, validation, rest = split(everything[:count], with_test)
    return train, validation, rest if with_test else everything[count:]


def _drop_copies(rows: np.ndarray, remarks: list[str]) -> tuple[np.ndarray, bool]:
    """Rows without exact duplicates, unless they have so few values that rows meet by chance; and whether they do."""
    if rows.shape[1] == 1:  # a repeated row is a repeated value
        return rows, True
    copies = duplicate_rows(rows)
    if not copies.any():
        return rows, False
    count = f"{_rows(int(copies.sum()))} of {len(rows)} repeated exactly"
    if meet_by_chance(rows):
        remarks.append(f"{count}: kept, since rows of so few values meet by chance")
        return rows, True
    remarks.append(f"{count}: dropped, since a split would reward copying them")
    return rows[~copies], False


def _drop_test_rows(rows: np.ndarray, test: np.ndarray, remarks: list[str]) -> np.ndarray:
    known = duplicate_rows(np.concatenate([test, rows]))[len(test) :]
    if known.any():
        remarks.append(f"{_rows(int(known.sum()))} repeated in the test rows: left out of training and validation")
    return rows[~known]


def _dequantize(
    rows: np.ndarray, columns: Sequence[str], found: Sequence[Repeats], rng: np.random.Generator, remarks: list[str]
) -> np.ndarray:
    noise = rng.random(rows.shape) - 0.5
    widths = np.zeros_like(rows)
    described, spiky = [], []
    for j, repeat in enumerate(found):
        if repeat.share > 0:
            widths[:, j] = grid_widths(rows[:, j])
            low, high = widths[:, j].min(), widths[:, j].max()
            described.append(f"{columns[j]} ({low:g})" if low == high else f"{columns[j]} ({low:g} to {high:g})")
            if repeat.atoms and (not repeat.coarse or isolated_share(rows[:, j], widths[:, j]) > 0.5):
                spiky.append(columns[j])
    if described:
        remarks.append(f"uniform noise of the recording grid was added to {_some_in_words(described)}")
    if spiky:
        remarks.append(f"spikes as narrow as the grid remain in {_some_in_words(spiky)}: atoms=drop is safer")
    return rows + widths * noise


def _repeat_in_words(column: Column, repeat: Repeats) -> str:
    if repeat.coarse:
        return f"{column.name} ({repeat.distinct} values)"
    value, rows = repeat.most
    is_time = column.kind == "date" or column.unit
    as_written = column.series(np.array([value])).iloc[0] if is_time else f"{value:g}"
    return f"{column.name} ({rows} rows at {as_written})"


def _some_in_words(described: Sequence[str]) -> str:
    shown = ", ".join(described[:_SHOWN])
    return shown if len(described) <= _SHOWN else f"{shown} and {len(described) - _SHOWN} more"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def check_size(n: int, origin: str, kind: str, with_test: bool) -> None:
    """Refuses fewer rows than a split needs."""
    if n < FEWEST_ROWS:
        parts = "80, 10 and 10 %" if with_test else "training and validation"
        came = f"{n} {kind}row{'' if n == 1 else 's'}"
        raise InputError(f"{origin}: {came} came; at least {FEWEST_ROWS} are needed to split into {parts}")
