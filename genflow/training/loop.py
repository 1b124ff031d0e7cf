"""One stage of a training, run to its share of the budget, with everything that a checkpoint has to keep."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from genflow.deadline import OutOfTime, check_time, deadline
from genflow.errors import InputError, SolverError
from genflow.metrics.likelihood import paired_difference
from genflow.tally import tally
from genflow.training.budget import Budget
from genflow.training.progress import Progress, event
from genflow.training.rows import Rows, Stream, pick, unpair
from genflow.training.soap import SOAP
from genflow.training.stage import Refinement, Stage, StageState, TrainingError

__all__ = ["StageRun"]

_REPORT_EVERY = 20  # steps between two calls of the progress display
_FEWEST_ROWS = 256  # in a validation, where there are more
_REFINEMENTS = 4  # most refinements of a stage's grid
_TOO_FEW_ROWS = 16  # below which a validation says nothing
_EARLIEST, _GROWTH = 1e-3, 0.25  # of a stage: its second validation, and how much later each of the next ones is
_SLICE = 256  # validation rows at once on a clock, which is looked at between them
_NONE = -1  # validation rows, where not even one is affordable
_CLEARLY = 2.0  # standard errors by which the beginning of a settled stage is to be beaten
# What it takes to abandon a stage: so much of it is over, its best weights came that much earlier, and so many
# validations have each been worse than the one before. See docs/experiments.md.
_MIDDLE, _EARLY, _RISES = 0.5, 0.7, 4
_REMEMBERED_STEPS = 8  # whose median says how long the next one may take
_PATIENCE, _RETREATS = 5, 4  # non-finite steps until a retreat to the best weights; retreats until giving up


class StageRun:
    """An optimizer with a cosine schedule in elapsed / budget, on the batches of one stage; keeps the best weights.

    A step with a non-finite loss or gradient is skipped. After a few in a row the stage goes back to its best weights
    with a third of the learning rate, and in the end it stops with the reason.

    Args:
        stage: The stage.
        budget: The whole training's budget.
        generator: Source of batches and of whatever the loss draws.
        begin: Clock reading at the beginning of the training, for curves and progress.
        autocast: Whether the loss, not the validation, is computed under bfloat16 autocast.
        expected: Seconds that the first step may take: those of the stage before, where there was one.
    """

    def __init__(
        self,
        stage: Stage,
        budget: Budget,
        generator: torch.Generator,
        begin: float,
        autocast: bool = False,
        expected: float = 0.0,
    ):
        self.autocast, self.expected = autocast, expected
        self.stage, self.budget, self.generator, self.begin = stage, budget, generator, begin
        self.optimization, self.regime = stage.optimization, stage.regime
        self.parameters = stage.parameters
        self.optimizer = _optimizer(stage)
        if self.regime.lean:  # before anything else is computed: they lie together
            for parameter in self.parameters:
                parameter.grad = torch.zeros_like(parameter)
        self.averaged = _copy(self.parameters) if self.optimization.average else []
        self.best: list[Tensor] = _copy(self.parameters)
        self.best_loss = math.inf
        self.rows = torch.empty(0, dtype=torch.long, device=stage.points.device)  # of this epoch, not yet drawn
        budget.start()
        self.batches: Generator[Rows] | None = None  # of a stream, from the first one on
        self.drawn = 0  # of them
        self.spent_before = budget.used
        allowance = stage.share * budget.left
        self.allowance = allowance if budget.timed else max(1.0, round(allowance))
        self.began, self.seconds_before = self.budget.clock(), 0.0
        self.step, self.skipped, self.retreats, self.refinements = 0, 0, 0, 0
        self.evaluations = 0  # of the network, in the losses of the steps
        self.rate = self.optimization.learning_rate
        self.next_validation, self.validated = 0.0, 0
        self.curve: list[list[float]] = []
        self.validation = math.nan
        self.best_step, self.best_fraction, self.rises, self.abandoned = 0, 0.0, 0, False
        self.best_rows: Tensor | None = None  # the loss of each validation row under the best weights
        self.first_rows: Tensor | None = None  # and under those that the stage began with
        self.validation_seconds, self.mean_seconds = 0.0, 0.0  # of the last validation, and of its mean alone
        self.step_seconds: list[float] = []  # of the first step and of the last few

    @property
    def fraction(self) -> float:
        """How much of the stage's allowance is spent, in what its budget counts or in steps."""
        spent = (self.budget.used - self.spent_before) / self.allowance if self.allowance else 1.0
        return spent if self.regime.steps is None else max(spent, self.step / self.regime.steps)

    @property
    def left(self) -> float:
        """What is left of the stage's allowance, and a little more, so that it does not end before."""
        return self.spent_before + self.allowance + self.budget.slack - self.budget.used if self.allowance else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the stage, those of earlier sessions included."""
        return self.seconds_before + self.budget.clock() - self.began

    def __call__(
        self, progress: Progress | None = None, save: Callable[[StageState], None] | None = None
    ) -> dict[str, Any]:
        """Runs the stage to its end, leaves its best weights in place, and returns its entry of the history.

        Args:
            progress: Called now and then with where it stands.
            save: Called after validations, not oftener than these are regular, with all that a resumed run needs.
        """
        self.began, loss, saved = self.budget.clock(), math.nan, -math.inf
        try:
            while (fraction := self.fraction) < 1 and not self.abandoned:
                if fraction >= self.next_validation and self._affords(self.validation_seconds + self.pace):
                    self._validate(fraction)
                    if save is not None and fraction - saved >= 0.9 / self.regime.validations:  # not at early ones
                        save(self.state())
                        saved = fraction
                if not self._affords(self.pace):
                    break
                loss = self._timed_step(fraction)
                if progress is not None and self.step % _REPORT_EVERY == 0:
                    progress(self._event(loss))
        except OutOfTime:
            pass
        finally:  # the processes of a stream end with the stage
            if self.batches is not None:
                self.batches.close()
        if not self.budget.timed or not self.curve or self.curve[-1][1] != self.step:
            self._validate(1.0, last=True)
        if self.curve:
            _assign(self.parameters, self.best)
        elif self.averaged:  # there was no time to validate anything: the average is the better guess
            _assign(self.parameters, self.averaged)
        if progress is not None:
            progress(self._event(loss))
        return {
            "stage": self.stage.name,
            "steps": self.step,
            "evaluations": self.evaluations,
            "batch": self._batch_size,
            "rows": max(0, self.validated),
            "seconds": self.seconds,
            "span": self._span(),
            "validation": self.best_loss,
            "learning_rate": self.rate,
            "refinements": self.refinements,
            "abandoned": self.abandoned,
            "curve": self.curve,
        }

    def _span(self) -> list[float]:
        """Shares of the whole budget: what was spent when it began, what is now, what would be had it taken all."""
        spent = self.spent_before, self.budget.used, self.spent_before + self.allowance
        return [amount / self.budget.total for amount in spent]

    @property
    def pace(self) -> float:
        """Seconds of a step: the median of the last few, without the first of all, which pays what is paid once."""
        return statistics.median(self.step_seconds[1:] or self.step_seconds or [self.expected])

    def _affords(self, seconds: float) -> bool:
        """Whether so much time is left beside that of the last validation and of the stage's end."""
        return not self.budget.timed or self.left >= seconds + (1 + self.stage.closing) * self.mean_seconds

    def _timed_step(self, fraction: float) -> float:
        """A step, given up at the end of the stage."""
        if not self.budget.timed:
            return self._step(fraction)
        began = self.budget.clock()
        try:
            with deadline(self.left, self.budget.clock):
                return self._step(fraction)
        finally:  # so much at least, of a step that was given up
            self.step_seconds.append(self.budget.clock() - began)
            if len(self.step_seconds) > 1 + _REMEMBERED_STEPS:
                del self.step_seconds[1]

    def _step(self, fraction: float) -> float:
        annealed = self.optimization.annealed
        rate = self.rate * (_schedule(fraction, self.regime.warmup) if annealed else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before, batch = self.evaluations, self._batch()
        drawn = self.generator.get_state() if self._sharp else None
        value = self._gradient(batch)
        if drawn is not None and math.isfinite(value):  # once more with the same draws
            self.generator.set_state(drawn)
            with self._climb(self.optimization.sharpness or 0.0):
                climbed = self._gradient(batch)
            value = value if math.isfinite(climbed) else climbed
        norm = nn.utils.clip_grad_norm_(self.parameters, self.optimization.clip)
        self.budget.step(self.evaluations - before)
        if math.isfinite(value) and math.isfinite(norm.item()):
            self.optimizer.step()
            self.step, self.skipped = self.step + 1, 0
            self._average()
        else:
            self._skip()
        return value

    def _gradient(self, batch: Rows) -> float:
        """The loss of a batch, with its gradient left in the parameters; not a number where no solver gets through."""
        self.optimizer.zero_grad(set_to_none=not self.regime.lean)
        device = self.stage.points.device.type
        precision = torch.autocast(device, torch.bfloat16) if self.autocast else nullcontext()
        with tally() as solves:
            try:
                with precision:
                    loss = self.stage.loss(batch, self.generator)
                loss.backward()
            except SolverError:
                return math.nan
            finally:  # a loss without a solve evaluates it once for each row
                self.evaluations += solves.count or len(unpair(batch)[0])
        return loss.item()

    @property
    def _sharp(self) -> bool:
        """Whether to look for a flat minimum by now."""
        seen = self.step * self.optimization.batch_size / self.stage.count
        return (self.optimization.sharpness or 0.0) > 0 and seen >= self.regime.sharp_after

    @contextmanager
    def _climb(self, radius: float) -> Iterator[None]:
        """With the weights moved up the gradient by so much."""
        weights = [parameter.data for parameter in self.parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm().clamp_min(1e-12).item()
        before = _copy(self.parameters)
        torch._foreach_add_(weights, gradients, alpha=radius / norm)
        try:
            yield
        finally:
            _assign(self.parameters, before)

    def _average(self) -> None:
        if self.averaged:
            # Its memory grows with the steps taken, so that the initial weights are soon forgotten.
            decay = min(self.optimization.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.averaged, [parameter.data for parameter in self.parameters], 1 - decay)

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped % _PATIENCE:
            return
        if self.retreats == _RETREATS:
            raise TrainingError(
                f"{self.stage.name}: the loss stayed non-finite at step {self.step}, also with a learning rate of "
                f"{self.rate:.1e}; look at the data's outliers, or begin with a smaller rate"
            )
        self.retreats += 1
        self.rate /= 3
        self._retreat()

    def _retreat(self) -> None:
        """Back to the best weights, with an optimizer that knows nothing."""
        self.optimizer.state.clear()
        _assign(self.parameters, self.best)
        for average, best in zip(self.averaged, self.best, strict=False):
            average.copy_(best)

    def _grids(self) -> tuple[float, float]:
        """The candidate's mean losses on the coarse grid and on the fine one; equal where there is but one."""
        refinement = self.stage.refinement
        if refinement is None:
            return 0.0, 0.0
        coarse = self._losses(refinement.coarse)
        return (self._mean(coarse), self._mean(self.fine[: len(coarse)])) if len(coarse) else (0.0, 0.0)

    def _refine(self, refinement: Refinement, trusted: bool) -> bool:
        """Away from a candidate that lives on the solver's error, by a finer grid; whether anything was done."""
        if self.refinements < _REFINEMENTS:
            self.refinements += 1
            refinement.refine(self.refinements)
        elif not trusted:
            self.rate /= 3
        else:
            return False
        self._retreat()
        return True

    @property
    def _batch_size(self) -> int:
        """Rows in a batch: no more than there are."""
        unknown = isinstance(self.stage.train, Stream) and self.stage.train.count is None
        return self.optimization.batch_size if unknown else min(self.optimization.batch_size, self.stage.count)

    def _batch(self) -> Rows:
        """The next rows of this epoch; a new permutation begins where too few are left."""
        count, size = len(self.stage.points), self._batch_size
        if isinstance(self.stage.train, Stream):
            if self.batches is None:
                self.batches = self.stage.train.batches(size, self.generator.initial_seed(), skip=self.drawn)
            self.drawn += 1
            return next(self.batches)
        if len(self.rows) < size:
            self.rows = torch.randperm(count, generator=self.generator, device=self.rows.device)
        drawn, self.rows = self.rows[:size], self.rows[size:]
        return pick(self.stage.train, drawn)

    @torch.no_grad()
    def _validate(self, fraction: float, last: bool = False) -> None:
        began = self.budget.clock()
        candidate = self.averaged or [parameter.data for parameter in self.parameters]
        current = _copy(self.parameters)
        _assign(self.parameters, candidate)
        if not self.validated:
            self.validated = self._affordable_rows() or _NONE
        if self.validated == _NONE:
            self.next_validation = math.inf
            _assign(self.parameters, current)
            return
        started = self.budget.clock()
        self.fine = self._losses(self.stage.validate)
        self.validation = self._mean(self.fine)
        grids, refinement = self._grids(), self.stage.refinement
        self.mean_seconds = self.budget.clock() - started
        trusted = refinement is None or refinement.trusted(*grids)
        if trusted and self._is_improvement():
            self.best_loss, self.best, self.best_rows = self.validation, _copy(self.parameters), self.fine
            self.best_step, self.best_fraction = self.step, fraction
        self.rises = self.rises + 1 if self.curve and self.validation > self.curve[-1][2] else 0
        if not last:
            self.abandoned |= self._has_enough() or (self.regime.abandons and self._only_gets_worse(fraction))
        if not self.step and self.best_rows is not None:
            self.first_rows = self.best_rows
        goes_on = not (last and self.budget.timed)
        moved = goes_on and refinement is not None and refinement.wanted(*grids) and self._refine(refinement, trusted)
        if not moved:
            _assign(self.parameters, current)
        if len(self.fine):
            self.curve.append([round(self.budget.clock() - self.begin, 3), self.step, self.validation])
        # On a clock, validation takes at most about a tenth of the stage.
        self.validation_seconds = self.budget.clock() - began
        least = 10 * self.validation_seconds / max(self.allowance, 1e-9) if self.budget.timed else 0.0
        # On few rows the best weights may be those of the first steps: early looks, at distances that grow.
        early = max(_GROWTH * fraction, _EARLIEST)
        self.next_validation = fraction + max(min(1 / self.regime.validations, early), least)

    def _has_enough(self) -> bool:
        """Whether its best weights are long past, after as many steps as it is to take at least."""
        enough = self.regime.enough
        return enough is not None and self.step >= max(enough, 2 * self.best_step)

    def _only_gets_worse(self, fraction: float) -> bool:
        """Whether its best weights are past and validation rows have become less likely ever since."""
        old = fraction >= _MIDDLE and 0 < self.best_fraction <= _EARLY * fraction
        return old and self.rises >= _RISES

    def _is_improvement(self) -> bool:
        """Whether the mean is the lowest so far; of a validation that was cut off, on the rows that it came to."""
        if not math.isfinite(self.validation) or (self.regime.settled and not self._beats_the_beginning()):
            return False
        if len(self.fine) == self.validated:
            return self.validation < self.best_loss
        return self.best_rows is not None and self.validation < self._mean(self.best_rows[: len(self.fine)])

    def _beats_the_beginning(self) -> bool:
        """Whether the rows have gained more since the stage's beginning than chance gives the best of some looks."""
        if self.first_rows is None or not len(self.fine):
            return True
        gain, error = paired_difference(self.first_rows[: len(self.fine)], self.fine)
        return not gain <= _CLEARLY * error  # of one row there is no error, and of infinite ones neither

    def _losses(self, losses: Callable[[Rows, torch.Generator], Tensor], count: int | None = None) -> Tensor:
        """The losses of so many validation rows, of fewer where the stage's time ends before.

        They are not a number where this candidate can't be integrated.
        """
        count = self.validated if count is None else count
        like = self.stage.points
        generator = torch.Generator(like.device).manual_seed(0)
        size = _SLICE if self.budget.timed else max(1, count)
        found: list[Tensor] = []
        taken = 0.0
        for begin in range(0, count, size):
            part = slice(begin, min(begin + size, count))
            if self.budget.timed and self.left < taken:
                break
            began = self.budget.clock()
            try:
                with deadline(self.left if self.budget.timed else math.inf, self.budget.clock):
                    check_time()
                    value = losses(pick(self.stage.validation, part), generator).double()
            except SolverError:
                return like.new_full((count,), math.nan, dtype=torch.double)
            except OutOfTime:
                break
            taken = self.budget.clock() - began
            # Of several draws for each row, one after the other, the mean.
            found.append(value.reshape(-1, part.stop - part.start).mean(0))
        return torch.cat(found) if found else like.new_empty(0, dtype=torch.double)

    def _mean(self, losses: Tensor) -> float:
        return losses.mean().item() if len(losses) else math.nan

    def _affordable_rows(self) -> int:
        """How many rows to validate on: all, or on a clock as many as take a hundredth of the stage; 0 for none.

        A few hundred are worth a tenth of it. What they take is found on few rows, by a straight line through two
        counts; before there are two, more are tried where one row takes next to nothing.
        """
        count = len(unpair(self.stage.validation)[0])
        if not self.budget.timed:
            return count
        if self._seconds_of(1) > 0.25 * self.allowance:  # what is only paid once is paid by this one
            return 0
        least = min(_TOO_FEW_ROWS, count)
        begin, each, rows, seconds = 0.0, math.inf, 0, 0.0
        for more in dict.fromkeys((1, least, min(_FEWEST_ROWS, count))):
            hopeful = rows == 1 and seconds <= 0.05 * self.allowance
            if rows and begin + each * more > 0.1 * self.allowance and not hopeful:
                break
            taken = self._seconds_of(more)
            if taken == math.inf:
                break
            each = max(0.0, taken - seconds) / (more - rows)
            begin, rows, seconds = max(0.0, taken - each * more), more, taken

        def within(share: float) -> float:
            return max(0.0, share * self.allowance - begin) / max(each, 1e-12)

        rows = min(count, math.floor(max(within(0.01), min(_FEWEST_ROWS, within(0.1))) + 1e-9))
        return rows if rows >= least else 0  # on fewer, chance decides which weights are kept

    def _seconds_of(self, rows: int) -> float:
        """What a validation of so many rows takes; infinite where it was given up after a quarter of the stage."""
        began, refinement = self.budget.clock(), self.stage.refinement
        validations = [self.stage.validate] + ([refinement.coarse] if refinement else [])
        with deadline(0.25 * self.allowance, self.budget.clock):
            complete = all(len(self._losses(losses, rows)) == rows for losses in validations)
        return self.budget.clock() - began if complete else math.inf

    def _event(self, loss: float) -> dict[str, Any]:
        return event(self.stage.name, self.step, loss, self.validation, self.budget, self.begin)

    def state(self) -> StageState:
        """Everything that a resumed run needs: tensors, and facts for JSON."""
        lists = {
            "current": [parameter.data for parameter in self.parameters],
            "best": self.best,
            "averaged": self.averaged,
        }
        tensors = {f"{name}.{i}": tensor for name, values in lists.items() for i, tensor in enumerate(values)}
        for i, parameter in enumerate(self.parameters):
            # A parameter that has not had a gradient yet has no moments.
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in moments.items()}
        tensors |= {"rows": self.rows, "generator": self.generator.get_state()}
        tensors |= {name: losses for name in _LOSSES if (losses := vars(self)[name]) is not None}
        facts = {name: vars(self)[name] for name in _FACTS}
        return tensors, {**facts, "seconds_before": self.seconds, "elapsed": self.budget.clock() - self.begin}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Takes up the state of a run of the same stage that was cut off."""

        def listed(name: str) -> list[Tensor]:
            count = sum(key.startswith(f"{name}.") for key in tensors)
            return [tensors[f"{name}.{i}"].to(self.rows.device) for i in range(count)]

        _assign(self.parameters, listed("current"))
        self.best, self.averaged = listed("best"), listed("averaged")
        for i, parameter in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            moments = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = {name: t.to(self.rows.device) for name, t in moments.items()}
        self.rows = tensors["rows"].to(self.rows.device)
        self.generator.set_state(tensors["generator"])
        for name in _LOSSES & tensors.keys():  # snapshots of earlier versions have none
            setattr(self, name, tensors[name].to(self.rows.device))
        for name in (*_FACTS, "seconds_before"):
            setattr(self, name, facts.get(name, 0))  # snapshots of earlier versions count no evaluations
        if self.refinements and self.stage.refinement:
            self.stage.refinement.refine(self.refinements)
        self.begin = self.budget.clock() - facts["elapsed"]


_LOSSES = {"best_rows", "first_rows"}
_FACTS = (
    "step", "drawn", "evaluations", "skipped", "retreats", "refinements", "rate", "next_validation", "validated",
    "curve", "validation", "best_loss", "best_step", "best_fraction", "rises", "abandoned", "spent_before", "allowance",
)  # fmt: skip


def _optimizer(stage: Stage) -> torch.optim.Optimizer:
    if not stage.parameters:
        raise InputError(
            f"velocity: it has no parameters, of which {stage.name} would train some; a torch.nn.Module would do, and "
            "a field that is known needs no training: gf.Flow(velocity) has its density and samples"
        )
    kind, rate, decay = stage.optimization.optimizer, stage.optimization.learning_rate, stage.optimization.weight_decay
    if kind == "soap":
        return SOAP(stage.parameters, rate, weight_decay=decay)
    if kind == "adam":
        return torch.optim.AdamW(stage.parameters, rate, stage.regime.betas, weight_decay=decay, fused=True)
    raise InputError(f"optimizer: no {kind!r}; adam or soap would do")


def _schedule(fraction: float, warmup: float) -> float:
    """Linear up to 1, then down to 0 like a cosine."""
    rise = min(1.0, (fraction + 1e-3) / warmup) if warmup else 1.0
    return rise * 0.5 * (1 + math.cos(math.pi * fraction))


def _copy(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


@torch.no_grad()
def _assign(parameters: list[nn.Parameter], weights: list[Tensor]) -> None:
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)
