"""Studies: several models, solvers or estimators held against each other.

`compare` trains models on data sets under one equal budget and returns a `Board`: a leaderboard, the differences that
are real, plots, and a report in one file. `solvers` and `divergences` take one trained model and hold integrators and
divergence estimators against each other on it.
"""

from __future__ import annotations

from genflow.studies.comparison.board import Board
from genflow.studies.comparison.runner import compare
from genflow.studies.divergence_study.study import divergences
from genflow.studies.reporting.findings import Findings
from genflow.studies.solver_study.study import solvers

__all__ = ["Board", "Findings", "compare", "divergences", "solvers"]
