r"""Training as a sequence of stages, and the one loop that runs them all.

A model says what comes next, `next_stage(data, history) -> Stage | None`, from its own state and the history alone. A
continuous normalizing flow has one stage; JKO-iFlow has one for each block. The loop owns everything else: optimizer,
learning rate, clipping, averaging of the weights, early stopping, progress, checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Any

import torch

from genflow.deadline import OutOfTime, deadline
from genflow.numerics.tuning import products
from genflow.training.budget import Budget
from genflow.training.loop import StageRun
from genflow.training.progress import Progress
from genflow.training.replay import Recipe, ReplayRun
from genflow.training.rows import TrainingData
from genflow.training.selection import Selection, SelectionRun
from genflow.training.snapshots import Snapshots

__all__ = ["History", "train"]

History = list[dict[str, Any]]
"""One entry for each stage that has ended."""


def train(
    model: Any,
    data: TrainingData,
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: str | PathLike[str] | None = None,
    history: Sequence[dict[str, Any]] = (),
    reserve: Callable[[], float] = lambda: 0.0,
    autocast: bool = False,
    again: Mapping[str, Recipe] | None = None,
) -> History:
    """Runs a model's stages until it has no more, or the budget is spent.

    On a clock no stage begins what does not fit into its time any more: a step, a validation, what it does at its end.

    Args:
        model: The model; see `genflow.model.GenerativeModel.next_stage`.
        data: Standardized rows.
        budget: What it may take.
        seed: Seed of batches, probes and of the initial weights of new parts.
        progress: Called now and then; see `Progress`.
        checkpoint: A folder that the state is kept in. A training that was cut off goes on from there: where steps
            or evaluations are counted, to the same weights, bit for bit on the same machine; on a clock, with the
            seconds it has left.
        history: The stages that are behind the model, where it goes on from its weights.
        reserve: Asked at the beginning of each stage, on a clock, how many seconds are to be left at the end for what
            comes after the stages.
        autocast: Whether losses are computed under bfloat16 autocast; weights and validation keep their precision.
        again: What its stages are to do again, by their names; a stage without a recipe takes no steps. See
            `genflow.training.replay`.

    Returns:
        One entry for each stage: its name, steps, seconds, validation loss, curve, and what the model remembers of it.

    Raises:
        TrainingError: The loss stayed non-finite.
        InputError: The checkpoint is of another training.
    """
    snapshots = None if checkpoint is None else Snapshots(checkpoint, seed, budget, model, data, autocast)
    resumed = snapshots.read(model) if snapshots else None
    entries: History = resumed.history if resumed else list(history)
    budget.start()
    if resumed:
        budget.spend(resumed.seconds, resumed.counted)
    begin = budget.clock() - (entries[-1]["ends"] if entries else 0.0)
    pace = 0.0  # seconds of a step of the stage before
    while len(entries) == len(history) or budget.left > 0 or (resumed and resumed.run):
        if snapshots:
            snapshots.begin_stage(model, entries)
        # What a stage that was cut off had made is worth more than the time that its preparation takes.
        patience = budget.left if budget.timed and not (resumed and resumed.run) else math.inf
        with torch.random.fork_rng(), deadline(patience, budget.clock):
            torch.manual_seed(_mix(seed, len(entries)))
            try:
                stage = model.next_stage(data, entries)
            except OutOfTime:
                break
        if stage is None:
            break
        if budget.timed:
            budget.reserve = reserve()
        generator = torch.Generator(stage.points.device).manual_seed(_mix(seed, len(entries)) + 1)
        # Who runs it: an optimizer, or the choice among candidates that have no gradient.
        run: Any
        if isinstance(stage, Selection):
            if again is not None:
                stage = stage.only(again.get(stage.name, Recipe()).options)
            run = SelectionRun(stage, budget, generator, begin)
        elif again is not None:
            run = ReplayRun(stage, budget, generator, begin, autocast, pace, recipe=again.get(stage.name, Recipe()))
        else:
            run = StageRun(stage, budget, generator, begin, autocast, pace)
        if resumed and resumed.run:
            run.restore(*resumed.run)
            begin = run.begin
        resumed = None
        with products(stage.points.device):
            entry = run(progress, snapshots.write if snapshots else None)
        pace = run.pace if isinstance(run, StageRun) else pace
        with deadline(budget.seconds_left, budget.clock), suppress(OutOfTime):
            stage.finish(entry)
        entries.append({**entry, "ends": budget.clock() - begin})
    if snapshots:
        snapshots.begin_stage(model, entries)
        snapshots.write()
    return entries


def _mix(seed: int, count: int) -> int:
    return (seed * 1_000_003 + count * 7919) % (1 << 62)
