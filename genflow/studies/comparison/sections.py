"""The parts of a report, one for each data set: its verdict, its tables, its pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genflow.studies.comparison.columns import SHOWN, further
from genflow.studies.comparison.contests import contest_on
from genflow.studies.comparison.examples import examples
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.columns import distances
from genflow.studies.comparison.pictures.view import View, colour_of
from genflow.studies.comparison.plots import plots_of
from genflow.studies.comparison.ranks import places_of
from genflow.studies.comparison.searches import chosen, every_try
from genflow.studies.comparison.significance import LEVEL
from genflow.studies.comparison.verdict import Verdict, verdict_on
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.frames import real, records
from genflow.studies.reporting.gallery import Gallery, Hung
from genflow.studies.reporting.numbers import difference, number, scientific
from genflow.studies.reporting.sheet import Cell, Heading, Line, Sheet, cells_of, headings_of

__all__ = ["Section", "Sheets", "columns_of", "leaderboard", "ranking", "section"]


@dataclass(frozen=True)
class Sheets:
    """The tables of a data set beside its leaderboard, `None` where there is nothing to say.

    Attributes:
        differences: Every two models, beside each other.
        search: What the search for settings chose.
        tries: All of its tries.
        errors: How far each column's samples are from its test rows.
        examples: Rows and samples.
    """

    differences: Sheet | None
    search: Sheet | None
    tries: Sheet | None
    errors: Sheet | None
    examples: Sheet | None


@dataclass(frozen=True)
class Section:
    """What a report says of one data set.

    Attributes:
        name: Its name.
        anchor: What a link calls it.
        verdict: Who leads, by how much.
        rows: How many there are of each part.
        dim: Its columns.
        remarks: What a reader of the figures should know.
        leaderboard: Its leaderboard.
        notes: What the models say of their figures: a model and its remark.
        sheets: What else there is as a table.
        pictures: Its pictures.
    """

    name: str
    anchor: str
    verdict: Verdict
    rows: Mapping[str, int]
    dim: int
    remarks: Sequence[str]
    leaderboard: Sheet
    notes: Sequence[tuple[str, str]]
    sheets: Sheets
    pictures: Sequence[Hung]


def columns_of(board: Outcomes) -> list[Column]:
    """The columns of a leaderboard that people are shown."""
    return [*SHOWN, *further(board.frame.columns)]


def section(board: Outcomes, name: str, gallery: Gallery) -> Section:
    """The section of one data set.

    Args:
        board: The comparison.
        name: The data set's name.
        gallery: The pictures of the comparison.
    """
    known = board.config["data"][name]
    rows = board.standings(name)
    fine = [row for row in rows if row["status"].startswith("ok")]
    table = name in board.row_log_prob and not board.data(name)[1]["image_shape"]
    view = View(board, name)
    return Section(
        name,
        f"data-{board.home(name)}",
        verdict_on(contest_on(board, name)),
        known["rows"],
        len(known["columns"]),
        board.remarks(name),
        leaderboard(board, name),
        [(row["model"], row["status"].removeprefix("ok; ")) for row in fine if row["status"] != "ok"],
        Sheets(
            _differences(board, name, [row["model"] for row in fine if math.isfinite(row["nll"])]),
            chosen(board, name),
            every_try(board, name),
            _errors(view) if table else None,
            examples(view) if table else None,
        ),
        [gallery.pictures[plot.name] for plot in plots_of(board, name) if plot.name in gallery.pictures],
    )


def leaderboard(board: Outcomes, name: str) -> Sheet:
    """The leaderboard of one data set, with the floor and the ceiling below it.

    Args:
        board: The comparison.
        name: The data set's name.
    """
    columns, rows = columns_of(board), board.standings(name)
    fine = [row for row in rows if row["status"].startswith("ok")]
    cells = iter(cells_of(columns, fine))
    lines = []
    for row in rows:
        own, colour = Cell(row["model"]), colour_of(board, row["model"])
        if row["status"].startswith("ok"):
            tags = ["best"] if row["best"] else ["within one SE of the best"] if row["tied"] else []
            lines.append(Line([own, *next(cells)], colour, tags, "best" if row["best"] else ""))
        else:
            lines.append(Line([own, Cell(row["status"])], colour, look="failed"))
    return Sheet([Heading("model"), *headings_of(columns)], lines, _foot(columns, board.config["data"][name]))


def _foot(columns: Sequence[Column], known: Mapping[str, Any]) -> list[Line]:
    """What no model is expected to pass: training rows as samples, and the true density."""
    floor = {"w2": number(real(known["w2_floor"])), "mmd": f"< {scientific(real(known['mmd_threshold']))}"}
    floor["c2st"] = "0.50"
    if not math.isfinite(real(known["w2_floor"])):
        floor = {}
    found = [("training rows", floor)] if floor else []
    if known.get("nll_true") is not None:
        nll = difference(known["nll_true"], known["nll_true_se"])
        found.append(("true density", {"nll": nll}))
    return [Line([Cell(name), *(Cell(said.get(column.name, "")) for column in columns)]) for name, said in found]


def _differences(board: Outcomes, name: str, order: Sequence[str]) -> Sheet | None:
    """NLL of the row's model less that of the column's."""
    if len(order) < 2:
        return None
    pairs = {(pair["model"], pair["other"]): pair for pair in records(board.paired) if pair["data"] == name}
    lines = []
    for model in order:
        cells = [Cell("·", look="none") if model == other else _pair(pairs[model, other]) for other in order]
        lines.append(Line([Cell(model), *cells], colour_of(board, model)))
    return Sheet([Heading(""), *(Heading(other) for other in order)], lines, sortable=False)


def _pair(pair: Mapping[str, Any]) -> Cell:
    """A paired difference, and how sure it is."""
    sure = pair["p_holm"] < LEVEL
    look = ("better" if pair["difference"] < 0 else "worse") if sure else "open"
    note = f"{pair['seed_sd']:.3f} between seeds" if math.isfinite(pair["seed_sd"]) else ""
    return Cell(f"{pair['difference']:+.3f} ± {pair['se']:.3f}", pair["difference"], look=look, note=note)


def _errors(view: View) -> Sheet:
    """How far each column's samples are from its test rows, for every model; training rows are the floor."""
    found = distances(view)
    models = [name for name in found if name != "training rows"]
    lines = []
    for j, name in enumerate(view.description["columns"]):
        values = [found[model][j] for model in models]
        lowest = min(values, default=math.nan)
        cells = [Cell(f"{value:.3f}", value, value == lowest and max(values) > lowest) for value in values]
        lines.append(Line([Cell(name), *cells, Cell(f"{found['training rows'][j]:.3f}", found["training rows"][j])]))
    means = [float(np.mean(found[model])) for model in [*models, "training rows"]]
    foot = Line([Cell("mean"), *(Cell(f"{mean:.3f}", mean) for mean in means)])
    heads = [Heading(model, colour=colour_of(view.board, model)) for model in models]
    return Sheet([Heading("column"), *heads, Heading("training rows", "the floor")], lines, [foot])


def ranking(board: Outcomes) -> Sheet:
    """Every model's mean rank, and how far it lies above the best of each data set."""
    places = places_of(board)
    above: dict[tuple[str, str], Cell] = {}
    for data in board.data_names:
        rows = [row for row in board.standings(data) if math.isfinite(row["nll"])]
        best = next((row["model"] for row in rows if row["best"]), None)
        pairs = {pair["model"]: pair for pair in records(board.paired) if (pair["data"], pair["other"]) == (data, best)}
        for model in (row["model"] for row in rows):
            if model == best:
                above[model, data] = Cell("best", 0.0, True)
            else:
                pair = pairs[model]
                look = "" if pair["p_holm"] < LEVEL else "open"
                above[model, data] = Cell(difference(pair["difference"], pair["se"]), pair["difference"], look=look)

    def mean(model: str) -> float:
        return sum(places[model].values()) / len(places[model]) if places[model] else math.inf

    lowest, highest = min(map(mean, places)), max(map(mean, places))
    lines = []
    for model in sorted(places, key=lambda model: (len(board.data_names) - len(places[model]), mean(model))):
        ranked = places[model]
        whole = len(ranked) == len(board.data_names)
        text = (f"{mean(model):.2f}" + ("" if whole else f" of {len(ranked)}")) if ranked else "–"
        rank = Cell(text, mean(model), whole and mean(model) == lowest < highest)
        cells = [above.get((model, data), Cell("–", math.nan)) for data in board.data_names]
        lines.append(Line([Cell(model), rank, *cells], colour_of(board, model)))
    heads = [Heading(data, "nats per row above the best, with the paired standard error") for data in board.data_names]
    return Sheet([Heading("model"), Heading("mean rank", "by NLL; the best has 1"), *heads], lines)
