r"""Models × data sets × seeds under one equal budget.

Every trial runs in a fresh process: the clock of the budget is its own, its peak of memory is its own, and a model that
fails gets its reason in `status` while the others go on. The budget is of training alone; evaluation has a time of its
own. Early stopping on the validation rows is the training loop's and the same for all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from os import PathLike
from pathlib import Path
from typing import Any

from genflow.devices import device_named
from genflow.draws import check_count
from genflow.errors import InputError
from genflow.extras import require
from genflow.naming import registry
from genflow.studies.comparison.board import Board
from genflow.studies.comparison.conduct import conduct
from genflow.studies.comparison.display import display_for
from genflow.studies.comparison.entrants import entrants
from genflow.studies.comparison.executors import check_executor, executor_for
from genflow.studies.comparison.plan import Plan, plan
from genflow.studies.comparison.ration import evaluation_seconds
from genflow.studies.comparison.records import Outcome, Terms
from genflow.studies.comparison.repeat import command, repeatable
from genflow.studies.comparison.report import render
from genflow.studies.comparison.results import Results
from genflow.studies.comparison.resuming import Continuation, go_on
from genflow.studies.comparison.tracking import Told, log_pictures
from genflow.studies.reporting.drawing import plain
from genflow.studies.reporting.environment import environment
from genflow.studies.reporting.gallery import Gallery
from genflow.studies.reporting.place import take_place, write_json
from genflow.studies.reporting.requirements import check
from genflow.training.tracking import Tracker

__all__ = ["DEFAULT_MODELS", "compare"]

_SEEDS, _LONG = (0, 1, 2), 60.0  # the seeds of trainings that take so many seconds

DEFAULT_MODELS = ("jko-iflow", "cnf", "flow-matching", "score-sde", "nsf")
"""What is compared where no model is named."""


def compare(
    data: Any,
    models: Sequence[Any] = DEFAULT_MODELS,
    *,
    budget: str | float | None = None,
    iterations: int | None = None,
    evaluations: int | None = None,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    threads: int | None = None,
    out: str | PathLike[str] | None = None,
    progress: bool = True,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Sequence[str] = (),
    test: Any = None,
    columns: str | int | Sequence[str | int] | None = None,
    atoms: str = "cells",
    points: int = 1000,
    evaluation: str | float | None = None,
    condition: str | Sequence[str] = (),
    classes: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    missing: str = "value",
    missing_values: Sequence[float | str] = (),
    sheet: str | None = None,
    velocity: str | None = None,
    device: str = "cpu",
    autocast: bool = False,
    trials: int = 1,
    jobs: int = 1,
    executor: Executor | str | None = None,
    clock: str | None = None,
    tracker: Tracker | None = None,
    resume: bool = False,
) -> Board:
    r"""Trains every model on every data set under one budget, and says which differences are real.

    The differences are paired: with :math:`\ell^a_{si}, \ell^b_{si}` the log density of test row i under two models
    after the seed s,

    .. math:: \bar d = \frac{1}{S n} \sum_{s,i} (\ell^b_{si} - \ell^a_{si}),

    whose standard error contains rows and trainings; see `genflow.studies.comparison.significance`.

    Args:
        data: A data set or a list of them, each anything that `genflow.data.load` takes.
        models: Names, `module:Name`, or classes.
        budget: Time of each training, such as `"60s"`; 60 seconds if none of the three is given.
        iterations: Optimizer steps of each training instead.
        evaluations: Evaluations of the network in the steps of each training instead, one for each row and point in
            time: what a step takes of them differs from model to model. See `genflow.training.Budget`.
        seed: Seed of everything random, for one run of each trial.
        seeds: Several seeds: every trial is run with each of them. Where neither is given they are 0, 1 and 2 from a
            budget of 60 seconds on, and 0 below; those that were there, where a comparison goes on.
        threads: Threads of each trial, 1 by default: networks of this size gain little from more, and threads that
            wait for each other on a busy machine bring a training to a crawl.
        out: A folder for the results; it must not exist, unless one goes on with it. Each trial's outcome is in it as
            soon as the trial ends, and stays there when the comparison is interrupted.
        progress: Whether to show where it stands, on standard error.
        options: Constructor arguments by model, `{"jko-iflow": {"blocks": 6}}`.
        metrics: Further metrics: registered names or `module:Name`, functions `(samples, test rows) -> number`.
        test: Test rows of the user's own, for a single data set.
        columns: Columns of the tables to keep, all by default; see `genflow.data.load`.
        atoms: What to do with repeated values; see `genflow.data.load`.
        points: Samples drawn, and at most as many rows in the figures of samples.
        evaluation: Time that the figures of each model may take; by default as long as its training, and half a minute
            at least. What there is no time for is remarked: rows, points, the exact divergence.
        condition: Columns that the others are conditioned on; see `genflow.data.load`.
        classes: Those of them that hold classes although they look like numbers.
        drop: Columns of the tables to leave out.
        kinds: What columns hold, where their values don't say it; see `genflow.data.load`.
        missing: What to do about missing values: `"value"`, `"drop"` or `"refuse"`.
        missing_values: Values that stand for missing ones, such as -200.
        sheet: The sheet of an Excel file.
        velocity: The network of every model that is made of one and has no other among its options: a name such as
            `"unet"` or `"unet,width=16"`.
        device: Where the models compute: `cpu`, `cuda` or `auto`.
        autocast: Whether models that are trained by regression are trained under bfloat16 autocast.
        trials: Trainings of each model on each data set and seed, each with the budget: the first with its defaults,
            the others with settings that a search suggests, out of the ranges that the model declares. That of the
            lowest NLL on validation rows is compared. A model that declares none is trained once.
        jobs: Trials that run at once, each in a process of its own; one by default, which has the machine for itself.
        executor: Who runs the trials instead: a `concurrent.futures.Executor` such as dask's `Client.get_executor()`,
            mpi4py's or loky's; or `dask:ADDRESS`, `ray:ADDRESS`. It stays the caller's, and its workers have genflow
            installed.
        clock: What tells the seconds of the budgets: `wall`, or `cpu`, the time of the trial's process on processors,
            which other work on the machine takes nothing of. By default `wall`, `cpu` where several trials may run at
            once, and that which was there for a comparison that goes on.
        tracker: A run of an experiment tracker, such as `genflow.training.TensorBoard`: it is told what was asked for,
            the figures and curves of each trial as it ends, and the pictures.
        resume: Whether to go on with the comparison that is in `out`: what is missing there is run, what failed is run
            again, a training that was cut off goes on from its own snapshot. There may be more data, models and seeds
            than before; all else must be the same.

    Returns:
        The `Board`.

    Raises:
        InputError: Before anything is trained: a data set that can't be read, an unknown model, a folder that exists,
            or, to go on with, that of another comparison.

    Example:
        >>> import genflow as gf
        >>> board = gf.compare("two-moons", ["nsf"], iterations=5, threads=1, progress=False)
        >>> board.frame["status"].tolist()
        ['ok']
    """
    require("studies")
    if resume and out is None:
        raise InputError("resume: no folder came to go on with; out=, the folder of the comparison, would do")
    loading = {
        "test": test,
        "columns": [columns] if isinstance(columns, str | int) else columns and list(columns),
        "atoms": atoms,
        "condition": [condition] if isinstance(condition, str) else list(condition),
        "classes": [classes] if isinstance(classes, str) else list(classes),
        "drop": [drop] if isinstance(drop, str) else list(drop),
        "kinds": dict(kinds or {}),
        "missing": missing,
        "missing_values": list(missing_values),
        "sheet": sheet,
    }
    if budget is None and iterations is None and evaluations is None:
        budget = "60s"
    with take_place(out, "comparison", resume=resume) as place:
        clock = _clock(clock, jobs, executor, device, place.mark.get("arguments"))
        terms = _terms(
            budget, iterations, evaluations, evaluation, threads, points, metrics, str(device_named(device)), autocast,
            clock, trials,
        )  # fmt: skip
        chosen = entrants([models] if isinstance(models, str) or callable(models) else models, options or {}, velocity)
        arguments = {
            "budget": None if budget is None else str(budget),
            "iterations": iterations,
            "evaluations": evaluations,
            "threads": threads,
            "metrics": list(metrics),
            "points": points,
            "device": terms.device,
            "autocast": autocast,
            "clock": clock,
            "trials": trials,
            "evaluation_budget": None if evaluation is None else str(evaluation),
        }
        sources = list(data) if isinstance(data, list | tuple) else [data]
        planned = plan(
            sources, chosen, _seeds(seed, seeds, terms, place.mark.get("arguments")), terms, loading, arguments
        )
        # All that the end needs is tried before anything is trained.
        datasets = planned.datasets
        check([*datasets, *(column for dataset in datasets.values() for column in dataset.columns)])
        found = Continuation(planned, [Outcome()] * len(planned.trials), {})
        if (place.folder / "runs.json").exists():
            found = go_on(planned, place.folder)
        planned = found.plan
        results = Results(place, _config(planned, found.config), planned.trials, found.outcomes)
        if planned.named:
            write_json(place.folder / "repeat.json", repeatable(planned.arguments))
        render(Board(place.folder), Gallery({}))
        try:
            _run(planned, results, executor, jobs, progress, tracker)
        except BaseException as error:
            if place.kept:
                state = "interrupted" if isinstance(error, KeyboardInterrupt) else f"broken off: {plain(error, 300)}"
                results.close(state)
            raise
        board = results.close("broken off: some trials have not ended" if results.waiting else "done")
    if tracker is not None:
        log_pictures(board, tracker)
    for note in board.config["notes"]:
        display_for([], None, progress).say(note)
    if out is None:
        board._temporary = _Temporary(board.folder)
    return board


class _Temporary:
    """A folder that lives as long as the board that reads it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __del__(self) -> None:
        if shutil is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _clock(
    clock: str | None, jobs: int, executor: Executor | str | None, device: str, before: Mapping[str, Any] | None
) -> str:
    """The clock that was asked for; by default what was there, or that of processors for trials that run together.

    Args:
        clock: What was asked for.
        jobs: How many trials run at once.
        executor: Who runs them instead.
        device: Where they compute.
        before: The arguments of the comparison that goes on.
    """
    if jobs < 1:
        raise InputError(f"jobs: {jobs} came; at least 1 would do")
    check_executor(executor)
    if executor is not None and jobs != 1:
        raise InputError(f"jobs: {jobs} came beside an executor, which has its own workers; leave one of them out")
    if clock not in (None, "wall", "cpu"):
        raise InputError(f"clock: {clock!r} came; wall or cpu would do")
    if clock is None and before is not None:
        return str(before.get("clock", "wall"))
    if clock is None:  # what a graphics card computes, no processor's clock tells
        return "cpu" if (jobs > 1 or executor is not None) and device == "cpu" else "wall"
    return clock


def _seeds(seed: int | None, seeds: Sequence[int] | None, terms: Terms, before: Mapping[str, Any] | None) -> list[int]:
    """The seeds that were asked for; by default those that were there, or several where a training is no trifle."""
    if seed is not None and seeds:
        raise InputError(f"seed, seeds: {seed} and {list(seeds)} came; one of them would do")
    if seeds:
        return list(seeds)
    if seed is not None:
        return [seed]
    if before is not None:
        return list(before["seeds"])
    return list(_SEEDS if terms.budget is not None and terms.budget >= _LONG else _SEEDS[:1])


def _terms(
    budget: str | float | None,
    iterations: int | None,
    evaluations: int | None,
    evaluation: str | float | None,
    threads: int | None,
    points: int,
    metrics: Sequence[str],
    device: str,
    autocast: bool,
    clock: str,
    trials: int,
) -> Terms:
    """What all trials have alike, checked."""
    from genflow.numerics.threads import check_threads
    from genflow.training.budget import check_one, parse_seconds

    check_one(budget=budget, iterations=iterations, evaluations=evaluations)
    seconds = None if budget is None else parse_seconds(budget)
    for name, count in (("iterations", iterations), ("evaluations", evaluations)):
        if count is not None:
            check_count(count, name)
    if threads is not None:
        check_threads(threads)
    allowed = evaluation_seconds(evaluation, seconds)
    if points < 20:
        raise InputError(f"points: {points} came; at least 20 would do")
    for name in metrics:
        registry.lookup("metric", name)
    if trials < 1:
        raise InputError(f"trials: {trials} came; at least 1 would do")
    if trials > 1:
        require("tuning")
    return Terms(
        seconds, iterations, allowed, threads or 1, points, tuple(metrics), device, autocast, clock, trials, evaluations
    )  # fmt: skip


def _config(planned: Plan, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is known at the beginning; of data that were there before, what was known at the end."""
    return {
        **before,
        "arguments": planned.arguments,
        "command": command(planned.arguments) if planned.named else None,
        "data": {
            name: before.get("data", {}).get(name)
            or {
                "folder": planned.homes[name],
                "rows": {part: len(rows) for part, rows in dataset.parts().items()},
                "columns": dataset.columns,
                "remarks": dataset.remarks,
                "w2_floor": None,
                "mmd_threshold": None,
            }
            for name, dataset in planned.datasets.items()
        },
        "environment": environment(),
    }


def _run(
    planned: Plan,
    results: Results,
    executor: Executor | str | None,
    jobs: int,
    progress: bool,
    tracker: Tracker | None,
) -> None:
    several = len({trial.seed for trial in planned.trials}) > 1
    rows = [{**results.trials[index].to_json(), "several": several} for index in results.waiting]
    terms = planned.trials[0].terms
    if not results.waiting:
        return
    with executor_for(executor, jobs, terms.threads) as crew:
        _write_data(planned, results)
        display = display_for(rows, terms.budget and terms.trials * terms.budget, progress)
        if tracker is not None:
            tracker.log_params(planned.arguments)
            display = Told(display, tracker, rows)
        with display:
            conduct(planned, results, crew, display)


def _write_data(planned: Plan, results: Results) -> None:
    """Writes the data sets that are still needed, and what figures of samples are held against."""
    from genflow.studies.comparison.evaluation import reference
    from genflow.studies.comparison.exchange import write_data

    for name in dict.fromkeys(results.trials[index].data for index in results.waiting):
        dataset, known = planned.datasets[name], results.config["data"][name]
        known["digest"] = write_data(dataset, results.folder / "evaluation" / planned.homes[name])
        if known["w2_floor"] is None:
            known.update(reference(dataset, points=planned.arguments["points"]))
