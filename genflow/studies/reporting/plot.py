"""A picture as a report carries it, and what the pictures of all studies share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FURTHER_COLOURS", "Plot", "drawable_units"]

FURTHER_COLOURS = ("#a0522d", "#5b6770", "#b83280", "#6b8e23", "#3949ab", "#8d6e63")
_DRAWABLE = 50  # decades around one that an axis shows as they are


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        name: Its file's name, without the ending.
        title: What it shows, in a few words.
        caption: How to read it.
        draw: Makes the figure.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Any]


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
