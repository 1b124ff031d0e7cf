"""The results of a comparison: a leaderboard, the differences that are real, plots, a report.

Everything is read from one folder, so that a comparison of last week is the same object as one of a minute ago.

    leaderboard.csv      a row for each data set, model and seed
    paired.csv           the difference of every two models, row by row, with its standard error
    report.html          all of it in one file
    config.json          arguments, seeds, versions, data        repeat.json   for `genflow compare --config`
    runs.json            each trial: figures, history, reason of a failure, and which are not done yet
    models/DATA/MODEL    the trained models, for `genflow sample` and `genflow score`
    evaluation/DATA      log density of each test row, samples, density on a grid
    plots/               the pictures
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from genflow.errors import InputError
from genflow.storage import atomic, documents
from genflow.storage.documents import printable
from genflow.studies.drawing import plain
from genflow.studies.frames import write_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Board", "file_names", "records", "slug"]

_NLL = ["nll", "nll_standardized"]

COLUMNS = (
    "data",
    "model",
    "seed",
    "status",
    "nll",
    "nll_se",
    "nll_standardized",
    "nll_standardized_se",
    "w2",
    "w2_floor",
    "mmd",
    "mmd_threshold",
    "c2st",
    "inversion_error",
    "nfe",
    "train_seconds",
    "train_steps",
    "sample_seconds",
    "peak_mb",
    "parameters",
)
"""The columns of `leaderboard.csv`; further metrics come after them."""


def slug(name: str) -> str:
    """A name as the name of a file."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "unnamed"


def file_names(names: Iterable[str], longest: int = 60) -> dict[str, str]:
    """Names as the names of files, no two of them alike even where a file system takes `A` for `a`.

    Args:
        names: Any texts, each once.
        longest: Characters at most.

    Example:
        >>> from genflow.studies.board import file_names
        >>> file_names(["a/b", "a b", "A b", "x"])
        {'a/b': 'a-b', 'a b': 'a-b-2', 'A b': 'A-b-3', 'x': 'x'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        short = slug(name)[:longest]
        try:
            os.fsencode(short)
        except UnicodeEncodeError:  # the locale's file names can't hold it
            short = slug(short.encode("ascii", "replace").decode("ascii"))
        chosen, count = short, 1
        while chosen.casefold() in taken:
            count += 1
            chosen = f"{short}-{count}"
        taken.add(chosen.casefold())
        found[name] = chosen
    return found


class _Config(TypedDict):
    data: dict[str, dict[str, Any]]
    arguments: dict[str, Any]


class _Run(TypedDict):
    data: str
    label: str
    seed: int
    status: str


class Board:
    """What a comparison found.

    Args:
        folder: The folder that `compare` wrote.

    Attributes:
        folder: The same.
        config: Arguments, seeds, versions, and what is known of the data.
        runs: Each trial: arguments, figures, history, status.

    Raises:
        InputError: No comparison there.
    """

    _temporary: Any = None

    def __init__(self, folder: str | PathLike[str]):
        self.folder = Path(folder).resolve()
        if not (self.folder / "config.json").is_file():
            raise InputError(f"{folder}: no comparison there; name a folder that `genflow compare --out` wrote")
        self.config: dict[str, Any] = documents.read(self.folder / "config.json", _Config)
        self.runs: list[dict[str, Any]] = documents.read(self.folder / "runs.json", list[_Run])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The leaderboard: a row for each data set, model and seed, the best of each data set first."""
        import pandas as pd

        rows = []
        for run in self.runs:
            figures = {name: _number(value) for name, value in run.get("figures", {}).items()}
            known = self.config["data"][run["data"]]
            row: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan)
            row.update(data=run["data"], model=run["label"], seed=run["seed"], status=run["status"])
            row.update(w2_floor=_number(known["w2_floor"]), mmd_threshold=_number(known["mmd_threshold"]), **figures)
            rows.append(row)
        return self._ordered(pd.DataFrame(rows))

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The data sets as they were named, the best of each first; an NLL that is not finite is no good one."""
        order = {name: index for index, name in enumerate(self.data_names)}

        def key(column: Any) -> Any:
            return column.map(order) if column.name == "data" else column.where(np.isfinite(column))

        return frame.sort_values(["data", "nll"], key=key, kind="stable").reset_index(drop=True)

    @property
    def state(self) -> str:
        """`done`, `running`, `interrupted`, or `broken off` with the reason."""
        return str(self.config.get("state", "done"))

    @property
    def progress(self) -> str:
        """How far the comparison got."""
        done = sum(not run["status"].startswith("not done") for run in self.runs)
        return f"{self.state}: {done} of {len(self.runs)} trials are done"

    @property
    def data_names(self) -> list[str]:
        """The data sets, in the order in which they were named."""
        return list(self.config["data"])

    @property
    def model_names(self) -> list[str]:
        """The models, in the order in which they were named."""
        return list(dict.fromkeys(run["label"] for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return list(self.config["arguments"]["seeds"])

    @cached_property
    def row_log_prob(self) -> dict[str, dict[str, np.ndarray]]:
        """Log density of each test row by data set and model, `(seeds, rows)`, in nats, in the units of the data.

        NaN for a row that the evaluation had no time for; see `scored`.
        """
        found: dict[str, dict[str, list[np.ndarray]]] = {}
        for run in self.runs:
            if run["status"].startswith("ok"):
                rows = self.arrays(run["data"], run["name"])["log_prob"]
                found.setdefault(run["data"], {}).setdefault(run["label"], []).append(rows)
        return {data: {label: np.stack(rows) for label, rows in models.items()} for data, models in found.items()}

    @cached_property
    def scored(self) -> dict[str, dict[str, np.ndarray]]:
        """Which test rows were scored, by data set and model, under each of the seeds, `(rows,)`."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for run in self.runs:
            if run["status"].startswith("ok"):
                arrays = self.arrays(run["data"], run["name"])
                rows = arrays.get("scored", np.ones(len(arrays["log_prob"]), dtype=bool))
                models = found.setdefault(run["data"], {})
                models[run["label"]] = models.get(run["label"], True) & rows
        return found

    @cached_property
    def paired(self) -> pd.DataFrame:
        """Every two models on the same test rows, those that both were scored on.

        `difference` is the NLL of `model` less that of `other`, in nats per row, averaged over the seeds: negative
        where `model` is better. `se` is its standard error over the test rows, `ratio` the one by the other; with
        several seeds `seed_sd` is the deviation of the difference between seeds, which `se` knows nothing of.
        """
        import pandas as pd

        rows = []
        for data, models in self.row_log_prob.items():
            for model, own in models.items():
                for other, their in models.items():
                    if model == other:
                        continue
                    both = self.scored[data][model] & self.scored[data][other]
                    count = min(len(own), len(their))
                    with np.errstate(invalid="ignore"):  # an NLL that is not finite differs from none
                        difference = (their[:count] - own[:count])[:, both]
                    mean, se = _mean_and_se(difference.mean(0)) if both.any() else (math.nan, math.nan)
                    spread = float(difference.mean(1).std(ddof=1)) if count > 1 and both.any() else math.nan
                    ratio = mean / se if se else math.nan
                    rows.append((data, model, other, mean, se, ratio, difference.shape[1], count, spread))
        names = ["data", "model", "other", "difference", "se", "ratio", "rows", "seeds", "seed_sd"]
        return pd.DataFrame(rows, columns=names)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The leaderboard with the seeds averaged; `best` and `tied` say what the paired differences say.

        `tied` is a model whose difference from the best of its data set is within one paired standard error.
        """
        import pandas as pd

        frame, rows = self.frame, []
        figures = [name for name in frame.columns if name not in ("data", "model", "seed", "status")]
        for (data, model), group in frame.groupby(["data", "model"], sort=False):
            fine = group[group["status"].str.startswith("ok")]
            row: dict[str, Any] = {"data": data, "model": model, "seeds": len(fine)}
            row["status"] = group["status"].iloc[0] if len(group) == 1 else _joined(group["status"])
            row.update((fine if len(fine) else group)[figures].mean())
            row.update(fine[_NLL].mean(skipna=False))  # a seed without one can't be left out of the mean
            row["nll_seed_sd"] = fine["nll"].std() if len(fine) > 1 else math.nan
            if len(fine) > 1:
                known = self.scored[str(data)][str(model)]
                own = self.row_log_prob[str(data)][str(model)].mean(0)[known]
                se = _mean_and_se(own)[1] if len(own) else math.nan
                row["nll_se"] = row["nll_standardized_se"] = se
            rows.append(row)
        summary = self._ordered(pd.DataFrame(rows))
        best: dict[Any, Any] = {}
        for data, group in summary[np.isfinite(summary["nll"])].groupby("data"):
            best[data] = group.loc[group["nll"].idxmin(), "model"]
        tied = {
            (pair["data"], pair["model"])
            for pair in records(self.paired)
            if pair["other"] == best.get(pair["data"]) and -math.inf < pair["difference"] <= pair["se"]
        }
        pairs = list(zip(summary["data"], summary["model"], strict=True))
        summary["best"] = [best.get(data) == model for data, model in pairs]
        summary["tied"] = [pair in tied for pair in pairs]
        return summary

    def home(self, data: str) -> str:
        """The name that a data set goes by in the names of folders and files."""
        return str(self.config["data"][data].get("folder", slug(data)))

    def arrays(self, data: str, name: str) -> dict[str, np.ndarray]:
        """What a trial left: `log_prob`, `samples`, and `grid` for two-dimensional data."""
        with np.load(self.folder / "evaluation" / self.home(data) / f"{name}.npz") as arrays:
            return dict(arrays)

    def data(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A data set as it was compared on: its parts `train`, `validation`, `test`, and its description."""
        folder = self.folder / "evaluation" / self.home(name)
        with np.load(folder / "data.npz") as arrays:
            return dict(arrays), json.loads((folder / "data.json").read_text(encoding="utf-8"))

    def model(self, data: str, model: str, seed: int | None = None) -> Any:
        """A trained model, in the units of its data.

        Raises:
            InputError: No such trial, or one that failed before its model was trained.
        """
        from genflow.storage.checkpoint import load

        for run in self.runs:
            if run["data"] == data and run["label"] == model and seed in (None, run["seed"]):
                folder = self.folder / "models" / self.home(data) / run["name"]
                if not folder.is_dir():  # its evaluation may have failed, and left it
                    raise InputError(f"model: {model} on {data} {run['status']}")
                parts = [value.get("name") if isinstance(value, dict) else value for value in run["options"].values()]
                named = [str(name).partition(",")[0] for name in (run["model"], *parts)]
                trust = [name for name in named if ":" in name]
                return load(folder, trust=trust)
        raise InputError(f"model: no trial of {model!r} on {data!r}; models: {', '.join(self.model_names)}")

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the report: one HTML file that needs nothing else.

        Args:
            path: The file; an old one is replaced.
        """
        from genflow.studies.report import render

        text = render(self)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.file(target) as part:
            part.write_text(printable(text), encoding="utf-8")
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
        names = ["data", "model", "nll", "nll_se", "nll_standardized", "w2", "c2st", "nfe", "train_seconds", "status"]
        table = str(self.summary[names].to_html(index=False, float_format="{:.4g}".format))
        pictures = [file for data in [None, *self.data_names] if (file := self._picture(data)) is not None]
        images = [base64.b64encode(file.read_bytes()).decode() for file in pictures]
        return table + "".join(f'<p><img src="data:image/png;base64,{i}" style="max-width: 100%"></p>' for i in images)

    def plot(self, data: str | None = None, kind: str | None = None) -> Any:
        """One of the pictures of the report, as a matplotlib figure, which a notebook shows.

        Args:
            data: The data set; the leaderboard of all by default.
            kind: Which of its pictures: `density`, `samples`, `pairs`, `marginals` or `training`, as it has them; the
                first by default.

        Raises:
            InputError: No such data set, or no such picture of it.

        Example:
            >>> import genflow as gf
            >>> board = gf.compare("two-moons", ["nsf"], iterations=2, points=50, progress=False)
            >>> type(board.plot("two-moons", "training")).__name__
            'Figure'
        """
        from genflow.studies import plots
        from genflow.studies.drawing import styled

        if data is not None and data not in self.data_names:
            raise InputError(f"data: no {data!r} in this comparison; {', '.join(self.data_names)} would do")
        found = {plot.name.rpartition("-")[2]: plot for plot in plots.plots_of(self, data)}
        if not found:
            raise InputError(f"plot: nothing to draw of {data or 'all data'}: no model has what the pictures show")
        if kind is not None and kind not in found:
            raise InputError(f"kind: no {kind!r} of {data or 'all data'}; {', '.join(found)} would do")
        with styled():
            return (found[kind] if kind else next(iter(found.values()))).draw()

    def _picture(self, data: str | None) -> Path | None:
        """The file of the first picture of a data set, or of the leaderboard, where it was drawn."""
        from genflow.studies import plots

        names = [plot.name for plot in plots.plots_of(self, data)]
        files = [self.folder / "plots" / f"{name}.png" for name in names]
        return next((file for file in files if file.is_file()), None)

    def print(self, console: Any = None) -> None:
        """Prints the leaderboard of each data set.

        Args:
            console: A rich console; standard output by default.
        """
        from rich.console import Console

        from genflow.studies.display import leaderboard_table

        console = console or Console()
        if self.state != "done":
            console.print(self.progress, highlight=False, markup=False)
        for data in self.data_names:
            known = self.config["data"][data]
            title = f"{data}: {known['rows']['test']} test rows, d = {len(known['columns'])}"
            rows = self.summary[self.summary["data"] == data]
            console.print(leaderboard_table(rows, title, console))
            for row in records(rows):
                if row["status"] != "ok":
                    remark = row["status"].removeprefix("ok; ")
                    console.print(f"  {row['model']}: {remark}", highlight=False, markup=False)
            aside = []
            if known["w2_floor"] is not None:
                mmd = _number(known["mmd_threshold"])
                aside.append(f"W2 floor {_number(known['w2_floor']):.3f}, MMD threshold {mmd:.1e}")
            if "nll_true" in known:
                aside.append(f"true density {known['nll_true']:.3f} ±{known['nll_true_se']:.3f} nats")
            if aside:
                console.print("  " + "; ".join(aside), style="dim", highlight=False)
            for remark in known["remarks"]:
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

    def draw(self) -> list[str]:
        """Draws the pictures into the folder.

        Returns:
            A line for each that could not be drawn.
        """
        from genflow.studies import plots

        try:
            return plots.write(self, self.folder / "plots")
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


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _mean_and_se(values: np.ndarray) -> tuple[float, float]:
    import torch

    from genflow.metrics import mean_and_se

    return mean_and_se(torch.from_numpy(np.ascontiguousarray(values)))


def _joined(statuses: Any) -> str:
    fine = [status for status in statuses if status.startswith("ok")]
    if len(fine) < len(statuses):
        reason = next(status for status in statuses if not status.startswith("ok"))
        return f"ok with {len(fine)} of {len(statuses)} seeds; {reason}" if fine else str(reason)
    remarked = [status for status in fine if status != "ok"]
    if not remarked:
        return "ok"
    which = "" if len(remarked) == len(fine) else f"with {len(remarked)} of {len(fine)} seeds "
    return f"ok; {which}{remarked[0].removeprefix('ok; ')}"
