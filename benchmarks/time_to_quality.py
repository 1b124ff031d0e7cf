"""In what time does a model reach what the best of its rivals reaches?

    python benchmarks/time_to_quality.py --out DIR [--data two-moons rose …] [--rivals nsf maf cnf flow-matching edm …]
                                         [--model jko-iflow] [--budget 100s] [--seeds 0 1 2] [--jobs 2]
                                         [--boards BOARD …]

On each data set the rivals are trained for the budget, and the one of the highest likelihood is what is aimed at. The
model is trained from scratch for a thirtieth of that time, for a tenth, a third, until it is as likely, and once for
all of it. Every figure is that of trainings that were given just this time, so no later knowledge goes into it, and the
ratio is an upper bound: only these four are tried. Trainings are those of `genflow.compare`, of processor time on one
thread, so that other work on the machine costs none of them steps; what stands in DIR is not trained again. Of a data
set of one of the BOARDs, folders of `genflow compare` of the same budget and seeds, all other models are rivals, and
nothing is trained for all of the time.

Models are compared by the test rows that both had time for, on average over seeds and rows: the difference of the NLL
in nats, of one place of a row in its cells, with its standard error; below 0 the model is ahead.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

import genflow as gf
from genflow.studies import Board
from genflow.studies.comparison.significance import crossed_difference
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


def losses(found: Board, data: str, model: str) -> Float[np.ndarray, "seeds rows"] | None:
    """-log p of the test rows, NaN of those for which there was no time; `None` where a training failed.

    By one place of a row in its cells: two boards may have had time for different numbers, which make no pair.
    """
    runs = [run for run in found.runs if run["label"] == model and run["data"] == Path(data).stem]
    if not all(run["status"].startswith("ok") for run in runs):
        return None
    return -np.stack([found.arrays(run["data"], run["name"])["bound"] for run in runs])


def less(one: np.ndarray | None, other: np.ndarray) -> tuple[float, float]:
    """By how much the first is below the other, with its standard error; infinite where it failed."""
    if one is None:
        return math.inf, math.nan
    both = ~(np.isnan(one).any(0) | np.isnan(other).any(0))
    found = crossed_difference(one[:, both], other[:, both])
    return found.mean, found.se


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
    parser.add_argument("--boards", nargs="+", type=Path, default=[], help="comparisons that are there already")
    chosen = parser.parse_args()
    there = {run["data"]: found for found in map(Board, chosen.boards) for run in found.runs}
    budget, ratios = parse_seconds(chosen.budget), []
    print(f"{'data':<22}{'best rival':<18}{chosen.model}: share of the time, NLL less the rival's")
    for data in chosen.data:
        whole = there.get(Path(data).stem)
        rivals = whole or board(chosen.out / "rivals", data, chosen.rivals, budget, chosen)
        labels = dict.fromkeys(run["label"] for run in rivals.runs if run["data"] == Path(data).stem)
        best, aim = "", None
        for label in labels:
            found = None if label == chosen.model else losses(rivals, data, label)
            if found is not None and (aim is None or less(found, aim)[0] < 0):
                best, aim = label, found
        if aim is None:
            raise SystemExit(f"{data}: no rival came to an end")
        tried, ratio = [], math.inf
        for share in SHARES:
            if math.isfinite(ratio) and share < 1:
                continue
            here = chosen.out / chosen.model
            trained = whole if whole and share == 1 else board(here, data, [chosen.model], share * budget, chosen)
            mean, se = less(losses(trained, data, chosen.model), aim)
            tried.append(f"{share:.3f} {mean:.3f} ± {se:.3f}")
            if mean <= 0:
                ratio = min(ratio, share)
        ratios.append(ratio)
        print(f"{Path(data).stem:<22}{best:<18}{', '.join(tried)}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} over {len(ratios)} data sets")


if __name__ == "__main__":
    main()
