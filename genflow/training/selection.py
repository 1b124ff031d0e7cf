"""A stage without a gradient: candidates are estimated one after the other, and the best on validation rows stays.

A Gaussian has a closed form, a mixture its own iteration, a kernel estimate nothing to be trained but its bandwidth.
What is left to choose, a size or a smoothness, is chosen by the likelihood of validation rows. On a clock no candidate
begins when the time is over, and one that is cut off is let go. A budget of iterations is so many candidates; what one
of them may cost is bounded by a `draft`, an estimate on fewer rows, and the best one is then estimated on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genflow.deadline import OutOfTime, check_time, deadline
from genflow.training.budget import Budget
from genflow.training.progress import Progress, event
from genflow.training.rows import Rows, pick, unpair
from genflow.training.stage import StageState, TrainingError

__all__ = ["Selection", "SelectionRun", "Trial"]

_SLICE, _FEW = 256, 16  # validation rows at once on a clock, which is looked at between them; and to begin with
_FIRST = 0.1  # share of the time that the first validation may take: it decides how many rows the others take


class Trial(NamedTuple):
    """A candidate and what came of it.

    Attributes:
        options: What it was built with.
        loss: Its mean loss on validation rows; infinite where it can't be estimated.
    """

    options: dict[str, Any]
    loss: float


@dataclass
class Selection:
    """One stage of a training, whose candidates are models of their own.

    Attributes:
        name: What the progress display calls it.
        train: Training rows, one tensor or several that share their leading axis.
        validation: Validation rows in the same form. On a clock, the first of them that it can afford are used.
        propose: The options of the next candidate, given those before; `None` at the end.
        build: The candidate of some options, not estimated yet.
        estimate: `(candidate, generator)`, estimates it on the training rows.
        draft: The same on some of them, which is what candidates are chosen by where no clock bounds them; `None` where
            an estimate is never too dear for that. The best one's options are estimated on all rows at the end; that
            is kept unless validation rows are less likely under it.
        validate: `(candidate, rows) -> (m,)`, the loss of each of these validation rows.
        keep: Takes the best candidate over.
        finish: Called at the end with the stage's entry of the history.
    """

    name: str
    train: Rows
    validation: Rows
    propose: Callable[[list[Trial]], dict[str, Any] | None]
    build: Callable[[dict[str, Any]], Any]
    estimate: Callable[[Any, torch.Generator], None]
    validate: Callable[[Any, Rows], Tensor]
    keep: Callable[[Any], None]
    finish: Callable[[dict[str, Any]], None] = lambda entry: None
    draft: Callable[[Any, torch.Generator], None] | None = None

    @property
    def points(self) -> Tensor:
        """The first of the tensors that `train` consists of."""
        return unpair(self.train)[0]

    def only(self, options: Mapping[str, Any] | None) -> Selection:
        """The same with one candidate, estimated on all rows; with its own candidates where there are no options."""
        if options is None:
            return self
        return replace(self, propose=lambda trials: None if trials else dict(options), draft=None)


class SelectionRun:
    """Tries the candidates of a selection; the counterpart of `genflow.training.loop.StageRun`.

    Args:
        stage: The selection.
        budget: The whole training's budget.
        generator: Source of whatever an estimate draws.
        begin: Clock reading at the beginning of the training, for curves and progress.
    """

    def __init__(self, stage: Selection, budget: Budget, generator: torch.Generator, begin: float):
        self.stage, self.budget, self.generator, self.begin = stage, budget, generator, begin
        budget.start()
        self.allowance = budget.left
        self.trials: list[Trial] = []
        self.best: Any = None
        self.best_loss = math.inf
        self.rows = len(unpair(stage.validation)[0])
        self.curve: list[list[float]] = []
        self.validation_seconds, self.least_seconds = 0.0, 0.0  # of the last validation; of the quickest candidate
        self.began, self.seconds_before = budget.clock(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the stage, those of earlier sessions included."""
        return self.seconds_before + self.budget.clock() - self.began

    @torch.no_grad()
    def __call__(
        self, progress: Progress | None = None, save: Callable[[StageState], None] | None = None
    ) -> dict[str, Any]:
        """Tries candidates to the end, has the best one kept, and returns the stage's entry of the history.

        Raises:
            TrainingError: None of them can be estimated.
        """
        draft = None if self.budget.timed else self.stage.draft
        reason = ""
        while self._affords() and (options := self.stage.propose(self.trials)) is not None:
            began = self.budget.clock()
            try:
                loss = self._try(options, draft or self.stage.estimate)
            except OutOfTime:
                break
            except ValueError as error:  # such as a covariance that is singular
                loss, reason = math.inf, f": {' '.join(str(error).split())}"
            self.budget.step()  # there is no network in it to evaluate
            taken = self.budget.clock() - began
            self.least_seconds = min(taken, self.least_seconds) if self.trials else taken
            self.trials.append(Trial(options, loss))
            if math.isfinite(loss):
                self.curve.append([round(self.budget.clock() - self.begin, 3), len(self.trials), loss])
            if progress is not None:
                progress(event(self.stage.name, len(self.trials), loss, self.best_loss, self.budget, self.begin))
            if save is not None:
                save(self.state())
        if draft is not None and self.best is not None:
            with suppress(ValueError):
                self._try(self._likeliest.options, self.stage.estimate)
        if self.best is not None:
            self.stage.keep(self.best)
        elif self.trials:
            raise TrainingError(f"{self.stage.name}: none of {len(self.trials)} candidates could be estimated{reason}")
        return {
            "stage": self.stage.name,
            "steps": 0,
            "candidates": len(self.trials) or int(self.best is not None),
            "options": self._likeliest.options if self.trials else None,
            "rows": self.rows,
            "seconds": self.seconds,
            "validation": self.best_loss,
            "curve": self.curve,
        }

    @property
    def _likeliest(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.loss)

    def _try(self, options: dict[str, Any], work: Callable[[Any, torch.Generator], None]) -> float:
        """The loss of a candidate of some options; the better of it and the best so far is the best from there on.

        Raises:
            OutOfTime: It was cut off.
            ValueError: It can't be estimated.
        """
        with deadline(self._left - self.validation_seconds, self.budget.clock):
            candidate = self.stage.build(options)
            work(candidate, self.generator)
        self.best = candidate if self.best is None else self.best
        with deadline(self._left, self.budget.clock):
            check_time()
            loss = self._loss(candidate)
        if loss < self.best_loss:
            self.best, self.best_loss = candidate, loss
        return loss

    def _loss(self, candidate: Any) -> float:
        """The mean loss of the validation rows; the first candidate finds out how many of them there is time for."""
        if not self.budget.timed:
            return _mean(self.stage.validate(candidate, pick(self.stage.validation, slice(self.rows))))
        began, found, start = self.budget.clock(), [], 0
        while start < self.rows:
            stop = min(self.rows, start + (_SLICE if start else _FEW))
            check_time()
            found.append(self.stage.validate(candidate, pick(self.stage.validation, slice(start, stop))))
            start = stop
            self.validation_seconds = self.budget.clock() - began
            if not self.trials and self.validation_seconds > _FIRST * self.allowance:
                self.rows = start
        return _mean(torch.cat(found)) if found else math.inf

    @property
    def _left(self) -> float:
        """Seconds left, infinite where candidates are counted."""
        return self.budget.left if self.budget.timed else math.inf

    def _affords(self) -> bool:
        """Whether there is time, or a count, for another candidate that is as quick as the quickest."""
        return self.budget.left > 0 and self._left >= self.least_seconds

    def state(self) -> StageState:
        """Everything that a resumed run needs: tensors, and facts for JSON."""
        weights = {} if self.best is None else self.best.state_dict()
        tensors = {**{f"best.{name}": tensor for name, tensor in weights.items()}, "drawn": self.generator.get_state()}
        facts = {
            "trials": [[trial.options, trial.loss] for trial in self.trials],
            "best": None if self.best is None else self.best.config(),
            "best_loss": self.best_loss,
            "rows": self.rows,
            "curve": self.curve,
            "seconds_before": self.seconds,
            "elapsed": self.budget.clock() - self.begin,
        }
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Takes up the state of a run of the same stage that was cut off."""
        self.trials = [Trial(options, loss) for options, loss in facts["trials"]]
        if facts["best"] is not None:
            self.best = self.stage.build(facts["best"])
            self.best.load_state_dict({n.removeprefix("best."): t for n, t in tensors.items() if n[:5] == "best."})
        self.generator.set_state(tensors["drawn"])
        self.best_loss, self.rows, self.curve = facts["best_loss"], facts["rows"], facts["curve"]
        self.seconds_before = facts["seconds_before"]
        self.begin = self.budget.clock() - facts["elapsed"]


def _mean(losses: Tensor) -> float:
    """Infinite where a row has no density."""
    mean = losses.double().mean().item() if len(losses) else math.inf
    return mean if math.isfinite(mean) else math.inf
