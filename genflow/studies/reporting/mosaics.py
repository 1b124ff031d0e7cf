"""Pictures of pictures: rows in lines and columns, by class where they have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from genflow.studies.reporting.drawing import plain
from genflow.studies.reporting.plot import Panel, Picture, Row

__all__ = ["Mosaic", "classes_of", "mosaic", "mosaics", "show_pictures"]

_SIDE = 6  # pictures in a line, and lines of pictures without classes
_MOST_CLASSES = 12
_GAP = 1
_COLOURS = 3
_WIDTH = 1.75  # inches


@dataclass(frozen=True)
class Mosaic:
    """Pictures of one origin.

    Attributes:
        title: What stands above.
        colour: Its colour.
        rows: Pictures as rows, `(n, d)`.
        classes: The class of each, `(n,)`; `None` where they have none.
    """

    title: str
    colour: str
    rows: np.ndarray
    classes: np.ndarray | None = None


def classes_of(
    parts: Mapping[str, np.ndarray], description: Mapping[str, Any], places: np.ndarray | None
) -> np.ndarray | None:
    """The class of some test rows, or of samples that were drawn at their conditions: the first one that they have.

    Args:
        parts: The arrays of a data set that was compared on.
        description: What is known of it.
        places: Which test rows, `(n,)`; `None` where that was not kept.

    Returns:
        Their names, `(n,)`; `None` where there is no class.
    """
    if places is None or not description.get("condition"):
        return None
    classes = description["condition"]["arguments"]["classes"]
    column = next((j for j, names in enumerate(classes) if names), None)
    return None if column is None else parts[f"condition.test.{column}"][places]


def mosaics(found: Sequence[Mosaic], shape: tuple[int, ...], known: np.ndarray) -> Picture:
    """A picture of mosaics side by side; where all of them have classes, line by line those of one class.

    Args:
        found: The data first.
        shape: Height and width of a picture.
        known: Rows that say what is dark and what is light.
    """
    low, high = np.quantile(known, [0.01, 0.99])
    # Dark strokes on light paper where most of the picture is at the low end, as with the digits.
    dark = float(np.median(known)) < low + 0.35 * (high - low)
    lines = _lines(found)
    down = len(lines) or _SIDE
    panels = []
    for one in found:
        rows: Sequence[np.ndarray | None] = list(one.rows[: _SIDE * _SIDE])
        if lines and one.classes is not None:
            of_class = (one.rows[one.classes == line][:_SIDE] for line in lines)
            rows = [picture for few in of_class for picture in [*few, *[None] * (_SIDE - len(few))]]
        draw = partial(_show, rows, shape, down, lines, (low, high), dark)
        panels.append(Panel(one.title, draw, one.colour, paper=dark))
    return Picture([Row(panels)], (_WIDTH, _WIDTH * (down / _SIDE) * shape[-2] / shape[-1] + 0.05))


def _show(
    rows: Sequence[np.ndarray | None],
    shape: tuple[int, ...],
    down: int,
    lines: list[str],
    limits: tuple[float, float],
    dark: bool,
    axis: Any,
) -> None:
    show_pictures(axis, rows, shape, down, _SIDE, limits, dark)
    if lines:
        middles = [(k + 0.5) * (shape[0] + _GAP) - _GAP for k in range(down)]
        axis.set_yticks(middles, [plain(line, 12) for line in lines])
        axis.tick_params(axis="y", length=0)


def _lines(panels: Sequence[Mosaic]) -> list[str]:
    """The classes that get a line each: none where a panel does not know its classes."""
    if any(panel.classes is None for panel in panels):
        return []
    names = sorted(set(panels[0].classes))  # type: ignore[arg-type]
    whole = all(name.isdecimal() for name in names)
    return sorted(names, key=int if whole else str)[:_MOST_CLASSES]


def show_pictures(
    axis: Any,
    rows: Sequence[np.ndarray | None] | np.ndarray,
    shape: tuple[int, ...],
    down: int,
    across: int,
    limits: tuple[float, float],
    dark: bool = True,
) -> None:
    """Shows a mosaic on an axis.

    Args:
        axis: The axis.
        rows: As in `mosaic`.
        shape: As in `mosaic`.
        down: As in `mosaic`.
        across: As in `mosaic`.
        limits: The values that are black and white, or no colour and all of it.
        dark: Whether grey pictures are shown as dark strokes on light paper.
    """
    canvas, (low, high) = mosaic(rows, shape, down, across), limits
    if canvas.ndim > 2:
        canvas = np.nan_to_num(((canvas - low) / (high - low)).clip(0, 1), nan=1.0)
    axis.imshow(canvas, cmap=_strokes() if dark else "gray", vmin=low, vmax=high, interpolation="none")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _strokes() -> Any:
    """Black ink that is thick or thin, on no paper."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("strokes", [(0, 0, 0, 0.0), (0, 0, 0, 1.0)])


def mosaic(
    rows: Sequence[np.ndarray | None] | np.ndarray, shape: tuple[int, ...], down: int, across: int
) -> np.ndarray:
    """Rows as pictures of one shape, in so many lines and columns: `(height, width)`, in colours `(height, width, 3)`.

    Args:
        rows: Pictures as rows, `(n, d)`, one channel after the other; `None` for a place that stays empty.
        shape: Height and width of a picture.
        down: Lines.
        across: Columns.

    Example:
        >>> import numpy as np
        >>> mosaic(np.zeros((2, 12)), (2, 2), 1, 2).shape, mosaic(np.zeros((2, 4)), (2, 2), 1, 2).shape
        ((2, 5, 3), (2, 5))
    """
    height, width = shape[-2:]
    coloured = any(row is not None and len(row) == _COLOURS * height * width for row in rows)
    size = (down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP)
    canvas = np.full((*size, _COLOURS) if coloured else size, np.nan)
    for index, row in enumerate(rows):
        if row is None:
            continue
        if len(row) == height * width - 1:  # rows with their mean removed need not carry the last pixel
            row = np.append(row, -row.sum())
        picture = np.moveaxis(row.reshape(-1, height, width), 0, -1)
        top, left = (index // across) * (height + _GAP), (index % across) * (width + _GAP)
        canvas[top : top + height, left : left + width] = picture if coloured else picture[..., 0]
    return canvas
