"""Samples of one, two and four evaluations: mean flow, rectified flow and flow matching under one budget.

    python benchmarks/few_step.py [--budget 30s] [--data two-moons checkerboard] [--seeds 0 1 2]

W2 of 2000 samples to as many test rows, by exact transport, and beside it of two halves of the test rows (the floor).
All but mean flow take Euler steps; the last column is the model as it samples by itself. Means over seeds with their
standard errors.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch

import genflow as gf
from genflow.metrics import wasserstein2
from genflow.naming import registry
from genflow.numerics.tuning import tuned_process
from genflow.solvers import Euler
from genflow.training import parse_seconds

MODELS = ["mean-flow", "rectified-flow", "ot-cfm", "flow-matching"]
EVALUATIONS = (1, 2, 4)
ROWS = 2000


def few(fitted: gf.fitted.Transformed, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(fitted.model, gf.baselines.MeanFlow):
        return fitted.sample(ROWS, generator=generator, steps=count)
    return fitted.replace(integrator=Euler(), scheduler=gf.schedulers.Uniform(count)).sample(ROWS, generator=generator)


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=parse_seconds, default=30.0)
    parser.add_argument("--data", nargs="+", default=["two-moons", "checkerboard"])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{options.budget:g} s, seeds {options.seeds}; W2 ± standard error at so many evaluations")
    print(f"{'data':<16}{'model':<18}" + "".join(f"{count:>18}" for count in EVALUATIONS) + f"{'its own':>18}")
    for name in options.data:
        data = gf.data.load(name)
        test = torch.as_tensor(data.test[:ROWS], dtype=torch.float64)
        half = len(test) // 2
        print(f"{name:<16}{'floor':<18}{wasserstein2(test[:half], test[half : 2 * half]):>18.3f}")
        for model in options.models:
            found: list[list[float]] = []
            for seed in options.seeds:
                torch.manual_seed(seed)
                fitted = registry.lookup("model", model)(data.dim).fit(data, budget=options.budget, seed=seed)
                draws = [few(fitted, count, seed) for count in EVALUATIONS]
                draws.append(fitted.sample(ROWS, generator=torch.Generator().manual_seed(seed)))
                found.append([wasserstein2(rows.double(), test) for rows in draws])
            values = np.array(found)
            errors = (
                values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(values.shape[1], np.nan)
            )
            cells = "".join(f"{f'{m:.3f} ± {e:.3f}':>18}" for m, e in zip(values.mean(0), errors, strict=True))
            print(f"{name:<16}{model:<18}{cells}", flush=True)


if __name__ == "__main__":
    main()
