"""Studies: several models, solvers or estimators held against each other.

`compare` trains models on data sets under one equal budget and returns a `Board`: a leaderboard, the differences that
are real, plots, and a report in one file.
"""

from __future__ import annotations

from genflow.studies.board import Board
from genflow.studies.comparison import compare

__all__ = ["Board", "compare"]
