"""The outcomes of a comparison, read from its folder: figures, log densities of the test rows, paired differences."""

from __future__ import annotations

import itertools
import json
import math
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

from genflow.errors import InputError
from genflow.extras import require
from genflow.storage import documents
from genflow.storage.checkpoint import load
from genflow.studies.comparison.columns import COLUMNS
from genflow.studies.comparison.names import slug
from genflow.studies.comparison.ration import RANDOM
from genflow.studies.comparison.significance import CrossedMean, crossed_difference, crossed_mean, holm
from genflow.studies.reporting.frames import real, records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcomes"]

_NLL = ["nll", "nll_standardized"]
_PAIRED = [
    "data", "model", "other", "difference", "se", "ratio", "degrees", "p", "p_holm", "rows", "seeds", "seed_sd",
]  # fmt: skip


class _Config(TypedDict):
    data: dict[str, dict[str, Any]]
    arguments: dict[str, Any]


class _Run(TypedDict):
    data: str
    label: str
    seed: int
    status: str


class _Anchor(NamedTuple):
    """A model by whose NLL on all rows that of those is found for which there was time for some rows alone.

    Attributes:
        model: Its label.
        log_prob: Its log density of each row, `(rows,)`, on average over the seeds.
        rows: Which rows it was scored on.
    """

    model: str
    log_prob: np.ndarray
    rows: np.ndarray


class Outcomes:
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

    def __init__(self, folder: str | PathLike[str]):
        require("studies")
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
            figures = {name: real(value) for name, value in run.get("figures", {}).items()}
            known = self.config["data"][run["data"]]
            row: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan)
            row.update(data=run["data"], model=run["label"], seed=run["seed"], status=run["status"])
            row.update(w2_floor=real(known["w2_floor"]), mmd_threshold=real(known["mmd_threshold"]), **figures)
            if run["data"] in self.by_one_place and row["places"] >= 1:
                row.update(self._at_one_place(run), places=1.0)
            if run["label"] in self.by_some_rows.get(run["data"], {}):
                row.update(self._on_all_rows(run))
            rows.append(row)
        return self._order(pd.DataFrame(rows))

    @cached_property
    def by_one_place(self) -> dict[str, dict[str, str]]:
        """The data sets whose models are compared by one place of a row in its cells, and which ask for it, and why.

        Means over several places are closer to log p, from below. Where one of the models has no time for them, no
        other has them either: an NLL by one place and one by sixteen are no pair.
        """
        found: dict[str, dict[str, str]] = {}
        for run in self.runs:
            if run["status"].startswith("ok") and real(run.get("figures", {}).get("places")) == 1:
                why = "the divergence is random" if RANDOM in run["status"] else "several take too long"
                found.setdefault(run["data"], {})[run["label"]] = why
        return found

    def _at_one_place(self, run: dict[str, Any]) -> dict[str, float]:
        """The NLL of a trial by one place of each row."""
        arrays = self.arrays(run["data"], run["name"])
        bound, unit = arrays["bound"][arrays["scored"]], arrays["log_unit"][arrays["scored"]]
        nll, standardized = _mean_and_se(-bound), _mean_and_se(unit - bound)
        return dict(zip(("nll", "nll_se", "nll_standardized", "nll_standardized_se"), nll + standardized, strict=True))

    @cached_property
    def _anchors(self) -> dict[str, _Anchor]:
        """The model of each data set that was scored on most rows; of several the one of the lowest NLL there."""
        found = {}
        for data, models in self.row_log_prob.items():
            rows = {label: self.scored[data][label] for label in models}
            means = {
                label: float(values[:, rows[label]].mean()) for label, values in models.items() if rows[label].any()
            }
            fine = [label for label, mean in means.items() if math.isfinite(mean)]
            if fine:
                best = max(fine, key=lambda label: (rows[label].sum(), means[label]))
                found[data] = _Anchor(best, models[best].mean(0), rows[best])
        return found

    @cached_property
    def by_some_rows(self) -> dict[str, dict[str, int]]:
        """The data sets with models that had time for some of the rows alone on which another was scored, and how many.

        Rows are not alike hard, so that a mean over some of them is not to be held against one over all. Their NLL is
        that of the other on all, and the difference of the two on those that both have: a difference estimator.

        Cochran 1977, Sampling Techniques, chapter 7.
        """
        found: dict[str, dict[str, int]] = {}
        for data, anchor in self._anchors.items():
            for label in self.row_log_prob[data]:
                own = self.scored[data][label]
                if (anchor.rows & ~own).any() and (anchor.rows & own).any():
                    found.setdefault(data, {})[label] = int((anchor.rows & own).sum())
        return found

    def _nll(self, data: str, label: str, values: np.ndarray) -> tuple[float, float]:
        """The NLL of a model with its standard error, on all rows that others were scored on.

        Args:
            data: The data set.
            label: The model.
            values: Its log density of each row, `(seeds, rows)`, under some of the seeds.
        """
        known = self.scored[data][label]
        if label not in self.by_some_rows.get(data, {}):
            mean = crossed_mean(-values[:, known])
            return mean.mean, mean.se
        anchor = self._anchors[data]
        both = known & anchor.rows
        behind = crossed_mean(anchor.log_prob[both] - values[:, both])
        whole = crossed_mean(-anchor.log_prob[anchor.rows][None])
        return whole.mean + behind.mean, math.hypot(whole.se, behind.se)

    def _on_all_rows(self, run: dict[str, Any]) -> dict[str, float]:
        """The NLL of a trial that had time for some rows alone; see `by_some_rows`."""
        data, arrays = run["data"], self.arrays(run["data"], run["name"])
        values = arrays["bound" if data in self.by_one_place else "log_prob"]
        nll, se = self._nll(data, run["label"], values[None])
        unit = float(arrays["log_unit"][self._anchors[data].rows].mean())
        return {"nll": nll, "nll_se": se, "nll_standardized": nll + unit, "nll_standardized_se": se}

    def remarks(self, data: str) -> list[str]:
        """What a reader of the figures of a data set should know, one line each."""
        remarks = list(self.config["data"][data]["remarks"])
        if some := self.by_some_rows.get(data):
            counts = ", ".join(f"{label} ({count:,})" for label, count in some.items())
            remarks.append(
                f"NLL on all rows of models that had time for some, {counts}: that of {self._anchors[data].model}, and "
                "what they are behind it on these; what was printed before is of these alone"
            )
        if reasons := self.by_one_place.get(data):
            under = [
                f"{why} under {', '.join(label for label, other in reasons.items() if other == why)}"
                for why in dict.fromkeys(reasons.values())
            ]
            remarks.append(
                "NLL by one place of each row in its cells, an upper bound alike for every model, where what was "
                f"printed before may be by all: {', '.join(under)}"
            )
        return remarks

    def _order(self, frame: pd.DataFrame) -> pd.DataFrame:
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

        By as many places of a row in its cells for every model; see `by_one_place`.
        NaN for a row that the evaluation had no time for; see `scored`.
        """
        found: dict[str, dict[str, list[np.ndarray]]] = {}
        for run in self.runs:
            if run["status"].startswith("ok"):
                arrays = self.arrays(run["data"], run["name"])
                rows = arrays["bound" if run["data"] in self.by_one_place else "log_prob"]
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
        where `model` is better. `se` is its standard error over the test rows and, with several seeds, the trainings,
        with so many `degrees` of freedom; see `genflow.studies.comparison.significance`. `p` is the probability of such
        a difference by chance, `p_holm` the same after Holm's correction for all pairs of the data set. `seed_sd` is
        the deviation of the difference from one training to another.
        """
        import pandas as pd

        rows = []
        for data, models in self.row_log_prob.items():
            found = {pair: self._difference(data, *pair) for pair in itertools.combinations(models, 2)}
            adjusted = dict(zip(found, holm([mean.p for mean in found.values()]), strict=True))
            for model, other in itertools.permutations(models, 2):
                pair, sign = ((model, other), 1) if (model, other) in found else ((other, model), -1)
                mean = found[pair]
                difference = sign * mean.mean
                ratio = difference / mean.se if mean.se else math.nan
                rows.append(
                    (data, model, other, difference, mean.se, ratio, mean.degrees, mean.p, adjusted[pair], mean.rows,
                     mean.seeds, mean.between_seeds)
                )  # fmt: skip
        return pd.DataFrame(rows, columns=_PAIRED)

    def _difference(self, data: str, model: str, other: str) -> CrossedMean:
        """The NLL of a model less that of another."""
        own, their = self.row_log_prob[data][model], self.row_log_prob[data][other]
        both = self.scored[data][model] & self.scored[data][other]
        return crossed_difference(their[:, both], own[:, both])

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
            row["status"] = group["status"].iloc[0] if len(group) == 1 else _join_statuses(group["status"])
            row.update((fine if len(fine) else group)[figures].mean())
            row.update(fine[_NLL].mean(skipna=False))  # a seed without one can't be left out of the mean
            row["nll_seed_sd"] = fine["nll"].std() if len(fine) > 1 else math.nan
            if len(fine) > 1:
                _, se = self._nll(str(data), str(model), self.row_log_prob[str(data)][str(model)])
                row["nll_se"] = row["nll_standardized_se"] = se
            rows.append(row)
        summary = self._order(pd.DataFrame(rows))
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

    def standings(self, data: str) -> list[dict[str, Any]]:
        """The rows of `summary` of one data set."""
        return records(self.summary[self.summary["data"] == data])

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


def _mean_and_se(values: np.ndarray) -> tuple[float, float]:
    import torch

    from genflow.metrics import mean_and_se

    return mean_and_se(torch.from_numpy(np.ascontiguousarray(values)))


def _join_statuses(statuses: Any) -> str:
    fine = [status for status in statuses if status.startswith("ok")]
    if len(fine) < len(statuses):
        reason = next(status for status in statuses if not status.startswith("ok"))
        return f"ok with {len(fine)} of {len(statuses)} seeds; {reason}" if fine else str(reason)
    remarked = [status for status in fine if status != "ok"]
    if not remarked:
        return "ok"
    which = "" if len(remarked) == len(fine) else f"with {len(remarked)} of {len(fine)} seeds "
    return f"ok; {which}{remarked[0].removeprefix('ok; ')}"
