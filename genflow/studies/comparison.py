r"""Models × data sets × seeds under one equal budget.

Every trial runs in a fresh process, one after the other: the clock of the budget is its own, its peak of memory is its
own, and a model that fails gets its reason in `status` while the others go on. The budget is of training alone;
evaluation has a time of its own. Early stopping on the validation rows is the training loop's and the same for all.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genflow import registry
from genflow.errors import InputError
from genflow.storage import atomic
from genflow.studies.board import Board, slug
from genflow.studies.display import Display, display_for
from genflow.studies.environment import environment
from genflow.studies.ration import evaluation_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_MODELS", "compare"]

DEFAULT_MODELS = ("jko-iflow", "cnf", "flow-matching", "score-sde", "nsf")
"""What is compared where no model is named."""

_GRACE = 120.0  # seconds that a training may overrun twice its budget before its process is ended


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
    atoms: str = "keep",
    points: int = 1000,
    evaluation: str | float | None = None,
    condition: str | Sequence[str] = (),
    classes: str | Sequence[str] = (),
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
        out: A folder for the results; it must not exist, and appears when all is done.
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
    loading = {
        "test": test,
        "columns": [columns] if isinstance(columns, str | int) else columns and list(columns),
        "atoms": atoms,
        "condition": [condition] if isinstance(condition, str) else list(condition),
        "classes": [classes] if isinstance(classes, str) else list(classes),
    }
    plan = _planned(
        data, models, budget, iterations, seeds or [seed], threads, options, metrics, points, evaluation, loading
    )
    with _results(out) as folder:
        _run(plan, folder, progress)
        board = Board(folder)
        board._write()
    if out is None:
        board._temporary = _Temporary(folder)
        return board
    return Board(out)


class _Temporary:
    """A folder that lives as long as the board that reads it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __del__(self) -> None:
        if shutil is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _results(out: str | PathLike[str] | None) -> Iterator[Path]:
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="genflow-"))
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    else:
        with atomic.folder(out) as folder:
            yield folder


def _planned(
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
) -> dict[str, Any]:
    """Checks every argument, loads the data, and lists the trials."""
    from genflow.training import parse_seconds

    if budget is not None and iterations is not None:
        raise InputError("budget, iterations: both came; give one of them")
    if budget is None and iterations is None:
        budget = "60s"
    seconds = None if budget is None else parse_seconds(budget)
    if iterations is not None and iterations < 1:
        raise InputError(f"iterations: {iterations} came; at least 1 would do")
    if threads is not None and threads < 1:
        raise InputError(f"threads: {threads} came; at least 1 would do")
    allowed = evaluation_seconds(evaluation, seconds)
    if points < 20:
        raise InputError(f"points: {points} came; at least 20 would do")
    for name in metrics:
        registry.lookup("metric", name)

    chosen = _models([models] if isinstance(models, str | type) else models, options or {})
    sources = list(data) if isinstance(data, list | tuple) else [data]
    if not sources:
        raise InputError("data: an empty list came; at least one data set would do")
    test = loading["test"]
    if test is not None and len(sources) > 1:
        raise InputError(f"test: it goes with one data set, {len(sources)} came")
    datasets = _loaded(sources, loading)
    _try_options(chosen, datasets)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {' '.join(map(str, seeds))} came; each may come once")
    trials = [
        {
            "data": name,
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
        **{key: loading[key] for key in ("columns", "atoms", "condition", "classes")},
        "points": points,
        "evaluation_budget": None if evaluation is None else str(evaluation),
    }
    # What came from memory can be repeated from Python alone.
    from_names = all(isinstance(source, str | PathLike) for source in [*sources, *([] if test is None else [test])])
    return {"datasets": datasets, "trials": trials, "arguments": arguments, "seconds": seconds, "named": from_names}


def _models(models: Sequence[Any], options: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, Any, dict]]:
    """Each model by its label in the tables: its name, its class where it can't be found by a name, its options."""
    from genflow.studies.options import check_options, check_values

    if not models:
        raise InputError(f"models: none came; some of {', '.join(registry.names('model'))} would do")
    chosen: dict[str, tuple[str, Any, dict]] = {}
    for model in models:
        if isinstance(model, str):
            found = registry.lookup("model", model)
            name, cls = registry.name_of(found), None
        elif callable(model):
            name, cls = registry.name_of(model), None
            if model.__module__ == "__main__" or "<locals>" in getattr(model, "__qualname__", ""):
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
    return chosen


def _try_options(chosen: Mapping[str, tuple[str, Any, dict]], datasets: Mapping[str, Any]) -> None:
    """Builds once every model with options, so that what it can't be built with is refused before anything runs."""
    import torch

    from genflow.studies.options import build

    with torch.random.fork_rng(devices=[]):
        for name, cls, arguments in chosen.values():
            if arguments:
                for dims in {(dataset.dim, dataset.condition_dim) for dataset in datasets.values()}:
                    build(registry.lookup("model", name) if cls is None else cls, dims[0], arguments, dims[1])


def _loaded(sources: list[Any], loading: dict[str, Any]) -> dict[str, Any]:
    from genflow.data import load

    datasets: dict[str, Any] = {}
    for source in sources:
        dataset = load(source, **loading)
        name, count = dataset.name, 2
        while name in datasets:
            name, count = f"{dataset.name}-{count}", count + 1
        datasets[name] = dataset
    return datasets


def _run(plan: dict[str, Any], folder: Path, progress: bool) -> None:
    from genflow.studies.evaluation import reference
    from genflow.studies.trial import write_data

    began = time.time()
    references, runs = {}, []
    work = folder / ".work"
    with _Workshop() as workshop, display_for(plan["trials"], plan["seconds"], progress) as display:
        for name, dataset in plan["datasets"].items():
            home = work / slug(name)
            write_data(dataset, home / "data")
            references[name] = reference(dataset, points=plan["arguments"]["points"])
            for index, trial in enumerate(plan["trials"]):
                if trial["data"] == name:
                    runs.append(_trial(index, trial, dataset, home, folder, workshop, display))
            kept = folder / "evaluation" / slug(name)
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(home / "data" / "data.npz", kept / "data.npz")
            shutil.copy(home / "data" / "data.json", kept / "data.json")
            shutil.rmtree(home)
    shutil.rmtree(work)
    config = {
        "arguments": plan["arguments"],
        "command": _command(plan["arguments"]) if plan["named"] else None,
        "data": {
            name: {
                "rows": {part: len(getattr(d, part)) for part in ("train", "validation", "test")},
                "columns": d.columns,
                "remarks": d.remarks,
                **references[name],
            }
            for name, d in plan["datasets"].items()
        },
        "environment": environment(),
        "began": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(began)),
        "seconds": round(time.time() - began, 1),
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "runs.json", runs)
    if plan["named"]:
        _write_json(folder / "repeat.json", _repeatable(plan["arguments"]))


def _trial(
    index: int,
    trial: dict[str, Any],
    dataset: Any,
    home: Path,
    folder: Path,
    workshop: _Workshop,
    display: Display,
) -> dict[str, Any]:
    """Runs one trial and takes over what it leaves."""
    cls = trial.pop("class")
    place = home / "trial"
    place.mkdir()
    (place / "trial.json").write_text(json.dumps(trial, indent=1))
    display.event(index, {"what": "starting", "stage": "starting"})

    def notify(event: dict[str, Any]) -> None:
        display.event(index, event)

    result = workshop.run(trial, place.resolve(), notify) if cls is None else _here(trial, dataset, place, notify, cls)
    display.done(index, result)
    name = slug(trial["label"]) + (f"-seed{trial['seed']}" if trial["several"] else "")
    for source, target in (("model", "models"), ("arrays.npz", "evaluation")):
        if (place / source).exists() and result["status"].startswith("ok"):
            kept = folder / target / slug(trial["data"]) / (name if source == "model" else f"{name}.npz")
            kept.parent.mkdir(parents=True, exist_ok=True)
            (place / source).rename(kept)
    shutil.rmtree(place)
    return {**trial, "name": name, **result}


class _Workshop:
    """Where the trials run: a process that has imported what they need, and forks one for each of them."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Workshop:
        self._start()  # it imports while the data are prepared
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()

    def _start(self) -> None:
        # A session of its own: an interrupt at the terminal comes to this process alone, which then ends all.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "genflow.studies.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_child_environment(),
            start_new_session=True,
        )

    def run(self, trial: dict[str, Any], place: Path, notify: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Runs one trial; a process that died is a failure with its reason."""
        if self.process is None or self.process.poll() is not None:
            self.__exit__()
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{place}\n".encode())
            code, limit = self._listened(trial, notify)
        except BrokenPipeError:
            code, limit = 1, 0.0
        with contextlib.suppress(FileNotFoundError):
            return json.loads((place / "result.json").read_text())
        errors = place / "errors.txt"
        lines = errors.read_text(errors="replace").strip().splitlines() if errors.exists() else []
        if limit:
            status = f"failed: training took more than {limit:.0f} s, its process was ended"
        elif code < 0:
            name = signal.Signals(-code).name
            status = f"failed: the process was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        else:
            status = f"failed: the process ended with code {code}: {lines[-1] if lines else 'no reason given'}"
        return {"status": status, "traceback": "\n".join(lines)}

    def _listened(self, trial: dict[str, Any], notify: Callable[[dict[str, Any]], None]) -> tuple[int, float]:
        """Passes events on until the trial is through: its exit code, and the limit in seconds if it overran one."""
        import selectors

        assert self.process is not None
        assert self.process.stdout is not None
        limit = math.inf if trial["budget"] is None else 2 * trial["budget"] + _GRACE
        began, training, overrun, child, buffer = time.monotonic(), True, 0.0, 0, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if training and child and not overrun and time.monotonic() - began > limit:
                    os.kill(child, signal.SIGKILL)
                    overrun = limit
                if not selector.select(timeout=1.0):
                    continue
                text = os.read(self.process.stdout.fileno(), 65536)
                if not text:  # it ended: as it does after a trial where nothing can be forked
                    return self.process.wait(), overrun
                *lines, buffer = (buffer + text).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["what"] == "pid":
                        child = event["pid"]
                    elif event["what"] == "exit":
                        return event["code"], overrun
                    else:
                        training = training and event["what"] == "training"
                        notify(event)


def _here(
    trial: dict[str, Any], dataset: Any, place: Path, notify: Callable[[dict[str, Any]], None], cls: Any
) -> dict[str, Any]:
    """A class that only this process knows (defined in a notebook, in a function) is trained here."""
    import traceback

    import torch

    from genflow.studies.trial import reason, run_trial, warm_up

    threads = torch.get_num_threads()
    torch.set_num_threads(trial["threads"] or 1)
    warm_up()
    try:
        result = run_trial(trial, dataset, place, notify, cls)
    except Exception as error:
        return {"status": f"failed: {reason(error)}", "traceback": traceback.format_exc()}
    finally:
        torch.set_num_threads(threads)
    # This process has held other things before, and more than the training: its peak would not compare.
    result["figures"]["peak_mb"] = math.nan
    return result


def _child_environment() -> dict[str, str]:
    """The environment of the trials: modules are found where this process found them."""
    environment = dict(os.environ)
    # Threads that wait by spinning bring a busy machine to a crawl (measured: a tenth of one thread's speed).
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    roots = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    import genflow

    package = str(Path(genflow.__file__).resolve().parent.parent)
    extra = [os.path.abspath(path or ".") for path in [*sys.path, package]]
    extra = [path for path in dict.fromkeys(extra) if not path.startswith(roots) and os.path.isdir(path)]
    inherited = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    environment["PYTHONPATH"] = os.pathsep.join([*extra, *inherited])
    return environment


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
            "points",
            "evaluation_budget",
        )
    }
    return {key: value for key, value in {"data": data, **kept, "set": settings, "test": test}.items() if value}


def _command(arguments: Mapping[str, Any]) -> str:
    """The command line that repeats a comparison."""
    words = ["genflow", "compare"]
    for key, value in _repeatable(arguments).items():
        if (key, value) in (("atoms", "keep"), ("points", 1000), ("seeds", [0])):
            continue
        given = arguments["data"] if key == "data" else value
        words += [f"--{key.replace('_', '-')}", *(map(str, given) if isinstance(given, list) else [str(given)])]
    return shlex.join(words)


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(_finite(document), indent=1, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON knows no NaN: a missing number is null, an infinite one is its name."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
