"""The leaderboard's columns."""

from __future__ import annotations

__all__ = ["COLUMNS"]

COLUMNS = (
    "data",
    "model",
    "seed",
    "status",
    "nll",
    "nll_se",
    "nll_standardized",
    "nll_standardized_se",
    "w2",
    "w2_floor",
    "mmd",
    "mmd_threshold",
    "c2st",
    "inversion_error",
    "nfe",
    "train_seconds",
    "train_steps",
    "sample_seconds",
    "peak_mb",
    "parameters",
)
"""The columns of `leaderboard.csv`; further metrics come after them."""
