"""In what time does a model reach what the best of its rivals reaches?

    python benchmarks/time_to_quality.py --out DIR [--data two-moons rose …] [--rivals nsf maf cnf flow-matching edm …]
                                         [--model jko-iflow] [--budget 100s] [--seeds 0 1 2] [--jobs 2]

On each data set the rivals are trained for the budget, and the one of the lowest mean test NLL over the seeds is what
is aimed at. The model is trained from scratch for a thirtieth of that time, for a tenth, a third, until its mean NLL is
at most as high, and once for all of it. Every figure is that of trainings that were given just this time, so no later
knowledge goes into it, and the ratio is an upper bound: only these four are tried. Trainings are those of
`genflow.compare`, of processor time on one thread, so that other work on the machine costs none of them steps; what
stands in DIR is not trained again. NLL in nats, in the units of the data, of one place of a row in its cells, with its
standard error over rows and seeds.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import genflow as gf
from genflow.studies import Board
from genflow.studies.comparison.significance import crossed_mean
from genflow.training import parse_seconds

SHARES = (1 / 30, 1 / 10, 1 / 3, 1.0)
TABLES = [Path(__file__).parents[2] / "shared" / "data" / f"{name}-smooth.txt" for name in ("power-plant", "protein")]
DATA = ["two-moons", "rose", "checkerboard", "breast-cancer", "digits", "photo-patches", "gaussian-mixture-8"]


def board(out: Path, data: str, models: Sequence[str], seconds: float, chosen: argparse.Namespace) -> Board:
    """What these models come to, trained for so many seconds; what is there already is only read."""
    folder = out / Path(data).stem / f"{seconds:.3g}s"
    return gf.compare(
        data, models, budget=seconds, clock="cpu", seeds=chosen.seeds, out=folder, jobs=chosen.jobs,
        evaluation=chosen.evaluation, points=200, resume=folder.exists(), progress=False,
    )  # fmt: skip


def nll(found: Board, model: str) -> tuple[float, float]:
    """Mean NLL over seeds and rows with its standard error; infinite where a training failed.

    By one place of a row in its cells: two boards may have had time for different numbers, which make no pair.
    """
    runs = [run for run in found.runs if run["label"] == model]
    if not all(run["status"].startswith("ok") for run in runs):
        return math.inf, math.nan
    values = -np.stack([found.arrays(run["data"], run["name"])["bound"] for run in runs])
    mean = crossed_mean(values[:, ~np.isnan(values).any(0)])  # of rows that all had time for
    return (mean.mean, mean.se) if math.isfinite(mean.mean) else (math.inf, math.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=[*DATA, *(str(path) for path in TABLES if path.is_file())])
    parser.add_argument(
        "--rivals", nargs="+", default=["nsf", "maf", "cnf", "flow-matching", "edm", "gaussian-mixture"]
    )
    parser.add_argument("--model", default="jko-iflow")
    parser.add_argument("--budget", default="100s")
    parser.add_argument("--evaluation", default="14s", help="time of the figures of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    budget, ratios = parse_seconds(chosen.budget), []
    print(f"{'data':<22}{'best rival':<18}{'its NLL in ' + chosen.budget:>20}   {chosen.model}: share of the time, NLL")
    for data in chosen.data:
        rivals = board(chosen.out / "rivals", data, chosen.rivals, budget, chosen)
        best = min(chosen.rivals, key=lambda model: nll(rivals, model)[0])
        aim, aim_se = nll(rivals, best)
        tried, ratio = [], math.inf
        for share in SHARES:
            if math.isfinite(ratio) and share < 1:
                continue
            found = nll(board(chosen.out / chosen.model, data, [chosen.model], share * budget, chosen), chosen.model)
            tried.append(f"{share:.3f} {found[0]:.3f} ± {found[1]:.3f}")
            if found[0] <= aim:
                ratio = min(ratio, share)
        ratios.append(ratio)
        print(f"{Path(data).stem:<22}{best:<18}{aim:>12.3f} ± {aim_se:.3f}   {', '.join(tried)}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} over {len(ratios)} data sets")


if __name__ == "__main__":
    main()
