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

__all__ = ["RANKED", "correlation_errors", "distance", "distances", "marginals", "rank_correlations"]

_BINS = 40
_FIRST = 12  # columns that are shown before one asks for the rest
_MOST = 32  # columns that are drawn
_CORRELATED = 100  # columns whose correlations are shown
RANKED = 5000
"""Rows of which they are."""


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
    truth = rank_correlations(view.test[:RANKED, :used])
    others = [("training rows", DATA, view.train)]
    others += [(shown.label, shown.colour, shown.rows) for shown in view.models]
    errors = [(label, colour, rank_correlations(rows[:RANKED, :used]) - truth) for label, colour, rows in others]
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


def rank_correlations(rows: np.ndarray) -> np.ndarray:
    """The correlation of the ranks of any two columns, of the rows that have both; 0 with one that is constant.

    Args:
        rows: Rows, `(n, d)`; what is not finite is missing.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0, 1.0], [2.0, 8.0], [3.0, 27.0], [4.0, np.nan]])
        >>> rank_correlations(rows).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    from scipy.stats import rankdata

    values = np.where(np.isfinite(rows), rows, np.nan)
    ranks = rankdata(values, axis=0, nan_policy="omit")
    known = np.isfinite(values).astype(np.float64)
    # From their middle on, so that sums have no more digits than they need.
    x = np.where(known > 0, ranks - 0.5 * (1 + known.sum(0)), 0.0)
    count = np.maximum(known.T @ known, 1.0)
    mean = (x.T @ known) / count  # (i, j): of column i, where j is known, too
    variance = (x * x).T @ known / count - mean**2
    covariance = x.T @ x / count - mean * mean.T
    scale = np.sqrt(np.maximum(variance * variance.T, 0.0))
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 1e-9 * count**2)


def _matrix(error: np.ndarray, largest: float, colours: Any, axis: Any) -> None:
    axis.imshow(error, cmap=colours, vmin=-largest, vmax=largest, interpolation="none")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
    axis.set_xlabel(plain(f"{len(error)} columns"))
