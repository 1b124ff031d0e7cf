"""What a study of one trained model found: a table, sentences, pictures, and a report in one file."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genflow.storage import atomic
from genflow.studies.display import number
from genflow.studies.frames import write_csv
from genflow.studies.plots import Plot, styled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "Findings", "followed", "scientific", "seconds", "whole"]


def scientific(value: float) -> str:
    """A number over many orders of magnitude: `1.2e-03`."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.1e}"


def whole(value: float) -> str:
    """A count."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")


def seconds(value: float) -> str:
    """A time for people: `3.1 ms`, `1.24 s`."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


@dataclass(frozen=True)
class Column:
    """A column as the table and the report show it.

    Attributes:
        name: Its name in the frame and in the CSV.
        heading: Its heading.
        meaning: What it says.
        shown: Makes a text of a value.
        dispensable: Whether a narrow terminal goes without it.
    """

    name: str
    heading: str
    meaning: str
    shown: Callable[[Any], str] = number
    dispensable: bool = False


@dataclass
class Findings:
    """A study's results.

    Attributes:
        title: The question.
        about: What was done, in a sentence.
        facts: Pairs of a value and what it is.
        frame: The table, a pandas frame; `findings.csv`.
        columns: Those of its columns that are shown.
        sentences: What it says.
        notes: What did not go, one line each.
        plots: The pictures.
        config: The arguments.
    """

    title: str
    about: str
    facts: Sequence[tuple[str, str]]
    frame: pd.DataFrame
    columns: Sequence[Column]
    sentences: Sequence[str]
    notes: Sequence[str]
    plots: Sequence[Plot]
    config: dict[str, Any] = field(default_factory=dict)
    _pictures: dict[str, bytes] = field(default_factory=dict, repr=False)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes `findings.csv`, `config.json`, `plots/` and `report.html` into a new folder.

        Raises:
            InputError: The folder exists.
        """
        with atomic.folder(path) as folder:
            write_csv(self.frame, folder / "findings.csv")
            (folder / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")
            (folder / "plots").mkdir()
            for name, png in self.pictures().items():
                (folder / "plots" / f"{name}.png").write_bytes(png)
            self.report(folder / "report.html")
        return Path(path)

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the report: one HTML file that needs nothing else.

        Args:
            path: The file; an old one is replaced.
        """
        from genflow.studies.environment import environment
        from genflow.studies.report import template

        drawn = self.pictures()
        text = template("study.html").render(
            study=self,
            rows=[{"own": own, "cells": cells} for own, cells in self._rows(self.columns)],
            pictures=[
                {"title": plot.title, "caption": plot.caption, "png": base64.b64encode(drawn[plot.name]).decode()}
                for plot in self.plots
            ],
            environment=[(name, value) for name, value in environment().items() if value is not None],
        )
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.file(target) as part:
            part.write_text(text, encoding="utf-8")
        return target

    def pictures(self) -> dict[str, bytes]:
        """The pictures by name, as PNG; drawn at the first call."""
        if not self._pictures:
            with styled() as plt:
                for plot in self.plots:
                    figure, drawn = plot.draw(), io.BytesIO()
                    figure.savefig(drawn, format="png")
                    plt.close(figure)
                    self._pictures[plot.name] = drawn.getvalue()
        return self._pictures

    def print(self, console: Any = None) -> None:
        """Prints the table and the sentences.

        Args:
            console: A rich console; standard output by default.
        """
        from rich.console import Console

        console = console or Console()
        shown = list(self.columns)
        for column in [*reversed([c for c in self.columns if c.dispensable]), None]:
            table = self._table(shown)
            needed = console.measure(table, options=console.options.update(width=1000)).maximum
            if column is None or needed <= console.width:
                break
            shown.remove(column)
        console.print(self.title, style="bold", highlight=False, markup=False)
        console.print(self.about, style="dim", highlight=False, markup=False)
        console.print(table)
        for sentence in self.sentences:
            console.print(sentence, highlight=False, markup=False)
        for note in self.notes:
            console.print(note, style="dim", highlight=False, markup=False)

    def _table(self, columns: Sequence[Column]) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, column in enumerate(columns):
            table.add_column(column.heading, justify="right" if place > 1 else "left", no_wrap=True)
        for own, cells in self._rows(columns):
            table.add_row(*cells, style="bold" if own else None)
        return table

    def _rows(self, columns: Sequence[Column]) -> Iterator[tuple[bool, list[str]]]:
        for row in self.frame.to_dict("records"):
            yield bool(row.get("own")), [column.shown(row[column.name]) for column in columns]

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        self.print(Console(width=120, file=text, color_system=None))
        return text.getvalue().rstrip()

    def __repr__(self) -> str:
        return f"Findings({self.title!r}, {len(self.frame)} rows)"

    def _repr_html_(self) -> str:
        names = [column.name for column in self.columns]
        return str(self.frame[names].to_html(index=False, float_format="{:.4g}".format))


def followed(items: Iterable[Any], total: int, what: str, wanted: bool) -> Iterator[Any]:
    """The items, with a bar on a terminal's standard error while they last."""
    import sys

    if not (wanted and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, total=total, console=Console(stderr=True), transient=True)
