"""Templates of reports: HTML files that need nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genflow.studies.reporting.plot import Key, Scale
from genflow.studies.reporting.tones import css, variables

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["gradient", "mark", "template"]

_MARKS = dict(zip("osD^v<>Ph*Xd", "●■◆▲▼◀▶✚⬢★✖♦", strict=True))


def template(name: str) -> Template:
    """A template of this package, which fails on a name that it was not given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("genflow.studies.reporting", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    pages.globals.update(css=css, variables=variables, mark=mark, gradient=gradient)
    return pages.get_template(name)


def mark(key: Key) -> str:
    """The mark of a legend's entry as a letter; `line` or `area` where it has none."""
    if "marker" in key.look:
        return _MARKS.get(key.look["marker"], "●")
    return "line" if key.look else "area"


def gradient(scale: Scale) -> str:
    """The colours of a scale from low to high, as a style sheet has them."""
    from matplotlib import colormaps

    colours = colormaps[scale.colours] if isinstance(scale.colours, str) else scale.colours
    stops = [colours(place / 8) for place in range(9)]
    named = (f"rgba({255 * r:.0f}, {255 * g:.0f}, {255 * b:.0f}, {a:.2f})" for r, g, b, a in stops)
    return f"linear-gradient(to right, {', '.join(named)})"
