"""What a verdict needs of a comparison: the leader of each data set, and how far it is ahead of the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.verdict import Contest, Lead
from genflow.studies.reporting.frames import records

__all__ = ["SIMPLE", "contest_on", "contests"]

SIMPLE = ("gaussian", "gaussian-mixture", "kde", "copula")
"""The models without a network."""


def contests(board: Outcomes) -> list[Contest]:
    """One for each data set."""
    return [contest_on(board, data) for data in board.data_names]


def contest_on(board: Outcomes, data: str) -> Contest:
    """The models on one data set.

    Args:
        board: The comparison.
        data: The data set's name.
    """
    rows = board.standings(data)
    fine = [row for row in rows if row["status"].startswith("ok")]
    leader = next((row["model"] for row in rows if row["best"]), "")
    leads = [
        Lead(pair["model"], pair["difference"], pair["se"], pair["p_holm"])
        for pair in records(board.paired)
        if pair["data"] == data and pair["other"] == leader and math.isfinite(pair["difference"])
    ]
    return Contest(
        data,
        leader,
        sorted(leads, key=lambda lead: lead.nats),
        [row["model"] for row in fine if not math.isfinite(row["nll"])],
        [row["model"] for row in rows if not row["status"].startswith("ok")],
        _given(board, data),
        [name for name in board.model_names if name in SIMPLE],
        _ceiling(board, data, leader) if leader else None,
    )


def _given(board: Outcomes, data: str) -> list[str]:
    """The columns that the others are conditioned on."""
    if data not in board.row_log_prob:
        return []
    condition: dict[str, Any] | None = board.data(data)[1].get("condition")
    return [] if not condition else list(condition["arguments"]["columns"])


def _ceiling(board: Outcomes, data: str, leader: str) -> Lead | None:
    """How far the leader lies above the true density, on the rows that it was scored on."""
    parts, _ = board.data(data)
    if "true_log_prob" not in parts:
        return None
    known = board.scored[data][leader]
    above = (parts["true_log_prob"] - board.row_log_prob[data][leader].mean(0))[known]
    if len(above) < 2:
        return None
    return Lead("the true density", float(above.mean()), float(above.std(ddof=1) / np.sqrt(len(above))))
