"""The report of a comparison: one HTML file with its tables and pictures inside, to be opened without a network."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from genflow.studies.display import duration, number

if TYPE_CHECKING:
    from jinja2 import Template

    from genflow.studies.board import Board

__all__ = ["render", "template"]


def template(name: str) -> Template:
    """A template of this package, which fails on a name that it was not given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("genflow.studies", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


def render(board: Board) -> str:
    """The report as a text of HTML."""
    from genflow.studies import plots

    arguments, config = board.config["arguments"], board.config
    budget = arguments["budget"] or f"{arguments['iterations']:,} steps".replace(",", " ")
    return template("report.html").render(
        board=board,
        config=config,
        arguments=arguments,
        budget=budget,
        took=duration(config["seconds"]),
        columns=_columns(board),
        progress="" if board.state == "done" else board.progress,
        notes=config.get("notes", []),
        sections=[_section(board, name) for name in board.data_names],
        leaderboard=_pictures(board, plots.plots_of(board)),
        experiment=config.get("experiment"),
        published=_encoded(board, "published"),
        several=len(board.seeds) > 1,
        environment=[(name, value) for name, value in config["environment"].items() if value is not None],
        colours={model: plots.colour_of(board, model) for model in board.model_names},
    )


def _columns(board: Board) -> list[tuple[str, str, str]]:
    """The leaderboard's columns: name, heading, explanation."""
    from genflow.studies.board import COLUMNS

    known = [
        (
            "nll",
            "NLL",
            "mean negative log-likelihood of the test rows, nats per row, units of the data; ± standard error",
        ),
        ("nll_standardized", "standardized", "the same in standardized units"),
        ("w2", "W2", "exact 2-Wasserstein distance of samples and test rows, standardized units"),
        (
            "mmd",
            "MMD²",
            "squared maximum mean discrepancy of samples and test rows, standardized units; Gaussian kernel, its "
            "width the median distance of the test rows, a tenth of it in up to three dimensions",
        ),
        ("c2st", "C2ST", "accuracy of a classifier that tells samples from test rows; 0.5 is the best"),
        ("inversion_error", "inversion", "mean squared error of decode(encode(x)), standardized units"),
        ("nfe", "NFE", "evaluations of the velocity from x to z"),
        ("train_steps", "steps", "optimizer steps in training; none where a model is estimated without"),
        ("train_seconds", "train s", "wall seconds of training: all that the model did until it could be used"),
        ("sample_seconds", "sample s", f"wall seconds for {board.config['arguments']['points']} samples"),
        ("peak_mb", "peak MB", "what training added to the resident memory of its process, at its peak"),
        ("parameters", "parameters", "trained numbers"),
    ]
    further = [name for name in board.frame.columns if name not in COLUMNS]
    return known + [(name, name, "a further metric of samples, standardized units") for name in further]


def _section(board: Board, name: str) -> dict[str, Any]:
    from genflow.studies import plots
    from genflow.studies.board import records

    known = board.config["data"][name]
    rows = records(board.summary[board.summary["data"] == name])
    order = [row["model"] for row in rows if math.isfinite(row["nll"])]
    pairs = {}
    if len(board.paired):
        for row in records(board.paired[board.paired["data"] == name]):
            pairs[row["model"], row["other"]] = row
    tables = [{**row, "cells": {column: _cell(row, column) for column, _, _ in _columns(board)}} for row in rows]
    return {
        "name": name,
        "known": known,
        "dim": len(known["columns"]),
        "rows": tables,
        "order": order,
        "pairs": {key: _pair(row) for key, row in pairs.items()},
        "pictures": _pictures(board, plots.plots_of(board, name)),
        "failures": [row for row in rows if not row["status"].startswith("ok")],
        "notes": [row for row in rows if row["status"].startswith("ok") and row["status"] != "ok"],
    }


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None or not math.isfinite(value):
        return "–"
    if column == "nll":
        return f"{number(value)} ± {number(row['nll_se'])}"
    if column in ("nfe", "train_steps", "parameters"):
        return f"{value:,.0f}".replace(",", "\u202f")
    if column == "train_seconds":
        return f"{value:.1f}"
    if column == "peak_mb":
        return f"{value:.0f}"
    if column == "inversion_error":
        return f"{value:.0e}"
    if column == "mmd":
        return f"{value:.1e}"
    if column in ("c2st", "sample_seconds"):
        return f"{value:.2f}"
    return number(value)


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    """A cell of the table of paired differences: its text, and how sure it is."""
    ratio = row["ratio"]
    sure = math.isfinite(ratio) and abs(ratio) > 2
    return {
        "text": f"{row['difference']:+.3f} ± {row['se']:.3f}",
        "verdict": ("better" if ratio < 0 else "worse") if sure else "open",
        "seeds": "" if not math.isfinite(row["seed_sd"]) else f"{row['seed_sd']:.3f} between seeds",
    }


def _pictures(board: Board, plots: list[Any]) -> list[dict[str, str]]:
    found = []
    for plot in plots:
        if encoded := _encoded(board, plot.name):
            found.append({"title": plot.title, "caption": plot.caption, "png": encoded})
    return found


def _encoded(board: Board, name: str) -> str:
    """A picture of the comparison as text; empty where there is none."""
    file = board.folder / "plots" / f"{name}.png"
    return base64.b64encode(file.read_bytes()).decode() if file.exists() else ""
