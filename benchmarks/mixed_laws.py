"""Mixed laws that are known: classes, counts, zeros and gaps beside numbers, and how near models come to them.

    python benchmarks/mixed_laws.py [--budget 60s] [--rows 20000] [--models jko-iflow flow-matching nsf]

The mean over the test rows of log p(truth) - log p(model), in nats, with its paired standard error: below zero by more
than that would be better than the truth.

    class      a class of three decides a normal law
    zeros      a zero with the probability 0.4, else an exponential law, and a normal law around it
    counts     a normal number, and a Poisson number whose rate it decides
    gaps       a normal number, and another around it that is missing the more often the greater the first is
"""

from __future__ import annotations

import argparse
import math
import warnings

import numpy as np
import torch

from genflow.data.choice import cells_for
from genflow.data.dataset import Dataset, split
from genflow.data.kinds import Column, Schema
from genflow.metrics.likelihood import mean_and_se
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import parse_seconds

Law = tuple[np.ndarray, np.ndarray, list[Column]]


def _normal(x: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float) -> np.ndarray:
    return np.asarray(-0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi))


def classes(n: int, rng: np.random.Generator) -> Law:
    shares, means, stds = np.array([0.5, 0.3, 0.2]), np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 0.7])
    place = rng.choice(3, size=n, p=shares)
    x = means[place] + stds[place] * rng.normal(size=n)
    log_p = np.log(shares[place]) + _normal(x, means[place], stds[place])
    return np.column_stack([place, x]), log_p, [Column("class", "class", ("a", "b", "c")), Column("x")]


def zeros(n: int, rng: np.random.Generator) -> Law:
    x = np.where(rng.random(n) < 0.4, 0.0, rng.exponential(size=n))
    y = x + rng.normal(size=n)
    log_p = np.where(x == 0, math.log(0.4), math.log(0.6) - x) + _normal(y, x, 1.0)
    return np.column_stack([x, y]), log_p, [Column("x"), Column("y")]


def counts(n: int, rng: np.random.Generator) -> Law:
    y = rng.normal(size=n)
    rate = np.exp(0.5 + 0.5 * y)
    k = rng.poisson(rate).astype(float)
    factorial = np.array([math.lgamma(value + 1) for value in k])
    log_p = _normal(y, 0.0, 1.0) + k * np.log(rate) - rate - factorial
    return np.column_stack([k, y]), log_p, [Column("k", "integer", grid=1.0), Column("y")]


def gaps(n: int, rng: np.random.Generator) -> Law:
    y = rng.normal(size=n)
    log_missing, log_seen = -np.logaddexp(0, -2 * y), -np.logaddexp(0, 2 * y)
    x = np.where(np.log(rng.random(n)) < log_missing, np.nan, y + 0.5 * rng.normal(size=n))
    log_p = _normal(y, 0.0, 1.0) + np.where(np.isnan(x), log_missing, log_seen + _normal(np.nan_to_num(x), y, 0.5))
    return np.column_stack([x, y]), log_p, [Column("x", missing=True), Column("y")]


LAWS = {"class": classes, "zeros": zeros, "counts": counts, "gaps": gaps}


def dataset(name: str, rows: int, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """A data set of a law, and the true log p of its test rows."""
    values, log_p, columns = LAWS[name](rows, np.random.default_rng(seed))
    train, validation, test = split(np.column_stack([values, log_p]))
    parts = [part[:, :-1].copy() for part in (train, validation, test)]
    preprocessor = cells_for(parts[0], columns, parts[1])
    tensors = (torch.from_numpy(part) for part in parts)
    names = [column.name for column in columns]
    return Dataset(name, *tensors, names, preprocessor, schema=Schema(columns)), test[:, -1]


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=parse_seconds, default=60.0)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    parser.add_argument("--models", nargs="+", default=["gaussian", "jko-iflow", "flow-matching", "nsf"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{options.rows} rows, {options.budget:g} s; truth - model in nats ± paired standard error, by draws")
    print(f"{'law':<10}{'truth':>8}  {'model':<16}{'steps':>7}{'1 draw':>19}{'16 draws':>19}")
    for name in options.laws:
        data, truth = dataset(name, options.rows)
        for model in options.models:
            torch.manual_seed(0)
            fitted = build(registry.lookup("model", model), data.dim, {}, 0).fit(data, budget=options.budget)
            steps = sum(entry.get("steps", 0) for entry in fitted.history)
            found = []
            for draws in (1, 16):
                log_p = fitted.log_prob(data.test, draws=draws, generator=torch.Generator().manual_seed(1)).numpy()
                mean, se = mean_and_se(torch.from_numpy(truth - log_p))
                found.append(f"{mean:>10.4f} ± {se:.4f}")
            print(f"{name:<10}{-truth.mean():>8.3f}  {model:<16}{steps:>7}  {'  '.join(found)}", flush=True)


if __name__ == "__main__":
    main()
