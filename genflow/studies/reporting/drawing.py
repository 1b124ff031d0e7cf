"""How every picture is made: into a file, in one style, whatever the user's own settings of matplotlib are.

No window, no notebook and no pyplot takes part: a figure is drawn by Agg, so neither `MPLBACKEND` nor a `matplotlibrc`
nor a missing display changes or ends anything.
"""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from genflow.storage.documents import printable
from genflow.studies.reporting.plot import Picture
from genflow.studies.reporting.tones import EDGE, GRID, INK, SOFT

__all__ = ["compose", "dots", "house_style", "logarithmic", "not_drawn", "picture", "plain", "png", "subplots"]

_STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "figure.facecolor": "white",
    "font.size": 8.5,  # of 72 to the inch: 11.3 points of a screen
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelsize": 8.5,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "pdf.fonttype": 42,  # letters that a journal can read
}
_ACROSS = 6  # panels side by side on paper
_PAPER = 8.6  # inches


@contextmanager
def house_style(**further: Any) -> Iterator[None]:
    """The style of all pictures, and nothing of the user's; what is warned of (a glyph that no font has) is let go.

    Args:
        further: Settings of matplotlib beside it.
    """
    _import_matplotlib()
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context(["default", {**_STYLE, **further}]):
        warnings.simplefilter("ignore")
        yield


def subplots(
    down: int = 1, across: int = 1, *, figsize: tuple[float, float], layout: Any = None, **options: Any
) -> Any:
    """A figure and its axes, as pyplot's function of that name gives them, without its windows and its memory.

    Args:
        down: Rows of axes.
        across: Columns of axes.
        figsize: Width and height in inches.
        layout: matplotlib's layout engine.
        options: What `Figure.subplots` takes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(down, across, **options)


def picture(name: str, draw: Callable[[], Any]) -> tuple[bytes, str]:
    """Draws one figure; one that fails is a line, and takes nothing else along.

    Args:
        name: What the line calls it.
        draw: Makes the figure.

    Returns:
        The bytes of a PNG file and no line, or no bytes and the line that says why.
    """
    try:
        with house_style():
            return png(draw()), ""
    except Exception as error:
        return b"", not_drawn(name, error)


def not_drawn(name: str, error: Exception) -> str:
    """The line that says why a picture is missing."""
    return f"the picture {name} could not be drawn ({type(error).__name__}: {plain(error, 200)})"


def compose(shown: Picture) -> Any:
    """A picture on paper: all of its panels in one figure, row by row, for a file or a notebook."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width, height = shown.size
    most = max(_ACROSS, int(_PAPER / width)) if width < 3 else max(1, int(_PAPER / width))
    lines = [
        (row.name if not first else "", row.panels[first : first + most])
        for row in shown.rows
        for first in range(0, len(row.panels), most)
    ]
    across = max(len(panels) for _, panels in lines)
    named = sum(bool(name) for name, _ in lines)
    figure, axes = subplots(
        *(len(lines), across),
        figsize=(width * across, (height + 0.25) * len(lines) + 0.25 * named + 0.3 * bool(shown.legend)),
        squeeze=False,
        layout="constrained",
    )
    above = {"xycoords": "axes fraction", "textcoords": "offset points"}
    for (name, line), row in zip(lines, axes, strict=True):
        for panel, axis in zip(line, row, strict=False):
            panel.draw(axis)
            axis.set_title(plain(panel.title, 28), color=panel.colour, loc="left", pad=15 if panel.note else 5)
            axis.annotate(plain(panel.note, 34), (0, 1), (0, 4), color=SOFT, fontsize=7.5, **above)
        # What the panels of a row have in common stands above the first of them.
        row[0].annotate(plain(name, 60), (0, 1), (0, 30 if line[0].note else 20), color=INK, fontsize=9.0, **above)
        for axis in row[len(line) :]:
            axis.set_visible(False)
    if shown.scale is not None:
        scale = shown.scale
        mappable = ScalarMappable(cmap=scale.colours)
        mappable.set_clim(scale.low, scale.high)
        bar = figure.colorbar(mappable, ax=list(axes.flat), fraction=0.02, pad=0.01, label=plain(scale.label))
        bar.outline.set_visible(False)
    if shown.legend:
        handles = [
            Line2D([], [], label=plain(key.label, 30), **{"color": key.colour, **key.look})
            if key.look
            else Patch(label=plain(key.label, 30), color=key.colour)
            for key in shown.legend
        ]
        columns = max(1, int(width * across / 1.5))
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns))
    return figure


def dots(axis: Any, x: Any, y: Any, colour: str, size: float = 1.6) -> None:
    """A cloud of dots as one path, which in a file takes a tenth of the room of as many marks.

    Args:
        axis: The axes.
        x: Where they are.
        y: Where they are.
        colour: Their colour.
        size: Their diameter, in points.
    """
    import numpy as np
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = np.column_stack([x, y]).astype(float)
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return
    # No renderer draws a line of no length alike; one that is shorter than a pixel is a dot for all of them.
    ends = points + np.array([1e-4 * (np.ptp(points[:, 0]) or 1.0), 0.0])
    path = Path(np.stack([points, ends], 1).reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(points)))
    look = {"capstyle": "round", "fill": False, "edgecolor": colour, "linewidth": size, "alpha": 0.6, "snap": False}
    axis.add_artist(PathPatch(path, **look))  # add_patch would look for the extent of thousands of curves
    axis.update_datalim(points)


def logarithmic(axis: Any, which: str) -> None:
    """Makes an axis logarithmic, with labels at 1, 2 and 5 that read as numbers.

    Args:
        axis: The axes.
        which: `x` or `y`.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set(**{f"{which}scale": "log"})
    found = axis.xaxis if which == "x" else axis.yaxis
    low, high = found.get_view_interval()
    narrow = 0 < low < high < 60 * low
    found.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=5))
    found.set_minor_locator(NullLocator())
    found.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 1e-3 <= value < 1e5 else f"{value:.0e}"))


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def plain(text: Any, longest: int = 40) -> str:
    r"""A name of the user's as matplotlib may draw it: one short line, in which no dollar sign begins a formula.

    Args:
        text: Any text.
        longest: Characters at most; what is longer loses its middle.

    Example:
        >>> from genflow.studies.reporting.drawing import plain
        >>> print(plain("cost_$_%_$"), plain("two\nlines"))
        cost_\$_%_\$ two lines
    """
    line = printable(text)
    line = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp") else c for c in line)
    line = " ".join(line.split())
    if len(line) > longest:
        line = f"{line[: longest - longest // 3]}…{line[len(line) - longest // 3 + 1 :]}"
    # A legend leaves out what begins with an underscore.
    return (" " if line.startswith("_") else "") + line.replace("$", r"\$")


def _import_matplotlib() -> None:
    """Imports matplotlib, which refuses to be imported where `MPLBACKEND` names no backend that it knows."""
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen
