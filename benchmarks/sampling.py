"""The cost of sampling on a fixed grid, in bare evaluations of the same network.

    python benchmarks/sampling.py [threads]

`sample` of 2000 rows by each fixed-step solver, by the time that as many plain `velocity(x, t)` take at the same times
and on as many rows. No gradients; timed in turns, in one process. The goal is a ratio of at most 1.05.
"""

from __future__ import annotations

import sys

import torch
from interleaved import interleaved

import genflow as gf
from genflow.numerics.tuning import tuned_process

ROWS = 2000


@torch.no_grad()
@tuned_process()
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print(f"{ROWS} rows, {threads} thread(s); sample / bare evaluations, median (quartiles)")
    solvers = [gf.solvers.Euler(), gf.solvers.Heun(), gf.solvers.RK4(), gf.solvers.AdamsBashforth()]
    for dim in (2, 43):
        flow = gf.models.FlowMatching(dim).replace(scheduler=gf.schedulers.Uniform(16))
        x = torch.randn(ROWS, dim)
        for solver in solvers:
            model = flow.replace(integrator=solver)
            velocity = model.velocity
            nfe = model.integrate(x, reverse=True, log_det=False).nfe
            times = torch.linspace(1, 0, nfe)

            def bare(velocity=velocity, x=x, times=times) -> None:
                for t in times:
                    velocity(x, t)

            timings = interleaved({"sample": lambda model=model: model.sample(ROWS), "bare": bare}, rounds=21)
            print(f"d = {dim:>2}  {type(solver).__name__:<15} {nfe:>4} evaluations   {timings.text('sample', 'bare')}")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
