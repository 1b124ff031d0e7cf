"""Euler–Maruyama against torchsde's `sdeint(method="euler")`: seconds of a step, and the law behind it.

    python benchmarks/sde.py [threads]

A drift of a 2-128-128-128-2 network, additive noise, 2000 rows, no gradients, for several numbers of steps. Three are
timed in turns, in one process: torchsde, genflow's `EulerMaruyama`, and the bare network evaluations, which are the
least that any solver can cost. Both integrate the same equation; their means and variances must agree within the error
of the samples.
"""

from __future__ import annotations

import itertools
import math
import sys

import torch
from interleaved import interleaved
from torch import nn

import genflow as gf
from genflow.numerics.tuning import tuned_process

ROWS = 2000


class Equation(nn.Module):
    """The equation as torchsde wants it."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self) -> None:
        super().__init__()
        sizes = (2, 128, 128, 128, 2)
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
        self.network = nn.Sequential(*layers[:-1])

    def f(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) - x

    def g(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, math.sqrt(2))


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of means and of variances, in units of its standard error."""
    error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
    of_variance = math.sqrt(2) * error * a.std(0)
    return max(((a.mean(0) - b.mean(0)) / error).abs().max(), ((a.var(0) - b.var(0)) / of_variance).abs().max()).item()


@torch.no_grad()
@tuned_process()
def main(threads: int) -> None:
    import torchsde

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    equation, x = Equation(), torch.randn(ROWS, 2)
    dynamics = gf.Dynamics(equation.f, diffusion=equation.g)
    solver = gf.solvers.EulerMaruyama()
    print(f"{ROWS} rows, {threads} thread(s); ratios of time, median (quartiles)")
    print(f"{'steps':>6}   {'torchsde / genflow':>22}   {'genflow / network':>22}   {'gap of the laws':>15}")
    for steps, rounds in {10: 41, 100: 15, 1000: 3}.items():
        times = torch.linspace(0, 1, steps + 1)

        def peer(steps=steps, times=times) -> torch.Tensor:
            return torchsde.sdeint(equation, x, times[[0, -1]], method="euler", dt=1 / steps)[-1]

        def ours(times=times) -> torch.Tensor:
            return solver.solve(dynamics, x, times).state

        def bare(steps=steps, times=times) -> None:
            for t in times[:steps]:
                equation.f(t, x)

        timings = interleaved({"torchsde": peer, "genflow": ours, "network": bare}, rounds)
        laws = gap(ours(), peer())
        print(
            f"{steps:>6}   {timings.text('torchsde', 'genflow'):>22}   {timings.text('genflow', 'network'):>22}   "
            f"{laws:>12.1f} SE"
        )


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
