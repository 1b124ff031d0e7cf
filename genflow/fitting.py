"""Fitting: what `fit` does between the user's data and a model in the user's units."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from genflow.draws import check_seed
from genflow.errors import InputError, Remark
from genflow.groups import Group
from genflow.interfaces import Component
from genflow.numerics.threads import unhindered
from genflow.training import Budget, Progress, Rows, Stream, Tracked, Tracker, TrainingData, pair, parse_seconds, train
from genflow.training.budget import check_one
from genflow.training.closing import Closing, few_steps
from genflow.training.progress import Line
from genflow.training.replay import Recipe

if TYPE_CHECKING:
    from genflow.data import Conditions, Dataset, Encoding, Preprocessor, Source

__all__ = ["Fit", "FitRecord", "budget_of", "check_dtype", "fit", "like_of", "settings_of", "warn"]

_VALIDATION_ROWS = 2048  # of the validation part, for every model alike: its cost counts against the budget
_SPREAD_ROWS = 20_000  # that few rows are made into, each at several of its places, where a row has many
_MOST_PLACES = 16
_MASKED_ROWS, _MOST_MASKS = 50_000, 64  # the same of rows under masks, of which there are many more


@dataclass(frozen=True)
class FitRecord(Component):
    """What a training was given, and what came of it.

    Attributes:
        data: Name of the data set.
        seconds: What the training took on its budget's clock, whatever the model did until it could be used.
        steps: Optimizer steps.
        nll: Mean negative log-likelihood of validation rows, in nats, in the units of the file; NaN without one.
        nll_se: Its standard error.
        nll_rows: How many rows it is the mean of.
        scores: Log densities of rows that it was not trained on, in rising order: what others are compared with.
        score_draws: How many places of a row each of them is a mean over; 0 for as many as `log_prob` takes.
        score_noise: The random estimator of the divergence that they are by, '' for none; `None` for that of the model.
    """

    data: str
    seconds: float = math.nan
    steps: int = 0
    nll: float = math.nan
    nll_se: float = math.nan
    nll_rows: int = 0
    scores: Sequence[float] = ()
    score_draws: int = 0
    score_noise: str | None = None


@dataclass
class Fit:
    """What a training leaves beside the weights.

    Attributes:
        history: One entry for each stage.
        record: What it was given, and what came of it.
        remarks: What a reader of its figures should know, one line each.
    """

    history: list[dict[str, Any]]
    record: FitRecord
    remarks: list[str] = field(default_factory=list)


def budget_of(
    budget: str | float | Budget | None, iterations: int | None = None, evaluations: int | None = None
) -> Budget:
    """The budget that people mean: a time, a number of steps or of evaluations, or 60 seconds where none is given.

    Raises:
        InputError: Several, or something that is no time.
    """
    check_one(budget=budget, iterations=iterations, evaluations=evaluations)
    if isinstance(budget, Budget):
        return budget
    if budget is None and iterations is None and evaluations is None:
        budget = "60s"
    return Budget(None if budget is None else parse_seconds(str(budget)), iterations, evaluations=evaluations)


def fit(
    model: Any,
    data: Dataset,
    preprocessor: Preprocessor,
    encoding: Encoding | None,
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress | bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
    history: Sequence[dict[str, Any]] = (),
    autocast: bool = False,
    tracker: Tracker | None = None,
    again: Mapping[str, Recipe] | None = None,
) -> Fit:
    """Trains a model, in place, on a data set in the units of a preprocessor, and settles it.

    Args:
        model: A `genflow.model.GenerativeModel`.
        data: The data set.
        preprocessor: The units that it is trained in.
        encoding: What makes vectors of the conditions.
        budget: What the training may take.
        seed: Seed of everything random.
        progress: Called now and then; `True` for a line on standard error.
        checkpoint: A folder that the state is kept in.
        history: The stages that are behind it, where it goes on from its weights.
        autocast: Whether the losses are computed under bfloat16 autocast.
        tracker: Is told what the training was given, how it goes, and what came of it.
        again: What its stages are to do again; see `genflow.training.replay`.

    Raises:
        InputError: Another number of columns, or another condition, than the model was built for; autocast for a model
            that does not hold under it.
    """
    _check(model, data)
    if autocast and not model.autocasts:
        raise InputError(
            f"autocast: {type(model).__name__} is trained on log densities, which want float32; leave it out, or train "
            "by a regression, as flow-matching and score-sde do"
        )
    check_seed(seed)
    seed = int(seed)
    like = like_of(model)
    check_dtype(like)
    budget.start()
    if tracker is not None:
        tracker.log_params({"data": data.name, "seed": seed, **settings_of(model)})

    # Also where the caller has switched gradients off.
    threads = unhindered() if model.stepped else nullcontext()  # what is estimated at once is through before
    with torch.inference_mode(False), torch.enable_grad(), threads as hindered:
        rows, plain, log_det = _standardize_parts(model, data, preprocessor, encoding, like, seed)
        closing = Closing(model, plain, log_det, budget)
        settings: dict[str, Any] = {"checkpoint": checkpoint, "history": history, "autocast": autocast, "again": again}
        with Line() if progress is True else _Given(progress) as shown:
            told = shown if tracker is None else Tracked(tracker, shown)
            entries = train(model, rows, budget, seed=seed, progress=told, reserve=closing.reserve, **settings)
        model.eval()
        closed = closing()
    new = entries[len(history) :]
    streamed = isinstance(rows.stream, _Standardized) and rows.stream.read
    remarks = [*few_steps(new, rows.count if streamed else len(data.train)), *filter(None, [hindered]), *closed.remarks]
    if rows.stream is not None and not streamed:
        remarks.append(f"it takes no batches of a stream: trained on the {len(data.train):,} rows of its sample")
    if (remark := model.remark_on(plain.train, "training rows")) is not None:
        remarks.append(remark)
    steps = sum(entry.get("steps", 0) for entry in new)
    record = FitRecord(data.name, budget.seconds, steps, closed.nll, closed.nll_se, closed.nll_rows)
    if tracker is not None:
        for name, value in (("validation NLL", record.nll), ("seconds", record.seconds), ("steps", record.steps)):
            tracker.log_metric(name, float(value))
    return Fit(entries, record, remarks)


def _standardize_parts(
    model: Any, data: Dataset, preprocessor: Preprocessor, encoding: Encoding | None, like: Tensor, seed: int
) -> tuple[TrainingData, TrainingData, Tensor]:
    """What a model is trained on; the rows as they are, each once; and the log-determinant of each validation row.

    Where a row has many places, or is met under masks, it stands there several times, few rows more often; the first
    copy of all rows comes before the second of any.
    """
    generator = torch.Generator().manual_seed(seed)
    given = None if data.condition is None else replace(data.condition, encoding=encoding or data.condition.encoding)
    most = _MOST_MASKS if model.varies else _MOST_PLACES if preprocessor.random else 1

    def places(x: Tensor, conditions: Any, room: int) -> _Places:
        vectors = None if given is None else given.vectors(conditions).to(like.device, like.dtype)
        count = min(most, max(1, room // max(len(x), 1)))
        spread = preprocessor.spreads(x, count, generator)
        rows = [z.to(like.device, like.dtype) for z, _ in spread]
        found = [model.varied(z, vectors, generator) if model.varies else (z, vectors) for z in rows]
        copies = [part for _, part in found if part is not None]
        return _Places(
            torch.cat([z for z, _ in found]), torch.cat(copies) if copies else None, rows[0], vectors, spread[0][1]
        )

    room, of_validation = (_MASKED_ROWS, 2 * _VALIDATION_ROWS) if model.varies else (_SPREAD_ROWS, _VALIDATION_ROWS)
    train = places(data.train, None if given is None else given.train, room)
    validation = places(
        data.validation[:_VALIDATION_ROWS],
        None if given is None else given.validation[:_VALIDATION_ROWS],
        of_validation,
    )
    copies = len(train.z) // max(len(train.first), 1)
    stream = None
    if data.stream is not None:
        stream = _Standardized(data.stream, pair(train.first, train.given), preprocessor, given, model)
    lines = preprocessor.celled_lines()
    rows = TrainingData(
        train.z, validation.z, train.condition, validation.condition, copies, lines=lines, stream=stream
    )
    plain = TrainingData(train.first, validation.first, train.given, validation.given)
    return rows, plain, validation.log_det


class _Standardized(Stream):
    """Rows of a stream in the units that a model is trained in, with the vectors of their conditions.

    Args:
        source: The rows in the user's units.
        sample: Some of them, in those units.
        preprocessor: What makes the units.
        given: The conditions of the data set, where there are some.
        model: The model; rows are where it is.
    """

    def __init__(self, source: Source, sample: Rows, preprocessor: Preprocessor, given: Conditions | None, model: Any):
        self.source, self.sample, self.preprocessor, self.given, self.model = source, sample, preprocessor, given, model
        self.count, self.read = source.count, False

    def batches(self, size: int, seed: int, skip: int = 0) -> Generator[Rows]:
        like = like_of(self.model)
        for number, (x, condition) in enumerate(self.source.batches(size, seed, skip), skip):
            # Of the batch alone, so that a training that was cut off finds the same places of its rows.
            self.read = True
            generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % (1 << 62))
            z = self.preprocessor.spread(x, generator)[0].to(like.device, like.dtype)
            vectors = None if self.given is None else self.given.vectors(condition).to(like.device, like.dtype)
            yield pair(*(self.model.varied(z, vectors, generator) if self.model.varies else (z, vectors)))


class _Places(NamedTuple):
    """Rows at their places with the condition of each; those of the first places as they are; log-determinants."""

    z: Tensor
    condition: Tensor | None
    first: Tensor
    given: Tensor | None
    log_det: Tensor


def settings_of(model: Any) -> dict[str, Any]:
    """What a model was built with, its class first: numbers and words as they are, parts by their names.

    Args:
        model: A component.

    Example:
        >>> import genflow as gf
        >>> found = settings_of(gf.baselines.MAF(2, width=8))
        >>> found["model"], found["width"], found["learning_rate"]
        ('MAF', 8, 0.005)
    """
    found: dict[str, Any] = {"model": type(model).__name__}
    for name, value in model.config().items():
        if isinstance(value, Group):
            found |= {field: inner for field, inner in value.config().items() if not isinstance(inner, nn.Module)}
        elif value is not None:
            plain = isinstance(value, bool | int | float | str | tuple | list)
            found[name] = value if plain else type(value).__name__
    return found


def like_of(model: nn.Module) -> Tensor:
    """A tensor of the dtype and on the device that a model computes in, also before it has a parameter."""
    return next(model.parameters(), next(model.buffers(), torch.empty(0)))


def check_dtype(like: Tensor) -> None:
    """Refuses a model in half precision: its log densities would be good to no digit.

    Raises:
        InputError: With what would do.
    """
    if like.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"model: its weights are {str(like.dtype).removeprefix('torch.')}, a log density wants float32 or float64; "
            "model.float() would do"
        )


def warn(remarks: Sequence[str], stacklevel: int = 2) -> None:
    """Warns of remarks, one by one."""
    for remark in remarks:
        warnings.warn(remark, Remark, stacklevel=stacklevel + 1)


class _Given:
    """A progress that somebody gave, or none."""

    def __init__(self, progress: Progress | bool | None):
        self.progress = progress if callable(progress) else None

    def __enter__(self) -> Progress | None:
        return self.progress

    def __exit__(self, *exception: object) -> None:
        pass


def _check(model: Any, data: Dataset) -> None:
    if model.dim is not None and model.dim != data.dim:
        raise InputError(f"data: {data.name} has {data.dim} columns, the model was built for {model.dim}")
    if data.condition_dim != model.condition_dim:
        raise InputError(
            f"condition: that of {data.name} has dimension {data.condition_dim}, the model was built with "
            f"condition_dim={model.condition_dim}; build it with condition_dim={data.condition_dim}"
        )
