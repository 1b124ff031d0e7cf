"""Samples of small tables by the published protocol: W1 to test rows, of ForestDiffusion and of genflow's models.

    python benchmarks/tables.py [--data NAME …] [--models NAME …] [--budget 1min] [--splits 3] [--draws 5]
                                [--held-out] [--quick]

The protocol of https://arxiv.org/abs/2309.09968: a fifth of the rows is for the test, stratified by the class and split
by the seeds 0, 1, 2; columns are scaled by the least and the greatest value of the training rows, classes are unit
vectors, halved; W1 has the cost L1 and is that of as many samples as there are training rows, a mean over five draws.
Where the target holds classes, models are of the other columns given the class, and samples have the classes of the
training rows: ForestDiffusion has one model for each class, ours have it as their condition; a target that is a number
is a column like the others. Ours are trained twice, the second time on all training rows; see `genflow.refitting`.

`real rows` are the training rows in the place of samples: what draws from the law itself are level with. `shrunk rows`
are the same, each three tenths of the way to the mean of its class: of another law, but nearer to other rows. Behind
each figure stands its standard error over the splits. Seconds are of one training with its draws: wall, and of all
processors.

`forest-flow` is the ForestDiffusion package with its defaults (flow matching, 50 levels of noise, 100 copies of the
rows, one model for each class of a target), on one thread like all others. It is left out where it is not installed:
pip install 'genflow[forest]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split

import genflow as gf
from genflow.data.kinds import Column
from genflow.metrics.tables import shapes, trends, w1
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import Budget, parse_seconds

DATA = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast-cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}
MODELS = ["jko-iflow", "flow-matching", "nsf"]  # each with its defaults
REAL, SHRUNK, FOREST = "real rows", "shrunk rows", "forest-flow"
SHARE = 0.3  # of the way to the mean

Draw = Callable[[int], np.ndarray]
"""So many samples, `(count, d)`."""


@dataclass
class Task:
    """A table, its columns, and whether the last of them, the target, holds classes."""

    rows: np.ndarray
    columns: list[Column]

    @property
    def classes(self) -> int:
        """How many classes the target has; none of a number."""
        return len(self.columns[-1].classes)

    @classmethod
    def named(cls, name: str) -> Task:
        loaded = DATA[name]()
        rows = np.column_stack([loaded.data, loaded.target]).astype(np.float64)
        columns = [Column(str(title)) for title in loaded.feature_names]
        # The published code scales a target of two classes like a number, which is the same distance.
        names = tuple(map(str, getattr(loaded, "target_names", ())))
        return cls(rows, [*columns, Column("target", "class", names) if names else Column("target")])

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        stratified = self.rows[:, -1] if self.classes else None
        return train_test_split(self.rows, test_size=0.2, random_state=seed, stratify=stratified)


def with_error(values: list[float], digits: int) -> str:
    """The mean over the splits and its standard error."""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{np.mean(values):.{digits}f} ±{error:.{digits}f}"


@dataclass
class Outcome:
    """Figures of one method on one table, one for each split."""

    w1: list[float] = field(default_factory=list)
    shapes: list[float] = field(default_factory=list)
    trends: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def text(self, figure: str, digits: int = 3) -> str:
        return with_error(getattr(self, figure), digits)


def shrunk(train: np.ndarray, task: Task) -> np.ndarray:
    """The rows, each a share of the way to the mean of its class."""
    found = train.copy()
    kinds = train[:, -1] if task.classes else np.zeros(len(train))
    columns = slice(0, -1) if task.classes else slice(None)
    for kind in np.unique(kinds):
        rows = train[kinds == kind, columns]
        found[kinds == kind, columns] = rows + SHARE * (rows.mean(0) - rows)
    return found


REFERENCES: dict[str, Callable[[np.ndarray, Task], np.ndarray]] = {REAL: lambda train, task: train, SHRUNK: shrunk}


def forest_flow(train: np.ndarray, test: np.ndarray, task: Task, seed: int, options: argparse.Namespace) -> Draw:
    """ForestDiffusion, as its authors call it."""
    from ForestDiffusion import ForestDiffusionModel

    small = {"n_t": 5, "duplicate_K": 5} if options.quick else {}
    rows, label = (train[:, :-1], train[:, -1]) if task.classes else (train, None)
    model = ForestDiffusionModel(rows, label_y=label, n_jobs=1, seed=seed, **small, nthread=1)
    return lambda count: model.generate(batch_size=count)


def ours(name: str) -> Callable[[np.ndarray, np.ndarray, Task, int, argparse.Namespace], Draw]:
    """A model of genflow, on rows of numbers and a class; a ninth of the training rows says when to stop."""

    def fit(train: np.ndarray, test: np.ndarray, task: Task, seed: int, options: argparse.Namespace) -> Draw:
        target = train.shape[1] - 1
        given: dict[str, Any] = {"kinds": {target: "class"}, "condition": [target]} if task.classes else {}
        data = gf.data.load(train, test=test, **given)
        torch.manual_seed(seed)
        limit = Budget(iterations=20) if options.quick else Budget(options.budget, clock=time.process_time)
        unfitted = build(registry.lookup("model", name), data.dim, {}, data.condition_dim)
        model = unfitted.fit(data, budget=limit, seed=seed, refit=not options.held_out)
        generator = torch.Generator().manual_seed(seed)

        def draw(count: int) -> np.ndarray:
            if not task.classes:
                return model.sample(count, generator=generator).numpy()
            classes = np.resize(train[:, target], count)
            return np.column_stack([model.sample(count, classes, generator).numpy(), classes])

        return draw

    return fit


def run(name: str, label: str, options: argparse.Namespace) -> Outcome:
    """One method, or a reference, on all splits of a table."""
    task, found = Task.named(name), Outcome()
    for seed in range(options.splits):
        train, test = task.split(seed)
        wall, processor = time.perf_counter(), time.process_time()
        if label in REFERENCES:
            draws = [REFERENCES[label](train, task)]
        else:
            method = forest_flow if label == FOREST else ours(label)
            draw = method(train, test, task, seed, options)
            draws = np.split(draw(options.draws * len(train)), options.draws)
        found.wall.append(time.perf_counter() - wall)
        found.processor.append(time.process_time() - processor)
        for figure, metric in (("w1", w1_of_all), ("shapes", shapes), ("trends", trends)):
            values = [metric(samples, train, test, task.columns).value for samples in draws]
            getattr(found, figure).append(float(np.mean(values)))
    return found


def w1_of_all(*arguments: object) -> gf.metrics.tables.Figure:
    return w1(*arguments, max_points=None)


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--models", nargs="+", default=[FOREST, *MODELS], help="of genflow list, or forest-flow")
    parser.add_argument(
        "--budget", type=parse_seconds, default=60.0, help="processor time of each training of ours (default: 1min)"
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--held-out", action="store_true", help="ours don't train on the rows that say when to stop")
    parser.add_argument("--quick", action="store_true", help="a few steps, levels and copies: whether it works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    models = list(options.models)
    if FOREST in models and importlib.util.find_spec("ForestDiffusion") is None:
        models.remove(FOREST)
        print("forest-flow: ForestDiffusion is not installed; it is left out")
    print(f"{'data':<15}{'model':<21}{'W1':>15}{'shapes':>15}{'trends':>15}{'wall s':>14}{'processor s':>14}")
    for data in options.data:
        for name in (*REFERENCES, *models):
            found = run(data, name, options)
            figures = "".join(f"{found.text(figure):>15}" for figure in ("w1", "shapes", "trends"))
            seconds = "".join(f"{found.text(figure, 1):>14}" for figure in ("wall", "processor"))
            print(f"{data:<15}{name:<21}{figures}{'' if name in REFERENCES else seconds}", flush=True)


if __name__ == "__main__":
    main()
