"""What a study of one trained model found: a table, sentences, pictures, and a report in one file."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genflow.storage import atomic
from genflow.storage.documents import printable
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.drawing import picture
from genflow.studies.reporting.environment import environment
from genflow.studies.reporting.frames import records, write_csv
from genflow.studies.reporting.html import template
from genflow.studies.reporting.place import Place, take_place, write_json
from genflow.studies.reporting.plot import Plot
from genflow.studies.reporting.requirements import check
from genflow.studies.reporting.terminal import as_it_is, as_wide_as_fits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings", "write_into_folder"]


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
            self._write(folder)
        return Path(path)

    def _write(self, folder: Path, place: Place | None = None) -> None:
        """Writes all into a folder, pictures last; then `place` keeps what there is."""
        write_csv(self.frame, folder / "findings.csv")
        if place is not None:
            write_json(folder / "config.json", {**self.config, **place.mark})
            place.kept = f"the figures are in {folder / 'findings.csv'}"
        (folder / "plots").mkdir()
        for name, png in self.pictures().items():
            atomic.write(folder / "plots" / f"{name}.png", png)
        self.report(folder / "report.html")
        write_json(folder / "config.json", self.config)

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the report: one HTML file that needs nothing else.

        Args:
            path: The file; an old one is replaced.
        """
        drawn = self.pictures()
        text = template("study.html").render(
            study=self,
            rows=[{"own": own, "cells": cells} for own, cells in self._rows(self.columns)],
            pictures=[
                {"title": plot.title, "caption": plot.caption, "png": base64.b64encode(drawn[plot.name]).decode()}
                for plot in self.plots
                if plot.name in drawn
            ],
            environment=[(name, value) for name, value in environment().items() if value is not None],
        )
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, printable(text))
        return target

    def pictures(self) -> dict[str, bytes]:
        """The pictures by name, as PNG; drawn at the first call. One that can't be drawn is a line in `notes`."""
        if not self._pictures:
            failures = []
            for plot in self.plots:
                drawn, failure = picture(plot.name, plot.draw)
                if failure:
                    failures.append(failure)
                else:
                    self._pictures[plot.name] = drawn
            self.notes = list(dict.fromkeys([*self.notes, *failures]))
        return self._pictures

    def print(self, console: Any = None) -> None:
        """Prints the table and the sentences.

        Args:
            console: A rich console; standard output by default.
        """
        from rich.console import Console

        console = console or Console()
        # The last first, but for what is asked for: who, in which setting, how far.
        less = [*reversed([c for c in self.columns if c.dispensable])]
        less += [c for c in reversed(self.columns[3:]) if not c.dispensable]
        table = as_wide_as_fits(self._table, self.columns, less, console)
        console.print(self.title, style="bold", highlight=False, markup=False)
        console.print(self.about, style="dim", highlight=False, markup=False)
        console.print(table)
        for sentence in self.sentences:
            console.print(sentence, highlight=False, markup=False)
        for note in self.notes:
            console.print(note, style="dim", highlight=False, markup=False)

    def _table(self, columns: Sequence[Column], fold: bool = False) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, column in enumerate(columns):
            look: dict[str, Any] = {"no_wrap": place > 0 and not fold, "justify": "right" if place > 1 else "left"}
            table.add_column(column.heading, overflow="fold", max_width=None if place else 24, **look)
        for own, cells in self._rows(columns):
            table.add_row(*map(as_it_is, cells), style="bold" if own else None)
        return table

    def _rows(self, columns: Sequence[Column]) -> Iterator[tuple[bool, list[str]]]:
        for row in records(self.frame):
            yield bool(row.get("own")), [column.cell(row) for column in columns]

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


def write_into_folder(study: Callable[..., Findings]) -> Callable[..., Findings]:
    """A study that takes the name of its folder `out` before it begins, and writes what it found there at its end."""

    # The study itself does not look at `out`; it names it for its signature and its documentation.
    @functools.wraps(study)
    def run(*arguments: Any, out: str | PathLike[str] | None = None, **options: Any) -> Findings:
        if out is None:
            return study(*arguments, **options)
        with take_place(out, f"study of {study.__name__}") as place:
            check()
            findings = study(*arguments, **options)
            findings._write(place.folder, place)
        return findings

    return run
