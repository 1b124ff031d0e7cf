"""Pictures of likelihoods: each model's NLL, how far it lies above the best, and what its evaluation costs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.view import colour_of
from genflow.studies.comparison.ranks import Ranks
from genflow.studies.reporting.drawing import logarithmic, plain
from genflow.studies.reporting.frames import records
from genflow.studies.reporting.plot import WIDE, Key, Panel, Picture, Row
from genflow.studies.reporting.tones import DATA, EDGE, FAINT, INK

__all__ = ["against_work", "leaderboard", "ranks"]


def leaderboard(board: Outcomes) -> Picture:
    """NLL with its standard error, and the paired difference from the best, for each data set."""
    rows = []
    for data in board.data_names:
        found = board.standings(data)
        panels = [
            Panel(f"{data}: NLL", partial(_likelihood, board, data, found)),
            Panel(f"{data}: above the best", partial(_differences, board, data, found)),
        ]
        rows.append(Row(panels if len(found) > 1 else panels[:1]))
    height = 0.55 + 0.24 * len(board.model_names)
    truth = any("nll_true" in known for known in board.config["data"].values())
    legend = [Key("true density", DATA, {"lw": 1, "ls": (0, (4, 3))})] if truth else []
    return Picture(rows, (3.7, height), legend)


def _likelihood(board: Outcomes, data: str, rows: list[dict[str, Any]], axis: Any) -> None:
    for place, row in enumerate(rows):
        if math.isfinite(row["nll"]):
            _bar(axis, row["nll"], place, row["nll_se"], colour_of(board, row["model"]))
        else:
            word = "no density" if row["status"].startswith("ok") else row["status"].partition(":")[0]
            axis.text(0.02, place, word, color=FAINT, va="center", transform=axis.get_yaxis_transform())
    known = board.config["data"][data]
    if known.get("nll_true") is not None:
        axis.axvline(known["nll_true"], color=DATA, lw=1, ls=(0, (4, 3)), zorder=0)
    _models(board, rows, axis)
    axis.set_xlabel("test NLL ± SE, nats per row")


def _differences(board: Outcomes, data: str, rows: list[dict[str, Any]], axis: Any) -> None:
    best = next((row["model"] for row in rows if row["best"]), None)
    pairs = {pair["model"]: pair for pair in records(board.paired) if pair["data"] == data and pair["other"] == best}
    axis.axvline(0, color=EDGE, lw=0.8, zorder=0)
    for place, row in enumerate(rows):
        colour = colour_of(board, row["model"])
        if row["model"] == best:
            axis.plot(0, place, "o", ms=5, color=colour)
        elif row["model"] in pairs and math.isfinite(pairs[row["model"]]["difference"]):
            pair = pairs[row["model"]]
            _bar(axis, pair["difference"], place, pair["se"], colour)
    _models(board, rows, axis)
    axis.set_xlabel("above the best ± paired SE, nats per row")


def _bar(axis: Any, value: float, place: int, error: float, colour: str) -> None:
    axis.errorbar(value, place, xerr=error, fmt="o", ms=5, color=colour, capsize=2.5, lw=1.4)


def _models(board: Outcomes, rows: list[dict[str, Any]], axis: Any) -> None:
    """A line for each model, the best at the top."""
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_yticks(range(len(rows)), [plain(row["model"], 18) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.locator_params(axis="x", nbins=5)
    axis.spines["left"].set_visible(False)
    for label, row in zip(axis.get_yticklabels(), rows, strict=True):
        label.set_color(colour_of(board, row["model"]))


def against_work(board: Outcomes) -> Picture:
    """How far each model lies above the best, against the evaluations that one log density takes."""
    panels = [Panel(data, partial(_work, board, data)) for data in board.data_names]
    shown = [Key(model, colour_of(board, model), {"marker": "o", "ls": ""}) for model in board.model_names]
    without = [Key("one pass, no solver", FAINT, {"lw": 1, "ls": (0, (2, 2))})]
    return Picture([Row(panels)], (2.6, 2.1), [*shown, *without])


def _work(board: Outcomes, data: str, axis: Any) -> None:
    rows = [row for row in board.standings(data) if math.isfinite(row["nll"])]
    best = min((row["nll"] for row in rows), default=0.0)
    for row in rows:
        above, colour = row["nll"] - best, colour_of(board, row["model"])
        if row["nfe"] > 0:
            axis.plot(row["nfe"], above, "o", ms=6, color=colour)
        else:
            axis.axhline(above, color=colour, lw=1, ls=(0, (2, 2)))
    axis.set(xlabel="NFE of log p", ylabel="nats above the best")
    axis.margins(x=0.3)
    logarithmic(axis, "x")
    axis.grid()


def ranks(board: Outcomes, found: Ranks) -> Picture:
    """The mean ranks, with bars over the models that do not differ by more than chance."""
    size = (WIDE[0], 0.75 + 0.17 * len(found.mean) + 0.08 * len(found.groups))
    return Picture([Row([Panel("Mean rank", partial(_ranks, board, found))])], size)


def _ranks(board: Outcomes, found: Ranks, axis: Any) -> None:
    """Demšar's diagram: half of the names at each side, each with a line to its rank."""
    count = len(found.mean)
    lowest, highest = 0.2, count + 0.8
    bars = 0.5 * len(found.groups)
    for place, group in enumerate(found.groups):
        ends = [found.mean[name] for name in (group[0], group[-1])]
        axis.plot([ends[0] - 0.04, ends[1] + 0.04], [0.5 * (place + 1)] * 2, lw=3, color=DATA, solid_capstyle="butt")
    left = (count + 1) // 2
    for place, (name, mean) in enumerate(found.mean.items()):
        first = place < left
        depth = bars + 0.8 + (place if first else count - 1 - place)
        end = lowest if first else highest
        colour = colour_of(board, name)
        axis.plot([mean, mean, end], [0, depth, depth], lw=1, color=colour)
        axis.annotate(
            f"{plain(name, 18)}  {mean:.2f}", (end, depth), (-4 if first else 4, 0), textcoords="offset points",
            ha="right" if first else "left", va="center", color=colour, annotation_clip=False,
        )  # fmt: skip
    axis.plot([1, 1 + found.critical], [-1.7, -1.7], lw=2, color=INK)
    axis.annotate(
        f"critical difference {found.critical:.2f}", (1, -1.7), (0, 3), textcoords="offset points", va="bottom"
    )
    axis.set_xlim(lowest, highest)
    axis.set_ylim(bars + 0.8 + left, -2.6)
    axis.xaxis.tick_top()
    axis.set_xticks(range(1, count + 1))
    axis.set_yticks([])
    axis.spines[["left", "bottom", "right"]].set_visible(False)
    axis.spines["top"].set(visible=True, position=("data", 0), color=INK)
