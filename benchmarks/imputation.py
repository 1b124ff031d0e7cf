"""Imputation where the truth is known: draws of missing entries against the exact conditional law.

    python benchmarks/imputation.py [--budget 60s] [--rows 8000] [--models flow-matching edm nsf] [--draws 2000]

Test rows of a Gaussian (d = 5, correlated) and of a mixture of three Gaussians (d = 4), each with some of their entries
removed. Of the draws of each row the mean and the covariance, against those of the exact conditional law:

    mean        root mean square over rows and entries of (mean - exact) / exact deviation
    covariance  mean over rows of |covariance - exact| / |exact|, Frobenius norms
    floor       both of as many draws of the exact law
    marginal    both of the law without what is seen, for the scale

Both ways of a model: `chains`, under its density; `masks`, trained with random masks. Budgets are of processor time.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.schedulers import Uniform
from genflow.training import Budget, parse_seconds

Mixture = tuple[Tensor, Tensor, Tensor]


def gaussian() -> Mixture:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT / 5 + 0.3 * torch.eye(5, dtype=torch.float64)
    return torch.ones(1, dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)[None], covariance[None]


def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(1)
    means = 2.0 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    roots = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    covariances = 0.5 * roots @ roots.mT / 4 + 0.2 * torch.eye(4, dtype=torch.float64)
    return torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, covariances


LAWS: dict[str, Callable[[], Mixture]] = {"gaussian": gaussian, "mixture": mixture}


def samples(law: Mixture, count: int, generator: torch.Generator) -> Tensor:
    weights, means, covariances = law
    which = torch.multinomial(weights, count, replacement=True, generator=generator)
    noise = torch.randn(count, means.shape[-1], generator=generator, dtype=torch.float64)
    return means[which] + torch.einsum("nij,nj->ni", torch.linalg.cholesky(covariances)[which], noise)


def conditional(law: Mixture, row: Tensor) -> Mixture:
    """The law of the missing entries of a row given the others: a mixture, too."""
    m = row.isnan()
    weights, means, covariances = law
    if m.all():
        return law
    parts = []
    for weight, mean, covariance in zip(weights, means, covariances):
        across, seen = covariance[m][:, ~m], covariance[~m][:, ~m]
        slope = across @ torch.linalg.inv(seen)
        density = torch.distributions.MultivariateNormal(mean[~m], seen).log_prob(row[~m])
        parts.append((
            weight.log() + density, mean[m] + slope @ (row[~m] - mean[~m]), covariance[m][:, m] - slope @ across.mT
        ))  # fmt: skip
    logs, means, covariances = (torch.stack(part) for part in zip(*parts))
    return logs.softmax(0), means, covariances


def moments(law: Mixture) -> tuple[Tensor, Tensor]:
    weights, means, covariances = law
    mean = weights @ means
    centred = means - mean
    return mean, torch.einsum("k,kij->ij", weights, covariances + centred[:, :, None] * centred[:, None, :])


def gapped(law: Mixture, count: int, generator: torch.Generator) -> Tensor:
    """Rows with about two fifths of their entries missing, at least one and not all."""
    x = samples(law, count, generator)
    gone = torch.zeros(x.shape, dtype=torch.bool)
    while (wrong := gone.all(-1) | ~gone.any(-1)).any():
        again = torch.rand(x.shape, generator=generator) < 0.4
        gone = torch.where(wrong[:, None], again, gone)
    return torch.where(gone, math.nan, x)


def distances(draws: Tensor, rows: Tensor, law: Mixture) -> tuple[float, float]:
    """How far means and covariances of the draws, `(draws, n, dim)`, are from the exact ones."""
    means, covariances = [], []
    for k, row in enumerate(rows):
        mean, covariance = moments(conditional(law, row))
        found = draws[:, k][:, row.isnan()]
        means.append(((found.mean(0) - mean) / covariance.diagonal().sqrt()).square())
        off = torch.atleast_2d(found.mT.cov()) - covariance
        covariances.append(off.norm() / covariance.norm())
    return float(torch.cat(means).mean().sqrt()), float(torch.stack(covariances).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--ways", nargs="+", default=["chains", "masks"])
    parser.add_argument("--models", nargs="+", default=["flow-matching", "edm", "nsf"])
    parser.add_argument("--solver", help="integrator of flows and diffusions, such as rk4 (default: their own)")
    parser.add_argument("--solver-steps", type=int, default=32)
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    for title in chosen.laws:
        law, generator = LAWS[title](), torch.Generator().manual_seed(2)
        x, rows = samples(law, chosen.rows, generator), gapped(law, chosen.test, generator)
        exact = torch.full((chosen.draws, *rows.shape), math.nan, dtype=torch.float64)
        alone = exact.clone()
        for k, row in enumerate(rows):
            gone = row.isnan()
            exact[:, k, gone] = samples(conditional(law, row), chosen.draws, generator)
            alone[:, k, gone] = samples(law, chosen.draws, generator)[:, gone]
        print(f"{title}: {len(rows)} rows, {chosen.draws} draws", flush=True)
        for name, draws in (("floor", exact), ("marginal", alone)):
            mean, covariance = distances(draws, rows, law)
            print(f"  {name:28s} mean {mean:.3f}  covariance {covariance:.3f}", flush=True)
        for name in chosen.models:
            for way in chosen.ways:
                masks = way == "masks"
                torch.manual_seed(0)
                dim = x.shape[-1]
                model = build(registry.lookup("model", name), dim, {}, 2 * dim if masks else 0)
                budget = Budget(parse_seconds(chosen.budget), clock=time.process_time)
                fitted = model.fit(x, budget=budget, masks=masks)
                if chosen.solver is not None and fitted.model.has_parts:
                    integrator = registry.lookup("integrator", chosen.solver)()
                    fitted = fitted.replace(integrator=integrator, scheduler=Uniform(chosen.solver_steps))
                for steps in [1] if masks else chosen.steps:
                    began = time.perf_counter()
                    draws = fitted.impute(rows, chosen.draws, generator=torch.Generator().manual_seed(0), steps=steps)
                    seconds = time.perf_counter() - began
                    mean, covariance = distances(draws, rows, law)
                    label = f"{name}, {way}" + ("" if masks else f", {steps} steps")
                    print(f"  {label:28s} mean {mean:.3f}  covariance {covariance:.3f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    with tuned_process():
        main()
