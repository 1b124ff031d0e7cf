"""Rows of a table beside samples of each model, as people would read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from genflow.storage.components import construct
from genflow.studies.comparison.pictures.view import View
from genflow.studies.reporting.sheet import Cell, Heading, Line, Sheet
from genflow.studies.reporting.tones import DATA

__all__ = ["examples"]

_EACH = 4
_MOST = 40  # columns


def examples(view: View) -> Sheet:
    """A few test rows, and as many samples of each model, in the words and digits of the table.

    Args:
        view: The data set.
    """
    groups: list[tuple[str, str, np.ndarray]] = [("data", DATA, view.parts["test"][:_EACH])]
    groups += [(shown.label, shown.colour, shown.arrays["samples"][:_EACH]) for shown in view.models]
    headings = [Heading(""), *(Heading(name) for name in view.description["columns"][:_MOST])]
    lines = []
    for label, colour, rows in groups:
        for place, values in enumerate(_as_read(view, rows)):
            look = "first" if place == 0 else ""
            lines.append(Line([Cell(label), *(Cell(text) for text in values[:_MOST])], colour, look=look))
    return Sheet(headings, lines, sortable=False)


def _as_read(view: View, rows: np.ndarray) -> list[list[str]]:
    """Rows as texts: by the kinds of their columns where those are known; a number that is not finite as it is."""
    document = view.description.get("schema")
    finite, words = np.isfinite(rows), rows
    if document:
        schema: Any = construct(document, frozenset(), view.board.folder)
        # A column may have gaps; infinity is none of its values.
        frame = schema.frame(np.where(finite, rows, np.nan))[list(view.description["columns"])]
        words = frame.itertuples(index=False, name=None)
    return [
        [_text(word if sound else number) for word, number, sound in zip(*row, strict=True)]
        for row in zip(words, rows, finite, strict=True)
    ]


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)
