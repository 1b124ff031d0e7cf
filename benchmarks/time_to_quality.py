"""In what time does JKO-iFlow reach what the published recipe reaches?

    python benchmarks/time_to_quality.py [--budget 300] [--longest 0.333] [--seeds 0 1 2]
                                        [--data NAME_OR_FILE ...]

For each data set and seed, the published recipe (`jko-iflow-published`) is trained for the budget and its
standardized test NLL taken. Then the default recipe is trained from scratch for a hundredth of that time, for a
thirtieth, a tenth, a third, until one of them has at most the same NLL; and once for a third. Every figure is
that of a training that was given just this time, so no later knowledge goes into it. One thread; the two recipes in
turns; loading and evaluation are off the clock, which counts this process's own CPU time, so that other work on the
machine costs neither of them steps.

Three densities in the plane by default, and the two smooth tables of ../shared/data where they are there.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

import torch

import genflow as gf
from genflow.numerics.tuning import tuned_process

FRACTIONS = (1 / 100, 1 / 30, 1 / 10, 1 / 3)
TABLES = [Path(__file__).parents[2] / "shared" / "data" / f"{name}-smooth.txt" for name in ("power-plant", "protein")]


def nll(model_class: type, data: gf.data.Dataset, budget: float, seed: int) -> tuple[float, float]:
    """Standardized test NLL with its standard error after a training of so many seconds."""
    torch.manual_seed(seed)
    fitted = model_class(data.dim).fit(data, budget=gf.training.Budget(budget, clock=time.process_time), seed=seed)
    with torch.no_grad():
        loss = data.preprocessor(data.test)[1] - fitted.log_prob(data.test)
    return loss.mean().item(), (loss.std() / math.sqrt(len(loss))).item()


@tuned_process()
def main(budget: float, longest: float, seeds: list[int], names: list[str]) -> None:
    torch.set_num_threads(1)
    fractions = []
    shares = [*(share for share in FRACTIONS if share < 0.99 * longest), longest]
    print(
        f"{'data':<22}{'seed':>5}  published in {budget:g} s    ours: seconds to it, NLL    ratio    "
        f"ours in {longest * budget:g} s"
    )
    for name in names:
        data = gf.data.load(name)
        for seed in seeds:
            aim, aim_se = nll(gf.models.PublishedJKOiFlow, data, budget, seed)
            final = reached = None
            for fraction in shares:
                found = nll(gf.models.JKOiFlow, data, fraction * budget, seed)
                if found[0] <= aim:
                    reached = fraction, found[0]
                    break
            if reached is not None:
                final = found if reached[0] == longest else nll(gf.models.JKOiFlow, data, longest * budget, seed)
            else:
                final = found
            fractions.append(math.inf if reached is None else reached[0])
            to_it = "not reached" if reached is None else f"{reached[0] * budget:8.1f} s  {reached[1]:8.3f}"
            ratio = "-" if reached is None else f"{reached[0]:.3f}"
            print(
                f"{data.name:<22}{seed:>5}  {aim:8.3f} ± {aim_se:.3f}      {to_it:>24}  {ratio:>7}"
                f"    {final[0]:8.3f} ± {final[1]:.3f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(fractions):.3f} over {len(fractions)} trainings")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of the published recipe")
    parser.add_argument("--longest", type=float, default=1 / 3, help="the most of it that ours gets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    default = ["two-moons", "rose", "checkerboard", *(str(path) for path in TABLES if path.is_file())]
    parser.add_argument("--data", nargs="+", default=default)
    chosen = parser.parse_args()
    main(chosen.budget, chosen.longest, chosen.seeds, chosen.data)
