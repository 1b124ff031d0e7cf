"""What a study of one trained model found: a table, sentences, pictures, and a report in one file."""

from __future__ import annotations

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
from genflow.studies.reporting.environment import environment
from genflow.studies.reporting.frames import records, write_csv
from genflow.studies.reporting.gallery import Gallery, hang
from genflow.studies.reporting.html import template
from genflow.studies.reporting.place import Place, take_place, write_json
from genflow.studies.reporting.plot import Plot
from genflow.studies.reporting.requirements import check
from genflow.studies.reporting.sheet import Line, Sheet, cells_of, headings_of
from genflow.studies.reporting.terminal import as_it_is, as_wide_as_fits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings", "write_into_folder"]


@dataclass
class Findings:
    """A study's results.

    Attributes:
        title: The answer, in a line.
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
    _gallery: Gallery | None = field(default=None, repr=False)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes `findings.csv`, `config.json`, `plots/`, `tables/` and `report.html` into a new folder.

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
        self.pictures().write(folder / "plots")
        self._sheet().write(folder / "tables", "findings")
        self.report(folder / "report.html")
        write_json(folder / "config.json", self.config)

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the report: one HTML file that needs nothing else.

        Args:
            path: The file; an old one is replaced.
        """
        text = template("study.html").render(
            **self._shown(), environment=[(name, value) for name, value in environment().items() if value is not None]
        )
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, printable(text))
        return target

    def _shown(self) -> dict[str, Any]:
        """What a page and a notebook show."""
        pictures = list(self.pictures().pictures.values())
        return {"study": self, "table": self._sheet(), "pictures": pictures}

    def _sheet(self) -> Sheet:
        rows = records(self.frame)
        lines = [
            Line(cells, look="best" if row.get("own") else "")
            for row, cells in zip(rows, cells_of(self.columns, rows), strict=True)
        ]
        return Sheet(headings_of(self.columns), lines)

    def pictures(self) -> Gallery:
        """The pictures; drawn at the first call. One that can't be drawn is a line in `notes`."""
        if self._gallery is None:
            self._gallery = hang(self.plots)
            self.notes = list(dict.fromkeys([*self.notes, *self._gallery.failures]))
        return self._gallery

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
        return template("findings.html").render(**self._shown())


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
