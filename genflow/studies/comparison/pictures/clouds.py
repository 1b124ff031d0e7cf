"""Pictures of points: samples and densities in the plane, and pairs of columns of wider tables."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from genflow.studies.comparison.exchange import grid_of
from genflow.studies.comparison.pictures.columns import RANKED, rank_correlations
from genflow.studies.comparison.pictures.view import Shown, View, limits
from genflow.studies.reporting.drawing import dots, plain
from genflow.studies.reporting.plot import Panel, Picture, Row, Scale

__all__ = ["densities", "pairs"]

_POINTS = 800
_DECADES = 7.0  # nats from the top of the scale to its bottom
_MOST_PAIRS = 3
_CONSIDERED = 40  # columns that pairs are looked for among


def densities(view: View) -> Picture:
    """Rows and samples in the plane, and the log densities behind them on one scale."""
    first, second = grid_of(np.concatenate([view.train, view.test]), len(view.models[0].arrays["grid"]))
    extent = (first[0], first[-1], second[0], second[-1])
    log_unit = np.log(view.units).sum()  # log p stays that of the data's own units
    log_cell = np.log(first[1] - first[0]) + np.log(second[1] - second[0]) + log_unit
    under_data, name = _of_the_data(view, extent, log_unit)
    grids = [shown.arrays["grid"] for shown in view.models if np.isfinite(shown.arrays["grid"]).any()]
    # The scale of the true density or of the models' median peak: a single spike must not darken all others.
    known = "true_grid" in view.parts or not grids
    high = float(np.nanmax(under_data)) if known else float(np.median([np.nanmax(grid) for grid in grids]))
    clouds = [
        Panel(shown.label, partial(_cloud, view, extent, shown), shown.colour) for shown in [view.rows, *view.models]
    ]
    fields = [Panel(name, partial(_field, view, extent, under_data, high))]
    for shown in view.models:
        grid = shown.arrays["grid"]
        mass = float(np.exp(grid.astype(float) + log_cell).sum())
        note = f"∫p = {mass:.3f}" if math.isfinite(mass) else "no density"
        fields.append(Panel(shown.label, partial(_field, view, extent, grid, high), shown.colour, note))
    scale = Scale("log p, nats", high - _DECADES, high, "magma")
    return Picture([Row(clouds, "Samples"), Row(fields, "Log density")], scale=scale)


def _of_the_data(view: View, extent: tuple[float, ...], log_unit: float) -> tuple[np.ndarray, str]:
    """The density of the data: the true one where it is known, else a histogram."""
    if "true_grid" in view.parts:
        return view.parts["true_grid"], "true density"
    x, y = view.train.T
    counts, *_ = np.histogram2d(x, y, bins=48, range=[extent[:2], extent[2:]], density=True)
    with np.errstate(divide="ignore"):
        return np.log(counts.T) - log_unit, "histogram"


def _cloud(view: View, extent: tuple[float, ...], shown: Shown, axis: Any) -> None:
    dots(axis, shown.rows[:_POINTS, 0], shown.rows[:_POINTS, 1], shown.colour)
    _plane(view, extent, axis)


def _field(view: View, extent: tuple[float, ...], grid: np.ndarray, high: float, axis: Any) -> None:
    low = high - _DECADES
    look: dict[str, Any] = {"vmin": low, "vmax": high, "cmap": "magma", "aspect": "auto", "interpolation": "bilinear"}
    if np.isfinite(grid).any():
        axis.imshow(np.where(np.isfinite(grid), grid, low - 1), origin="lower", extent=extent, **look)
    _plane(view, extent, axis)


def _plane(view: View, extent: tuple[float, ...], axis: Any) -> None:
    axis.set(xlim=extent[:2], ylim=extent[2:])
    axis.set_box_aspect(1)
    axis.locator_params(nbins=4)
    axis.set_xlabel(plain(view.columns[0], 20), labelpad=1)
    axis.set_ylabel(plain(view.columns[1], 20), labelpad=1)


def pairs(view: View) -> Picture:
    """The pairs of columns that depend most on each other: a row for each, the data and every model beside it."""
    used = min(view.dim, _CONSIDERED)
    rank = np.abs(rank_correlations(view.train[:RANKED, :used]))
    upper = [(rank[i, j], i, j) for i in range(used) for j in range(i + 1, used)]
    rows = []
    for _, i, j in sorted(upper, reverse=True)[:_MOST_PAIRS]:
        panels = [
            Panel(shown.label, partial(_pair, view, i, j, shown), shown.colour) for shown in [view.rows, *view.models]
        ]
        rows.append(Row(panels, f"{view.columns[i]} and {view.columns[j]}"))
    return Picture(rows)


def _pair(view: View, i: int, j: int, shown: Shown, axis: Any) -> None:
    dots(axis, shown.rows[:_POINTS, i], shown.rows[:_POINTS, j], shown.colour)
    axis.set(xlim=limits(view.test[:, i], 0.002), ylim=limits(view.test[:, j], 0.002))
    axis.set_box_aspect(1)
    axis.locator_params(nbins=3)
    axis.set_xlabel(plain(view.columns[i], 20), labelpad=1)
    axis.set_ylabel(plain(view.columns[j], 20), labelpad=1)
