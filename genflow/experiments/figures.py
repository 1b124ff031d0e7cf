"""The paper's figures beside those of a run: a table, on the screen, and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genflow.experiments.configuration import FIGURES, Experiment
from genflow.storage import atomic
from genflow.studies.comparison.board import Board
from genflow.studies.reporting.frames import records
from genflow.studies.reporting.numbers import number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_text", "beside_the_paper", "draw", "table"]

_SOURCES = ("published", "this run")
_OURS = {"batches": "train_steps"}  # the leaderboard's name, where it differs


def beside_the_paper(experiment: Experiment, board: Board) -> pd.DataFrame:
    """A row for each published figure and for each model of the run.

    Args:
        experiment: What was run.
        board: What came out.

    Returns:
        `source` (`published` or `this run`), `model`, `nll` in the units of the paper, `nll_se`, further figures, and
        `note`.
    """
    import pandas as pd

    columns = ["source", "model", "nll", "nll_se", *FIGURES[1:], "note"]
    rows = [{"source": _SOURCES[0], **row} for row in experiment.published]
    for row in records(board.summary):
        own = {name: row.get(_OURS.get(name, name), math.nan) for name in FIGURES}
        own.update(nll=row[experiment.metric], nll_se=row[f"{experiment.metric}_se"])
        note = row["status"].removeprefix("ok").removeprefix("; ")
        rows.append({"source": _SOURCES[1], "model": row["model"], **own, "note": note})
    frame = pd.DataFrame(rows, columns=columns)
    frame["note"] = frame["note"].fillna("")
    return frame


def as_text(figures: pd.DataFrame) -> list[list[str]]:
    """The figures that the paper has, or all if it has none: the headings, then a list of cells for each row."""
    published = figures[figures["source"] == _SOURCES[0]]
    whose = {"nll": figures}  # a likelihood is shown in any case
    shown = [
        name for name in _HEADINGS if whose.get(name, published if len(published) else figures)[name].notna().any()
    ]
    return [[_HEADINGS[name] for name in shown], *([_cell(name, row) for name in shown] for row in records(figures))]


def table(text: list[list[str]], title: str) -> Any:
    """The same as a table for a rich console."""
    from rich import box
    from rich.table import Table

    headings, *rows = text
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        words = heading in ("source", "model", "note")
        made.add_column(heading, justify="left" if words else "right", no_wrap=heading != "note")
    for row in rows:
        made.add_row(*row, style="bold" if row[0] == _SOURCES[1] else None)
    return made


def draw(experiment: Experiment, board: Board, figures: pd.DataFrame, path: Path) -> str:
    """Draws the NLL of every row, published ones grey; nothing where the paper has none.

    Args:
        experiment: What was run.
        board: What came out.
        figures: See `beside_the_paper`.
        path: The picture.

    Returns:
        A line if it could not be drawn.
    """
    from genflow.studies.reporting.drawing import picture

    rows = [row for row in records(figures) if math.isfinite(row["nll"])]
    if not any(row["source"] == _SOURCES[0] for row in rows):
        return ""
    rows.sort(key=lambda row: row["nll"])
    drawn, failure = picture(path.stem, lambda: _nll(experiment, board, rows))
    if not failure:
        atomic.write(path, drawn)
    return failure


def _nll(experiment: Experiment, board: Board, rows: list[dict[str, Any]]) -> Any:
    from genflow.studies.comparison.pictures.view import colour_of
    from genflow.studies.reporting.drawing import plain, subplots

    figure, axis = subplots(figsize=(6.4, 0.8 + 0.27 * len(rows)))
    for place, row in enumerate(rows):
        ours = row["source"] == _SOURCES[1]
        colour = colour_of(board, row["model"]) if ours else "#8a94a3"
        spread = row["nll_se"] if math.isfinite(row["nll_se"]) else None
        axis.errorbar(row["nll"], place, xerr=spread, fmt="o" if ours else "D", ms=5, color=colour, capsize=2.5)
    labels = [f"{row['model']}, {row['source']}" for row in rows]
    labels = [f"{label}, {row['note']}" if row["note"] else label for label, row in zip(labels, rows, strict=True)]
    axis.set_yticks(range(len(rows)), [plain(label, 80) for label in labels])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", color="#e8ebf0", lw=0.7)
    axis.set_title(f"{plain(experiment.name)}: beside the paper", loc="left")
    axis.set_xlabel("test NLL, nats per row, units of the paper; lower is better")
    return figure


_HEADINGS = {
    "source": "source",
    "model": "model",
    "nll": "NLL",
    "mmd": "MMD²",
    "fid": "FID",
    "inversion_error": "inversion",
    "batches": "batches",
    "parameters": "parameters",
    "note": "note",
}


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "-"
    if name == "nll" and math.isfinite(row["nll_se"]):
        return f"{number(value, 2)} ±{number(row['nll_se'], 2)}"
    if name in ("batches", "parameters"):
        return f"{value:,.0f}".replace(",", "\u202f")
    if name in ("mmd", "inversion_error"):
        return f"{value:.1e}"
    return number(value, 2)
