"""Where a training stands: what is told of it, and a line that says it, for `fit(…, progress=True)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from genflow.training.budget import Budget

__all__ = ["Line", "Progress", "event"]

Progress = Callable[[dict[str, Any]], None]
"""Called now and then with `stage, fraction, step, seconds, loss, validation`."""

_WIDTH = 78


def event(stage: str, step: int, loss: float, validation: float, budget: Budget, begin: float) -> dict[str, Any]:
    """What is told of a training.

    Args:
        stage: The name of its stage.
        step: Steps of the stage, or candidates.
        loss: The loss of the last.
        validation: The loss of validation rows.
        budget: The whole training's budget.
        begin: Clock reading at the beginning of the training.
    """
    return {
        "stage": stage,
        "fraction": min(1.0, budget.used / budget.total),
        "step": step,
        "seconds": budget.clock() - begin,
        "loss": loss,
        "validation": validation,
    }


class Line:
    """One line, written anew with every event, and left as it is at the end.

    Args:
        stream: Where to; standard error by default.

    Example:
        >>> import io
        >>> text = io.StringIO()
        >>> with Line(text) as progress:
        ...     progress({"stage": "likelihood", "fraction": 0.5, "step": 20, "loss": 1.25, "validation": 1.5})
        >>> text.getvalue().strip()
        'likelihood:  50 %, step 20, loss 1.250, validation 1.500'
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        self.begun = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.begun:
            print(file=self.stream, flush=True)

    def __call__(self, event: dict[str, Any]) -> None:
        self.begun = True
        text = (
            f"{event['stage']}: {event['fraction']:4.0%}, step {event['step']}, loss {event['loss']:.3f}, "
            f"validation {event['validation']:.3f}"
        ).replace("%", " %")
        print(f"\r{text:<{_WIDTH}}", end="", file=self.stream, flush=True)
