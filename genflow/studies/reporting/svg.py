"""Pictures inside of a page: each panel an SVG whose colours and letters are the page's own.

matplotlib writes colours as numbers, letters in a font of its own, coordinates to six digits. On the way into the page
colours become the page's variables (`tones`), letters take its font, and coordinates lose what no screen can show.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from genflow.studies.reporting.drawing import house_style, subplots
from genflow.studies.reporting.plot import Panel, Picture, Row
from genflow.studies.reporting.tones import DARK, css

__all__ = ["Drawn", "DrawnPanel", "DrawnRow", "drawn", "svg"]

_ATTRIBUTE = re.compile(r'\b(d|x|y|width|height|transform|points|viewBox)="([^"]*)"')
_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"(fill|stroke|stop-color): (#[0-9a-f]{6})\b")
_FONT = re.compile(r"font-family: [^;\"]*;? ?")
_DOT = re.compile(r"M(\S+) (\S+?)L(\S+) \2(?=M|$)")
_IDENTIFIER = re.compile(r'(\bid="|href="#|url\(#)([\w.-]+)')


@dataclass(frozen=True)
class DrawnPanel:
    """A panel with its SVG.

    Attributes:
        panel: The panel.
        svg: The SVG.
        width: Its width, in points of a screen.
    """

    panel: Panel
    svg: str
    width: int


@dataclass(frozen=True)
class DrawnRow:
    """A row of panels with their SVG."""

    row: Row
    panels: tuple[DrawnPanel, ...]


@dataclass(frozen=True)
class Drawn:
    """A picture, its panels drawn.

    Attributes:
        picture: The picture.
        rows: Its rows.
    """

    picture: Picture
    rows: tuple[DrawnRow, ...]


def drawn(picture: Picture, name: str) -> Drawn:
    """Draws all panels of a picture.

    Args:
        picture: The picture.
        name: What no other picture of the page is called.
    """
    rows = []
    for down, row in enumerate(picture.rows):
        panels = (
            DrawnPanel(panel, svg(panel, picture.size, f"{name}-{down}-{across}"), round(96 * picture.size[0]))
            for across, panel in enumerate(row.panels)
        )
        rows.append(DrawnRow(row, tuple(panels)))
    return Drawn(picture, tuple(rows))


def svg(panel: Panel, size: tuple[float, float], name: str) -> str:
    """A panel as SVG for the inside of a page of HTML.

    Args:
        panel: The panel.
        size: Width and height in inches, of 96 points of a screen each.
        name: What no other panel of the page is called.
    """
    with house_style(**{"savefig.bbox": None, "svg.fonttype": "none", "svg.hashsalt": name, "axes.titlesize": 0}):
        figure, axis = subplots(figsize=size)
        panel.draw(axis)
        _fit(figure, axis)
        written = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _at_home(written.getvalue().decode(), size, name, panel.title)


def _fit(figure: Any, axis: Any) -> None:
    """Gives the labels of the only axes their room: what a constrained layout does, in one measurement."""
    outer, inner = axis.get_tightbbox(figure.canvas.get_renderer()), axis.bbox
    width, height = figure.bbox.size
    pad = 0.015 * figure.dpi
    left, bottom = (inner.x0 - outer.x0 + pad) / width, (inner.y0 - outer.y0 + pad) / height
    right, top = (outer.x1 - inner.x1 + pad) / width, (outer.y1 - inner.y1 + pad) / height
    figure.subplots_adjust(left, bottom, max(1 - right, left + 0.1), max(1 - top, bottom + 0.1))


def _at_home(text: str, size: tuple[float, float], name: str, title: str) -> str:
    """The SVG of a file as a part of a page."""
    from markupsafe import escape

    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = _ATTRIBUTE.sub(lambda match: f'{match[1]}="{_shorter(match[2])}"', text)
    text = _COLOUR.sub(lambda match: f"{match[1]}: {css(match[2])}" if match[2] in DARK else match[0], text)
    text = _FONT.sub("", text)
    text = _unique(text, re.sub(r"\W", "-", name))
    text = re.sub(r">\s+<", "><", text)
    width, height = (round(96 * inches) for inches in size)
    box = f'viewBox="0 0 {72 * size[0]:g} {72 * size[1]:g}"'
    head = f'<svg role="img" aria-label="{escape(title)}" width="{width}" height="{height}" {box}>'
    return re.sub(r"^<svg[^>]*>", lambda _: head, text, count=1)


def _shorter(value: str) -> str:
    """Coordinates to a hundredth, dots of a cloud as points that are lines of no length."""
    value = _NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), value.replace("\n", "").strip())
    value = re.sub(r" ?([MLHVCQZz]) ?", r"\1", value)
    return _DOT.sub(_dot, value)


def _dot(match: re.Match[str]) -> str:
    """A level line, shorter where it is no longer than a dot."""
    start, height, end = match.groups()
    return f"M{start} {height}h.1" if abs(float(end) - float(start)) < 0.1 else match[0]


def _unique(text: str, name: str) -> str:
    """Names of parts of the drawing that no other drawing of the page has; those that nothing refers to go."""
    used = set(re.findall(r'href="#([\w.-]+)"|url\(#([\w.-]+)\)', text))
    names = {found for pair in used for found in pair if found}
    places = {found: f"{name}-{place}" for place, found in enumerate(sorted(names))}
    text = re.sub(r' id="([\w.-]+)"', lambda match: f' id="{places[match[1]]}"' if match[1] in places else "", text)
    return _IDENTIFIER.sub(lambda match: f"{match[1]}{places.get(match[2], match[2])}", text)
