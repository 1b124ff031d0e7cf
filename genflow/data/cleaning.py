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
from genflow.data.reading import Table
from genflow.data.scales import far_row
from genflow.errors import InputError

__all__ = ["from_table"]

_SHOWN = 6  # columns that a remark names


def from_table(table: Table, test: Table | None, atoms: str, name: str, seed: int = 0, condition: int = 0) -> Dataset:
    """A data set of a table without missing values.

    Args:
        table: The rows to split.
        test: The user's own test rows, or `None`.
        atoms: `"keep"`, `"dequantize"` or `"drop"`; see `genflow.data.load`.
        name: The name of the data set.
        seed: Seed of the noise.
        condition: How many columns, the last ones, are the condition. Rows are compared as a whole; what is said and
            done about repeated values is about the others.

    Raises:
        InputError: Too few rows, a constant column, a value too far out, or no column left.
    """
    rows, columns, origin = table.values, table.columns, table.origin
    _check_size(len(rows), origin, "", test is None)
    for j in range(rows.shape[1]):
        if (rows[:, j] == rows[0, j]).all():
            advice = "a density needs columns that vary, leave it out with columns="
            raise InputError(f"{origin}: {table.label(j)} is constant ({rows[0, j]:g}); {advice}")
    _refuse_far_values(table, test)

    remarks = list(table.remarks)
    rows, chance = _without_copies(rows, remarks)
    count = rows.shape[1] - condition  # of the columns that are modelled
    given, columns = columns[count:], columns[:count]
    found = [repeats(column) for column in rows[:, :count].T]
    _check_size(len(rows), origin, "distinct ", test is None)
    if test is not None and not chance:
        rows = _without_test_rows(rows, test.values, remarks)
        _check_size(len(rows), origin, "remaining ", False)

    # The user's test rows go through the same steps as the others.
    everything = rows if test is None else np.concatenate([rows, test.values])
    everything, known = everything[:, :count], everything[:, count:]
    if atoms == "dequantize":
        everything = _dequantized(everything, columns, found, np.random.default_rng([seed, 1]), remarks)
    elif any(repeat.atoms for repeat in found):
        shown = _shown([_described(column, repeat) for column, repeat in zip(columns, found) if repeat.atoms])
        if atoms == "keep":
            advice = "a likelihood there rewards spikes; atoms=dequantize or atoms=drop makes it comparable"
            remarks.append(f"repeated values in {shown}: {advice}")
        else:
            kept = [j for j, repeat in enumerate(found) if not repeat.atoms]
            if not kept:
                raise InputError(
                    f"{origin}: every column has repeated values, atoms=drop leaves none; try atoms=dequantize"
                )
            everything, columns = everything[:, kept], [columns[j] for j in kept]
            remarks.append(f"repeated values in {shown}: left out")

    numbers = [j for j, names in enumerate(table.classes[count:]) if not names]
    with_known = np.concatenate([known[: len(rows), numbers], everything[: len(rows)]], 1)
    dependent = dependent_columns(with_known, [*(given[j] for j in numbers), *columns])
    dependent = [column for column in dependent if column in columns]
    if dependent:
        advice = "a likelihood there has no bound, leave them out"
        remarks.append(f"linear functions of the columns before them: {_shown(dependent)}; {advice}")

    remarks = [f"{name}: {remark}" for remark in remarks]
    data = assemble(name, _parts(everything, len(rows), test is None), columns, remarks=remarks, seed=seed)
    if condition:
        data.condition = conditions(_parts(known, len(rows), test is None), given, table.classes[count:])
    return data


def _refuse_far_values(table: Table, test: Table | None) -> None:
    """Raises an error for a value beside which the rest of its column is one and the same number to a model."""
    rows = len(table.values)
    for j in range(table.values.shape[1]):
        if table.classes[j]:
            continue
        parts = [part.values[:, j] for part in (table, test) if part is not None]
        column = torch.from_numpy(np.concatenate(parts))
        i = far_row(column)
        if i is not None:
            place = table.place(i, j) if test is None or i < rows else test.place(i - rows, j)
            raise InputError(
                f"{place}: {column[i]:g} is so far out that most of the other values are the same beside it in single "
                "precision; mend or drop the row, or give the column's logarithm"
            )


def _parts(everything: np.ndarray, count: int, with_test: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three parts: split from the first `count` rows, behind which the user's own test rows may stand."""
    train, validation, rest = split(everything[:count], with_test)
    return train, validation, rest if with_test else everything[count:]


def _without_copies(rows: np.ndarray, remarks: list[str]) -> tuple[np.ndarray, bool]:
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


def _without_test_rows(rows: np.ndarray, test: np.ndarray, remarks: list[str]) -> np.ndarray:
    known = duplicate_rows(np.concatenate([test, rows]))[len(test) :]
    if known.any():
        remarks.append(f"{_rows(int(known.sum()))} repeated in the test rows: left out of training and validation")
    return rows[~known]


def _dequantized(
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
        remarks.append(f"uniform noise of the recording grid was added to {_shown(described)}")
    if spiky:
        remarks.append(f"spikes as narrow as the grid remain in {_shown(spiky)}: atoms=drop is safer")
    return rows + widths * noise


def _described(column: str, repeat: Repeats) -> str:
    value, rows = repeat.most
    return f"{column} ({repeat.distinct} values)" if repeat.coarse else f"{column} ({rows} rows at {value:g})"


def _shown(described: Sequence[str]) -> str:
    shown = ", ".join(described[:_SHOWN])
    return shown if len(described) <= _SHOWN else f"{shown} and {len(described) - _SHOWN} more"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _check_size(n: int, origin: str, kind: str, with_test: bool) -> None:
    if n < FEWEST_ROWS:
        parts = "80, 10 and 10 %" if with_test else "training and validation"
        came = f"{n} {kind}row{'' if n == 1 else 's'}"
        raise InputError(f"{origin}: {came} came; at least {FEWEST_ROWS} are needed to split into {parts}")
