"""Pictures of the columns of a table: each alone, and how any two go together; with a figure for the error of each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from genflow.metrics.tables.shapes import kolmogorov_smirnov
from genflow.studies.comparison.pictures.view import View, limits
from genflow.studies.reporting.drawing import plain
from genflow.studies.reporting.plot import Key, Panel, Picture, Row, Scale
from genflow.studies.reporting.tones import DATA, SHADE

__all__ = ["correlation_errors", "distance", "distances", "marginals"]

_BINS = 40
_FIRST = 12  # columns that are shown before one asks for the rest
_MOST = 32  # columns that are drawn
_CORRELATED = 100  # columns whose correlations are shown


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of what is finite of two samples; NaN where one has nothing.

    Args:
        x: A sample, `(n,)`.
        y: Another, `(m,)`.

    Example:
        >>> import numpy as np
        >>> distance(np.array([0.0, 1.0]), np.array([2.0, 3.0])), distance(np.arange(5), np.arange(5))
        (1.0, 0.0)
    """
    x, y = (values[np.isfinite(values)] for values in (x, y))
    return kolmogorov_smirnov(x, y) if len(x) and len(y) else float("nan")


def distances(view: View) -> dict[str, list[float]]:
    """The distance of each column's samples from its test rows, by model; `training rows` is the floor."""
    columns = range(view.dim)
    found = {"training rows": [distance(view.train[:, j], view.test[:, j]) for j in columns]}
    for shown in view.models:
        found[shown.label] = [distance(shown.rows[:, j], view.test[:, j]) for j in columns]
    return found


def marginals(view: View) -> Picture:
    """The law of each column, of test rows and of every model's samples."""
    measured = distances(view)
    worst = np.max([measured[shown.label] for shown in view.models] or [measured["training rows"]], axis=0)
    panels = [
        Panel(view.columns[j], partial(_marginal, view, j), note=f"KS ≤ {worst[j]:.2f}")
        for j in range(min(view.dim, _MOST))
    ]
    legend = [Key("test rows", SHADE), *view.legend]
    return Picture([Row(panels)], (1.75, 1.35), legend, most=_FIRST)


def _marginal(view: View, j: int, axis: Any) -> None:
    edges = np.linspace(*limits(view.test[:, j], 0.005), _BINS + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        axis.hist(view.test[:, j], edges, density=True, color=SHADE, histtype="stepfilled")
        for shown in view.models:
            counts, _ = np.histogram(shown.rows[:, j], edges)
            axis.stairs(counts / max(1, len(shown.rows)) / np.diff(edges), edges, color=shown.colour, lw=1.1)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.locator_params(axis="x", nbins=3)


def correlation_errors(view: View) -> Picture:
    """How far any two columns of the samples go together more or less than those of test rows."""
    from matplotlib.colors import LinearSegmentedColormap

    used = min(view.dim, _CORRELATED)
    truth = _ranks(view.test[:, :used])
    others = [("training rows", DATA, view.train)]
    others += [(shown.label, shown.colour, shown.finite) for shown in view.models]
    errors = [(label, colour, _ranks(rows[:, :used]) - truth) for label, colour, rows in others]
    upper = np.triu_indices(used, 1)
    largest = max(0.05, *(float(np.quantile(np.abs(error[upper]), 0.99)) for _, _, error in errors))
    # No error is no colour: the paper shows through, light or dark.
    colours = [(0.14, 0.45, 0.66, 1.0), (0.5, 0.5, 0.5, 0.0), (0.85, 0.25, 0.33, 1.0)]
    signed = LinearSegmentedColormap.from_list("signed", colours)
    panels = [
        Panel(label, partial(_matrix, error, largest, signed), colour, f"mean {np.abs(error[upper]).mean():.3f}")
        for label, colour, error in errors
    ]
    return Picture([Row(panels)], scale=Scale("error of the rank correlation", -largest, largest, signed))


def _ranks(rows: np.ndarray) -> np.ndarray:
    """The rank correlation of any two columns; none with one that is constant."""
    from scipy.stats import rankdata

    if len(rows) < 2:
        return np.zeros((rows.shape[1],) * 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.atleast_2d(np.corrcoef(rankdata(rows[:5000], axis=0), rowvar=False)))


def _matrix(error: np.ndarray, largest: float, colours: Any, axis: Any) -> None:
    axis.imshow(error, cmap=colours, vmin=-largest, vmax=largest, interpolation="none")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
    axis.set_xlabel(plain(f"{len(error)} columns"))
