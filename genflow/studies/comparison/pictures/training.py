"""Pictures of the training: each model's validation objective against the time."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.view import colour_of
from genflow.studies.reporting.plot import Panel, Picture, Row
from genflow.studies.reporting.tones import STRIPE

__all__ = ["training"]


def training(board: Outcomes, data: str) -> Picture:
    """The validation objective of each stage against the seconds of training."""
    histories: dict[str, list[dict[str, Any]]] = {}
    for run in board.runs:
        if run["data"] == data and any(entry.get("curve") for entry in run.get("history") or ()):
            histories.setdefault(run["label"], run["history"])
    panels = []
    for label, history in histories.items():
        colour = colour_of(board, label)
        stages = f"{len(history)} stages" if len(history) > 1 else ""
        panels.append(Panel(label, partial(_curves, history, colour), colour, stages))
    return Picture([Row(panels)], (1.75, 1.6))


def _curves(history: list[dict[str, Any]], colour: str, axis: Any) -> None:
    settled: list[float] = []
    for index, entry in enumerate(history):
        curve = np.array([[row[0], _real(row[2])] for row in entry.get("curve", [])])
        if not len(curve):
            continue
        if index % 2 and len(history) > 1:
            axis.axvspan(curve[0, 0], curve[-1, 0], color=STRIPE, lw=0, zorder=0)
        axis.plot(curve[:, 0], curve[:, 1], color=colour, lw=1.2)
        if np.isfinite(curve[:, 1]).any():
            lowest = int(np.nanargmin(curve[:, 1]))
            axis.plot(*curve[lowest], "o", ms=3.2, color=colour)
            settled += list(curve[min(2, len(curve) - 1) :, 1])
    finite = [value for value in settled if math.isfinite(value)]
    if finite:  # the untrained beginning would flatten all that follows
        low, high = min(finite), max(np.quantile(finite, 0.97), min(finite) + 1e-3 * max(1.0, abs(min(finite))))
        axis.set_ylim(low - 0.08 * (high - low), high + 0.15 * (high - low))
    axis.set_xlabel("seconds")
    axis.grid(axis="y")
    axis.locator_params(nbins=4)


def _real(value: Any) -> float:
    """A number of a history: JSON has no other word for one that is not finite."""
    return math.nan if value is None or isinstance(value, str) else float(value)
