r"""Training as a sequence of stages, and the one loop that runs them all.

A model says what comes next, `next_stage(data, history) -> Stage | None`, from its own state and the history alone. A
continuous normalizing flow has one stage; JKO-iFlow has one for each block. The loop owns everything else: optimizer,
learning rate, clipping, averaging of the weights, early stopping, progress, checkpoints.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError

__all__ = ["Budget", "Progress", "Stage", "TrainingData", "TrainingError", "parse_seconds", "train"]

History = list[dict[str, Any]]
Progress = Callable[[dict[str, Any]], None]
"""Called now and then with `stage, fraction, step, seconds, loss, validation`."""


class TrainingError(RuntimeError):
    """A training that could not go on: the loss stayed non-finite."""


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on: rows in standardized units.

    Attributes:
        train: Training rows, `(n, *event)`.
        validation: Validation rows, `(m, *event)`.
        cache: What a model wants to keep from one stage to the next and can make again, such as pushed samples.
    """

    train: Float[Tensor, "n *event"]
    validation: Float[Tensor, "m *event"]
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stage:
    r"""One stage of a training.

    Attributes:
        name: What the progress display calls it.
        parameters: What is trained.
        train: Training rows; a batch is drawn from them.
        loss: `(batch, generator) -> scalar`, the mean loss of a batch.
        validate: `() -> (m,)`, the loss of each validation row; the weights that are best on average are kept.
        share: Its share of the budget that is left when it begins.
        finish: Called at the end with the stage's entry of the history; may change the model, and adds to the entry.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate; it warms up over the first hundredths and falls to zero like a cosine.
        betas: Decay of Adam's two moments.
        weight_decay: Decoupled weight decay.
        clip: Largest norm of the gradient.
        average: Decay per step of the moving average of the weights that is validated and kept; 0 for none.
        validations: How often to validate.
    """

    name: str
    parameters: list[nn.Parameter]
    train: Tensor
    loss: Callable[[Tensor, torch.Generator], Tensor]
    validate: Callable[[], Tensor]
    share: float = 1.0
    finish: Callable[[dict[str, Any]], None] = lambda entry: None
    batch_size: int = 512
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 10.0
    average: float = 0.0
    warmup: float = 0.02
    validations: int = 20


_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_seconds(text: str | float) -> float:
    """Seconds from a number or from a text such as `30s`, `2min`, `1.5h`.

    Example:
        >>> parse_seconds("2min")
        120.0
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", str(text))
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise InputError(f"budget: {text!r} came; a time such as 30s, 2min or 1h would do")
    return float(match[1]) * _UNITS[match[2]]


class Budget:
    """What is left of a training's seconds or of its iterations.

    Args:
        seconds: Wall seconds.
        iterations: Optimizer steps; exactly one of the two is given.
        used: Seconds or iterations spent before, when a training is resumed.
    """

    def __init__(self, seconds: float | None = None, iterations: int | None = None, used: float = 0.0):
        if (seconds is None) == (iterations is None):
            raise InputError("budget, iterations: give exactly one of them")
        if iterations is not None and iterations < 1:
            raise InputError(f"iterations: {iterations} came; at least 1 would do")
        self.timed = seconds is not None
        self.total = float(seconds if seconds is not None else iterations)  # type: ignore[arg-type]
        self._begin = time.perf_counter() - used if self.timed else 0.0
        self._steps = 0.0 if self.timed else used

    def step(self) -> None:
        """Counts an optimizer step."""
        self._steps += 1

    @property
    def used(self) -> float:
        """Seconds or steps spent so far."""
        return time.perf_counter() - self._begin if self.timed else self._steps

    @property
    def left(self) -> float:
        """Seconds or steps left."""
        return max(0.0, self.total - self.used)


class _Model(Protocol):
    def next_stage(self, data: TrainingData, history: History) -> Stage | None: ...
    def state_dict(self) -> dict[str, Tensor]: ...


@dataclass
class _Best:
    """The best weights so far, by validation loss."""

    parameters: list[nn.Parameter]
    loss: float = math.inf
    weights: list[Tensor] = field(default_factory=list)

    def offer(self, loss: float, weights: list[Tensor]) -> None:
        if math.isfinite(loss) and loss < self.loss:
            self.loss = loss
            self.weights = [weight.detach().clone() for weight in weights]

    def restore(self) -> None:
        if self.weights:
            _assign(self.parameters, self.weights)


def train(
    model: Any,
    data: TrainingData,
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    history: History | None = None,
) -> History:
    """Runs a model's stages until it has no more, or the budget is spent.

    Args:
        model: The model; see `next_stage`.
        data: Standardized rows.
        budget: Seconds or iterations.
        seed: Seed of batches, probes and of the initial weights of new parts.
        progress: Called now and then; see `Progress`.
        history: What was done before; new entries are appended to it.

    Returns:
        One entry for each stage: its name, steps, seconds, validation loss, curve, and what the model remembers of it.

    Raises:
        TrainingError: The loss stayed non-finite.
    """
    history = [] if history is None else history
    begin = time.perf_counter()
    while not history or budget.left > 0:
        with torch.random.fork_rng():
            torch.manual_seed(_mixed(seed, len(history)))
            stage = model.next_stage(data, history)
        if stage is None:
            break
        generator = torch.Generator(stage.train.device).manual_seed(_mixed(seed, len(history)) + 1)
        entry = _run(stage, budget, generator, progress, begin)
        stage.finish(entry)
        history.append(entry)
    return history


def _mixed(seed: int, count: int) -> int:
    return (seed * 1_000_003 + count * 7919) % (1 << 62)


def _run(
    stage: Stage, budget: Budget, generator: torch.Generator, progress: Progress | None, begin: float
) -> dict[str, Any]:
    """One stage: to its share of the budget, then back to its best weights."""
    parameters = stage.parameters
    optimizer = torch.optim.AdamW(
        parameters, lr=stage.learning_rate, betas=stage.betas, weight_decay=stage.weight_decay, fused=True
    )
    averaged = [parameter.detach().clone() for parameter in parameters] if stage.average else None
    before, allowance = budget.used, stage.share * budget.left
    if not budget.timed:
        allowance = max(1.0, round(allowance))
    best, curve, last_loss = _Best(parameters), [], math.nan
    stage_begin = time.perf_counter()
    batches = _batches(len(stage.train), stage.batch_size, generator, stage.train.device)
    step, skipped, rate = 0, 0, stage.learning_rate
    next_validation, validation_seconds = 1 / stage.validations, 0.0

    def validate() -> float:
        began = time.perf_counter()
        current = [parameter.detach().clone() for parameter in parameters] if averaged else None
        if averaged:
            _assign(parameters, averaged)
        with torch.no_grad():
            value = stage.validate().double().mean().item()
        best.offer(value, [parameter.data for parameter in parameters])
        if current:
            _assign(parameters, current)
        curve.append([round(time.perf_counter() - begin, 3), step, value])
        nonlocal validation_seconds
        validation_seconds = time.perf_counter() - began
        return value

    validation = validate()
    while (fraction := (budget.used - before) / allowance) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(fraction, stage.warmup)
        batch = stage.train[next(batches)]
        loss = stage.loss(batch, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, stage.clip)
        last_loss = loss.item()
        budget.step()
        if math.isfinite(last_loss) and math.isfinite(norm.item()):
            optimizer.step()
            step, skipped = step + 1, 0
            if averaged:
                # The average's memory grows with the steps taken, so that the initial weights are soon forgotten.
                decay = min(stage.average, (1 + step) / (10 + step))
                torch._foreach_lerp_(averaged, [parameter.data for parameter in parameters], 1 - decay)
        else:
            skipped += 1
            if skipped % 5 == 0:
                rate /= 3
                best.restore()
                optimizer.state.clear()
            if skipped == 20:
                raise TrainingError(f"{stage.name}: the loss stayed non-finite for {skipped} steps, from step {step} on; standardize the data or lower the learning rate")
        fraction = (budget.used - before) / allowance
        if fraction >= next_validation and fraction < 1:
            validation = validate()
            # On a clock, validation takes at most about a tenth of the stage.
            least = 10 * validation_seconds / allowance if budget.timed else 0.0
            next_validation = fraction + max(1 / stage.validations, least)
        if progress is not None and (step % 20 == 0):
            progress(_event(stage, budget, step, last_loss, validation, begin))
    validation = validate()
    best.restore()
    if progress is not None:
        progress(_event(stage, budget, step, last_loss, best.loss, begin))
    return {
        "stage": stage.name,
        "steps": step,
        "seconds": round(time.perf_counter() - stage_begin, 3),
        "validation": best.loss,
        "learning_rate": rate,
        "curve": curve,
    }


def _event(stage: Stage, budget: Budget, step: int, loss: float, validation: float, begin: float) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "fraction": min(1.0, budget.used / budget.total),
        "step": step,
        "seconds": time.perf_counter() - begin,
        "loss": loss,
        "validation": validation,
    }


def _schedule(fraction: float, warmup: float) -> float:
    rise = min(1.0, (fraction + 1e-3) / warmup) if warmup else 1.0
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))


def _batches(rows: int, size: int, generator: torch.Generator, device: torch.device) -> Iterator[Tensor]:
    """Rows of one batch after another: a new permutation for each epoch, an incomplete batch dropped."""
    size = min(size, rows)
    while True:
        order = torch.randperm(rows, generator=generator, device=device)
        yield from order[: rows - rows % size].split(size)


def _assign(parameters: list[nn.Parameter], weights: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
