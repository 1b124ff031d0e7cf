"""Who carries out the trials: processes of this machine, or whatever `concurrent.futures.Executor` there is.

An executor of another library is taken as it is: `Client.get_executor()` of dask, and with it the clusters that dask
knows (SLURM, PBS, Kubernetes), `MPIPoolExecutor` of mpi4py, loky's. Ray has tasks instead, and a few lines make an
executor of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from genflow.errors import InputError
from genflow.extras import extra
from genflow.studies.comparison.processes import Processes

__all__ = ["RayExecutor", "check_executor", "executor_for"]

P = ParamSpec("P")
T = TypeVar("T")

_KINDS = ("dask", "ray")


class RayExecutor(Executor):
    """Ray's tasks as an executor: a worker for each call, which ends with it; one that is lost is replaced.

    Args:
        processors: How many processors each call is given.
    """

    def __init__(self, processors: int = 1):
        with extra("ray"):
            import ray
        self._options = {"num_cpus": processors, "max_calls": 1, "max_retries": 3}
        self._remote = ray.remote(**self._options)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A call of a function."""
        return self._remote(fn).remote(*args, **kwargs).future()  # type: ignore[no-any-return]


def check_executor(executor: Any) -> None:
    """Refuses what is neither an executor nor the name of one.

    Args:
        executor: An `Executor`, `dask:ADDRESS`, `ray:ADDRESS`, or `None`.

    Raises:
        InputError: Something else.
    """
    if executor is None or isinstance(executor, Executor):
        return
    kind, _, address = str(executor).partition(":")
    if not isinstance(executor, str) or kind not in _KINDS or not address:
        raise InputError(
            f"executor: {executor!r} came; dask:ADDRESS, ray:ADDRESS or, from Python, a concurrent.futures.Executor "
            "would do"
        )


@contextmanager
def executor_for(executor: Executor | str | None, jobs: int = 1, threads: int = 1) -> Iterator[Executor]:
    """The executor that was asked for; one that is the caller's own is left running.

    Args:
        executor: It, or `dask:ADDRESS`, `ray:ADDRESS`; `None` for processes of this machine.
        jobs: How many of them run at once.
        threads: Threads of each trial.

    Raises:
        InputError: Nobody answers at the address, or the library is not installed.
    """
    if executor is None:
        with Processes(jobs) as processes:
            yield processes
    elif isinstance(executor, Executor):
        yield executor
    else:
        kind, _, address = executor.partition(":")
        with (_dask if kind == "dask" else _ray)(address, threads) as found:
            yield found


@contextmanager
def _dask(address: str, threads: int) -> Iterator[Executor]:
    with extra("dask"):
        from distributed import Client
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise _unanswered("dask", address, error) from None
    with client:
        yield client.get_executor(pure=False)


@contextmanager
def _ray(address: str, threads: int) -> Iterator[Executor]:
    with extra("ray"):
        import ray
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unanswered("ray", address, error) from None
    try:
        yield RayExecutor(threads)
    finally:
        if ours:
            ray.shutdown()


def _unanswered(kind: str, address: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else f"{reason[:199]}…"
    return InputError(
        f"executor: {kind}:{address} came, and nobody answers there ({reason}); start one, or none would do"
    )
