r"""Pictures of calibration: what a flow makes of test rows should be N(0, I).

With :math:`z = T(x)` of a test row x in d dimensions, :math:`u = F_{\chi^2_d}(|z|^2)` is uniform where the flow is
right. Rows that it takes for more common than they are lie too far out: u piles up at one. The figure is the
Kolmogorov-Smirnov distance of u from the uniform law, which stays below :math:`1.36 / \sqrt n` with 95 % probability.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from genflow.studies.comparison.pictures.view import Shown, View
from genflow.studies.reporting.drawing import dots
from genflow.studies.reporting.plot import Key, Panel, Picture, Row
from genflow.studies.reporting.tones import DATA, EDGE

__all__ = ["against_truth", "calibration", "encoded", "from_uniform", "norms"]

_BINS = 20


def encoded(view: View) -> list[Shown]:
    """The models whose encoded test rows were kept."""
    return [shown for shown in view.models if len(shown.arrays.get("encoded", ()))]


def norms(z: np.ndarray) -> np.ndarray:
    """Where the norm of each row stands among those of N(0, I), `(n,)`, between 0 and 1.

    Args:
        z: Rows in the space of the noise, `(n, d)`.
    """
    from scipy.stats import chi2

    return np.asarray(chi2.cdf(np.square(z).sum(1), z.shape[1]))


def from_uniform(u: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of numbers from the uniform law.

    Args:
        u: The numbers, `(n,)`.

    Example:
        >>> import numpy as np
        >>> from_uniform(np.array([0.25, 0.75])), from_uniform(np.ones(4))
        (0.25, 1.0)
    """
    u = np.sort(u[np.isfinite(u)])
    if not len(u):
        return math.nan
    steps = np.arange(len(u) + 1) / len(u)
    return float(max((steps[1:] - u).max(), (u - steps[:-1]).max()))


def calibration(view: View) -> Picture:
    """Coordinates of the encoded test rows beside those of N(0, I), and the place of their norms."""
    found = encoded(view)
    coordinates, places = [], []
    for shown in found:
        z = shown.arrays["encoded"]
        u = norms(z)
        coordinates.append(Panel(shown.label, partial(_coordinates, z, shown.colour), shown.colour))
        note = f"KS {from_uniform(u):.3f}"
        places.append(Panel(shown.label, partial(_places, u, shown.colour), shown.colour, note))
    legend = [Key("N(0, I)", DATA, {"lw": 1.2, "ls": (0, (4, 3))})]
    rows = [Row(coordinates, "All coordinates"), Row(places, "Place of the norm among those of N(0, I)")]
    return Picture(rows, (1.75, 1.35), legend)


def _coordinates(z: np.ndarray, colour: str, axis: Any) -> None:
    edges = np.linspace(-4, 4, 41)
    axis.hist(z.ravel().clip(-4, 4), edges, density=True, color=colour, alpha=0.45, histtype="stepfilled")
    at = np.linspace(-4, 4, 81)
    axis.plot(at, np.exp(-np.square(at) / 2) / math.sqrt(2 * math.pi), color=DATA, lw=1.2, ls=(0, (4, 3)))
    _bare(axis)


def _places(u: np.ndarray, colour: str, axis: Any) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    axis.hist(u, edges, density=True, color=colour, alpha=0.45, histtype="stepfilled")
    axis.axhline(1, color=DATA, lw=1.2, ls=(0, (4, 3)))
    axis.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    _bare(axis)


def _bare(axis: Any) -> None:
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)


def against_truth(view: View) -> Picture:
    """Each model's log density of the test rows less the true one, against the true one."""
    truth = view.parts["true_log_prob"]
    panels = []
    for shown in view.models:
        log_p = shown.arrays["log_prob"]
        if np.isfinite(log_p).any():
            above = np.nanmean((truth - log_p)[np.isfinite(log_p)])
            draw = partial(_error, truth, log_p - truth, shown.colour)
            panels.append(Panel(shown.label, draw, shown.colour, f"mean {-above:+.3f}"))
    return Picture([Row(panels)])


def _error(truth: np.ndarray, error: np.ndarray, colour: str, axis: Any) -> None:
    axis.axhline(0, color=EDGE, lw=0.9, ls=(0, (4, 3)))
    dots(axis, truth[:800], error[:800], colour)
    fine = error[np.isfinite(error)]
    low, high = np.quantile(fine, [0.01, 0.99])
    left, right = np.quantile(truth, [0.002, 1.0])
    axis.set(xlim=(left - 0.2, right + 0.2), ylim=(min(low, -0.5), max(high, 0.5)))
    axis.set_xlabel("true log p", labelpad=1)
    axis.locator_params(nbins=4)
