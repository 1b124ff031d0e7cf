"""A data set of a comparison as its pictures see it: rows that can be drawn, and the models' samples beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.reporting.plot import Key, drawable_units
from genflow.studies.reporting.tones import DATA, MODELS

__all__ = ["Shown", "View", "colour_of", "limits"]

_OWN = ("jko-iflow", "cnf", "flow-matching", "score-sde", "nsf", "maf")  # theirs whatever else is compared


def colour_of(board: Outcomes, model: str) -> str:
    """The colour of a model, the same in every picture."""
    if model in _OWN:
        return MODELS[_OWN.index(model)]
    others = [name for name in board.model_names if name not in _OWN]
    further = MODELS[len(_OWN) :]
    return further[others.index(model) % len(further)]


@dataclass(frozen=True)
class Shown:
    """What pictures show of the data or of a model.

    Attributes:
        label: Its name.
        colour: Its colour.
        rows: Test rows, or samples, `(n, d)`, in units that can be drawn.
        arrays: What the trial of its first seed left; nothing for the data.
    """

    label: str
    colour: str
    rows: np.ndarray
    arrays: dict[str, np.ndarray]


class View:
    """A data set of a comparison.

    Args:
        board: The comparison.
        data: The data set's name.
    """

    def __init__(self, board: Outcomes, data: str):
        self.board, self.name = board, data

    @cached_property
    def _read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return self.board.data(self.name)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The arrays of the data set, in its own units."""
        return self._read[0]

    @property
    def description(self) -> dict[str, Any]:
        """What is known of it."""
        return self._read[1]

    @cached_property
    def dim(self) -> int:
        """Its columns."""
        return int(self.parts["test"].shape[1])

    @cached_property
    def units(self) -> np.ndarray:
        """The unit of each column in the pictures, in its own."""
        return drawable_units(np.nan_to_num(np.concatenate([self.parts["train"], self.parts["test"]])))

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, with their units where those are not their own."""
        named = zip(self.description["columns"], self.units, strict=True)
        return [name if unit == 1 else f"{name} / {unit:.0e}" for name, unit in named]

    @cached_property
    def train(self) -> np.ndarray:
        """The training rows."""
        return self.parts["train"] / self.units

    @cached_property
    def test(self) -> np.ndarray:
        """The test rows."""
        return self.parts["test"] / self.units

    @property
    def rows(self) -> Shown:
        """The test rows, as they stand beside the models."""
        return Shown("data", DATA, self.test, {})

    @cached_property
    def models(self) -> list[Shown]:
        """Each model that made it, in the order in which they were named, with the arrays of its first seed."""
        found: dict[str, Shown] = {}
        for run in self.board.runs:
            if run["data"] == self.name and run["status"].startswith("ok") and run["label"] not in found:
                label, arrays = run["label"], self.board.arrays(self.name, run["name"])
                colour = colour_of(self.board, label)
                found[label] = Shown(label, colour, arrays["samples"] / self.units, arrays)
        return list(found.values())

    @property
    def legend(self) -> list[Key]:
        """The models as lines."""
        return [Key(shown.label, shown.colour, {"lw": 1.6}) for shown in self.models]


def limits(values: np.ndarray, tail: float) -> tuple[float, float]:
    """The ends of an axis that leaves out so large a part of the values on either side."""
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, [tail, 1 - tail])
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
