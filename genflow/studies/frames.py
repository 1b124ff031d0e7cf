"""Frames as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_csv"]

_COUNTS = ("nfe", "sample_nfe", "pushes", "draws", "train_steps", "parameters")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a frame as CSV, counts as whole numbers although some are missing.

    Args:
        frame: The frame.
        path: The file.
    """
    counts = {name: "Int64" for name in _COUNTS if name in frame and (frame[name].dropna() % 1 == 0).all()}
    frame.astype(counts).to_csv(path, index=False, encoding="utf-8")
