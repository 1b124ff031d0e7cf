"""A column of a table, declared once for the frame, the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genflow.studies.reporting.numbers import number

__all__ = ["Column"]


@dataclass(frozen=True)
class Column:
    """A column as the table and the report show it.

    Attributes:
        name: Its name in the frame and in the CSV.
        heading: Its heading.
        meaning: What it says.
        shown: Makes a text of a value.
        dispensable: How readily a narrow terminal goes without it; 0 for not before all that are.
        error: The column of its standard error, which stands beside it.
        best: Which value is the best, in words.
        detail: What a report adds to its meaning.
        far: How far a row is from the best value, 0 and less far below it being equally good; the value itself where
            `best` is "low", and no value is better than another where there is neither.
    """

    name: str
    heading: str
    meaning: str
    shown: Callable[[Any], str] = number
    dispensable: int = 0
    error: str = ""
    best: str = ""
    detail: str = ""
    far: Callable[[Mapping[str, Any]], float] | None = None

    def cell(self, row: Mapping[str, Any]) -> str:
        """Its text in a row: its value, with the standard error where it has one; a dash for what is missing."""
        text = self.shown(row[self.name]) or "–"
        if not self.error or not math.isfinite(row[self.name]):
            return text
        return f"{text} ± {self.shown(row[self.error])}"

    def badness(self, row: Mapping[str, Any]) -> float:
        """How far a row is from the best value of this column; not a number where that can't be said."""
        if self.far is not None:
            return max(0.0, self.far(row)) if math.isfinite(row[self.name]) else math.nan
        return float(row[self.name]) if self.best == "low" else math.nan
