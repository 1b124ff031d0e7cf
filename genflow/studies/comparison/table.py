"""The leaderboard on a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from genflow.studies.reporting.frames import records
from genflow.studies.reporting.numbers import number
from genflow.studies.reporting.terminal import as_it_is, as_wide_as_fits

__all__ = ["leaderboard_table"]

_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "NLL (nats)": lambda row: (
        f"{number(row['nll'])} ±{number(row['nll_se'])}" if math.isfinite(row["nll"]) else number(row["nll"]) or "–"
    ),
    "standardized": lambda row: number(row["nll_standardized"]),
    "W2": lambda row: number(row["w2"]),
    "MMD²": lambda row: "" if row["mmd"] != row["mmd"] else f"{row['mmd']:.1e}",
    "C2ST": lambda row: number(row["c2st"], 2),
    "inversion": lambda row: (
        "" if row["inversion_error"] != row["inversion_error"] else f"{row['inversion_error']:.0e}"
    ),
    "NFE": lambda row: number(row["nfe"], 0),
    "steps": lambda row: number(row["train_steps"], 0),
    "train s": lambda row: number(row["train_seconds"], 1),
    "MB": lambda row: number(row["peak_mb"], 0),
}
_DISPENSABLE = ("inversion", "MB", "train s", "MMD²", "steps", "NFE", "C2ST", "W2", "standardized")


def leaderboard_table(frame: Any, title: str, console: Any) -> Any:
    """The leaderboard of one data set, as a rich table with as many columns as fit.

    Args:
        frame: Rows of `Board.summary` for that data set.
        title: Its title.
        console: Where it is to be printed.
    """
    widest = max(12, console.width // 3)
    return as_wide_as_fits(
        lambda columns, fold: _leaderboard(frame, title, columns, widest, fold), list(_COLUMNS), _DISPENSABLE, console
    )


def _leaderboard(frame: Any, title: str, columns: list[str], widest: int, fold: bool) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=as_it_is(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("  model", overflow="fold", max_width=widest)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=not fold, overflow="fold")
    for row in records(frame):
        if not row["status"].startswith("ok"):
            style = "red" if row["status"].startswith("failed") else "dim"
            table.add_row(Text(f"  {row['model']}", style=style), Text(row["status"].partition(":")[0], style=style))
            continue
        mark = "*" if row["best"] else "=" if row["tied"] else " "
        cells = [as_it_is(f"{mark} {row['model']}"), *(_COLUMNS[name](row) for name in columns)]
        table.add_row(*cells, style="bold" if row["best"] else None)
    return table
