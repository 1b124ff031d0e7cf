"""How far from its budget a training ends: seconds over it, by model and data set.

    python benchmarks/budget.py [--budget 5s] [--data NAME …] [--models NAME …]

`fit` with the model's defaults on one thread, timed from outside: whatever it does until the model can be used, from
the preparation of the rows to the settling of the grid. `pixels` are 784 columns, smoothed noise of 28 × 28. Promised:
at most 2 % or 0.3 s over the budget, whichever is more; what is not is marked.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch
from torch.nn.functional import avg_pool2d

import genflow as gf
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import parse_seconds

PIXELS = "pixels"
DATA = ["two-moons", "gaussian-mixture-8", "digits", "breast-cancer", "photo-patches", "sensors", PIXELS]
MODELS = ["jko-iflow", "jko-iflow-published", "cnf", "flow-matching", "score-sde", "nsf", "maf", "latent"]
SHARE, SECONDS = 0.02, 0.3


def loaded(name: str) -> gf.data.Dataset:
    if name != PIXELS:
        return gf.data.load(name)
    noise = torch.randn(3000, 1, 30, 30, generator=torch.Generator().manual_seed(0))
    return gf.data.load(avg_pool2d(noise, 3, stride=1).flatten(1).numpy())


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=parse_seconds, default=5.0)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    allowed = max(SHARE * options.budget, SECONDS)
    print(f"seconds over a budget of {options.budget:g} s; {allowed:g} are allowed")
    print(f"{'data':<20}{'model':<22}{'over':>7}{'says':>8}{'steps':>8}")
    worst, early = float("-inf"), float("inf")
    for name in options.data:
        data = loaded(name)
        for model in options.models:
            torch.manual_seed(0)
            try:
                unfitted = build(registry.lookup("model", model), data.dim, {}, data.condition_dim)
            except gf.InputError as error:
                print(f"{name:<20}{model:<22}{str(error)[:60]}")
                continue
            began = time.perf_counter()
            fitted = unfitted.fit(data, budget=options.budget)
            over = time.perf_counter() - began - options.budget
            worst, early = max(worst, over), min(early, over)
            mark = "  over" if over > allowed else ""
            print(
                f"{name:<20}{model:<22}{over:>7.2f}{fitted.record.seconds:>8.2f}{fitted.record.steps:>8}{mark}",
                flush=True,
            )
    print(f"between {early:.2f} and {worst:.2f} s over")


if __name__ == "__main__":
    main()
