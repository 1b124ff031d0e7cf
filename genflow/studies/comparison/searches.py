"""What the searches of a comparison found, as tables: the settings that were chosen, and every try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.view import colour_of
from genflow.studies.comparison.tries import Try
from genflow.studies.reporting.numbers import number
from genflow.studies.reporting.sheet import Cell, Heading, Line, Sheet

__all__ = ["chosen", "every_try"]


def chosen(board: Outcomes, data: str) -> Sheet | None:
    """What each search on a data set chose, and what it gained over the model's own settings; `None` without any.

    Args:
        board: The comparison.
        data: The data set's name.
    """
    lines = []
    for run, tries in _searches(board, data):
        fine = [made for made in tries if math.isfinite(made.loss)]
        best = min(fine, key=lambda made: made.loss, default=tries[0])
        gain = tries[0].loss - best.loss
        cells = [
            Cell(run["label"]),
            *([Cell(str(run["seed"]), run["seed"])] if len(board.seeds) > 1 else []),
            Cell(f"{len(fine)} of {len(tries)}", len(fine)),
            Cell(number(tries[0].loss), tries[0].loss),
            Cell(number(best.loss), best.loss),
            Cell(number(gain), gain, look="better" if gain > 0 else ""),
            Cell(_in_words(best.settings)),
        ]
        lines.append(Line(cells, colour_of(board, run["label"])))
    if not lines:
        return None
    heads = [
        Heading("model"),
        *([Heading("seed")] if len(board.seeds) > 1 else []),
        Heading("tries", "those that came to an end"),
        Heading("own settings", "validation NLL with the model's own settings"),
        Heading("best", "validation NLL of the best try"),
        Heading("gain", "nats per validation row"),
        Heading("settings", "those of the best try"),
    ]
    return Sheet(heads, lines)


def every_try(board: Outcomes, data: str) -> Sheet | None:
    """All tries of all searches on a data set; `None` without any.

    Args:
        board: The comparison.
        data: The data set's name.
    """
    lines = [
        Line(
            [
                Cell(run["label"]),
                *([Cell(str(run["seed"]), run["seed"])] if len(board.seeds) > 1 else []),
                Cell(str(made.number), made.number),
                Cell(number(made.loss), made.loss),
                Cell(str(made.steps), made.steps),
                Cell(_in_words(made.settings) if made.status == "ok" else f"{_in_words(made.settings)}: {made.status}"),
            ],
            colour_of(board, run["label"]),
        )
        for run, tries in _searches(board, data)
        for made in tries
    ]
    if not lines:
        return None
    seed = [Heading("seed")] if len(board.seeds) > 1 else []
    heads = [Heading("try"), Heading("validation NLL"), Heading("steps"), Heading("settings")]
    return Sheet([Heading("model"), *seed, *heads], lines)


def _searches(board: Outcomes, data: str) -> list[tuple[dict[str, Any], list[Try]]]:
    return [
        (run, [Try.from_json(row) for row in run["tries"]])
        for run in board.runs
        if run["data"] == data and run.get("tries")
    ]


def _in_words(settings: Mapping[str, Any]) -> str:
    words: Sequence[str] = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()
    ]
    return ", ".join(words).replace("_", " ") or "its own"
