"""Two trainings in one: the first finds how long to train, the second trains so long on all rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.training.budget import Budget
from genflow.training.replay import complete, recipes

if TYPE_CHECKING:
    from genflow.data import Dataset

__all__ = ["SECOND", "refit"]

SECOND = "second"
"""The folder of the second training's snapshot, in that of the first."""


def refit(
    train: Callable[..., Transformed], data: Dataset, budget: Budget, checkpoint: str | PathLike[str] | None = None
) -> Transformed:
    """Trains with one half of a budget, and then on the validation rows, too, for as many steps as were best.

    What the result says of itself, its likelihood of validation rows and the scores that rows are compared with, are
    the first training's, which has not seen them. Where the second does not come to its end, the first is the result.

    Args:
        train: `(data, budget, checkpoint, again)`, one training; see `genflow.training.replay` for the last.
        data: The data set.
        budget: What both may take.
        checkpoint: A folder that their states are kept in.

    Raises:
        InputError: Rows that are read while the model trains; a budget of one step.
    """
    if data.stream is not None:
        raise InputError("refit: rows that are read while the model trains came; leave refit out, there are enough")
    half = budget.total / 2 if budget.timed else math.ceil(budget.total / 2)
    if half == budget.total:
        raise InputError(f"refit: {budget.unit}={half:.0f} came; at least 2 would do, one for each training")
    first = train(data, budget.like(half), checkpoint)
    if first.has_log_prob:
        first.scores()  # now, while there are rows that it has not seen
    wanted = recipes(first.history)
    folder = None if checkpoint is None else Path(checkpoint) / SECOND
    second = train(data.trained_also_on("validation"), budget.like(budget.total - half), folder, wanted)
    assert first.record is not None
    assert second.record is not None
    seconds = first.record.seconds + second.record.seconds
    if not complete(second.history, wanted):
        remark = "no time was left to train on the validation rows, too; it has seen the training rows alone"
        return first.rebuilt(remarks=[*first.remarks, remark], record=replace(first.record, seconds=seconds))
    second.model.calibrate_like(first.model)
    steps = first.record.steps + second.record.steps
    return second.rebuilt(record=replace(first.record, seconds=seconds, steps=steps))
