"""What an experiment tracker hears of a comparison: each trial as it ends, and the pictures."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from genflow.studies.comparison.board import Board
from genflow.studies.comparison.display import Display
from genflow.studies.comparison.plots import plots_of
from genflow.studies.reporting.drawing import compose, house_style
from genflow.training import Tracker

__all__ = ["Told", "log_pictures"]


class Told:
    """A display that tells a tracker, too: of each trial its figures, and the validation loss of its stages by step.

    Args:
        display: The display.
        tracker: The tracker.
        trials: The trials, as names with values.
    """

    def __init__(self, display: Display, tracker: Tracker, trials: list[dict[str, Any]]):
        self.display, self.tracker, self.trials = display, tracker, trials
        self.event, self.say = display.event, display.say

    def __enter__(self) -> Told:
        self.display.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.display.__exit__(*exception)

    def done(self, index: int, result: dict[str, Any]) -> None:
        """Of a trial that has ended."""
        self.display.done(index, result)
        trial = self.trials[index]
        name = f"{trial['data']}/{trial['label']}" + (f"/seed {trial['seed']}" if trial["several"] else "")
        for figure, value in result.get("figures", {}).items():
            if math.isfinite(value):
                self.tracker.log_metric(f"{name}/{figure}", value)
        before = 0
        for entry in result.get("history", ()):
            for _, step, validation in entry.get("curve", ()):
                if isinstance(validation, int | float) and math.isfinite(validation):
                    self.tracker.log_metric(f"{name}/{entry['stage']}", float(validation), before + int(step))
            before += entry.get("steps", 0)


def log_pictures(board: Board, tracker: Tracker) -> None:
    """Tells a tracker the pictures of a comparison; one that can't be drawn is left out, and the report says so.

    Args:
        board: The comparison.
        tracker: The tracker.
    """
    for data in (None, *board.data_names):
        for plot in plots_of(board, data):
            with suppress(Exception), house_style():
                tracker.log_figure(plot.name, compose(plot.draw()))
