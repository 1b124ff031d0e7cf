"""What rounds of the published recipe do, by its own count: steps of a block, not seconds.

    python benchmarks/rounds.py [data ...] [--steps 1000] [--blocks 4] [--moves 4] [--halvings 1] [--damping 0.5]

The figure of the paper's MINIBOONE experiment, on other tables: a first round, rounds in which the boundaries move
towards equal movement of the blocks, and rounds in which every interval is halved, each with the same number of steps
for every block, as the authors count them (10 000). With `--damping 0` the boundaries stay where they are: what more
steps do by themselves. After each round: the NLL of test rows with its standard error, the
gain on the round before, paired, the mean squared error of decode(encode(x)), and how unequal the movements are.

C. Xu, X. Cheng, Y. Xie, https://arxiv.org/abs/2212.14424, section 5 and figure 5.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass
from typing import Any

import torch

import genflow as gf
from genflow.models import PublishedJKOiFlow
from genflow.models.jko_settings import Rounds
from genflow.numerics.tuning import tuned_process


@dataclass(frozen=True)
class EqualRounds(Rounds):
    """Rounds in which every block has as many steps as in any other."""

    def share(self, moves: int, halvings: int, k: int, blocks: int, behind: float) -> float:
        rounds = (1 + self.reparameterize - moves) * (not halvings)
        halved = sum(blocks * 2**i for i in range(1, self.refine - halvings + 1))
        now = blocks if halvings else blocks * rounds
        return 1 / (now - k + halved)


class Watched(PublishedJKOiFlow):
    """The recipe; says what it has come to after each round."""

    def watch(self, rows: torch.Tensor, logarithm: float, rounds: EqualRounds) -> None:
        """Looks at these rows, whose log density in their own units is `logarithm` less."""
        self.rows, self.logarithm, self.rounds, self.before = rows, logarithm, rounds, None

    def _next_round(self, entries: list[dict[str, Any]]) -> tuple[int, int] | None:
        self.report(entries)
        return super()._next_round(entries)

    @torch.no_grad()
    def report(self, entries: list[dict[str, Any]]) -> None:
        """A line for the round that is over."""
        nll = self.logarithm - self.log_prob(self.rows).double()
        gain = None if self.before is None else self.before - nll
        error = (self.decode(self.encode(self.rows)) - self.rows).square().mean().item()
        movements = [entry["movement"] for entry in entries[-len(self.velocity) :]]
        last, spread = entries[-1], statistics.pstdev(movements) / statistics.mean(movements)
        print(
            f"{last['moves']:>5} {last['halvings']:>8} {len(movements):>6} {_with_error(nll):>18} "
            f"{'' if gain is None else _with_error(gain):>18} {error:>10.1e} {spread:>7.2f}",
            flush=True,
        )
        self.before = nll


def _with_error(values: torch.Tensor) -> str:
    return f"{values.mean().item():.4f} ± {values.std().item() / math.sqrt(len(values)):.4f}"


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["two-moons", "rose"])
    parser.add_argument("--steps", type=int, default=1000, help="of each block in each round")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--moves", type=int, default=4, help="rounds that move the boundaries")
    parser.add_argument("--halvings", type=int, default=1, help="rounds that halve every interval, behind those")
    parser.add_argument("--damping", type=float, default=0.5, help="share of the way that the boundaries move")
    parser.add_argument("--rate", type=float, default=1e-4, help="Adam's learning rate")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.data:
        data = gf.data.load(name, seed=chosen.seed)
        rounds = EqualRounds(chosen.moves, equal=0.0, damping=chosen.damping, refine=chosen.halvings)
        model = Watched(data.dim, chosen.blocks, learning_rate=chosen.rate)
        # The rows in the model's units, as `fit` will hand them to it.
        mean, deviation = (getattr(torch.as_tensor(data.train).double(), f)(0) for f in ("mean", "std"))
        rows = ((torch.as_tensor(data.test).double() - mean) / deviation).float()
        model.watch(rows, deviation.log().sum().item(), rounds)
        stages = chosen.blocks * (1 + chosen.moves + sum(2**i for i in range(1, chosen.halvings + 1)))
        print(f"\n{name}, {chosen.steps} steps a block, {stages * chosen.steps} in all")
        print("moves halvings blocks           test NLL               gain  inversion  spread of movements")
        fitted = model.fit(data, iterations=stages * chosen.steps, seed=chosen.seed)
        # The budget is over with the last round, which nobody has looked at.
        fitted.model.report([entry for entry in fitted.history if entry["kind"] == "block"])


if __name__ == "__main__":
    main()
