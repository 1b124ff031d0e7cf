"""The leaderboard on a terminal."""

from __future__ import annotations

from typing import Any

from genflow.studies.comparison.columns import SHOWN
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.frames import records
from genflow.studies.reporting.terminal import as_it_is, as_wide_as_fits

__all__ = ["leaderboard_table"]


def leaderboard_table(frame: Any, title: str, console: Any) -> Any:
    """The leaderboard of one data set, as a rich table with as many columns as fit.

    Args:
        frame: Rows of `Board.summary` for that data set.
        title: Its title.
        console: Where it is to be printed.
    """
    widest = max(12, console.width // 3)
    shown = [column for column in SHOWN if column.name in frame]
    less = sorted((column for column in shown if column.dispensable), key=lambda column: -column.dispensable)
    return as_wide_as_fits(
        lambda columns, fold: _leaderboard(frame, title, columns, widest, fold), shown, less, console
    )


def _leaderboard(frame: Any, title: str, columns: list[Column], widest: int, fold: bool) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=as_it_is(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("  model", overflow="fold", max_width=widest)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=not fold, overflow="fold")
    for row in records(frame):
        if not row["status"].startswith("ok"):
            style = "red" if row["status"].startswith("failed") else "dim"
            table.add_row(Text(f"  {row['model']}", style=style), Text(row["status"].partition(":")[0], style=style))
            continue
        mark = "*" if row["best"] else "=" if row["tied"] else " "
        cells = [as_it_is(f"{mark} {row['model']}"), *(column.cell(row) for column in columns)]
        table.add_row(*cells, style="bold" if row["best"] else None)
    return table
