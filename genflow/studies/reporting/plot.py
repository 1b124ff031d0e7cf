"""A picture as a report carries it: panels of one size, which a page lays out as its width allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genflow.studies.reporting.tones import INK

__all__ = ["SMALL", "WIDE", "Key", "Panel", "Picture", "Plot", "Row", "Scale", "drawable_units"]

SMALL, WIDE = (1.75, 1.75), (3.55, 2.3)
"""Sizes of panels in inches: two small ones, or one that is wide, fit on a phone."""

_DRAWABLE = 50  # decades around one that an axis shows as they are


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What it shows, in a word or two.
        draw: Draws into the axes.
        colour: The colour of its title.
        note: What stands behind the title, small.
        paper: Whether it shows dark strokes on light paper, to be turned over where the paper is dark.
    """

    title: str
    draw: Callable[[Any], None]
    colour: str = INK
    note: str = ""
    paper: bool = False


@dataclass(frozen=True)
class Row:
    """Panels that belong together.

    Attributes:
        panels: The panels.
        name: What they have in common; empty where that needs no word.
    """

    panels: Sequence[Panel]
    name: str = ""


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Attributes:
        label: What it stands for.
        colour: Its colour.
        look: How it is drawn, in matplotlib's words: `color`, `lw`, `marker`, `ls`; an area where it is empty.
    """

    label: str
    colour: str
    look: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """What the colours of a picture mean.

    Attributes:
        label: The quantity.
        low: The value at the low end.
        high: The value at the high end.
        colours: matplotlib's name of the map, or a colormap.
    """

    label: str
    low: float
    high: float
    colours: Any


@dataclass(frozen=True)
class Picture:
    """Panels of one size, with what explains them.

    Attributes:
        rows: The panels, those that belong together in a row.
        size: Width and height of each, in inches.
        legend: What the marks stand for.
        scale: What the colours stand for.
        most: Rows that a report shows before it is asked for the rest.
    """

    rows: Sequence[Row]
    size: tuple[float, float] = SMALL
    legend: Sequence[Key] = ()
    scale: Scale | None = None
    most: int = 100


@dataclass(frozen=True)
class Plot:
    """A picture to be drawn.

    Attributes:
        name: Its file's name, without the ending.
        title: What it shows, in a few words.
        caption: How to read it.
        draw: Makes the picture.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Picture]


def drawable_units(rows: np.ndarray) -> np.ndarray:
    """One for each column, or a power of ten: matplotlib draws axes from about 1e-287 on, and areas are products.

    Args:
        rows: Rows, `(n, dim)`.

    Example:
        >>> import numpy as np
        >>> drawable_units(np.array([[1.0, 2e307, 3e-300], [-20.0, 1.0, 0.0]]))
        array([1.e+000, 1.e+307, 1.e-300])
    """
    largest = np.abs(rows).max(0)
    decade = np.floor(np.log10(np.where(largest > 0, largest, 1.0))).clip(min=-307)  # 1e-308 is subnormal
    return np.where(np.abs(decade) > _DRAWABLE, 10.0**decade, 1.0)
