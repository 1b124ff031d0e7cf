"""A trial at its place of work: in a process of its own on this machine, or at a worker of some executor.

Its folder lies in that of the comparison. A worker on a machine that does not see it works in a folder of its own, gets
the data with the order, and sends back what it has found; there, a training that is cut off begins again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genflow.errors import reason
from genflow.numerics import threads
from genflow.numerics.tuning import tuned_process
from genflow.studies.comparison.exchange import read_data
from genflow.studies.comparison.records import Outcome, Recalled, Trial
from genflow.studies.comparison.trial import run_trial
from genflow.studies.comparison.tries import FOLDER

__all__ = [
    "OVERRUN",
    "Delivery",
    "Order",
    "carry_out",
    "carry_out_alone",
    "end_after",
    "last_event",
    "last_lines",
    "pack",
    "unpack",
]

OVERRUN = "overrun"
"""The file in a trial's folder that says why its training was ended."""

_GRACE = 120.0  # seconds that a training may overrun twice its budget, or do nothing, before its process is ended
_ASLEEP = 0.01  # of a processor: who takes less does nothing
_LINES = 200  # what is kept of the words of a process: its last lines
_ONE = threading.Lock()  # trials of one process take turns: they share its random numbers and its threads
_trials_before = 0


@dataclass(frozen=True)
class Order:
    """What a place of work is told.

    Attributes:
        trial: The trial.
        data: The folder of its data set, see `genflow.studies.comparison.exchange`.
        folder: Where it works.
        mark: What the file `mark` in that folder says: a folder of the same name on another machine is another.
        here: The current folder of the comparison, in which `module:Name` is looked for.
        model_class: A class that no module has, pickled by value.
        carried: The files of the data set, where the worker does not see them.
    """

    trial: Trial
    data: Path
    folder: Path
    mark: str
    here: str
    model_class: bytes | None = None
    carried: Mapping[str, bytes] | None = None


@dataclass(frozen=True)
class Delivery:
    """What comes back.

    Attributes:
        outcome: The trial's; `None` where the worker sees neither its folder nor the data.
        files: What it left, where it could not leave it in the trial's folder.
    """

    outcome: Outcome | None
    files: Mapping[str, bytes] = field(default_factory=dict)


def carry_out(order: Order) -> Delivery:
    """Runs a trial, whatever process this is."""
    with _ONE, _as_a_trial_needs(order):
        if _text_of(order.folder / "mark") == order.mark:
            return Delivery(_outcome(order, order.data, order.folder))
        if order.carried is None:
            return Delivery(None)
        with tempfile.TemporaryDirectory(prefix="genflow-") as home:
            data, folder = Path(home) / "data", Path(home) / "trial"
            unpack(order.carried, data)
            folder.mkdir()
            outcome = _outcome(order, data, folder)
            for name in ("snapshot", FOLDER):
                shutil.rmtree(folder / name, ignore_errors=True)
            return Delivery(outcome, pack(folder))


def carry_out_alone(order: Order) -> Delivery:
    """Runs a trial in a process that has been made for it: its words go into its folder, and it may not overrun."""
    output = os.open(order.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    terms = order.trial.terms
    threads.choose(terms.threads)
    if terms.budget is not None:
        limit = terms.trials * (2 * terms.budget + _GRACE)
        # By a clock of the wall the limit itself comes, whatever the process does.
        end_after(limit, terms.timer, order.folder, _GRACE if terms.clock == "cpu" else limit)
    return carry_out(order)


def last_event(folder: Path) -> dict[str, Any]:
    """What a trial last said of itself; empty before it has begun, or where it works elsewhere."""
    try:
        return dict(json.loads((folder / "event.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def last_lines(folder: Path) -> str:
    """The last lines that the process of a trial wrote."""
    lines = [line.rstrip() for line in _text_of(folder / "output.txt").strip().splitlines()]
    return "\n".join(lines if len(lines) <= _LINES else [f"({len(lines) - _LINES} lines before)", *lines[-_LINES:]])


def pack(folder: Path) -> dict[str, bytes]:
    """The files in a folder, by their place in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes what `pack` found."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _outcome(order: Order, data: Path, folder: Path) -> Outcome:
    global _trials_before
    trials, _trials_before = _trials_before, _trials_before + 1

    def notify(event: dict[str, Any]) -> None:
        if folder == order.folder and _text_of(folder / "mark") != order.mark:
            raise Recalled("the comparison has ended, or has this trial carried out anew")
        # Replaced, so that nobody reads half of it; not waited for until it is on the disk: the clock runs.
        part = folder / "event.part"
        part.write_text(json.dumps(event, default=float), encoding="utf-8")
        os.replace(part, folder / "event.json")

    try:
        notify({"what": "training", "stage": "starting"})
        outcome = run_trial(order.trial, read_data(data), folder, notify, _class_of(order))
    except (Exception, SystemExit) as error:
        return Outcome(f"failed: {reason(error)}", traceback=traceback.format_exc())
    if trials:  # the process has held other things before: its peak would not compare
        outcome = replace(outcome, figures={**outcome.figures, "peak_mb": float("nan")})
    return outcome


def _class_of(order: Order) -> Any:
    if order.model_class is None:
        return None
    import cloudpickle

    if order.here not in sys.path:  # modules that it was made from may lie there; installed ones come before them
        sys.path.append(order.here)
    return cloudpickle.loads(order.model_class)


@contextlib.contextmanager
def _as_a_trial_needs(order: Order) -> Iterator[None]:
    """Within, as many threads as were asked for, the folder of the comparison, and no warnings."""
    before = None
    with contextlib.suppress(OSError):
        before = os.getcwd()
        os.chdir(order.here)
    try:
        with threads.chosen(order.trial.terms.threads), tuned_process(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is not None:
            os.chdir(before)


def end_after(limit: float, timer: Callable[[], float], folder: Path, patience: float = _GRACE) -> None:
    """Ends this process where its training takes longer, or does nothing for so long.

    What waits for a lock or a connection that never comes takes no time of a processor, by whose clock it would wait
    for ever.
    """
    began = timer()

    def watch() -> None:
        idle, known = 0.0, time.process_time()  # seconds that this process has seen: it may be stopped, and go on
        while timer() - began < limit and idle < patience:
            time.sleep(1.0)
            idle += 1.0
            if (now := time.process_time()) - known > _ASLEEP * patience:
                idle, known = 0.0, now
            if last_event(folder).get("what") == "evaluation":
                return
        fault = f"took more than {limit:.0f} s" if idle < patience else f"did nothing for {patience:.0f} s"
        (folder / OVERRUN).write_text(f"training {fault}, its process was ended", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
