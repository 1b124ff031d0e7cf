"""The report of a comparison: one HTML file with its tables and pictures inside, to be opened without a network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from genflow.studies.comparison.contests import contests
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.view import colour_of
from genflow.studies.comparison.plots import plots_of
from genflow.studies.comparison.ranks import ranks_of
from genflow.studies.comparison.sections import columns_of, ranking, section
from genflow.studies.comparison.settings import settings_of
from genflow.studies.comparison.verdict import headline
from genflow.studies.reporting.gallery import Gallery
from genflow.studies.reporting.html import template
from genflow.studies.reporting.numbers import duration

__all__ = ["render", "summary"]


def render(board: Outcomes, gallery: Gallery) -> str:
    """The report as a text of HTML.

    Args:
        board: The comparison.
        gallery: Its pictures.
    """
    arguments, config = board.config["arguments"], board.config
    budget = arguments["budget"] or _counted(arguments)
    if arguments["budget"] and arguments.get("clock") == "cpu":
        budget += " of a processor"
    return template("report.html").render(
        title=headline(contests(board)),
        board=board,
        config=config,
        arguments=arguments,
        budget=budget,
        took=duration(config["seconds"]),
        columns=columns_of(board),
        progress="" if board.state == "done" else board.progress,
        notes=list(dict.fromkeys([*config.get("notes", []), *gallery.failures])),
        sections=[section(board, name, gallery) for name in board.data_names],
        ranking=ranking(board) if len(board.data_names) > 1 else None,
        ranks=ranks_of(board),
        overall=[gallery.pictures[plot.name] for plot in plots_of(board) if plot.name in gallery.pictures],
        settings=[(model, colour_of(board, model), settings_of(board, model)) for model in board.model_names],
        experiment=config.get("experiment"),
        published=_embed(board, "published"),
        several=len(board.seeds) > 1,
        environment=[(name, value) for name, value in config["environment"].items() if value is not None],
    )


def summary(board: Outcomes, gallery: Gallery) -> str:
    """What a notebook shows of a comparison, as a text of HTML: its verdict, its tables, its first pictures.

    Args:
        board: The comparison.
        gallery: Its pictures.
    """
    return template("board.html").render(
        title=headline(contests(board)),
        progress="" if board.state == "done" else board.progress,
        ranking=ranking(board) if len(board.data_names) > 1 else None,
        sections=[section(board, name, gallery) for name in board.data_names],
        overall=[gallery.pictures["leaderboard"]] if "leaderboard" in gallery.pictures else [],
    )


def _counted(arguments: Mapping[str, Any]) -> str:
    """The limit of each training that is no time."""
    count, unit = arguments["iterations"], "steps"
    if count is None:
        count, unit = arguments["evaluations"], "evaluations of the network"
    return f"{count:,} {unit}".replace(",", "\u202f")


def _embed(board: Outcomes, name: str) -> str:
    """A picture of the comparison as text; empty where there is none."""
    file = board.folder / "plots" / f"{name}.png"
    return base64.b64encode(file.read_bytes()).decode() if file.exists() else ""
