"""A fifth of the entries of small tables removed and drawn again: ForestDiffusion and genflow's models.

    python benchmarks/gaps.py [--data NAME …] [--models NAME …] [--budget 1min] [--splits 3] [--quick]

The protocol of https://arxiv.org/abs/2309.09968: of the training rows of `tables.py`'s splits each entry but the class
is removed with probability 0.2; a model is trained on what is left, and draws what was removed five times. Columns are
scaled by the least and the greatest value of the complete training rows. Each figure is a mean over the splits with its
standard error:

    MinMAE    the error of the best of the five draws of a row, summed over its columns, by removed entry
    AvgMAE    that of all five
    W1 train  between the filled and the complete training rows, cost L1, a mean over the five
    W1 test   between the filled rows and the test rows

`forest-vp` and `forest-repaint` are the ForestDiffusion package with its defaults for this (variance preserving, 50
levels of noise, 100 copies of the rows, a model for each class); the second goes back and forth ten times. `nearest` is
the nearest row of scikit-learn's KNNImputer. A model of genflow draws by Markov chains under its density, and with
masks where `, masks` stands behind it. Seconds are of all processors, training and draws, once for five draws.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.impute import KNNImputer
from tables import DATA, Task, w1_of_all, with_error

import genflow as gf
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import Budget, parse_seconds

DRAWS, SHARE = 5, 0.2
COMPLETE, NEAREST, FOREST, REPAINT = "complete rows", "nearest", "forest-vp", "forest-repaint"
MODELS = ["nsf", "nsf, masks", "flow-matching, masks", "jko-iflow", "jko-iflow, masks"]
FIGURES = ("MinMAE", "AvgMAE", "W1 train", "W1 test")

Fill = Callable[[np.ndarray, np.ndarray, Task, int, argparse.Namespace], list[np.ndarray]]
"""Rows with gaps, filled five times: `(rows, test rows, task, seed, options)`."""


@dataclass
class Outcome:
    """Figures of one method on one table, one for each split."""

    figures: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})
    processor: list[float] = field(default_factory=list)


def with_gaps(rows: np.ndarray, seed: int) -> np.ndarray:
    """The rows without a fifth of their entries; the class, which is the last, and one entry of the others stay."""
    generator, rows = np.random.default_rng(seed), rows.copy()
    gone = generator.random(rows[:, :-1].shape) < SHARE
    while (empty := gone.all(-1)).any():
        gone[empty] = generator.random((empty.sum(), gone.shape[1])) < SHARE
    rows[:, :-1][gone] = math.nan
    return rows


def nearest(rows: np.ndarray, test: np.ndarray, task: Task, seed: int, options: argparse.Namespace) -> list[np.ndarray]:
    scale = np.nanstd(rows, axis=0)
    return [KNNImputer(n_neighbors=1).fit_transform(rows / scale) * scale] * DRAWS


def forests(repaint: bool) -> Fill:
    """ForestDiffusion, as its authors call it."""

    def fill(
        rows: np.ndarray, test: np.ndarray, task: Task, seed: int, options: argparse.Namespace
    ) -> list[np.ndarray]:
        from ForestDiffusion import ForestDiffusionModel

        small = {"n_t": 5, "duplicate_K": 5} if options.quick else {}
        model = ForestDiffusionModel(
            rows[:, :-1], label_y=rows[:, -1], diffusion_type="vp", n_jobs=1, seed=seed, **small, nthread=1
        )
        return list(model.impute(k=DRAWS, **({"repaint": True, "r": 10, "j": 0.1} if repaint else {})))

    return fill


def ours(label: str) -> Fill:
    """A model of genflow given the class, by chains or with masks."""
    name, masks = label.removesuffix(", masks"), label.endswith(", masks")

    def fill(
        rows: np.ndarray, test: np.ndarray, task: Task, seed: int, options: argparse.Namespace
    ) -> list[np.ndarray]:
        target = rows.shape[1] - 1
        data = gf.data.load(rows, test=test, kinds={target: "class"}, condition=[target])
        torch.manual_seed(seed)
        limit = Budget(iterations=20) if options.quick else Budget(options.budget, clock=time.process_time)
        condition_dim = data.condition_dim + (2 * data.dim if masks else 0)
        model = build(registry.lookup("model", name), data.dim, {}, condition_dim)
        fitted = model.fit(data, budget=limit, seed=seed, masks=masks)
        generator = torch.Generator().manual_seed(seed)
        drawn = fitted.impute(rows[:, :target], DRAWS, rows[:, target], generator)
        return [np.column_stack([each.numpy(), rows[:, target]]) for each in drawn]

    return fill


def run(name: str, method: Fill | None, options: argparse.Namespace) -> Outcome:
    """One method on all splits of a table; without a method, the complete rows."""
    task, outcome = Task.named(name), Outcome()
    for seed in range(options.splits):
        train, test = task.split(seed)
        rows = with_gaps(train, seed)
        begin = time.process_time()
        filled = [train] * DRAWS if method is None else method(rows, test, task, seed, options)
        outcome.processor.append(time.process_time() - begin)
        gone, scale = np.isnan(rows), np.ptp(train[:, :-1], axis=0)
        filled = [np.where(gone, each, train) for each in filled]  # what is seen comes back rounded, of some
        errors = np.stack([np.abs(each - train)[:, :-1] / scale for each in filled]).sum(-1)
        values = {
            "MinMAE": errors.min(0).sum() / gone.sum(),
            "AvgMAE": errors.mean(0).sum() / gone.sum(),
            "W1 train": np.mean([w1_of_all(each, train, train, task.columns).value for each in filled]),
            "W1 test": np.mean([w1_of_all(each, train, test, task.columns).value for each in filled]),
        }
        for figure, value in values.items():
            outcome.figures[figure].append(float(value))
    return outcome


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tables = [name for name in DATA if Task.named(name).classes]
    parser.add_argument("--data", nargs="+", default=tables, choices=tables)
    parser.add_argument("--models", nargs="+", default=[NEAREST, FOREST, REPAINT, *MODELS])
    parser.add_argument(
        "--budget", type=parse_seconds, default=60.0, help="processor time of each training of ours (default: 1min)"
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a few steps, levels and copies: whether it works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    methods: dict[str, Fill | None] = {COMPLETE: None}
    installed = importlib.util.find_spec("ForestDiffusion") is not None
    for name in options.models:
        if name in (FOREST, REPAINT):
            if installed:
                methods[name] = forests(name == REPAINT)
            else:
                print(f"{name}: ForestDiffusion is not installed; it is left out")
        else:
            methods[name] = nearest if name == NEAREST else ours(name)
    print(f"{'data':<15}{'model':<22}" + "".join(f"{figure:>17}" for figure in FIGURES) + f"{'processor s':>15}")
    for data in options.data:
        for name, method in methods.items():
            outcome = run(data, method, options)
            figures = "".join(f"{with_error(outcome.figures[figure], 4):>17}" for figure in FIGURES)
            seconds = f"{with_error(outcome.processor, 1):>15}" if method else ""
            print(f"{data:<15}{name:<22}{figures}{seconds}", flush=True)


if __name__ == "__main__":
    main()
