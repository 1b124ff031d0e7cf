"""Four ways of a class to the normal line: which one do models learn best?

    python benchmarks/class_encodings.py adult.csv penguins.csv [--target COLUMN] [--budget 30s] [--rows 8000]

A class of the probability p owns a part of the law N(0, I) of that mass, in which its rows are spread:

    line      an interval, neighbours alike (what genflow does)
    as named  an interval, in the order of the names
    circle    a sector of the plane, neighbours alike
    argmax    of as many numbers as classes, the greatest is its own; every class has the mass 1 / K

Judges: NLL of the test rows, in nats, over 16 draws, with its standard error; and the score of learners that are
trained on samples and tested on real rows (floor: trained on real rows), for the target column.
"""

from __future__ import annotations

import argparse
import math
import warnings
from typing import Any

import torch
from torch import Tensor

import genflow as gf
from genflow.data.cells import Cells
from genflow.data.dataset import Dataset
from genflow.data.laws import Levels
from genflow.data.preprocessing import Standardize
from genflow.draws import stratified_draws
from genflow.metrics.likelihood import mean_and_se
from genflow.metrics.tables import utility
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.normal import log_density, log_mass
from genflow.numerics.tuning import tuned_process
from genflow.training import parse_seconds

WAYS = ("line", "as named", "circle", "argmax")
_COPIES = 8


class Encoded:
    """Rows of a table as points of N(0, I), and back.

    Args:
        data: A data set whose columns have laws.
        way: One of `WAYS`.
    """

    def __init__(self, data: Dataset, way: str):
        laws: list[Any] = list(data.preprocessor.laws)
        self.way = way
        self.words = [j for j, column in enumerate(data.schema.modelled) if column.kind in ("class", "boolean")]
        if way == "as named":
            for j in self.words:
                order = laws[j].values.nan_to_num(nan=1e9).argsort()
                laws[j] = Levels(laws[j].count, laws[j].values[order], laws[j].probabilities[order], rest=laws[j].rest)
        self.cells = Cells(laws)

    def __call__(self, x: Tensor, u: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points, and the log-determinant of each."""
        if self.way in ("line", "as named"):
            return self.cells(x, u)
        z, _ = self.cells(x, u)
        piece = self.cells.pieces(x)
        slopes = self._slopes(x, z, piece)
        others = [j for j in range(x.shape[1]) if j not in self.words]
        parts, log_det = [z[:, others]], slopes[:, others].sum(-1)
        for j in self.words:
            drawn, more = (
                self._circle(z[:, j], piece, j, generator)
                if self.way == "circle"
                else self._argmax(x[:, j], j, generator)
            )
            parts.append(drawn)
            log_det = log_det + more
        return torch.cat(parts, -1), log_det

    def _slopes(self, x: Tensor, z: Tensor, piece: Any) -> Tensor:
        point = piece.low == piece.high
        return piece.log_slope + torch.where(point, 0.0, log_mass(piece.low, piece.high) - log_density(z))

    def _circle(self, z: Tensor, piece: Any, j: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        angle = 2 * math.pi * torch.special.ndtr(z)
        radius = (-2 * torch.rand(len(z), generator=generator, dtype=torch.float64).clamp(min=1e-12).log()).sqrt()
        drawn = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
        return drawn, log_mass(piece.low[:, j], piece.high[:, j]) - log_density(drawn).sum(-1)

    def _argmax(self, x: Tensor, j: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        values = self.cells.laws[j].values
        count = len(values)
        same = (x[:, None] == values) | (x[:, None].isnan() & values.isnan())
        own = torch.where(same.any(-1), same.long().argmax(-1), count - 1)  # an unseen class is taken for the last
        drawn = torch.randn(len(x), count, generator=generator, dtype=torch.float64)
        rows, top = torch.arange(len(x)), drawn.argmax(-1)
        greatest = drawn[rows, top].clone()
        drawn[rows, top] = drawn[rows, own]
        drawn[rows, own] = greatest
        return drawn, -math.log(count) - log_density(drawn).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        if self.way in ("line", "as named"):
            return self.cells.inverse(z)
        dim = len(self.cells.laws)
        others = [j for j in range(dim) if j not in self.words]
        line = torch.zeros(len(z), dim, dtype=torch.float64)
        line[:, others] = z[:, : len(others)].double()
        at, chosen = len(others), {}
        for j in self.words:
            if self.way == "circle":
                angle = torch.atan2(z[:, at + 1], z[:, at]).double() % (2 * math.pi)
                line[:, j] = torch.special.ndtri((angle / (2 * math.pi)).clamp(1e-12, 1 - 1e-12))
                at += 2
            else:
                values = self.cells.laws[j].values
                chosen[j] = values[z[:, at : at + len(values)].argmax(-1)]
                at += len(values)
        x = self.cells.inverse(line)
        for j, column in chosen.items():
            x[:, j] = column
        return x


def judged(data: Dataset, way: str, name: str, budget: float, target: str, seed: int) -> tuple[str, str, int]:
    """The NLL, the score on real rows, and the number of columns that the model has."""
    encoded, generator = Encoded(data, way), torch.Generator().manual_seed(seed)
    train = torch.cat([encoded(data.train, torch.rand(data.train.shape, generator=generator).double(), generator)[0]
                       for _ in range(_COPIES)])  # fmt: skip
    validation = encoded(data.validation, torch.rand(data.validation.shape, generator=generator).double(), generator)[0]
    dim = train.shape[1]
    inner = Dataset(data.name, train, validation, validation, [f"z{j}" for j in range(dim)], Standardize(dim))
    torch.manual_seed(seed)
    fitted = build(registry.lookup("model", name), dim, {}, 0).fit(inner, budget=budget, seed=seed)
    logs = []
    for u in stratified_draws(data.test, 16, seed):
        z, log_det = encoded(data.test, u, generator)
        logs.append(fitted.log_prob(z) + log_det)
    log_p = torch.stack(logs).logsumexp(0) - math.log(16)
    samples = encoded.inverse(fitted.sample(len(data.train), generator=generator))
    found = utility(samples.numpy(), data.train.numpy(), data.test.numpy(), list(data.schema.modelled), target=target)
    nll, se = mean_and_se(-log_p)
    return f"{nll:9.3f} ± {se:.3f}", f"{found.value:.3f} ± {found.standard_error:.3f} ({found.floor:.3f})", dim


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--targets", nargs="*", default=[], help="one for each table; the last column otherwise")
    parser.add_argument("--kinds", nargs="*", default=[], metavar="COLUMN=class")
    parser.add_argument("--budget", type=parse_seconds, default=30.0)
    parser.add_argument("--models", nargs="+", default=["nsf", "flow-matching"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{options.budget:g} s; NLL in nats, score of learners on real rows (trained on real ones)")
    for k, table in enumerate(options.tables):
        data = gf.data.load(table, kinds=dict(kind.split("=") for kind in options.kinds) if options.kinds else None)
        target = options.targets[k] if k < len(options.targets) else data.columns[-1]
        for name in options.models:
            for way in WAYS:
                for seed in options.seeds:
                    nll, score, dim = judged(data, way, name, options.budget, target, seed)
                    print(f"{data.name:<12}{name:<15}{way:<10}{dim:>4}  {nll}  {score}", flush=True)


if __name__ == "__main__":
    main()
