"""Experiment trackers: where a training writes down what it was given and how it went."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from genflow.errors import InputError
from genflow.extras import extra

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TensorBoard", "Tracked", "Tracker", "tracked"]


@runtime_checkable
class Tracker(Protocol):
    """A run of an experiment tracker, as far as it is written to.

    TensorBoard's is `TensorBoard`; for others a few lines will do, see docs/extending.md.
    """

    def log_params(self, params: Mapping[str, Any]) -> None:
        """What was given: once, at the beginning."""

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """A figure, with the optimizer step at which it was so where it is one of a training."""

    def log_figure(self, name: str, figure: Any) -> None:
        """A picture, a matplotlib figure."""


class Tracked:
    """A progress that a tracker hears of: loss and validation loss of each stage against all steps so far.

    Args:
        tracker: The tracker.
        further: Another progress, which is told too.

    Example:
        >>> class Words:
        ...     def log_params(self, params): ...
        ...     def log_metric(self, name, value, step=None):
        ...         print(name, value, step)
        ...     def log_figure(self, name, figure): ...
        >>> progress = Tracked(Words())
        >>> progress({"stage": "block 1", "step": 20, "loss": 1.5, "validation": float("nan")})
        block 1/loss 1.5 20
        >>> progress({"stage": "block 2", "step": 5, "loss": 1.25, "validation": 1.0})
        block 2/loss 1.25 25
        block 2/validation 1.0 25
    """

    def __init__(self, tracker: Tracker, further: Callable[[dict[str, Any]], None] | None = None):
        self.tracker, self.further = tracker, further
        self._stage, self._step, self._before = "", 0, 0

    def __call__(self, event: dict[str, Any]) -> None:
        if event["stage"] != self._stage:
            self._stage, self._before = event["stage"], self._before + self._step
        self._step = event["step"]
        for name in ("loss", "validation"):
            if math.isfinite(event[name]):
                self.tracker.log_metric(f"{self._stage}/{name}", event[name], self._before + self._step)
        if self.further is not None:
            self.further(event)


class TensorBoard:
    """Writes to a folder that `tensorboard --logdir` shows; extra `genflow[tensorboard]`.

    Args:
        folder: The folder of the run.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, folder: str | PathLike[str]):
        with extra("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(fspath(folder))

    def log_params(self, params: Mapping[str, Any]) -> None:
        lines = "\n".join(f"| {name} | {value} |" for name, value in params.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{lines}")

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        self._writer.add_scalar(name, value, step)

    def log_figure(self, name: str, figure: Any) -> None:
        self._writer.add_figure(name, figure)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def tracked(name: str | None) -> Iterator[TensorBoard | None]:
    """Within, the tracker that is meant by `tensorboard:FOLDER`, or none.

    Args:
        name: What was typed.

    Raises:
        InputError: Something else.
    """
    if name is None:
        yield None
        return
    kind, _, folder = name.partition(":")
    if kind != "tensorboard" or not folder:
        raise InputError(f"tracker: {name!r} came; tensorboard:FOLDER would do")
    with TensorBoard(folder) as tracker:
        yield tracker
