"""Whitening by few rows: nats above the truth without it, with all of it, and with the share that rows left out choose.

    python benchmarks/whitening.py [seeds]            the grid, in closed form
    python benchmarks/whitening.py [seeds] training   JKO-iFlow and CNF, trained for 200 steps on some corners of it

The grid: rows × columns × correlations × tails. A map to whitened rows is also a Gaussian model, that of N(0, I) behind
it; its expected NLL under the truth is a formula. `none` takes correlations for zero, `full` as the rows have them
(directions below 1e-6 of the largest variance stretched no further, as it was before shrinkage), `ours` is
`genflow.data.Whiten`, Ledoit and Wolf's is scikit-learn's formula on standardized rows. Means over seeds with standard
errors. Promised: `ours` at most 0.1 nats, or two standard errors of the difference, above the better of `none` and
`full`; rows where it is not are marked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

import genflow as gf
from genflow.data import Compose, Dataset, Preprocessor, Whiten
from genflow.data.scales import moments
from genflow.numerics.tuning import tuned_process

ROWS, COLUMNS = (20, 50, 100, 300, 1000), (5, 60, 200)
STEPS, TEST = 200, 1000
ALLOWED = 0.1


def equicorrelated(dim: int, rho: float) -> Tensor:
    return torch.full((dim, dim), rho, dtype=torch.float64).fill_diagonal_(1)


def low_rank(dim: int, seed: int = 0) -> Tensor:
    """A tenth of the columns' number of factors, and a twentieth of their variance as noise."""
    factors = max(1, dim // 10)
    loadings = torch.randn(dim, factors, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return loadings @ loadings.mT + 0.05 * factors * torch.eye(dim, dtype=torch.float64)


def pairs(dim: int, rho: float, count: int | None = None) -> Tensor:
    covariance = torch.eye(dim, dtype=torch.float64)
    for j in range(0, 2 * (dim // 2 if count is None else count), 2):
        covariance[j, j + 1] = covariance[j + 1, j] = rho
    return covariance


STRUCTURES: dict[str, Callable[[int], Tensor]] = {
    "independent": lambda d: torch.eye(d, dtype=torch.float64),
    "equicorrelated .5": lambda d: equicorrelated(d, 0.5),
    "equicorrelated .95": lambda d: equicorrelated(d, 0.95),
    "autoregressive .9": lambda d: 0.9 ** (torch.arange(d)[:, None] - torch.arange(d)).abs().double(),
    "low rank and noise": low_rank,
    "pairs .99": lambda d: pairs(d, 0.99),
    "pairs, noise 1e-3": lambda d: pairs(d, 1 - 5e-7),
    "one pair, noise 1e-3": lambda d: pairs(d, 1 - 5e-7, 1),
}
TAILS = ("normal", "t3 each", "t5 rows")


def draw(n: int, covariance: Tensor, tail: str, rng: np.random.Generator) -> Tensor:
    """Rows with this covariance: normal, every factor with three degrees of freedom, or whole rows with five."""
    dim = len(covariance)
    z = rng.standard_t(3, size=(n, dim)) / np.sqrt(3) if tail == "t3 each" else rng.normal(size=(n, dim))
    if tail == "t5 rows":
        z = z / np.sqrt(rng.chisquare(5, size=(n, 1)) / 3)
    return torch.from_numpy(z) @ torch.linalg.cholesky(covariance).mT


def excess(mean: Tensor, root: Tensor, covariance: Tensor) -> float:
    r"""Expected nats above the truth of the Gaussian whose whitening is :math:`(x - \mu) R`: exact."""
    log_det = torch.linalg.slogdet(root)[1] + 0.5 * torch.linalg.slogdet(covariance)[1]
    quadratic = (root.mT @ covariance @ root).trace() + (mean @ root).square().sum()
    return float(0.5 * (quadratic - len(covariance)) - log_det)


def by_ledoit_wolf(x: Tensor) -> Whiten:
    mean, std = moments(x)
    values, vectors = np.linalg.eigh(ledoit_wolf(((x - mean) / std).numpy())[0])
    white = Whiten(x.shape[-1])
    white.mean, white.root = mean, torch.from_numpy(vectors / np.sqrt(values) @ vectors.T) / std[:, None]
    return white


METHODS: dict[str, Callable[[Tensor], Whiten]] = {
    "none": lambda x: Whiten.fit(x, 1.0),
    "full": lambda x: Whiten.fit(x, 0.0, floor=1e-6),
    "ours": Whiten.fit,
    "Ledoit-Wolf": by_ledoit_wolf,
}


def shown(mean: float, error: float) -> str:
    return f"{mean:.3g}" if mean > 1e4 else f"{mean:.2f} ± {error:.2f}"


def grid(seeds: int) -> None:
    print(f"{'':>20} {'tails':>8} {'rows x columns':>15} " + " ".join(f"{name:>16}" for name in METHODS), flush=True)
    broken = 0
    for dim in COLUMNS:
        for n in ROWS:
            for tail in TAILS:
                for structure, build in STRUCTURES.items():
                    covariance = build(dim)
                    found = []
                    for seed in range(seeds):
                        x = draw(n, covariance, tail, np.random.default_rng([seed, n, dim]))
                        maps = [method(x) for method in METHODS.values()]
                        found.append([excess(white.mean, white.root, covariance) for white in maps])
                    nats = np.array(found)
                    mean, error = nats.mean(0), nats.std(0, ddof=1) / np.sqrt(seeds)
                    gap = nats[:, 2] - nats[:, int(mean[:2].argmin())]
                    worse = gap.mean() > max(ALLOWED, 2 * gap.std(ddof=1) / np.sqrt(seeds))
                    broken += worse
                    figures = " ".join(f"{shown(m, e):>16}" for m, e in zip(mean, error, strict=True))
                    mark = "  above both" if worse else ""
                    print(f"{structure:>20} {tail:>8} {f'{n} x {dim}':>15} {figures}{mark}", flush=True)
    print(f"above the better of none and full by more than {ALLOWED} nats and two standard errors: {broken}")


def corners(seed: int) -> list[tuple[Dataset, float | None]]:
    """Data sets, with the NLL of the truth on their test rows where it is known."""

    def normal(name: str, n: int, covariance: Tensor) -> tuple[Dataset, float]:
        rng = np.random.default_rng([seed, n])
        x, test = draw(n, covariance, "normal", rng), draw(TEST, covariance, "normal", rng)
        data = gf.data.load(x.numpy(), test=test.numpy(), name=name)
        truth = torch.distributions.MultivariateNormal(x.new_zeros(len(covariance)), covariance)
        return data, -truth.log_prob(data.test).mean().item()

    found: list[tuple[Dataset, float | None]] = [
        normal(f"independent {n} x 60", n, STRUCTURES["independent"](60)) for n in (50, 100, 300, 1000)
    ]
    found += [
        normal(f"equicorrelated .95, {n} x 60", n, STRUCTURES["equicorrelated .95"](60)) for n in (100, 300, 1000)
    ]
    found += [normal("autoregressive .9, 300 x 60", 300, STRUCTURES["autoregressive .9"](60))]
    found += [normal("pairs .99, 300 x 60", 300, STRUCTURES["pairs .99"](60))]
    return [*found, *((gf.data.load(name), None) for name in ("breast-cancer", "digits"))]


def prepared(name: str) -> Callable[[Dataset], Preprocessor]:
    def preprocessing(data: Dataset) -> Preprocessor:
        if name == "none":
            return data.preprocessor
        return Compose([data.preprocessor, METHODS[name](data.preprocessor(data.train)[0])])

    return preprocessing


def training(seeds: int) -> None:
    """Nats above the truth, or the standardized NLL, of models that differ in nothing but their preparation."""
    names = list(METHODS)[:3]
    print(f"{'':>28} {'model':>10} " + " ".join(f"{name:>16}" for name in names), flush=True)
    for place in range(len(corners(0))):
        for kind in (gf.models.JKOiFlow, gf.models.CNF):
            found = []
            for seed in range(seeds):
                data, truth = corners(seed)[place]
                row = []
                for name in names:
                    torch.manual_seed(seed)
                    model = kind(data.dim)
                    model.preprocessing = prepared(name)
                    fitted = model.fit(data, iterations=STEPS, seed=seed)
                    with torch.no_grad():
                        log_det = data.preprocessor(data.test)[1]
                        log_p = fitted.log_prob(data.test) - (log_det if truth is None else 0)
                    row.append(-log_p.mean().item() - (truth or 0))
                found.append(row)
            nats = np.array(found)
            error = nats.std(0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(3)
            figures = " ".join(f"{shown(m, e):>16}" for m, e in zip(nats.mean(0), error, strict=True))
            print(f"{data.name:>28} {kind.__name__:>10} {figures}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    seeds = next((int(argument) for argument in arguments if argument.isdigit()), 10)
    with tuned_process():
        (training if "training" in arguments else grid)(seeds)
