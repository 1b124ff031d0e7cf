"""The colours of all pictures: each as it is on light paper, with what stands for it on dark paper.

A picture is drawn in the light ones. In a report each of them is a variable of the page, so that the page decides.
"""

from __future__ import annotations

__all__ = ["DARK", "DATA", "EDGE", "FAINT", "GRID", "INK", "MODELS", "SHADE", "SOFT", "STRIPE", "css", "variables"]

INK, DATA, SOFT, EDGE, FAINT, SHADE, GRID, STRIPE = (
    *("#1f2530", "#3b4252", "#5d6776", "#9aa3af", "#8a94a3", "#c9d1dc", "#e8ebf0", "#f1f3f7"),
)

MODELS = (
    *("#c8324a", "#2474a8", "#2c8f5a", "#7d53a5", "#d9861a", "#00838f"),
    *("#a0522d", "#5b6770", "#b83280", "#6b8e23", "#3949ab", "#8d6e63"),
)
"""Twelve that can be told from each other; more begin anew."""

_ON_DARK = (
    *("#f0677c", "#5aaee3", "#55bd86", "#b08ad9", "#f0a748", "#35b5c1"),
    *("#d08a64", "#9fb0bd", "#e77fba", "#a3c557", "#8c9af0", "#c3a598"),
)

DARK = dict(zip(MODELS, _ON_DARK, strict=True)) | {
    INK: "#e6e9ee",
    DATA: "#c9d1dc",
    SOFT: "#9aa5b4",
    EDGE: "#667184",
    FAINT: "#7d8899",
    SHADE: "#454e5c",
    GRID: "#2d333d",
    STRIPE: "#252a33",
}
"""What stands on dark paper for each colour."""


def css(colour: str) -> str:
    """A colour as a style sheet names it.

    Example:
        >>> from genflow.studies.reporting.tones import INK, css
        >>> css(INK), css("red")
        ('var(--t1f2530)', 'red')
    """
    return f"var(--t{colour[1:]})" if colour in DARK else colour


def variables(dark: bool) -> str:
    """The declarations of all colours, on light or on dark paper."""
    return " ".join(f"--t{light[1:]}: {DARK[light] if dark else light};" for light in DARK)
