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

__all__ = ["picture", "plain", "png", "house_style", "subplots"]

_STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "figure.facecolor": "white",
    "font.size": 8.5,
    "font.family": "sans-serif",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8.5,
    "axes.labelcolor": "#444b55",
    "axes.edgecolor": "#9aa3af",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@contextmanager
def house_style() -> Iterator[None]:
    """The style of all pictures, and nothing of the user's; what is warned of (a glyph that no font has) is let go."""
    _import_matplotlib()
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context(["default", _STYLE]):
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
    """Draws one picture; one that fails is a line, and takes nothing else along.

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
        return b"", f"the picture {name} could not be drawn ({type(error).__name__}: {plain(error, 200)})"


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
