r"""One trial of a comparison: one model, one data set, one seed, in a process of its own.

A fresh process gives a clean clock and a clean peak of memory, and keeps a crash to itself. What it needs is handed
over as files in a folder, and what it finds is left there:

    trial.json      the model's name and options, budget, seed, threads
    ../data/        the data set, split and with its preprocessing
    result.json     figures, history, memory; or the reason of the failure
    model/          the trained model
    arrays.npz      log density of each test row, samples, density on a grid

The clock of the budget runs while the model trains, and only then.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import platform
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genflow.deadline import OutOfTime, check_time, deadline
from genflow.errors import InputError
from genflow.naming import registry
from genflow.naming.options import build, check_options
from genflow.numerics.threads import choose
from genflow.numerics.tuning import tuned_process
from genflow.storage import atomic
from genflow.storage.checkpoint import save, write_structure
from genflow.studies.comparison.exchange import GRID, on_grid, read_data
from genflow.training import Budget
from genflow.training.closing import few_steps
from genflow.training.warming import warm_up

__all__ = ["check_options", "run_trial"]

Notify = Callable[[dict[str, Any]], None]


def run_trial(
    trial: dict[str, Any], data: Any, folder: Path, notify: Notify, model_class: Any = None
) -> dict[str, Any]:
    """Trains, saves and scores one model.

    Args:
        trial: `model`, `options`, `budget` or `iterations`, `evaluation` (seconds), `seed`, `points`, `metrics`,
            and, where they are not the default, `device` and `autocast`.
        data: A `Dataset`.
        folder: Where the model and the arrays are left.
        notify: Called with every event of the training and the evaluation.
        model_class: The model, where it can't be found by its name.

    Returns:
        What goes into `result.json`: `figures`, `history`, `status`, memory.
    """
    from genflow.studies.comparison.evaluation import evaluate, extra_metrics
    from genflow.studies.comparison.ration import ONE_PLACE

    cls = registry.lookup("model", trial["model"]) if model_class is None else model_class
    torch.manual_seed(trial["seed"])
    model = build(cls, data.dim, trial["options"], data.condition_dim, data.event_shape).to(trial.get("device", "cpu"))
    last = 0.0

    def progress(event: dict[str, Any]) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last > 0.1:
            last = now
            notify({"what": "training", **event})

    reset = _reset_peak()
    before = _resident_peak()
    limit = Budget(trial["budget"], trial["iterations"])
    settings: dict[str, Any] = {"autocast": True} if trial.get("autocast") and model.autocasts else {}
    fitted = model.fit(data, budget=limit, seed=trial["seed"], progress=progress, **settings)
    seconds = limit.seconds if fitted.record is None else fitted.record.seconds
    peak = _resident_peak()
    trained = time.perf_counter()
    save(fitted, folder / "model")
    notify({"what": "evaluation", "stage": "evaluating"})
    time_for_it = Budget(trial["evaluation"])
    evaluation = evaluate(
        fitted,
        data,
        seed=trial["seed"],
        points=trial["points"],
        metrics=extra_metrics(trial["metrics"]),
        notify=lambda what: notify({"what": "evaluation", "stage": what}),
        budget=time_for_it,
    )
    if fitted.record is not None and bool(evaluation.scored.any()) and fitted.has_log_prob:
        fitted.keep_scores(evaluation.log_prob[evaluation.scored], evaluation.places)
        write_structure(fitted, folder / "model")
    # Where steps are counted, all have equally many, and the heading says how many.
    known = [] if limit.timed else few_steps(fitted.history, len(data.train))
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
        "train_seconds": seconds,
        "train_steps": sum(entry.get("steps", 0) for entry in fitted.history),
        "peak_mb": peak - before if reset else math.nan,
    }
    return {
        "status": "; ".join(["ok", *remarks]),
        "figures": figures,
        "history": fitted.history,
        "process_peak_mb": peak,
        "evaluation_seconds": round(time.perf_counter() - trained, 2),
    }


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


def _warm_up_figures() -> None:
    """Pays once what the first figures of a process cost."""
    import ot  # noqa: F401
    import sklearn.ensemble  # noqa: F401


def _reset_peak() -> bool:
    """Sets the record of this process's peak memory back to what it holds now; without that there is no honest peak.

    Where the kernel can't, the record begins with the process, whose start-up may have held more for a moment.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return platform.system() != "Windows"
    return True


def _resident_peak() -> float:
    """Peak resident memory of this process, in MB (2^20 bytes)."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 1024


def serve() -> int:
    """Runs trials, one for each line of standard input: its `folder`, the folder and the environment that it is run in.

    Events go to standard output, one a line.

    Every trial has a process of its own. Where the system can, it is forked from this one, which has imported what all
    of them need and has done nothing else; elsewhere this one runs a single trial and ends.
    """
    # Whatever a model prints must not come between the events.
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # nor must a locale that lacks a character end it
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # no pool of threads may exist when a process is forked
    warm_up()
    _warm_up_figures()

    def notify(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event, default=float) + "\n")

    for line in sys.stdin:
        order = json.loads(line)
        if sys.platform != "linux":
            _end_with(sys.stdin.fileno())
            return _run_here(order, notify)
        child = os.fork()
        if child == 0:
            _end_with(sys.stdin.fileno())
            os._exit(_run_here(order, notify))
        notify({"what": "pid", "pid": child})
        _, status = os.waitpid(child, 0)
        notify({"what": "exit", "code": os.waitstatus_to_exitcode(status)})
    return 0


def _end_with(pipe: int) -> None:
    """Ends this process when the other end of a pipe is closed: a comparison that was killed trains no more."""
    if sys.platform == "win32":
        return
    poll = select.poll()
    poll.register(pipe, 0)  # nothing but that it was hung up; what it holds is another's to read

    def wait() -> None:
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    with contextlib.suppress(RuntimeError):  # a machine that is full of threads may train all the same
        threading.Thread(target=wait, daemon=True).start()


def _run_here(order: dict[str, Any], notify: Notify) -> int:
    """Runs the trial that a folder describes in this process."""
    folder = Path(order["folder"])
    errors = os.open(folder / "errors.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    os.environ.clear()
    os.environ.update(order["environment"])
    with contextlib.suppress(OSError):  # a folder that is gone: nothing can be named in it
        os.chdir(order["here"])
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    choose(trial["threads"] or 1)
    try:
        with tuned_process():
            result = run_trial(trial, read_data(folder.parent / "data"), folder, notify)
    except (Exception, SystemExit) as error:
        result = {"status": f"failed: {reason(error)}", "traceback": traceback.format_exc()}
    result["threads"] = torch.get_num_threads()
    atomic.write(folder / "result.json", json.dumps(result, default=float, indent=1) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    return 0


def reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else text[:297] + "…"
    return text if isinstance(error, InputError) and text else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    sys.exit(serve())
