"""The ranks of the models over data sets, and whether they differ by more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.significance import LEVEL, critical_difference, friedman

__all__ = ["Ranks", "places_of", "ranks_of"]

_FEWEST = 4  # data sets, below which ranks say nothing


@dataclass(frozen=True)
class Ranks:
    """The mean ranks of the models that have an NLL on every data set.

    Attributes:
        mean: The mean rank by model, the best first.
        sets: Data sets.
        p: The probability of ranks so unlike where all models are alike, by Friedman's test.
        critical: How far two mean ranks must lie apart to be more than chance, by Nemenyi's test.
    """

    mean: Mapping[str, float]
    sets: int
    p: float
    critical: float

    @property
    def groups(self) -> list[list[str]]:
        """The largest groups of models, two and more, whose ranks chance would explain."""
        names, found = list(self.mean), list[list[str]]()
        for first, name in enumerate(names):
            group = [other for other in names[first:] if self.mean[other] - self.mean[name] <= self.critical]
            if len(group) > 1 and not (found and group[-1] in found[-1]):
                found.append(group)
        return found

    def __str__(self) -> str:
        chance = "chance would explain" if self.p >= LEVEL else "chance would not explain"
        return (
            f"Ranks as unlike as these {chance} (Friedman, p = {self.p:.2g}); two models differ by more than chance "
            f"where their mean ranks are {self.critical:.2f} apart or more (Nemenyi)."
        )


def places_of(board: Outcomes) -> dict[str, dict[str, int]]:
    """The place of each model by NLL on each data set where it has one; the best has 1.

    Args:
        board: The comparison.
    """
    places: dict[str, dict[str, int]] = {model: {} for model in board.model_names}
    for data in board.data_names:
        rows = [row for row in board.standings(data) if math.isfinite(row["nll"])]
        for place, row in enumerate(rows, 1):
            places[row["model"]][data] = place
    return places


def ranks_of(board: Outcomes) -> Ranks | None:
    """The ranks over all data sets; `None` where they are fewer than four, or no two models have an NLL on all.

    Args:
        board: The comparison.
    """
    sets = len(board.data_names)
    standing = {model: places for model, places in places_of(board).items() if len(places) == sets}
    if sets < _FEWEST or len(standing) < 2:
        return None
    places = np.array([[standing[model][data] for model in standing] for data in board.data_names])
    ranks = places.argsort(1).argsort(1) + 1.0  # among these alone
    mean = dict(sorted(zip(standing, ranks.mean(0).tolist(), strict=True), key=lambda item: item[1]))
    return Ranks(mean, sets, friedman(ranks), critical_difference(len(standing), sets))
