"""The report of a comparison: one HTML file with its tables and pictures inside, to be opened without a network."""

from __future__ import annotations

import base64
import math
from typing import Any

from genflow.studies.comparison import plots
from genflow.studies.comparison.columns import SHOWN, further
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.frames import records
from genflow.studies.reporting.html import template
from genflow.studies.reporting.numbers import duration

__all__ = ["render"]


def render(board: Outcomes) -> str:
    """The report as a text of HTML."""
    arguments, config = board.config["arguments"], board.config
    budget = arguments["budget"] or f"{arguments['iterations']:,} steps".replace(",", " ")
    if arguments["budget"] and arguments.get("clock") == "cpu":
        budget += " of a processor"
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
        published=_embed(board, "published"),
        several=len(board.seeds) > 1,
        environment=[(name, value) for name, value in config["environment"].items() if value is not None],
        colours={model: plots.colour_of(board, model) for model in board.model_names},
    )


def _columns(board: Outcomes) -> list[Column]:
    return [*SHOWN, *further(board.frame.columns)]


def _section(board: Outcomes, name: str) -> dict[str, Any]:
    known = board.config["data"][name]
    rows = records(board.summary[board.summary["data"] == name])
    order = [row["model"] for row in rows if math.isfinite(row["nll"])]
    pairs = {}
    if len(board.paired):
        for row in records(board.paired[board.paired["data"] == name]):
            pairs[row["model"], row["other"]] = row
    tables = [{**row, "cells": [column.cell(row) for column in _columns(board)]} for row in rows]
    return {
        "name": name,
        "known": known,
        "remarks": board.remarks(name),
        "dim": len(known["columns"]),
        "rows": tables,
        "order": order,
        "pairs": {key: _pair(row) for key, row in pairs.items()},
        "pictures": _pictures(board, plots.plots_of(board, name)),
        "failures": [row for row in rows if not row["status"].startswith("ok")],
        "notes": [row for row in rows if row["status"].startswith("ok") and row["status"] != "ok"],
    }


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    """A cell of the table of paired differences: its text, and how sure it is."""
    ratio = row["ratio"]
    sure = math.isfinite(ratio) and abs(ratio) > 2
    return {
        "text": f"{row['difference']:+.3f} ± {row['se']:.3f}",
        "verdict": ("better" if ratio < 0 else "worse") if sure else "open",
        "seeds": "" if not math.isfinite(row["seed_sd"]) else f"{row['seed_sd']:.3f} between seeds",
    }


def _pictures(board: Outcomes, plots: list[Any]) -> list[dict[str, str]]:
    found = []
    for plot in plots:
        if encoded := _embed(board, plot.name):
            found.append({"title": plot.title, "caption": plot.caption, "png": encoded})
    return found


def _embed(board: Outcomes, name: str) -> str:
    """A picture of the comparison as text; empty where there is none."""
    file = board.folder / "plots" / f"{name}.png"
    return base64.b64encode(file.read_bytes()).decode() if file.exists() else ""
