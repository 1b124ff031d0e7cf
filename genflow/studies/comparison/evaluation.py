r"""How good is a trained model? Every figure of the leaderboard, for one model on the test rows of one data set.

With the data set's preprocessing :math:`z = T(x)`,

.. math::
    \mathrm{NLL} = -\frac1n \sum_i \log p(x_i), \qquad
    \mathrm{NLL}_{standardized} = -\frac1n \sum_i \Bigl( \log p(x_i) - \log |\det \partial T / \partial x|(x_i) \Bigr),

both in nats per row: the first in the units of the data, the second in standardized ones. Figures of samples (`w2`,
`mmd`, `c2st`, the inversion error) are all taken in standardized units, so that no column outweighs the others by its
unit alone. A model may be trained in further units of its own, such as whitened ones: they play no part here.

Under a condition, samples are drawn at the conditions of test rows, and figures of samples are of rows and conditions
together: a model that does not heed its condition has the right marginal law, but not the right joint one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genflow.base import Base
from genflow.errors import InputError, SolverError, reason
from genflow.metrics import c2st, inversion_error, mean_and_se, mmd, mmd_threshold, wasserstein2
from genflow.naming import registry
from genflow.studies.comparison.effort import Effort, efforts
from genflow.studies.comparison.ration import Ration
from genflow.training import Budget

__all__ = ["POINTS", "Evaluation", "evaluate", "extra_metrics", "reference"]

_FEW_POINTS = 500  # samples of each of the ways to draw them

POINTS = 1000
"""Samples drawn, and at most as many rows of either side in a figure of samples: seconds, not minutes."""


@dataclass
class Evaluation:
    """Figures of one model on one data set.

    Attributes:
        figures: By the names of the leaderboard's columns.
        log_prob: Log density of each test row, in nats, in the units of the data, `(n,)`; NaN where there is none.
        samples: Samples in the units of the data, `(m, d)`.
        remarks: What a reader should know: rows without a finite density, samples that are not finite, what there was
            no time for.
        drawn_at: The places of the test rows at whose conditions the samples were drawn, `(m,)`.
        scored: Which test rows their log density is of, `(n,)`: all, or those that there was time for.
        places: How many places of a row in its cells its log density is a mean over.
        bound: The log density of each test row by one place in its cells, `(n,)`: a lower bound, that models are
            compared by where one of them has no more; the log density itself where a row has one place.
        log_unit: The logarithm of the volume of a standardized unit at each test row, `(n,)`.
        efforts: How good samples are for how many evaluations of the velocity.
        cheaper: Whether its log density is by a random estimator of the divergence in the place of the model's own.
        encoded: The noise that test rows are carried to, by the scale of the base, `(m, d)`: N(0, I) where the model is
            right. Without rows where there is no such noise.
    """

    figures: dict[str, float]
    log_prob: Tensor
    samples: Tensor
    remarks: list[str] = field(default_factory=list)
    scored: Tensor = field(default_factory=lambda: torch.ones(0, dtype=torch.bool))
    drawn_at: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    places: int = 1
    bound: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    log_unit: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    encoded: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))
    efforts: list[Effort] = field(default_factory=list)
    cheaper: bool = False


@torch.no_grad()
def reference(data: Any, *, seed: int = 0, points: int = POINTS) -> dict[str, float]:
    """What the figures of samples are held against: the training rows in the place of a model's samples.

    Args:
        data: A `Dataset`.
        seed: Seed of the choice of rows.
        points: At most this many rows of either side.

    Returns:
        `w2_floor`, `mmd_threshold`; and `nll_true`, `nll_true_se` where the true density is known.
    """
    generator = torch.Generator().manual_seed(seed)
    z_test, z_train = (data.preprocessor.spread(part, generator)[0] for part in (data.test, data.train))
    test = _some(_join(z_test, data.condition, "test"), points, generator)
    train = _some(_join(z_train, data.condition, "train"), len(test), generator)
    threshold = _or_nan(lambda x, y: mmd_threshold(x, y, _bandwidth(x), generator=generator), test, train)
    figures = {"w2_floor": wasserstein2(train, test), "mmd_threshold": threshold}
    if data.true_log_prob is not None:
        figures["nll_true"], figures["nll_true_se"] = mean_and_se(-data.true_log_prob(data.test))
    return figures


@torch.no_grad()
def evaluate(
    model: Any,
    data: Any,
    *,
    seed: int = 0,
    points: int = POINTS,
    metrics: Mapping[str, Callable[[Tensor, Tensor], float]] | None = None,
    notify: Callable[[str], None] = lambda what: None,
    budget: Budget | None = None,
) -> Evaluation:
    """Scores a trained model on the test rows of a data set.

    Within a budget it takes fewer rows, then a cheaper estimator of the divergence, and fewer samples for their figures
    where all of them would take too long, and remarks it. Half of the time is for the log densities.

    Args:
        model: A `Transformed` model.
        data: A `Dataset`.
        seed: Seed of the samples and of the choice of rows.
        points: Samples drawn, and at most as many rows of either side in a figure of samples.
        metrics: Further figures of samples by name: functions `(samples, test rows) -> number`, in standardized units.
            The figure of one that fails is NaN, and a remark says why.
        notify: Called with what is being done.
        budget: The time that it may take; as long as it takes by default.

    Returns:
        The figures, with the log density of each row and the samples that they were computed from.
    """
    figures: dict[str, float] = {}
    remarks: list[str] = []
    generator = torch.Generator().manual_seed(seed)
    inner = model.model
    like = next(inner.parameters(), torch.empty(0))

    notify("log-likelihood")
    ration = Ration(budget, notify)
    # The vectors of the model's own encoding: another file may have other means.
    condition = data.condition and replace(data.condition, encoding=model.encoding)
    given = None if condition is None else condition.test
    # The data's own preprocessing: a model's may go further, and its units would be no other model's.
    z_test = data.preprocessor.spread(data.test.double(), generator)[0]
    log_unit = data.preprocessor.log_unit(data.test.double())
    log_p = torch.full((len(data.test),), math.nan, dtype=torch.float64)
    scored = torch.ones(len(data.test), dtype=torch.bool)
    lost = ""
    if model.has_log_prob:
        try:
            log_p = ration.log_prob(model, data.test.double(), given, lambda: _device_generator(like, seed), 0.5)
            scored = ration.reached
        except SolverError as error:
            lost = f" ({error})"
    figures["places"] = float(ration.places) if data.preprocessor.random and model.has_log_prob else math.nan
    figures["nll"], figures["nll_se"] = _mean_and_se(-log_p[scored])
    figures["nll_standardized"], figures["nll_standardized_se"] = _mean_and_se((log_unit - log_p)[scored])
    if not model.has_log_prob:
        remarks.append("no NLL, since rows have no density under it")
    elif bad := int((~log_p[scored].isfinite()).sum()):
        remarks.append(f"{bad} of {len(log_p)} test rows have no finite log-likelihood{lost}")

    if model.has_log_prob and (remark := model.remark_on(data.test, "test rows")) is not None:
        remarks.append(remark)

    notify("samples")
    drawn_at = _cycle(len(data.test), points, seed)

    def sampled(count: int) -> tuple[Tensor, float]:
        began = time.perf_counter()
        where = None if given is None else given[drawn_at[:count]]
        try:
            samples = model.sample(count, where, _device_generator(like, seed)).double().cpu()
        except SolverError:
            samples = torch.full((count, data.dim), math.nan, dtype=torch.float64)
        return samples, time.perf_counter() - began

    found, count = ration.points(sampled, points, 0.7)
    samples, figures["sample_seconds"] = found or (torch.empty(0, data.dim, dtype=torch.float64), math.nan)
    drawn_at = drawn_at[:count]
    if count < points:
        ration.remarks.append(f"{count:,} of {points:,} samples, for lack of time")
    figures.update(w2=math.nan, mmd=math.nan, c2st=math.nan)
    further = dict(metrics or {})
    figures.update(dict.fromkeys(further, math.nan))
    z_samples = _join(data.preprocessor.spread(samples, generator)[0].cpu(), condition, "test", drawn_at)
    if bad := int((~z_samples.isfinite().all(-1)).sum()):
        remarks.append(f"{bad} of {count} samples are not finite, no figure is computed from them")
    elif count:
        test = _some(_join(z_test, condition, "test"), count, generator)
        drawn = _some(z_samples, len(test), generator)
        for name, figure in {**_sample_figures(seed), **further}.items():
            notify(name)
            # Two of the three that are built in grow faster than the number of points.
            try:
                value, used = ration.points(
                    partial(_of_first, figure, drawn, test),
                    len(test),
                    0.85,
                    power=1.0 if name == "c2st" else 2.5,
                    tries=(100,),
                )
            except Exception as error:  # a metric of the user's own may fail in any way: its figure alone is lost
                remarks.append(f"no {name} ({reason(error)})")
                continue
            figures[name] = math.nan if value is None else value
            if used < len(test):
                ration.remarks.append(f"{name} of {used} points, for lack of time" if used else f"no time for {name}")

    notify("inversion error")
    figures.update(inversion_error=math.nan, nfe=math.nan)
    noise: list[Tensor] = []  # of the tries, the last of which has the most rows
    if inner.invertible:
        order = torch.randperm(len(data.test), generator=generator)[:points]

        def inverted(count: int) -> tuple[float, float]:
            at = order[:count]
            where = None if condition is None else condition.test[at.numpy()]
            rows = model.spread(data.test[at])[0]
            vectors = None if condition is None else condition.vectors(where).to(rows)

            def kept(z: Tensor) -> Tensor:
                noise.append(z)
                return z

            if data.preprocessor.random:  # the way back would only tell whether a row keeps to its cells
                error = inversion_error(
                    lambda z: kept(inner.encode(z, vectors)), lambda noise: inner.decode(noise, vectors), rows
                )
            else:
                error = inversion_error(
                    lambda z: kept(model.encode(data.preprocessor.inverse(z), where)),
                    lambda noise: data.preprocessor(model.decode(noise, where).cpu())[0],
                    z_test[at],
                )
            if not inner.integrates:
                return error, math.nan
            return error, float(inner.integrate(rows, log_det=False, condition=vectors).nfe)

        try:
            pair, count = ration.points(inverted, len(order), 0.95)
            figures["inversion_error"], figures["nfe"] = pair or (math.nan, math.nan)
            if count < len(order):
                ration.remarks.append(
                    f"inversion error of {count} rows, for lack of time" if count else "no time for the inversion error"
                )
        except (InputError, SolverError) as error:
            remarks.append(f"inversion: {error}")
    notify("samples of few evaluations")
    few = min(_FEW_POINTS, len(z_test), points)
    where = None if given is None else given[drawn_at[:few]]
    beside = _some(_join(z_test, condition, "test"), few, generator)

    def distance(way: Any) -> float:
        drawn = way.sample(few, where, _device_generator(like, seed)).double().cpu()
        z = _join(data.preprocessor.spread(drawn, torch.Generator().manual_seed(seed))[0].cpu(), condition, "test",
                  drawn_at[:few])  # fmt: skip
        return _or_nan(wasserstein2, z, beside) if z.isfinite().all() else math.nan

    found_efforts = efforts(model, distance, ration) if len(drawn_at) >= few else []
    figures["parameters"] = float(sum(parameter.numel() for parameter in inner.parameters()))
    remarks += ration.remarks
    bound = ration.bound if len(ration.bound) else log_p
    encoded = _standard(noise[-1], inner) if noise else torch.zeros(0, data.dim, dtype=torch.float64)
    return Evaluation(
        figures, log_p, samples, remarks, scored, drawn_at, ration.places, bound, log_unit.double().cpu(), encoded,
        found_efforts, ration.cheaper,
    )  # fmt: skip


def extra_metrics(names: Sequence[str] = ()) -> dict[str, Callable[[Tensor, Tensor], float]]:
    """Metrics beyond the built-in ones: those named, and all that installed packages bring.

    Args:
        names: Registered names, or `module:Name`.
    """
    brought = [entry.name for entry in registry.entries("metric") if entry.source != "genflow"]
    return {name.partition(":")[2] or name: registry.lookup("metric", name) for name in [*brought, *names]}


def _standard(noise: Tensor, inner: Any) -> Tensor:
    """Noise as N(0, I) where the model is right, `(n, d)`; without rows where its base knows no such map."""
    noise = noise.double()
    if inner.integrates:  # any object with draws and a density may be a base
        rows = inner.base.standardize(noise) if isinstance(inner.base, Base) else None
        noise = noise[:0] if rows is None else rows
    return noise.flatten(1).cpu()


def _join(z: Tensor, condition: Any, part: str, rows: Any = slice(None)) -> Tensor:
    """Standardized rows of a part, followed by the vectors of their conditions where there are some."""
    if condition is None:
        return z.double()
    return torch.cat([z.double(), condition.vectors(vars(condition)[part][rows]).to(z.device)], -1)


def _cycle(count: int, points: int, seed: int) -> np.ndarray:
    """Places of `points` rows among so many: all of them in random order, again and again if they are too few."""
    return np.resize(np.random.default_rng(seed).permutation(count), points)


def _sample_figures(seed: int) -> dict[str, Callable[[Tensor, Tensor], float]]:
    return {
        "w2": partial(_or_nan, wasserstein2),
        "mmd": partial(_or_nan, lambda samples, test: mmd(test, samples, _bandwidth(test))),
        "c2st": partial(_or_nan, lambda samples, test: c2st(test, samples, seed=seed).accuracy),
    }


def _bandwidth(test: Tensor) -> str:
    """A tenth of the median distance sees detail in the plane; in many dimensions no two points are that near."""
    return "c" if test.shape[-1] <= 3 else "m"


def _or_nan(figure: Callable[[Tensor, Tensor], float], *samples: Tensor) -> float:
    """A figure that these samples do not allow (too few rows, most of them equal) is left empty."""
    try:
        return float(figure(*samples))
    except (InputError, SolverError):
        return math.nan


def _of_first(figure: Callable[[Tensor, Tensor], float], drawn: Tensor, test: Tensor, count: int) -> float:
    return float(figure(drawn[:count], test[:count]))


def _mean_and_se(values: Tensor) -> tuple[float, float]:
    return mean_and_se(values) if len(values) else (math.nan, math.nan)


def _some(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return x if len(x) <= count else x[torch.randperm(len(x), generator=generator)[:count]]


def _device_generator(like: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(seed)
