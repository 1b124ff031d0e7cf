r"""Training as a sequence of stages, and the one loop that runs them all.

A model says what comes next, `next_stage(data, history) -> Stage | None`, from its own state and the history alone. A
continuous normalizing flow has one stage; JKO-iFlow has one for each block. The loop owns everything else: optimizer,
learning rate, clipping, averaging of the weights, early stopping, progress, checkpoints.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.deadline import OutOfTime, deadline
from genflow.errors import InputError
from genflow.products import fast_products

__all__ = [
    "Budget",
    "Progress",
    "Rows",
    "Stage",
    "TrainingData",
    "TrainingError",
    "paired",
    "parse_seconds",
    "picked",
    "train",
    "unpaired",
]

History = list[dict[str, Any]]
Progress = Callable[[dict[str, Any]], None]
"""Called now and then with `stage, fraction, step, seconds, loss, validation`."""

Rows = Tensor | tuple[Tensor, ...]
"""Points, or several tensors that share their leading axis: points and the condition of each."""


class TrainingError(RuntimeError):
    """A training that could not go on: the loss stayed non-finite."""


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on: rows in standardized units.

    Attributes:
        train: Training rows, `(n, *event)`.
        validation: Validation rows, `(m, *event)`.
        train_condition: The condition of each training row, `(n, k)`, where there is one.
        validation_condition: That of each validation row, `(m, k)`.
        cache: What a model wants to keep from one stage to the next and can make again, such as pushed samples.
    """

    train: Float[Tensor, "n *event"]
    validation: Float[Tensor, "m *event"]
    train_condition: Float[Tensor, "n k"] | None = None
    validation_condition: Float[Tensor, "m k"] | None = None
    cache: dict[str, Any] = field(default_factory=dict)


def paired(x: Tensor, condition: Tensor | None) -> Rows:
    """Points and the condition of each as a stage takes them: one tensor where there is no condition."""
    return x if condition is None else (x, condition)


def picked(rows: Rows, index: Tensor | slice) -> Rows:
    """Some of the rows."""
    return rows[index] if isinstance(rows, Tensor) else tuple(part[index] for part in rows)


def unpaired(rows: Rows) -> tuple[Tensor, Tensor | None]:
    """The points and their condition; the inverse of `paired`."""
    return (rows, None) if isinstance(rows, Tensor) else (rows[0], rows[1])


@dataclass
class Stage:
    r"""One stage of a training.

    Attributes:
        name: What the progress display calls it.
        parameters: What is trained.
        train: Training rows, one tensor or several that share their leading axis; a batch is drawn from them.
        validation: Validation rows in the form of `train`. On a clock, the first of them that it can afford are used.
        loss: `(batch, generator) -> scalar`, the mean loss of a batch, which has the form of `train`.
        validate: `(rows, generator) -> (m,)`, the loss of each of these validation rows; the weights that are best on
            average are kept. The generator starts anew every time, so that two validations can be compared.
        share: Its share of the budget that is left when it begins.
        finish: Called at the end with the stage's entry of the history; may change the model, and adds to the entry.
            The entry says how many rows were affordable in a validation, `rows`: it should look at no more of them.
        closing: What `finish` takes, in validations; on a clock its time is left for it.
        batch_size: Rows in a batch.
        optimizer: `adam`, or `soap`, which pays where a step costs many evaluations of a small network.
        learning_rate: Peak learning rate.
        annealed: Whether the rate warms up over the first hundredths and falls to zero like a cosine, or stays.
        betas: Decay of Adam's two moments.
        weight_decay: Decoupled weight decay.
        sharpness: Radius :math:`\rho` of sharpness-aware minimization: the gradient is that at
            :math:`w + \rho \, g / |g|`, g the one at w, so that flat minima are found, for a second gradient a step;
            0 for none. Foret et al. 2021, https://arxiv.org/abs/2010.01412.
        sharp_after: How often every row is seen before that begins.
        clip: Largest norm of the gradient.
        average: Decay per step of the moving average of the weights that is validated and kept; 0 for none.
        coarse: The same as `validate` on the grid that is trained on, where that one is coarser.
        refine: `(level) -> None`, makes that grid finer. Called with 1, 2, … each time the two means differ by more
            than `tolerance`; the stage then goes back to its best weights.
        lean: Whether gradients keep their memory from step to step: where much is computed again, they would else come
            to lie among it, each time elsewhere.
        tolerance: The largest difference that is let pass, in nats.
        warmup: Share of the stage in which the learning rate rises.
        validations: How often to validate.
    """

    name: str
    parameters: list[nn.Parameter]
    train: Rows
    validation: Rows
    loss: Callable[[Any, torch.Generator], Tensor]
    validate: Callable[[Any, torch.Generator], Tensor]
    share: float = 1.0
    finish: Callable[[dict[str, Any]], None] = lambda entry: None
    closing: float = 0.0
    batch_size: int = 512
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    annealed: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    sharpness: float = 0.0
    sharp_after: float = 6.0
    clip: float = 10.0
    average: float = 0.0
    coarse: Callable[[Any, torch.Generator], Tensor] | None = None
    refine: Callable[[int], None] = lambda level: None
    lean: bool = False
    tolerance: float = 0.02
    warmup: float = 0.02
    validations: int = 20

    @property
    def points(self) -> Tensor:
        """The first of the tensors that `train` consists of."""
        return self.train if isinstance(self.train, Tensor) else self.train[0]


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

    The clock starts with the model's own work, `start`: what it does until it can be used counts, the reading of the
    data before that does not.

    Args:
        seconds: Seconds.
        iterations: Optimizer steps; exactly one of the two is given.
        clock: What tells the time, wall time by default. On one thread of a busy machine `time.process_time` gives a
            training the seconds that it would have had alone, more or less.

    Attributes:
        reserve: Seconds that the stages leave for what comes after them; see `GenerativeModel.settle`.

    Example:
        >>> import time, genflow as gf
        >>> budget = gf.training.Budget(seconds=0.5, clock=time.process_time)
        >>> gf.models.FlowMatching(2, width=16).fit("two-moons", budget=budget).dim
        2
    """

    def __init__(
        self,
        seconds: float | None = None,
        iterations: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        if (seconds is None) == (iterations is None):
            raise InputError("budget, iterations: give exactly one of them")
        if iterations is not None and iterations < 1:
            raise InputError(f"iterations: {iterations} came; at least 1 would do")
        self.timed = seconds is not None
        self.total = float(seconds if seconds is not None else iterations)  # type: ignore[arg-type]
        self.clock = clock
        self.reserve = 0.0
        self._begin: float | None = None
        self._before = 0.0  # seconds of earlier sessions
        self._steps = 0

    def start(self) -> None:
        """Starts the clock, where it does not run yet."""
        if self._begin is None:
            self._begin = self.clock()

    def step(self) -> None:
        """Counts an optimizer step."""
        self._steps += 1

    def spend(self, seconds: float = 0.0, steps: int = 0) -> None:
        """Counts what was spent in an earlier session, or before the clock was started."""
        self._before += seconds
        self._steps += steps

    @property
    def seconds(self) -> float:
        """Seconds on the clock so far, whatever the limit."""
        return self._before + (0.0 if self._begin is None else self.clock() - self._begin)

    @property
    def used(self) -> float:
        """Seconds or steps spent so far."""
        return self.seconds if self.timed else self._steps

    @property
    def left(self) -> float:
        """Seconds or steps left, without the reserve."""
        return max(0.0, self.total - self.reserve - self.used)

    @property
    def seconds_left(self) -> float:
        """Seconds left, the reserve included; infinite where steps are counted."""
        return max(0.0, self.total - self.used) if self.timed else math.inf


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
) -> History:
    """Runs a model's stages until it has no more, or the budget is spent.

    On a clock no stage begins what does not fit into its time any more: a step, a validation, what it does at its end.

    Args:
        model: The model; see `genflow.model.GenerativeModel.next_stage`.
        data: Standardized rows.
        budget: Seconds or iterations.
        seed: Seed of batches, probes and of the initial weights of new parts.
        progress: Called now and then; see `Progress`.
        checkpoint: A folder that the state is kept in. A training that was cut off goes on from there: counted in
            iterations, to the same weights, bit for bit on the same machine; on a clock, with the seconds it has left.
        history: The stages that are behind the model, where it goes on from its weights.
        reserve: Asked at the beginning of each stage, on a clock, how many seconds are to be left at the end for what
            comes after the stages.
        autocast: Whether losses are computed under bfloat16 autocast; weights and validation keep their precision.

    Returns:
        One entry for each stage: its name, steps, seconds, validation loss, curve, and what the model remembers of it.

    Raises:
        TrainingError: The loss stayed non-finite.
        InputError: The checkpoint is of another training.
    """
    from genflow.optimization import StageRun
    from genflow.resume import Snapshots

    snapshots = None if checkpoint is None else Snapshots(checkpoint, seed, budget, model, data, autocast)
    resumed = snapshots.read(model) if snapshots else None
    entries: History = resumed.history if resumed else list(history)
    budget.start()
    if resumed:
        budget.spend(resumed.seconds, resumed.steps)
    begin = budget.clock() - (entries[-1]["ends"] if entries else 0.0)
    while len(entries) == len(history) or budget.left > 0 or (resumed and resumed.run):
        if snapshots:
            snapshots.begin_stage(model, entries)
        # What a stage that was cut off had made is worth more than the time that its preparation takes.
        patience = budget.left if budget.timed and not (resumed and resumed.run) else math.inf
        with torch.random.fork_rng(), deadline(patience, budget.clock):
            torch.manual_seed(_mixed(seed, len(entries)))
            try:
                stage = model.next_stage(data, entries)
            except OutOfTime:
                break
        if stage is None:
            break
        if budget.timed:
            budget.reserve = reserve()
        generator = torch.Generator(stage.points.device).manual_seed(_mixed(seed, len(entries)) + 1)
        run = StageRun(stage, budget, generator, begin, autocast)
        if resumed and resumed.run:
            run.restore(*resumed.run)
            begin = run.begin
        resumed = None
        with fast_products(stage.points.device):
            entry = run(progress, snapshots)
        stage.finish(entry)
        entries.append({**entry, "ends": budget.clock() - begin})
    if snapshots:
        snapshots.begin_stage(model, entries)
        snapshots.write()
    return entries


def _mixed(seed: int, count: int) -> int:
    return (seed * 1_000_003 + count * 7919) % (1 << 62)
