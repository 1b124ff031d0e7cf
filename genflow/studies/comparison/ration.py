"""What an evaluation can afford: fewer rows, a cheaper estimator, fewer points, and a word about each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from genflow.deadline import OutOfTime, deadline
from genflow.training import Budget, parse_seconds

__all__ = ["LEAST", "ONE_PLACE", "RANDOM", "Ration", "evaluation_seconds"]

LEAST = 30.0
"""Seconds that an evaluation has at least."""

ONE_PLACE = "log p by one place of a row in its cells (a lower bound), several take too long"
"""What is said of that."""

RANDOM = "log p by one place of a row in its cells, since the divergence is random"
"""Likewise."""

_COUNTED = 60.0  # seconds that it has where the training counts steps
_FIRST_ROWS, _FEWEST_ROWS = 8, 100  # tried first; worth having under the exact estimator
_GROWTH = 8  # of the rows that are scored at once, from part to part

Result = TypeVar("Result")


def evaluation_seconds(given: str | float | None, budget: float | None) -> float:
    """The time of an evaluation: what was asked for; by default as long as the training, and half a minute at least.

    Args:
        given: What was asked for, such as `"30s"`.
        budget: Seconds of the training; `None` where it counts steps.
    """
    if given is None:
        return _COUNTED if budget is None else max(LEAST, budget)
    return parse_seconds(given, "evaluation")


class Ration:
    """Does as much of something as there is time for.

    Args:
        budget: The evaluation's budget; `None` for as long as it takes.
        notify: Called with what is being done.

    Attributes:
        remarks: What was left out or made cheaper, one line each.
        reached: Which rows `log_prob` came to, `(n,)`.
        places: Of a row, that its log density is taken at.
        bound: The log density by one of them, `(n,)`: a lower bound that every model has time for, and which two of
            them are compared by where one has no more.
        cheaper: Whether it is by a random estimator of the divergence in the place of the model's own.
    """

    def __init__(self, budget: Budget | None = None, notify: Callable[[str], None] = lambda what: None):
        self.budget = Budget(seconds=math.inf) if budget is None else budget
        self.budget.start()
        self.notify = notify
        self.remarks: list[str] = []
        self.reached = torch.zeros(0, dtype=torch.bool)
        self.places = 1
        self.cheaper = False
        self.bound = torch.zeros(0, dtype=torch.float64)
        self._row_seconds = 0.0

    def left(self, share: float = 1.0) -> float:
        """Seconds until so much of the whole is spent."""
        return max(0.0, share * self.budget.total - self.budget.used)

    @torch.no_grad()
    def log_prob(
        self, model: Any, x: Tensor, condition: Any, generator: Callable[[], torch.Generator], share: float = 1.0
    ) -> Tensor:
        """The log density of rows in float64; NaN for those that there was no time for.

        They are taken in an order that is the same for every model, so that two models meet on the same rows, and
        stands for all, whatever order a file has. Where the exact divergence would reach few of them, all are scored
        with one random probe each, which the standard error of their mean contains. Rows that own cells of the line are
        first taken at one place each, then at all places if there is time for it.

        Args:
            model: A `Transformed` model.
            x: Rows.
            condition: The condition of each row, or `None`.
            generator: Makes the source of the estimator's probes.
            share: Of the evaluation's time it may use what is left until so much is spent.
        """
        inner = model.model
        cheaper = inner.cheaper(x[:1])
        places = model.places
        # What can be made cheaper may not use up its time before.
        enough, patience = (_FEWEST_ROWS, 0.25) if cheaper else (0, 1.0)
        values = self._rows(model, x, condition, generator(), share, enough, patience, draws=1)
        if values is None and cheaper is not None:
            model, self.cheaper = model.replace(divergence=cheaper.divergence), True
            self.remarks.append("log p by one random probe a row (Hutchinson), the exact divergence takes too long")
            values = self._rows(model, x, condition, generator(), share, draws=1)
        assert values is not None
        self.bound, reached = values, self.reached
        if (count := int(reached.sum())) < len(x):
            self.remarks.append(f"log p of {count:,} of {len(x):,} rows, for lack of time")
        if model.places > 1:
            fuller = self._at_all_places(model, x, condition, generator(), share)
            if fuller is not None:
                values, self.places = fuller, places
            self.reached = reached
        if self.places < places:
            self.remarks.append(ONE_PLACE)
        elif model.noisy and model.preprocessor.random:
            self.remarks.append(RANDOM)
        return values

    def _at_all_places(
        self, model: Any, x: Tensor, condition: Any, generator: torch.Generator, share: float
    ) -> Tensor | None:
        """The log density of the rows that were reached at one place, at all of theirs; `None` without the time."""
        values = self.bound.clone()
        at = (self.reached & model.owns_cells(x)).nonzero().squeeze(-1)
        # Of few rows most of the time is for calls, so that all places take less than so many times as long.
        if len(at) * model.places * self._row_seconds > _GROWTH * self.left(share):
            return None
        if not len(at):
            return values
        given = None if condition is None else condition[at.numpy()]
        found = self._rows(model, x[at], given, generator, share, enough=len(at))
        if found is None or not self.reached.all():
            return None
        values[at] = found
        return values

    def _rows(
        self,
        model: Any,
        x: Tensor,
        condition: Any,
        generator: torch.Generator,
        share: float,
        enough: int = 0,
        patience: float = 1.0,
        **options: int,
    ) -> Tensor | None:
        """The log density of the rows that can be reached; `None` where those will be fewer than enough.

        The first of them are given up when they have taken a share of the time, the `patience`.
        """
        count = len(x)
        whole = math.isinf(self.budget.total)
        order = torch.arange(count) if whole else torch.from_numpy(np.random.default_rng(0).permutation(count))
        values = torch.full((count,), math.nan, dtype=torch.float64)
        self.reached = torch.zeros(count, dtype=torch.bool)
        done, size = 0, count if whole else min(count, _FIRST_ROWS)
        while done < count and size:
            part = order[done : done + size]
            began = self.budget.used
            try:
                left = self.left(share)
                with deadline(left if done else patience * left, self.budget.clock):
                    given = None if condition is None else condition[part.numpy()]
                    values[part] = model.log_prob(x[part], given, generator, **options).double().cpu()
            except OutOfTime:
                if done == 0 and not enough and size > 1:
                    size = 1
                    continue
                break
            self.reached[part] = True
            done += len(part)
            self.notify(f"log p {done}/{count}")
            self._row_seconds = max(self.budget.used - began, 1e-9) / len(part)
            left = self.left(share)
            if done + left / self._row_seconds < min(count, enough):
                return None
            # In parts that grow alike on any machine, since rounding depends on them; never more than what is left.
            affordable = int(min(count, 0.9 * left / self._row_seconds)) or int(left >= self._row_seconds)
            size = count if whole else min(_GROWTH * size, affordable)
        return None if done < min(count, enough) else values

    def points(
        self,
        attempt: Callable[[int], Result],
        wanted: int,
        share: float = 1.0,
        *,
        power: float = 1.0,
        tries: tuple[int, ...] = (10, 100),
    ) -> tuple[Result | None, int]:
        """The result for as many points as there is time for, and how many those are.

        Args:
            attempt: Makes it for so many.
            wanted: How many there should be.
            share: Of the evaluation's time it may use what is left until so much is spent.
            power: The time grows with this power of their number.
            tries: How many it is tried on first.
        """
        found: tuple[Result | None, int] = (None, 0)
        counts = [count for count in tries if count < wanted and math.isfinite(self.budget.total)] + [wanted]
        while counts:
            count, left = counts.pop(0), self.left(share)
            if left <= 0:
                break
            began = self.budget.used
            try:
                with deadline(left, self.budget.clock):
                    found = attempt(count), count
            except OutOfTime:
                break
            took, left = self.budget.used - began, self.left(share)
            if not counts or took <= 0:
                counts = [] if not counts else [wanted]
            elif took * (wanted / count) ** power <= left:
                counts = [wanted]
            elif len(counts) == 1 or took * (counts[0] / count) ** power > left / 2:
                affordable = int(count * (0.9 * left / took) ** (1 / power))
                counts = [min(affordable, wanted)] if affordable > count else []
        return found
