"""The leaderboard's columns, each declared once: for the CSV, the terminal, the report, `genflow evaluate`.

docs/comparison.md explains them at length.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.numbers import number, scientific, whole

__all__ = ["COLUMNS", "LEADERBOARD", "SHOWN", "further"]

_EXACT = 1e-9  # an inversion error that no eye and no test can see

LEADERBOARD = (
    Column("data", "", "the data set"),
    Column("model", "", "the model"),
    Column("seed", "", "the seed"),
    Column("status", "", "ok, ok and a remark, failed and why, or not done and why"),
    Column(
        "nll", "NLL (nats)", "mean negative log-likelihood, nats per row, units of the data", error="nll_se", best="low"
    ),
    Column("nll_se", "", "its standard error over the test rows"),
    Column("places", "", "places of a row in its cells that its log p is a mean over; none without cells"),
    Column("nll_standardized", "standardized", "the same in standardized units", dispensable=1, best="low"),
    Column("nll_standardized_se", "", "its standard error over the test rows"),
    Column(
        "w2",
        "W2",
        "Wasserstein-2 distance of samples and test rows, standardized units",
        dispensable=2,
        best="the floor",
        far=lambda row: row["w2"] - row["w2_floor"],
    ),
    Column("w2_floor", "", "the same of training and test rows"),
    Column(
        "mmd",
        "MMD²",
        "squared maximum mean discrepancy, standardized units",
        scientific,
        dispensable=6,
        best="below the threshold",
        far=lambda row: row["mmd"] - row["mmd_threshold"],
        detail="of samples and test rows; Gaussian kernel, its width the median distance of the test rows, a tenth of "
        "it in up to three dimensions",
    ),
    Column("mmd_threshold", "", "below it with 95 % probability if the laws are equal"),
    Column(
        "c2st",
        "C2ST",
        "accuracy of a classifier between samples and test rows; 0.5 is the best",
        partial(number, digits=2),
        dispensable=3,
        best="0.5",
        far=lambda row: round(row["c2st"], 2) - 0.5,
    ),
    Column(
        "inversion_error",
        "inversion",
        "mean squared error of decode(encode(x)), standardized units",
        partial(scientific, digits=0),
        dispensable=9,
        best="0",
        far=lambda row: row["inversion_error"] - _EXACT,
    ),
    Column("nfe", "NFE", "evaluations of the velocity from x to z", whole, dispensable=4, best="low"),
    Column(
        "train_seconds",
        "train s",
        "seconds of training",
        partial(number, digits=1),
        dispensable=7,
        detail="all that the model did until it could be used, on the budget's clock",
    ),
    Column(
        "train_steps",
        "steps",
        "optimizer steps in training; none where a model is estimated without",
        whole,
        dispensable=5,
    ),
    Column(
        "sample_seconds",
        "sample s",
        "wall seconds for the samples",
        partial(number, digits=2),
        dispensable=10,
        best="low",
    ),
    Column(
        "peak_mb",
        "peak MB",
        "what training added to the resident memory of its process, at its peak",
        partial(number, digits=0),
        dispensable=8,
        best="low",
    ),
    Column("parameters", "parameters", "trained numbers", whole, dispensable=11, best="low"),
)
"""In the order of the CSV. One without a heading is there only, or stands beside another."""

SHOWN = tuple(column for column in LEADERBOARD if column.heading)
"""What people are shown of it."""

COLUMNS = tuple(column.name for column in LEADERBOARD)
"""The columns of `leaderboard.csv`; further metrics come after them."""


def further(names: Iterable[str]) -> list[Column]:
    """The columns of further metrics, among the names of a leaderboard's columns."""
    return [
        Column(name, name, "a further metric of samples, standardized units") for name in names if name not in COLUMNS
    ]
