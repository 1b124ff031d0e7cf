"""What it is worth that columns follow from others: each model with it and without, on tables of one's own.

    python benchmarks/dependencies.py TABLE… [--budget 14s] [--models jko-iflow nsf flow-matching] [--rows 400]

NLL of test rows in nats by one place of each, what it is less with their law given others, with its paired standard
error, and the share of samples that break with what the training rows kept to.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

import genflow as gf
from genflow.data import Compose
from genflow.metrics.likelihood import mean_and_se
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import Budget, parse_seconds

SAMPLES = 2000


def trained(name: str, data: gf.data.Dataset, budget: float, seed: int) -> gf.Transformed:
    torch.manual_seed(seed)
    model = build(registry.lookup("model", name), data.dim, {}, data.condition_dim)
    return model.fit(data, budget=Budget(seconds=budget, clock=time.process_time), seed=seed, progress=False)


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--budget", type=parse_seconds, default=14.0)
    parser.add_argument("--models", nargs="+", default=["jko-iflow", "nsf", "flow-matching"])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'table':<20}{'model':<16}{'with':>9}{'without':>9}{'gain':>16}{'broken':>9}{'without':>9}")
    for table in options.tables:
        data = gf.data.load(table)
        whole = data.preprocessor
        if not isinstance(whole, Compose):
            print(f"{data.name:<20}nothing follows from anything")
            continue
        cells, dependencies = whole.parts
        for model in options.models:
            log_p, broken = [], []
            for data.preprocessor in (whole, cells):
                fitted = trained(model, data, options.budget, options.seed)
                draw = torch.Generator().manual_seed(0)
                log_p.append(fitted.log_prob(data.test[: options.rows], draws=1, generator=draw).double())
                z = cells(fitted.sample(SAMPLES, generator=draw))[0]
                shares = [link.broken(z[:, link.source], z[:, link.follower]).item() for link in dependencies.links]
                broken.append(sum(share for share in shares if share == share) / max(len(shares), 1))
            gain, se = mean_and_se(log_p[0] - log_p[1])
            nll = [-part.mean().item() for part in log_p]
            print(
                f"{data.name:<20}{model:<16}{nll[0]:>9.3f}{nll[1]:>9.3f}{gain:>8.3f} ± {se:.3f}"
                f"{broken[0]:>9.2%}{broken[1]:>9.2%}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
