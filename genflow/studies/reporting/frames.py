"""Frames as files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genflow.storage import atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["real", "records", "write_csv"]

_COUNTS = ("nfe", "sample_nfe", "pushes", "draws", "train_steps", "parameters")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a frame as CSV, whole or not at all; counts are whole numbers although some are missing.

    Args:
        frame: The frame.
        path: The file.
    """
    counts = {name: "Int64" for name in _COUNTS if name in frame and (frame[name].dropna() % 1 == 0).all()}
    with atomic.file(path) as part:
        frame.astype(counts).to_csv(part, index=False, encoding="utf-8", errors="replace")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def real(value: Any) -> float:
    """A number that JSON holds: missing where it is null, infinite where it is the name of that."""
    return math.nan if value is None else float(value)
