r"""Models × data sets × seeds under one equal budget.

Every trial runs in a fresh process, one after the other: the clock of the budget is its own, its peak of memory is its
own, and a model that fails gets its reason in `status` while the others go on. The budget is of training alone;
evaluation has a time of its own. Early stopping on the validation rows is the training loop's and the same for all.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from genflow.devices import device_named
from genflow.draws import check_seed
from genflow.errors import InputError
from genflow.extras import require
from genflow.naming import registry
from genflow.storage.documents import printable
from genflow.studies.comparison.board import Board
from genflow.studies.comparison.display import Display, display_for
from genflow.studies.comparison.names import file_names
from genflow.studies.comparison.ration import evaluation_seconds
from genflow.studies.comparison.report import render
from genflow.studies.comparison.results import Results
from genflow.studies.comparison.workshop import Workshop
from genflow.studies.reporting.drawing import plain
from genflow.studies.reporting.environment import environment
from genflow.studies.reporting.gallery import Gallery
from genflow.studies.reporting.place import take_place, write_json
from genflow.studies.reporting.requirements import check

__all__ = ["DEFAULT_MODELS", "compare"]

DEFAULT_MODELS = ("jko-iflow", "cnf", "flow-matching", "score-sde", "nsf")
"""What is compared where no model is named."""


def compare(
    data: Any,
    models: Sequence[Any] = DEFAULT_MODELS,
    *,
    budget: str | float | None = None,
    iterations: int | None = None,
    seed: int = 0,
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
) -> Board:
    r"""Trains every model on every data set under one budget, and says which differences are real.

    The differences are paired: with :math:`\ell^a_i, \ell^b_i` the log density of test row i under two models,

    .. math:: \bar d = \frac1n \sum_i (\ell^b_i - \ell^a_i), \qquad se(\bar d) = s(d) / \sqrt n .

    Args:
        data: A data set or a list of them, each anything that `genflow.data.load` takes.
        models: Names, `module:Name`, or classes.
        budget: Wall time of each training, such as `"60s"`; 60 seconds if neither it nor `iterations` is given.
        iterations: Optimizer steps of each training instead.
        seed: Seed of everything random.
        seeds: Several seeds: every trial is run with each of them.
        threads: Threads of each trial, 1 by default: networks of this size gain little from more, and threads that
            wait for each other on a busy machine bring a training to a crawl.
        out: A folder for the results; it must not exist. Each trial's outcome is in it as soon as the trial ends, and
            stays there when the comparison is interrupted.
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

    Returns:
        The `Board`.

    Raises:
        InputError: Before anything is trained: a data set that can't be read, an unknown model, a folder that exists.

    Example:
        >>> import genflow as gf
        >>> board = gf.compare("two-moons", ["nsf"], iterations=5, threads=1, progress=False)
        >>> board.frame["status"].tolist()
        ['ok']
    """
    require("studies")
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
    with take_place(out, "comparison") as place:
        plan = _plan(
            data, models, budget, iterations, seeds or [seed], threads, options, metrics, points, evaluation, loading,
            velocity, str(device_named(device)), autocast,
        )  # fmt: skip
        # All that the end needs is tried before anything is trained.
        check([*plan["datasets"], *(column for dataset in plan["datasets"].values() for column in dataset.columns)])
        results = Results(place, _config(plan), [_without_class(trial) for trial in plan["trials"]])
        if plan["named"]:
            write_json(place.folder / "repeat.json", _repeatable(plan["arguments"]))
        render(Board(place.folder), Gallery({}))
        try:
            _run(plan, results, progress)
        except BaseException as error:
            if place.kept:
                state = "interrupted" if isinstance(error, KeyboardInterrupt) else f"broken off: {plain(error, 300)}"
                results.close(state)
            raise
        board = results.close("done")
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


def _plan(
    data: Any,
    models: Sequence[Any],
    budget: str | float | None,
    iterations: int | None,
    seeds: Sequence[int],
    threads: int | None,
    options: Mapping[str, Mapping[str, Any]] | None,
    metrics: Sequence[str],
    points: int,
    evaluation: str | float | None,
    loading: dict[str, Any],
    velocity: str | None,
    device: str,
    autocast: bool,
) -> dict[str, Any]:
    """Checks every argument, loads the data, and lists the trials."""
    from genflow.numerics.threads import check_threads
    from genflow.training import parse_seconds

    if budget is not None and iterations is not None:
        raise InputError("budget, iterations: both came; give one of them")
    if budget is None and iterations is None:
        budget = "60s"
    seconds = None if budget is None else parse_seconds(budget)
    if iterations is not None and iterations < 1:
        raise InputError(f"iterations: {iterations} came; at least 1 would do")
    if threads is not None:
        check_threads(threads)
    allowed = evaluation_seconds(evaluation, seconds)
    if points < 20:
        raise InputError(f"points: {points} came; at least 20 would do")
    for name in metrics:
        registry.lookup("metric", name)

    chosen = _models([models] if isinstance(models, str) or callable(models) else models, options or {}, velocity)
    sources = list(data) if isinstance(data, list | tuple) else [data]
    if not sources:
        raise InputError("data: an empty list came; at least one data set would do")
    test = loading["test"]
    if test is not None and len(sources) > 1:
        raise InputError(f"test: it goes with one data set, {len(sources)} came")
    datasets = _load_all(sources, loading)
    _try_options(chosen, datasets)
    for seed in seeds:
        check_seed(seed, "seeds")
    seeds = list(map(int, seeds))
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {' '.join(map(str, seeds))} came; each may come once")
    homes = file_names(datasets)
    own = file_names(f"{label}-seed{seed}" if len(seeds) > 1 else label for label in chosen for seed in seeds)
    trials = [
        {
            "data": name,
            "home": homes[name],
            "name": own[f"{label}-seed{seed}" if len(seeds) > 1 else label],
            "label": label,
            "model": model,
            "options": dict(arguments),
            "seed": seed,
            "several": len(seeds) > 1,
            "budget": seconds,
            "iterations": iterations,
            "threads": threads,
            "points": points,
            "evaluation": allowed,
            "metrics": list(metrics),
            "device": device,
            "autocast": autocast,
            "class": cls,
        }
        for name in datasets
        for label, (model, cls, arguments) in chosen.items()
        for seed in seeds
    ]
    arguments = {
        "data": [
            str(source) if isinstance(source, str | PathLike) else name for source, name in zip(sources, datasets)
        ],
        "models": [model for model, _, _ in chosen.values()],
        "budget": None if budget is None else str(budget),
        "iterations": iterations,
        "seeds": list(seeds),
        "threads": threads,
        "options": {label: dict(arguments) for label, (_, _, arguments) in chosen.items() if arguments},
        "metrics": list(metrics),
        "test": str(test) if isinstance(test, str | PathLike) else None,
        **{key: value for key, value in loading.items() if key != "test"},
        "points": points,
        "device": device,
        "autocast": autocast,
        "evaluation_budget": None if evaluation is None else str(evaluation),
    }
    # What came from memory can be repeated from Python alone.
    from_names = all(isinstance(source, str | PathLike) for source in [*sources, *([] if test is None else [test])])
    return {
        "datasets": datasets,
        "homes": homes,
        "trials": trials,
        "arguments": arguments,
        "seconds": seconds,
        "named": from_names,
    }


def _models(
    models: Sequence[Any], options: Mapping[str, Mapping[str, Any]], velocity: str | None = None
) -> dict[str, tuple[str, Any, dict]]:
    """Each model by its label in the tables: its name, its class where it can't be found by a name, its options."""
    from genflow.naming.options import check_options, check_values, network_of, with_network

    if not models:
        raise InputError(f"models: none came; some of {', '.join(registry.names('model'))} would do")
    chosen: dict[str, tuple[str, Any, dict]] = {}
    for model in models:
        if isinstance(model, str):
            found = registry.lookup("model", model)
            name, cls = registry.name_of(found), None
        elif callable(model):
            name, cls = registry.name_of(model), None
            if model.__module__ == "__main__" or "<locals>" in model.__qualname__:
                cls = model
        else:
            raise InputError(f"models: {model!r} came; a name, module:Name or a class would do")
        label = name.rpartition(":")[2].rpartition(".")[2] or name
        if label in chosen:
            raise InputError(f"models: {label} came twice")
        chosen[label] = (name, cls, {})
    for key, arguments in options.items():
        labels = [label for label, (name, _, _) in chosen.items() if key in (label, name)]
        if not labels:
            raise InputError(f"options: {key!r} is not among the models {', '.join(chosen)}")
        name, cls, kept = chosen[labels[0]]
        found = registry.lookup("model", name) if cls is None else cls
        check_options(found, arguments)
        check_values(found, arguments)
        kept.update(arguments)
    if velocity is None:
        return chosen
    found = False
    for name, cls, kept in chosen.values():
        made = registry.lookup("model", name) if cls is None else cls
        if network_of(made) is not None:
            found = True
            kept.update(with_network(made, {}, velocity) | kept)
    if not found:
        raise InputError(f"velocity: {velocity} came, and none of the models is made of a velocity; leave it out")
    return chosen


def _try_options(chosen: Mapping[str, tuple[str, Any, dict]], datasets: Mapping[str, Any]) -> None:
    """Builds once every model with options, so that what it can't be built with is refused before anything runs."""
    import torch

    from genflow.naming.options import build

    with torch.random.fork_rng(devices=[]):
        for name, cls, arguments in chosen.values():
            if arguments:
                for dim, *of_data in {(d.dim, d.condition_dim, d.event_shape) for d in datasets.values()}:
                    build(registry.lookup("model", name) if cls is None else cls, dim, arguments, *of_data)


def _load_all(sources: list[Any], loading: dict[str, Any]) -> dict[str, Any]:
    from genflow.data import load

    datasets: dict[str, Any] = {}
    for source in sources:
        dataset = load(source, **loading)
        own = printable(dataset.name)
        name, count = own, 2
        while name in datasets:
            name, count = f"{own}-{count}", count + 1
        datasets[name] = dataset
    return datasets


def _config(plan: dict[str, Any]) -> dict[str, Any]:
    return {
        "arguments": plan["arguments"],
        "command": _command(plan["arguments"]) if plan["named"] else None,
        "data": {
            name: {
                "folder": plan["homes"][name],
                "rows": {part: len(rows) for part, rows in d.parts().items()},
                "columns": d.columns,
                "remarks": d.remarks,
                "w2_floor": None,
                "mmd_threshold": None,
            }
            for name, d in plan["datasets"].items()
        },
        "environment": environment(),
    }


def _run(plan: dict[str, Any], results: Results, progress: bool) -> None:
    from genflow.studies.comparison.evaluation import reference
    from genflow.studies.comparison.exchange import write_data

    with Workshop() as workshop, display_for(plan["trials"], plan["seconds"], progress) as display:
        for name, dataset in plan["datasets"].items():
            home = results.folder / ".work" / plan["homes"][name]
            write_data(dataset, home / "data")
            kept = results.folder / "evaluation" / plan["homes"][name]
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(home / "data" / "data.npz", kept / "data.npz")
            shutil.copy(home / "data" / "data.json", kept / "data.json")
            results.config["data"][name].update(reference(dataset, points=plan["arguments"]["points"]))
            for index, trial in enumerate(plan["trials"]):
                if trial["data"] == name:
                    _trial(index, trial, dataset, home / "trial", results, workshop, display)
            shutil.rmtree(home)


def _trial(
    index: int,
    trial: dict[str, Any],
    dataset: Any,
    place: Path,
    results: Results,
    workshop: Workshop,
    display: Display,
) -> None:
    """Runs one trial and takes over what it leaves, also where it is interrupted."""
    cls = trial["class"]
    trial = _without_class(trial)
    place.mkdir()
    (place / "trial.json").write_text(json.dumps(trial, indent=1), encoding="utf-8")
    doing = "training"

    def notify(event: dict[str, Any]) -> None:
        nonlocal doing
        doing = event["what"]
        display.event(index, event)

    notify({"what": "training", "stage": "starting"})
    try:
        if cls is None:
            result = workshop.run(trial, place.resolve(), notify)
        else:
            result = _here(trial, dataset, place, notify, cls)
    except BaseException:
        results.take(index, {"status": f"not done: interrupted in its {doing}"}, place)
        raise
    results.take(index, result, place)
    display.done(index, result)
    _pass_on(result.get("output", ""), display)
    shutil.rmtree(place)


def _without_class(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial as files hold it: without a class that only this process knows."""
    return {key: value for key, value in trial.items() if key != "class"}


def _pass_on(output: str, display: Display, longest: int = 20) -> None:
    """Shows the last lines of what a trial's process wrote; runs.json has more of them."""
    lines = output.splitlines()
    if len(lines) > longest:
        lines = [f"({len(lines) - longest} lines more in runs.json)", *lines[-longest:]]
    for line in lines:
        display.say(f"  | {line}")


def _here(
    trial: dict[str, Any], dataset: Any, place: Path, notify: Callable[[dict[str, Any]], None], cls: Any
) -> dict[str, Any]:
    """A class that only this process knows (defined in a notebook, in a function) is trained here."""
    import traceback

    from genflow.numerics.threads import chosen
    from genflow.numerics.tuning import tuned_process
    from genflow.studies.comparison.trial import reason, run_trial

    try:
        with chosen(trial["threads"] or 1), tuned_process():
            result = run_trial(trial, dataset, place, notify, cls)
    except Exception as error:
        return {"status": f"failed: {reason(error)}", "traceback": traceback.format_exc()}
    # This process has held other things before, and more than the training: its peak would not compare.
    result["figures"]["peak_mb"] = math.nan
    return result


def _repeatable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as `genflow compare --config` reads them; paths from anywhere."""
    data = [str(Path(source).resolve()) if Path(source).is_file() else source for source in arguments["data"]]
    settings = [
        f"{label}.{option}={json.dumps(value)}"
        for label, chosen in arguments["options"].items()
        for option, value in chosen.items()
    ]
    test = arguments["test"] and str(Path(arguments["test"]).resolve())
    kept = {
        key: arguments[key]
        for key in (
            "models",
            "budget",
            "iterations",
            "seeds",
            "threads",
            "metrics",
            "columns",
            "atoms",
            "condition",
            "classes",
            "drop",
            "missing",
            "missing_values",
            "sheet",
            "points",
            "evaluation_budget",
            "device",
            "autocast",
        )
    }
    kinds = [f"{column}={kind}" for column, kind in arguments["kinds"].items()]
    given = {"data": data, **kept, "kind": kinds, "set": settings, "test": test}
    return {key: value for key, value in given.items() if value and (key, value) != ("device", "cpu")}


def _command(arguments: Mapping[str, Any]) -> str:
    """The command line that repeats a comparison."""
    words = ["genflow", "compare"]
    for key, value in _repeatable(arguments).items():
        if (key, value) in (("atoms", "cells"), ("missing", "value"), ("points", 1000), ("seeds", [0])):
            continue
        if value is True:
            words.append(f"--{key}")
            continue
        given = arguments["data"] if key == "data" else value
        words += [f"--{key.replace('_', '-')}", *(map(str, given) if isinstance(given, list) else [str(given)])]
    return shlex.join(words)
