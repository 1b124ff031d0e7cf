"""A training once more, on other rows, for as many steps as were best the first time.

Where rows are few, those that say when to stop are missed among those that are learned from. So a first training finds
how many steps each stage takes, and a second one takes them on all rows, at the same learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genflow.training.loop import StageRun
from genflow.training.progress import Progress
from genflow.training.stage import StageState

__all__ = ["Recipe", "ReplayRun", "complete", "recipes"]

# On validation rows or by the clock, the first time.
_DECIDED = ("validation", "curve", "abandoned", "members_left", "joined", "taken")
_ENOUGH = 0.9  # of its steps: the last ones, at a rate near 0, change little


@dataclass(frozen=True)
class Recipe:
    """What a stage is to do again.

    Attributes:
        entry: Of the history that the stage has left; that of an unknown one says that nothing is to be done.

    Example:
        >>> recipe = Recipe({"steps": 30, "curve": [[0.1, 0, 2.0], [0.2, 10, 1.0], [0.3, 30, 1.5]]})
        >>> recipe.steps, recipe.best
        (30, 10)
    """

    entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of its schedule."""
        return self.entry.get("steps", 0)

    @property
    def best(self) -> int:
        """Steps after which the validation rows were the most likely."""
        losses = [(loss, step) for _, step, loss in self.entry.get("curve", ()) if math.isfinite(loss)]
        return min(losses)[1] if losses else self.steps

    @property
    def options(self) -> Mapping[str, Any] | None:
        """What the best candidate was built with, of a stage that chooses among candidates."""
        return self.entry.get("options")


def recipes(history: Sequence[Mapping[str, Any]]) -> dict[str, Recipe]:
    """The recipes of all stages of a training, by their names."""
    return {entry["stage"]: Recipe(entry) for entry in history}


def complete(history: Sequence[Mapping[str, Any]], wanted: Mapping[str, Recipe]) -> bool:
    """Whether a training has followed its recipes, but for a few of its last steps.

    Args:
        history: Of the training.
        wanted: Its recipes, by the names of their stages.
    """
    done = {entry["stage"]: entry for entry in history}

    def followed(name: str, recipe: Recipe) -> bool:
        if recipe.options is not None:
            return bool(done.get(name, {}).get("candidates"))
        return recipe.best == 0 or done.get(name, {}).get("steps", 0) >= _ENOUGH * recipe.best

    return all(followed(name, recipe) for name, recipe in wanted.items())


class ReplayRun(StageRun):
    """A stage by a recipe: it looks at no validation rows, and chooses nothing.

    Args:
        *arguments: As of `StageRun`.
        recipe: Its recipe; by one of no steps the weights stay as they are.
    """

    def __init__(self, *arguments: Any, recipe: Recipe):
        super().__init__(*arguments)
        self.recipe, self.scheduled, self.last = recipe, recipe.steps, recipe.best
        self.validated = recipe.entry.get("rows", 0)  # no more of them are looked at when the stage ends
        refinement, level = self.stage.refinement, recipe.entry.get("refinements", 0)
        if refinement is not None and level and not self.refinements:
            self.refinements = level
            refinement.refine(level)

    @property
    def fraction(self) -> float:
        return self.step / self.scheduled if self.step < self.last else 1.0

    @property
    def left(self) -> float:
        """All that is left of the budget: how long the stage takes is not for a share of it to say."""
        return self.budget.left

    def __call__(
        self, progress: Progress | None = None, save: Callable[[StageState], None] | None = None
    ) -> dict[str, Any]:
        entry = super().__call__(progress, save)
        first = self.recipe.entry
        return {**entry, **{name: first[name] for name in _DECIDED if name in first}, "replayed": True}

    def _validate(self, fraction: float, last: bool = False) -> None:
        self.next_validation = fraction + 1 / self.regime.validations  # when a snapshot is due
