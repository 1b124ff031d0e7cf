"""A process of this machine for each call: what is measured in it is its own, and so is what ends it.

`concurrent.futures.ProcessPoolExecutor` would serve, but that a process which dies takes the calls of all others with
it, says not of what it died, and can't be ended before it is through. The processes themselves are those of
`multiprocessing`. On Linux they are forked from its server, which has imported what a trial needs and lives as long as
this process: a second comparison begins at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from genflow import version

__all__ = ["Died", "Processes"]

P = ParamSpec("P")
T = TypeVar("T")

_FORKS = sys.platform == "linux"  # elsewhere a process that has imported torch can't be forked safely
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
_PRELOAD = "genflow.studies.comparison.preload"
_STARTING = threading.Lock()


class Died(RuntimeError):
    """A process ended before it had answered.

    Args:
        code: Its exit code; the negative number of the signal that ended it.
    """

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        if self.code >= 0:
            return f"the process ended with code {self.code}"
        name = signal.Signals(-self.code).name
        return f"the process was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


class Processes(Executor):
    """Runs each call in a process of its own, so many at once.

    The process finds modules, the current folder and the environment as they are here when the call is made. It runs
    nothing of the script that runs here, which therefore needs no `if __name__ == "__main__"`. It ends when this one
    ends, however that comes about, and takes along what it has started itself.

    Args:
        jobs: How many calls run at once.

    Example:
        >>> import os
        >>> with Processes() as processes:
        ...     processes.submit(os.getpid).result() == os.getpid()
        False
    """

    def __init__(self, jobs: int = 1):
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="process")
        self._running: set[Any] = set()
        self._over = False
        with _STARTING:
            _start_server()  # it imports while the data are prepared

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A call of a function of some module; a class of this script has no name there."""
        return self._threads.submit(self._apart, pickle.dumps((fn, args, kwargs)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends when all calls are through, or, with `cancel_futures`, at once: what runs is ended."""
        if cancel_futures:
            with _STARTING:
                self._over = True
                for process in self._running:
                    _end(process)
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def _apart(self, call: bytes) -> Any:
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_answer, args=(sender, _Surroundings.of_here(), call))
        with receiver:
            with _STARTING, sender:
                if self._over:
                    raise CancelledError
                with _no_script():
                    process.start()
                self._running.add(process)
            try:
                return _answer_of(process, receiver)
            finally:
                with _STARTING:
                    self._running.discard(process)


@dataclass(frozen=True)
class _Surroundings:
    """Where modules and files are found, and the environment."""

    path: list[str]
    folder: str
    environment: Mapping[str, str]

    @classmethod
    def of_here(cls) -> _Surroundings:
        """Those of this process.

        Of the current folder nothing is imported but what `module:Name` names (see `genflow.naming.own_modules`),
        unless the user put it into `PYTHONPATH` himself.
        """
        here = os.path.realpath(os.curdir)
        wanted = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        found = [path for path in sys.path if path and (os.path.realpath(path) != here or path in wanted)]
        # First of all the very genflow that runs here, even where it is the current folder.
        package = str(Path(version.__file__).resolve().parent.parent)
        path = [package, *found] if package not in found else found
        return cls(path, os.getcwd(), {**_PATIENT, **os.environ})

    def take(self) -> None:
        """Makes them this process's own."""
        sys.path[:] = self.path
        os.environ.clear()
        os.environ.update(self.environment)
        with contextlib.suppress(OSError):  # a folder that is gone: nothing can be named in it
            os.chdir(self.folder)


_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait by spinning bring a busy machine to a crawl (measured: a tenth of one thread's speed)."""


def _start_server() -> None:
    """Starts the server that processes are forked from, where it does not run yet.

    What a library reads from the environment when it is loaded is read here, once.
    """
    if not _FORKS:
        return
    from multiprocessing import forkserver

    before = dict(os.environ)
    known = _Surroundings.of_here()
    _CONTEXT.set_forkserver_preload([_PRELOAD])
    try:
        path = os.pathsep.join(map(os.path.abspath, known.path))
        # No file of the current folder takes a library's place.
        os.environ.update({**known.environment, "PYTHONSAFEPATH": "1", "PYTHONPATH": path})
        forkserver.ensure_running()
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _no_script() -> Iterator[None]:
    """Within, a process is started as if this one ran no script: it would run it again."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _answer_of(process: Any, receiver: Connection) -> Any:
    try:
        if receiver not in wait([receiver, process.sentinel]):
            raise EOFError
        fine, answer = receiver.recv()
    except (EOFError, OSError):
        _await_end(process)
        raise Died(process.exitcode) from None
    _await_end(process)
    if fine:
        return answer
    raise answer


def _await_end(process: Any) -> None:
    """Joins a process. Its server says its exit code once, and a start looks at all that have ended, too."""
    wait([process.sentinel])
    with _STARTING:
        process.join()


def _answer(sender: Connection, surroundings: _Surroundings, call: bytes) -> None:
    """Makes a call in the new process and sends back what it returns or raises."""
    if sys.platform != "win32":
        os.setsid()  # an interrupt at the terminal comes to the process that started this one, which then ends it
    _end_with_parent()
    surroundings.take()
    try:
        fn, args, kwargs = pickle.loads(call)
        answer = True, fn(*args, **kwargs)
    except Exception as error:
        answer = False, error
    sender.send(answer)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # whatever a library has left running


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended: a comparison that was killed trains no more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        _end_group(os.getpid())

    with contextlib.suppress(RuntimeError):  # a machine that is full of threads may train all the same
        threading.Thread(target=watch, daemon=True).start()


def _end(process: Any) -> None:
    _end_group(process.pid)
    process.kill()


def _end_group(process: int) -> None:
    """Ends a process with all that it has started."""
    if sys.platform == "win32":
        os.kill(process, signal.SIGTERM)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
