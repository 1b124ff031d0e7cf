"""What a model does between its training and its use, in the time that its training has left for it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genflow.deadline import OutOfTime, deadline
from genflow.errors import SolverError
from genflow.metrics.likelihood import mean_and_se
from genflow.settling import Settled
from genflow.training.budget import Budget
from genflow.training.rows import TrainingData

__all__ = ["Closed", "Closing", "few_steps", "work"]

_SEEN, _PART = 1024, 0.25  # rows that a model is calibrated on at most; the part of the time that is left for it
_FEWEST = 8  # rows that say something
_ROWS = 64  # enough to see how fine a grid has to be
_MORE_ROWS = 256  # that an NLL is the mean of where no clock runs and nothing is settled
_SOLVES = 12.0  # what settling usually takes: half the steps, the steps, twice as many, there and back, an NLL
_PASSES = 3.0  # what the NLL takes of a model that has nothing to settle
_TRIAL = 0.005  # share of the budget in which the time of one of them is found out
_FEWEST_STEPS = 50


class Closed(NamedTuple):
    """What the closing found.

    Attributes:
        remarks: What remains undone, one line each.
        nll: Mean negative log-likelihood of validation rows, in nats, in the units of the data; NaN without one.
        nll_se: Its standard error.
        nll_rows: How many rows it is the mean of.
    """

    remarks: list[str]
    nll: float = math.nan
    nll_se: float = math.nan
    nll_rows: int = 0


class Closing:
    """Settles a model on validation rows and says how likely they are.

    Args:
        model: The model.
        data: What it is trained on.
        log_det: Of the preprocessing, at each validation row.
        budget: The training's budget.
    """

    def __init__(self, model: Any, data: TrainingData, log_det: Tensor, budget: Budget):
        self.model, self.budget, self.log_det = model, budget, log_det
        self.x, self.condition = data.validation, data.validation_condition
        self.seconds = 0.0  # that a log density of the first rows took, or took until it was given up
        self.asked = -math.inf
        self.answer = 0.0

    @property
    def most(self) -> float:
        """The largest reserve: some hundredths of the budget, a little more where that is next to nothing."""
        return max(0.03 * self.budget.total, min(0.3, 0.1 * self.budget.total))

    @torch.no_grad()
    def reserve(self) -> float:
        """Seconds to be left for it, found out on a few rows; anew where the model may have grown in the meantime."""
        if self.budget.used - self.asked < 0.1 * self.budget.total:
            return self.answer
        self.asked, self.answer = self.budget.used, self.most
        if self.model.has_log_prob:
            try:
                with deadline(_TRIAL * self.budget.total, self.budget.clock):
                    for rows in (1, _ROWS):  # what is only paid once is paid by the first
                        began = self.budget.clock()
                        try:
                            self._log_prob(slice(rows))
                        finally:
                            self.seconds = self.budget.clock() - began
                usual = _SOLVES if self.model.settles else _PASSES
                self.answer = min(self.most, usual * self.seconds + self.budget.slack)  # which the last stage may take
            except (OutOfTime, SolverError):
                pass
        return self.answer

    @torch.no_grad()
    def __call__(self) -> Closed:
        """Settles the model and judges it."""
        self.budget.reserve = 0.0
        left = self.budget.seconds_left
        if self.seconds > left:  # it can't be given up in between, or it would not have taken so long
            return Closed(["no time was left to check its figures on validation rows"] if left else [])
        settled = None
        try:
            self._calibrate(_PART * left)
            with deadline(self.budget.seconds_left, self.budget.clock):
                settled = self.model.settle(*self._some(slice(_ROWS)))
        except OutOfTime:
            settled = Settled(self.x.new_empty(0), "no time was left to check its log p on validation rows")
        remarks = [settled.remark] if isinstance(settled, Settled) and settled.remark else []
        log_p = self._judge(settled.log_prob if isinstance(settled, Settled) else None)
        if not len(log_p):
            return Closed(remarks)
        nll, se = mean_and_se(-(log_p.double().cpu() + self.log_det[: len(log_p)].cpu()))
        return Closed(remarks, nll, se, len(log_p))

    def _calibrate(self, left: float) -> None:
        """Lets the model see as many validation rows as these seconds are enough for, unless they would be few."""
        pace, rows = self.seconds / _ROWS, min(len(self.x), _SEEN)
        if self.budget.timed:
            rows = min(rows, int(left / pace) if pace else _ROWS)
        if rows >= _FEWEST:
            with contextlib.suppress(OutOfTime), deadline(left, self.budget.clock):
                self.model.calibrate(*self._some(slice(rows)))

    def _judge(self, known: Tensor | None) -> Tensor:
        """The log density of as many validation rows as there is time for, from the first on."""
        if not self.model.has_log_prob or (known is not None and not known.ndim):
            return self.x.new_empty(0)
        if not self.budget.timed:
            return self._log_prob(slice(_MORE_ROWS)) if known is None else known
        found = [] if known is None else [known]
        done, pace = sum(map(len, found)), self.seconds / _ROWS
        while done < len(self.x) and (left := self.budget.seconds_left) > 2 * _ROWS * pace:
            rows = slice(done, min(len(self.x), done + max(_ROWS, int(left / (4 * pace)) if pace else len(self.x))))
            began = self.budget.clock()
            try:
                with deadline(left, self.budget.clock):
                    found.append(self._log_prob(rows))
            except (OutOfTime, SolverError):
                break
            done += len(found[-1])
            pace = (self.budget.clock() - began) / len(found[-1])
        return torch.cat(found) if found else self.x.new_empty(0)

    def _some(self, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Some of the validation rows, and the condition of each."""
        return self.x[rows], None if self.condition is None else self.condition[rows]

    def _log_prob(self, rows: slice) -> Tensor:
        x, condition = self._some(rows)
        model = (self.model.cheaper(x) if self.budget.timed else None) or self.model
        return model.log_prob(x, condition, torch.Generator(x.device).manual_seed(0))


def few_steps(history: Sequence[dict[str, Any]], rows: int) -> list[str]:
    """A remark on a training of too few steps to be judged by: of less than a pass over its rows, or of a handful.

    Args:
        history: The training's history.
        rows: Rows that it was trained on. A model that is estimated without steps has all of them.
    """
    if history and all("candidates" in entry for entry in history):
        return [] if all(entry["candidates"] for entry in history) else ["no time was left to estimate it"]
    steps = sum(entry.get("steps", 0) for entry in history)
    seen = sum(entry.get("steps", 0) * entry.get("batch", rows) for entry in history)
    if steps >= _FEWEST_STEPS and seen >= rows:
        return []
    words = f"trained for {steps:,} step{'' if steps == 1 else 's'} only"
    return [f"{words}, less than one pass over its {rows:,} rows" if seen < rows else words]


def work(history: Sequence[dict[str, Any]]) -> str:
    """What a training consisted of, in words: optimizer steps; the candidates of a model without a gradient.

    Args:
        history: The training's history.

    Example:
        >>> work([{"stage": "matching", "steps": 100}, {"stage": "likelihood", "steps": 20}]), work([{"candidates": 7}])
        ('120 steps', '7 candidates')
    """
    if history and all("candidates" in entry for entry in history):
        count = sum(entry["candidates"] for entry in history)
        return f"{count} candidate{'' if count == 1 else 's'}"
    return f"{sum(entry.get('steps', 0) for entry in history)} steps"
