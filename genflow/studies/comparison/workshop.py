"""Where the trials of a comparison run: a process that has imported what they need, and forks one for each of them."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from genflow import version

__all__ = ["Workshop"]

_GRACE = 120.0  # seconds that a training may overrun twice its budget before its process is ended
_LINES = 200  # what is kept of the words of a process: its last lines


# Variables that are read when a process starts or loads a library. All others are each trial's own, as its folder is.
_READ_AT_START = re.compile(
    "PYTHON|LD_|DYLD_|LC_|LANG|MALLOC|OMP_|GOMP_|MKL_|OPENBLAS|BLIS_|ONEDNN|DNNL|ATEN_|TORCH|PYTORCH|CUDA|NVIDIA|HIP_"
    "|KMP_(?!DUPLICATE_LIB_OK|INIT_AT_FORK)"  # these are set by scikit-learn in whatever process imports it
)

_IDLE: dict[tuple[Any, ...], tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
"""The process that the last comparison left, by what it was started with: the next one here begins at once."""


class Workshop:
    """A process that waits for trials, and is started anew where it has died.

    After a comparison that came to its end it waits for the next; it ends with the process that started it. What it
    itself writes to its error stream, apart from that of the trials, is handed on where it ends unasked.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Workshop:
        self._start()  # it imports while the data are prepared
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None and self.process is not None and self.process.poll() is None:
            _IDLE[self.place] = self.process, self.errors
        else:
            self._end()

    def _end(self) -> None:
        if self.process is not None:
            _end(self.process, self.errors)

    def _start(self) -> None:
        environment = self.environment = _environment()
        read = tuple(sorted((name, value) for name, value in environment.items() if _READ_AT_START.match(name)))
        self.place = os.getpid(), read
        if idle := _idle(self.place):
            self.process, self.errors = idle
            self.heard = self.errors.seek(0, os.SEEK_END)
            return
        self.heard = 0
        self.errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115, closed where the process ends
        # -P: no file of the current folder takes a library's place. A session of its own: an interrupt at the terminal
        # comes to this process alone, which then ends all.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "genflow.studies.comparison.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )

    def run(self, trial: dict[str, Any], place: Path, notify: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Runs one trial; a process that died is a failure with its reason.

        Returns:
            What the trial found, and as `output` what its process wrote.
        """
        if self.process is None or self.process.poll() is not None:
            self._end()
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            order = {"folder": str(place), "here": os.getcwd(), "environment": self.environment}
            self.process.stdin.write(f"{json.dumps(order)}\n".encode())
            code, limit = self._listen(trial, notify)
        except BrokenPipeError:
            code, limit = self.process.wait(), 0.0
        output = "\n".join(_last_lines(_text_of(place / "errors.txt")))
        with contextlib.suppress(FileNotFoundError, ValueError):
            return {**json.loads((place / "result.json").read_text(encoding="utf-8")), "output": output}
        said = self._new_words()  # before it could turn its words to the trial's own file, or at its end
        output = "\n".join(filter(None, [output, said]))
        if limit:
            status = f"failed: training took more than {limit:.0f} s, its process was ended"
        elif code < 0:
            name = signal.Signals(-code).name
            status = f"failed: the process was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        else:
            lines = output.splitlines()
            status = f"failed: the process ended with code {code}: {lines[-1] if lines else 'no reason given'}"
        return {"status": status, "traceback": output, "output": output}

    def _new_words(self) -> str:
        """What the process wrote to its error stream since it was last asked."""
        self.errors.seek(self.heard)
        said = self.errors.read()
        self.heard += len(said)
        return "\n".join(_last_lines(said.decode("utf-8", "replace")))

    def _listen(self, trial: dict[str, Any], notify: Callable[[dict[str, Any]], None]) -> tuple[int, float]:
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


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """Ends a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            stream.close()


@atexit.register
def _idle(place: tuple[Any, ...] | None = None) -> tuple[subprocess.Popen[bytes], IO[bytes]] | None:
    """The process that waits where one is to be started, if there is one; all others are ended."""
    found = None
    for started in list(_IDLE):
        process, errors = _IDLE.pop(started)
        if started == place and process.poll() is None:
            found = process, errors
        elif started[0] == os.getpid():  # a fork leaves it to the process that it is of
            _end(process, errors)
    return found


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _last_lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return lines if len(lines) <= _LINES else [f"({len(lines) - _LINES} lines before)", *lines[-_LINES:]]


def _environment() -> dict[str, str]:
    """The environment of the trials: modules are found where this process found them.

    Of the current folder nothing is imported but what `module:Name` names (see `genflow.naming.own_modules`), unless
    the user put it into `PYTHONPATH` himself.
    """
    environment = dict(os.environ)
    # Threads that wait by spinning bring a busy machine to a crawl (measured: a tenth of one thread's speed).
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    roots = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    here = os.path.realpath(os.curdir)
    package = str(Path(version.__file__).resolve().parent.parent)
    found = [os.path.abspath(path) for path in sys.path if path and os.path.realpath(path) != here]
    # First of all the very genflow that runs here, even where it is the current folder.
    extra = [package, *found]
    extra = [path for path in dict.fromkeys(extra) if not path.startswith(roots) and os.path.isdir(path)]
    inherited = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    environment["PYTHONPATH"] = os.pathsep.join([*extra, *inherited])
    return environment
