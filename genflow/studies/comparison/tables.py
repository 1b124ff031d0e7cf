"""The metrics of tables, for the samples of a trained model and the training and test rows of its data set.

Under a condition its columns stand behind the others, those of a sample being the row's that it was drawn for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from genflow.data.conditions import class_name
from genflow.data.kinds import Column
from genflow.errors import InputError, reason
from genflow.metrics.tables import Figure, table_figures
from genflow.naming import registry

__all__ = ["MEANINGS", "evaluate_tables", "figure_document"]

MEANINGS = {
    "w1": "Wasserstein-1 distance to test rows, each column scaled by its range",
    "shapes": "how alike each column's law is, mean over the columns; 1 is the best",
    "trends": "how alike any two columns go together, mean over the pairs; 1 is the best",
    "precision": "share of samples among the neighbours of test rows",
    "recall": "share of test rows among the neighbours of samples",
    "density": "samples among the neighbours of a test row, by those expected",
    "coverage": "share of test rows with a sample among their neighbours",
    "utility": "score on test rows of learners trained on samples; F1 or R2, 1 is the best",
    "privacy": "share of samples nearest to a training row, not to a test row; above the floor: copies",
}
"""What each figure is, in a few words."""


def evaluate_tables(
    data: Any,
    evaluation: Any,
    *,
    target: str | None = None,
    seed: int = 0,
    notify: Callable[[str], None] = lambda what: None,
) -> dict[str, Figure]:
    """Every figure of tables of an evaluation's samples: those of genflow, and those that installed packages bring.

    Args:
        data: A `Dataset`.
        evaluation: A model's `Evaluation` on it, with its samples; what another's metric failed of is added to its
            remarks.
        target: A column, of the condition too, that `utility` tells from the others.
        seed: Seed of everything random.
        notify: Called with what is being done.

    Raises:
        InputError: An unknown target; no sample that is finite.
    """
    samples, train, test = (rows.double().cpu().numpy() for rows in (evaluation.samples, data.train, data.test))
    columns = [Column(name) for name in data.columns] if data.schema is None else list(data.schema.modelled)
    gaps = np.isnan(train).any(0)
    sound = (np.isfinite(samples) | (np.isnan(samples) & gaps)).all(1)
    samples = samples[sound]
    if data.condition is not None:
        condition = data.condition
        samples, train, test = (
            np.hstack([rows, _numbers(given, condition.encoding)])
            for rows, given in (
                (samples, condition.test[evaluation.drawn_at[sound]]),
                (train, condition.train),
                (test, condition.test),
            )
        )
        encoding = condition.encoding
        columns += [
            Column(name, "class" if names else "continuous", tuple(names))
            for name, names in zip(encoding.columns, encoding.classes)
        ]
    found = table_figures(samples, train, test, columns, target=target, seed=seed, notify=notify)
    for entry in registry.entries("table metric"):
        if entry.source != "genflow":
            notify(entry.name)
            try:
                found |= _figures(entry.name, entry.load()(samples, train, test, columns))
            except Exception as error:  # another's metric may fail in any way: its figure alone is lost
                evaluation.remarks.append(f"no {entry.name} ({reason(error)})")
    return found


def _figures(name: str, made: Any) -> dict[str, Figure]:
    """What a metric returned, by name."""
    figures = made if isinstance(made, dict) else {name: made}
    for figure in figures.values():
        if not isinstance(figure, Figure):
            raise InputError(f"a {type(figure).__name__} came; a Figure would do")
    return figures


def figure_document(figure: Figure) -> dict[str, Any]:
    """A figure as a JSON document: what is no number is null."""
    numbers = {"value": figure.value, "standard_error": figure.standard_error, "floor": figure.floor}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()} | {
        "parts": dict(figure.parts)
    }


def _numbers(rows: Any, encoding: Any) -> np.ndarray:
    """Conditions as numbers and places of classes, `(n, columns)`."""
    found = np.empty((len(rows), len(encoding.columns)))
    for j, names in enumerate(encoding.classes):
        places = {name: place for place, name in enumerate(names)}
        found[:, j] = [places[class_name(value)] if names else float(value) for value in rows[:, j]]
    return found
