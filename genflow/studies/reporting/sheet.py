"""Tables as reports show them: sortable, the best of every column marked; the same as CSV and as LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genflow.storage import atomic
from genflow.storage.documents import printable
from genflow.studies.reporting.columns import Column

__all__ = ["Cell", "Heading", "Line", "Sheet", "cells_of", "headings_of"]


@dataclass(frozen=True)
class Heading:
    """The head of a column.

    Attributes:
        text: The heading.
        meaning: What the column says.
        colour: The colour of a dot before it; none where it is empty.
    """

    text: str
    meaning: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What it shows.
        value: What it is sorted by: a number, or its text. A number that is not finite comes last.
        best: Whether it is the best of its column.
        look: A class of the style sheet.
        note: What stands below it, small.
    """

    text: str
    value: float | str = ""
    best: bool = False
    look: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """What a page sorts by."""
        if isinstance(self.value, str):
            return self.value or self.text
        return f"{self.value:.10g}" if math.isfinite(self.value) else ""


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        cells: Its cells, the name of the line first; fewer than columns where the last one spans the rest.
        colour: The colour of a dot before its name; none where it is empty.
        tags: Words behind its name.
        look: A class of the style sheet: `best`, `failed` or none.
    """

    cells: Sequence[Cell]
    colour: str = ""
    tags: Sequence[str] = ()
    look: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        headings: Its columns.
        lines: Its lines.
        foot: Lines that stay below the others: the floor, the ceiling.
        sortable: Whether a page sorts its lines.
    """

    headings: Sequence[Heading]
    lines: Sequence[Line]
    foot: Sequence[Line] = ()
    sortable: bool = True

    def csv(self) -> str:
        """The table as text, with numbers in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([heading.text for heading in self.headings])
        for line in [*self.lines, *self.foot]:
            writer.writerow([cell.text if isinstance(cell.value, str) else cell.value for cell in line.cells])
        return text.getvalue()

    def latex(self) -> str:
        r"""The table as LaTeX with `booktabs`; the best of each column is bold.

        Example:
            >>> from genflow.studies.reporting.sheet import Cell, Heading, Line, Sheet
            >>> sheet = Sheet([Heading("model"), Heading("NLL")], [Line([Cell("a_b"), Cell("1 ± 2", best=True)])])
            >>> print(sheet.latex())
            \begin{tabular}{lr}
            \toprule
            model & NLL \\
            \midrule
            a\_b & \textbf{1 $\pm$ 2} \\
            \bottomrule
            \end{tabular}
            <BLANKLINE>
        """
        count = len(self.headings)

        def written(line: Line) -> str:
            cells = [rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in line.cells]
            if len(cells) < count:
                cells[-1] = rf"\multicolumn{{{count - len(cells) + 1}}}{{l}}{{{cells[-1]}}}"
            return " & ".join(cells) + r" \\"

        body = [written(line) for line in self.lines]
        if self.foot:
            body += [r"\midrule", *(written(line) for line in self.foot)]
        head = " & ".join(_tex(heading.text) for heading in self.headings) + r" \\"
        rows = [rf"\begin{{tabular}}{{l{'r' * (count - 1)}}}", r"\toprule", head, r"\midrule", *body]
        return "\n".join([*rows, r"\bottomrule", r"\end{tabular}", ""])

    def write(self, folder: Path, name: str) -> None:
        """Writes the table as `NAME.csv` and `NAME.tex` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / f"{name}.csv", printable(self.csv()))
        atomic.write(folder / f"{name}.tex", printable(self.latex()))


def headings_of(columns: Sequence[Column]) -> list[Heading]:
    """The heads of declared columns."""
    return [Heading(column.heading, column.meaning) for column in columns]


def cells_of(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[list[Cell]]:
    """The cells of declared columns, the best of each column marked.

    Where all are equally good, none is the best.

    Args:
        columns: The columns.
        rows: The values of each line, by the columns' names.
    """
    found: list[list[Cell]] = [[] for _ in rows]
    for column in columns:
        ranks = [column.badness(row) for row in rows]
        finite = [rank for rank in ranks if math.isfinite(rank)]
        lowest = min(finite, default=math.nan)
        best = [rank == lowest and max(finite) > lowest for rank in ranks]
        for cells, row, leads in zip(found, rows, best, strict=True):
            value = row[column.name]
            cells.append(Cell(column.cell(row), value if isinstance(value, str) else float(value), leads))
    return found


_TEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "²": "$^2$",
    "∫": r"$\int$",
    "\u202f": r"\,",
    "−": "$-$",
    "½": "$1/2$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "…": r"\dots{}",
    "·": r"$\cdot$",
}


def _tex(text: str) -> str:
    """A text in which LaTeX finds no command."""
    return "".join(_TEX.get(letter, letter) for letter in re.sub(r"[\n\r\t\v\f ]+", " ", printable(text)))
