"""A column of a table, declared once for the frame, the terminal and the report."""

from __future__ import annotations

from collections.abc import Callable
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
        dispensable: Whether a narrow terminal goes without it.
    """

    name: str
    heading: str
    meaning: str
    shown: Callable[[Any], str] = number
    dispensable: bool = False
