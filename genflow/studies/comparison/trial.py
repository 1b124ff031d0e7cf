r"""One trial of a comparison: one model, one data set, one seed.

A pure function of both, but for what it leaves in a folder:

    model/          the trained model, as soon as it is trained
    arrays.npz      log density of each test row, samples, density on a grid
    snapshot/       the training as it stood last, until the trial has ended
    search/         its tries, where it has several; see `genflow.studies.comparison.tries`

The clock of the budget runs while the model trains, and only then.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genflow.deadline import OutOfTime, check_time, deadline
from genflow.naming import registry
from genflow.naming.options import build
from genflow.naming.search import space_of
from genflow.storage.checkpoint import save, write_structure
from genflow.studies.comparison.effort import to_array
from genflow.studies.comparison.evaluation import evaluate, extra_metrics
from genflow.studies.comparison.exchange import GRID, on_grid
from genflow.studies.comparison.memory import reset_peak, resident_peak
from genflow.studies.comparison.ration import ONE_PLACE
from genflow.studies.comparison.records import Outcome, Trial
from genflow.studies.comparison.tries import FOLDER, Try, best_try, judge
from genflow.training import Budget
from genflow.training.closing import few_steps

__all__ = ["Notify", "run_trial"]

Notify = Callable[[dict[str, Any]], None]
"""Called with `what`, which is `training` or `evaluation`, `stage`, and whatever else is known of it."""

_EVERY = 0.1  # seconds between two words on a training


def run_trial(
    trial: Trial, data: Any, folder: Path, notify: Notify = lambda event: None, model_class: Any = None
) -> Outcome:
    """Trains, saves and scores one model.

    Args:
        trial: The trial.
        data: A `Dataset`.
        folder: Where the model and the arrays are left. A training that was cut off there goes on.
        notify: Called with every event of the training and the evaluation.
        model_class: The model, where it can't be found by its name.
    """
    terms = trial.terms
    cls = registry.lookup("model", trial.model) if model_class is None else model_class
    space = {name: values for name, values in space_of(cls).items() if name not in trial.options}
    tries: list[Try] = []
    added: list[float] = []  # megabytes of each training, at its peak
    if terms.trials > 1 and space:

        def train(attempt: Try, snapshot: Path) -> Any:
            def of_all(event: dict[str, Any]) -> None:
                fraction = (attempt.number - 1 + event.get("fraction", 0.0)) / terms.trials
                notify(event | {"fraction": fraction, "stage": f"try {attempt.number}: {event.get('stage', '')}"})

            return _trained(trial, cls, data, attempt.settings, snapshot, of_all, added)

        def loss_of(fitted: Any) -> float:
            return judge(fitted, data, terms.evaluation, terms.timer)

        trust = trial.model if ":" in trial.model else None
        fitted, tries = best_try(space, terms.trials, folder / FOLDER, trial.seed, train, loss_of, trust)
    else:
        fitted = _trained(trial, cls, data, {}, folder / "snapshot", notify, added)
    peak = resident_peak()
    trained = time.perf_counter()
    shutil.rmtree(folder / "model", ignore_errors=True)  # of a try whose evaluation was cut off
    save(fitted, folder / "model")
    notify({"what": "evaluation", "stage": "evaluating"})
    time_for_it = Budget(terms.evaluation, clock=terms.timer)
    evaluation = evaluate(
        fitted,
        data,
        seed=trial.seed,
        points=terms.points,
        metrics=extra_metrics(terms.metrics),
        notify=lambda what: notify({"what": "evaluation", "stage": what}),
        budget=time_for_it,
    )
    known_better = fitted.has_log_prob and bool(evaluation.scored.any()) and not evaluation.cheaper
    if fitted.record is not None and known_better:
        fitted.keep_scores(evaluation.log_prob[evaluation.scored], evaluation.places)
        write_structure(fitted, folder / "model")
    # Where steps are counted, all have equally many, and the heading says how many.
    known = [] if terms.iterations is None else few_steps(fitted.history, len(data.train))
    remarks = [remark for remark in fitted.remarks if remark not in known]
    remarks += [remark for remark in evaluation.remarks if remark != ONE_PLACE]  # the board says it of all models
    arrays: dict[str, Any] = {
        "log_prob": evaluation.log_prob.numpy(),
        "bound": evaluation.bound.numpy(),
        "log_unit": evaluation.log_unit.numpy(),
        "scored": evaluation.scored.numpy(),
        "samples": evaluation.samples.numpy(),
        "drawn_at": evaluation.drawn_at,
        "encoded": evaluation.encoded.float().numpy(),
        "efforts": to_array(evaluation.efforts),
    }
    if data.dim == 2 and data.condition is None and data.preprocessor.random:
        arrays["grid"] = np.full((GRID, GRID), np.nan)  # there is no density between the values
    elif data.dim == 2 and data.condition is None:
        notify({"what": "evaluation", "stage": "density on a grid"})
        arrays["grid"] = _density(fitted, data, time_for_it)
        if fitted.has_log_prob and np.isnan(arrays["grid"]).all():
            remarks.append("no density on a grid, for lack of time")
    np.savez_compressed(folder / "arrays.npz", **arrays)
    figures = {
        **evaluation.figures,
        "train_seconds": math.nan if fitted.record is None else fitted.record.seconds,
        "train_steps": float(sum(entry.get("steps", 0) for entry in fitted.history)),
        "peak_mb": max(added, default=math.nan),
    }
    return Outcome(
        status="; ".join(["ok", *remarks]),
        figures={name: float(value) for name, value in figures.items()},
        history=fitted.history,
        tries=[attempt.to_json() for attempt in tries],
        process_peak_mb=peak,
        evaluation_seconds=round(time.perf_counter() - trained, 2),
    )


def _trained(
    trial: Trial,
    cls: Any,
    data: Any,
    settings: Mapping[str, Any],
    snapshot: Path,
    notify: Notify,
    added: list[float],
) -> Any:
    """A model trained within the budget of the trial, with further settings; what it takes of memory is `added`."""
    terms = trial.terms
    torch.manual_seed(trial.seed)
    options = {**trial.options, **settings}
    model = build(cls, data.dim, options, data.condition_dim, data.event_shape).to(terms.device)
    said = 0.0

    def progress(event: dict[str, Any]) -> None:
        nonlocal said
        now = time.perf_counter()
        if now - said > _EVERY:
            said = now
            notify({"what": "training", **event})

    limit = Budget(terms.budget, terms.iterations, evaluations=terms.evaluations, clock=terms.timer)
    further: dict[str, Any] = {"autocast": True} if terms.autocast and model.autocasts else {}
    honest = reset_peak()
    before = resident_peak()
    fitted = model.fit(data, budget=limit, seed=trial.seed, progress=progress, checkpoint=snapshot, **further)
    added.append(resident_peak() - before if honest else math.nan)
    return fitted


@torch.no_grad()
def _density(model: Any, data: Any, limit: Budget) -> np.ndarray:
    none = np.full((GRID, GRID), np.nan)
    if not model.has_log_prob:
        return none
    generator = torch.Generator(next(model.parameters(), torch.empty(0)).device).manual_seed(0)
    try:
        with deadline(limit.left, limit.clock):
            check_time()
            return on_grid(lambda points: model.log_prob(points, generator=generator), data)
    except OutOfTime:
        return none
