"""The results of a comparison: a leaderboard, the differences that are real, plots, a report.

Everything is read from one folder, so that a comparison of last week is the same object as one of a minute ago.

    leaderboard.csv      a row for each data set, model and seed
    paired.csv           the difference of every two models, row by row, with its standard error
    report.html          all of it in one file
    config.json          arguments, seeds, versions, data        repeat.json   for `genflow compare --config`
    runs.json            each trial: figures, history, reason of a failure, and which are not done yet
    models/DATA/MODEL    the trained models, for `genflow sample` and `genflow score`
    evaluation/DATA      log density of each test row, samples, density on a grid
    plots/               the pictures, each as PNG, and all as the pages of figures.pdf
    tables/              the tables of the report, as CSV and LaTeX
    unfinished/          trainings that were cut off, for `--resume`
"""

from __future__ import annotations

import io
import shutil
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.storage import atomic
from genflow.storage.documents import printable
from genflow.studies.comparison import plots
from genflow.studies.comparison.contests import contests
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.report import render, summary
from genflow.studies.comparison.sections import leaderboard, ranking
from genflow.studies.comparison.table import leaderboard_table
from genflow.studies.comparison.verdict import Verdict, headline, verdict_on
from genflow.studies.reporting.drawing import compose, house_style, plain
from genflow.studies.reporting.frames import real, records, write_csv
from genflow.studies.reporting.gallery import Gallery, hang

__all__ = ["Board"]


class Board(Outcomes):
    """What a comparison found: a leaderboard, the differences that are real, pictures, a report.

    See `Outcomes` for what is read from its folder.

    Args:
        folder: The folder that `compare` wrote.

    Raises:
        InputError: No comparison there.
    """

    _temporary: Any = None

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the report: one HTML file that needs nothing else.

        Args:
            path: The file; an old one is replaced.
        """
        text = render(self, self.pictures)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, printable(text))
        return target

    def save(self, path: str | PathLike[str]) -> Path:
        """Copies the results to a new folder.

        Raises:
            InputError: The folder exists.
        """
        with atomic.folder(path) as folder:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        return Path(path)

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        self.print(Console(width=110, file=text, color_system=None))
        return text.getvalue().rstrip()

    def __repr__(self) -> str:
        return f"Board({len(self.data_names)} data sets x {len(self.model_names)} models)"

    def _repr_html_(self) -> str:
        return summary(self, self.pictures)

    @property
    def headline(self) -> str:
        """What the comparison says, in a line."""
        return headline(contests(self))

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Who leads on each data set, by how much, and whether that is more than chance."""
        return {contest.data: verdict_on(contest) for contest in contests(self)}

    @cached_property
    def pictures(self) -> Gallery:
        """The pictures of the report, drawn at the first call."""
        return hang(plot for data in [None, *self.data_names] for plot in plots.plots_of(self, data))

    def plot(self, data: str | None = None, kind: str | None = None) -> Any:
        """One of the pictures of the report, as a matplotlib figure, which a notebook shows.

        Args:
            data: The data set; the leaderboard of all by default.
            kind: Which of its pictures: `density`, `samples`, `pairs`, `marginals`, `correlations`, `calibration`,
                `truth` or `training`, as it has them; the first by default.

        Raises:
            InputError: No such data set, or no such picture of it.

        Example:
            >>> import genflow as gf
            >>> board = gf.compare("two-moons", ["nsf"], iterations=2, points=50, progress=False)
            >>> type(board.plot("two-moons", "training")).__name__
            'Figure'
        """
        if data is not None and data not in self.data_names:
            raise InputError(f"data: no {data!r} in this comparison; {', '.join(self.data_names)} would do")
        found = {plot.name.rpartition("-")[2]: plot for plot in plots.plots_of(self, data)}
        if not found:
            raise InputError(f"plot: nothing to draw of {data or 'all data'}: no model has what the pictures show")
        if kind is not None and kind not in found:
            raise InputError(f"kind: no {kind!r} of {data or 'all data'}; {', '.join(found)} would do")
        with house_style():
            return compose((found[kind] if kind else next(iter(found.values()))).draw())

    def print(self, console: Any = None) -> None:
        """Prints the leaderboard of each data set.

        Args:
            console: A rich console; standard output by default.
        """
        from rich.console import Console

        console = console or Console()
        if self.state != "done":
            console.print(self.progress, highlight=False, markup=False)
        for data in self.data_names:
            known = self.config["data"][data]
            title = f"{data}: {known['rows']['test']} test rows, d = {len(known['columns'])}"
            rows = self.summary[self.summary["data"] == data]
            console.print(leaderboard_table(rows, title, console))
            console.print(f"  {self.verdicts[data].sentence}", highlight=False, markup=False)
            for row in records(rows):
                if row["status"] != "ok":
                    remark = row["status"].removeprefix("ok; ")
                    console.print(f"  {row['model']}: {remark}", highlight=False, markup=False)
            aside = []
            if known["w2_floor"] is not None:
                mmd = real(known["mmd_threshold"])
                aside.append(f"W2 floor {real(known['w2_floor']):.3f}, MMD threshold {mmd:.1e}")
            if "nll_true" in known:
                aside.append(f"true density {known['nll_true']:.3f} ±{known['nll_true_se']:.3f} nats")
            if aside:
                console.print("  " + "; ".join(aside), style="dim", highlight=False)
            for remark in self.remarks(data):
                console.print(f"  {remark}", style="dim", highlight=False, markup=False)
            console.print()
        console.print(
            "* lowest NLL   = within one paired standard error of it   W2, MMD, C2ST and the inversion error in "
            "standardized units",
            style="dim",
            highlight=False,
        )

    def write_tables(self) -> None:
        """Writes the tables into the folder, as far as trials are done."""
        import pandas as pd

        write_csv(self.frame, self.folder / "leaderboard.csv")
        write_csv(self.paired, self.folder / "paired.csv")
        for data, models in self.row_log_prob.items():
            columns = {
                label if len(rows) == 1 else f"{label} {index + 1}": row
                for label, rows in models.items()
                for index, row in enumerate(rows)
            }
            write_csv(pd.DataFrame(columns), self.folder / "evaluation" / self.home(data) / "log_prob.csv")
            leaderboard(self, data).write(self.folder / "tables", self.home(data))
        if len(self.data_names) > 1:
            ranking(self).write(self.folder / "tables", "ranking")

    def redraw(self) -> list[str]:
        """Writes tables, pictures and report anew, from what is there; also while the comparison is under way.

        Returns:
            A line for each that could not be drawn or written.
        """
        self.write_tables()
        notes = self.config["notes"] = self.draw()  # the report says them
        failure = self.write_report()
        return [*notes, failure] if failure else notes

    def draw(self) -> list[str]:
        """Draws the pictures into the folder.

        Returns:
            A line for each that could not be drawn.
        """
        try:
            self.pictures.write(self.folder / "plots")
            return list(self.pictures.failures)
        except Exception as error:
            return [f"the pictures could not be drawn ({type(error).__name__}: {plain(error, 200)})"]

    def write_report(self) -> str:
        """Writes the report into the folder.

        Returns:
            A line if it could not be written.
        """
        try:
            self.report(self.folder / "report.html")
        except Exception as error:
            return f"report.html could not be written ({type(error).__name__}: {plain(error, 200)})"
        return ""
