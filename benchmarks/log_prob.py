"""The cost of an exact log_prob, in bare evaluations of the same network.

    python benchmarks/log_prob.py [threads]

For d = 8, 43 and 63: `log_prob` of 1000 rows by the default network of `jko-iflow` on its default grid, by the time
that the same number of plain `velocity(x, t)` takes, at the same times and on as many rows. No gradients. Both are
timed in turns, in one process. The goal is a ratio of at most 3.
"""

from __future__ import annotations

import sys

import torch
from interleaved import interleaved

import genflow as gf
from genflow.numerics.tuning import tuned_process
from genflow.training import TrainingData

ROWS = 1000


def trained_like(dim: int) -> gf.models.JKOiFlow:
    """The default model with one block, its weights away from the zero field that it begins as."""
    torch.manual_seed(0)
    model = gf.models.JKOiFlow(dim, blocks=1)
    x = torch.randn(ROWS, dim)
    model.next_stage(TrainingData(x, x), [])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@tuned_process()
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"{'d':>4} {'evaluations':>12}   log_prob / bare evaluations, median (quartiles); {threads} thread(s)")
    for dim in (8, 43, 63):
        model = trained_like(dim)
        x = torch.randn(ROWS, dim)
        velocity, start, stop = model.velocity.pieces()[0]
        times = model.scheduler.times(start, stop)
        nfe = model.integrate(x).nfe

        def bare(velocity=velocity, x=x, times=times, nfe=nfe) -> None:
            for i in range(nfe):
                velocity(x, times[i * (len(times) - 1) // nfe])

        with torch.no_grad():
            timings = interleaved({"log_prob": lambda model=model, x=x: model.log_prob(x), "bare": bare})
        print(f"{dim:>4} {nfe:>12}   {timings.text('log_prob', 'bare')}")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
