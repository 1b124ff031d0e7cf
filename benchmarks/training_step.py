"""The cost of a training step, in forward-and-backward evaluations of the same network.

    python benchmarks/training_step.py [--dims 2 8 43] [--width 128] [--rows 256] [--steps 3] [--threads 1 2]
                                       [--rounds 31] [--compile]

One step: the solve of `steps` RK4 sub-intervals with the divergence on the way, the negative log-likelihood, its
backward pass to all weights; no optimizer. Its unit: 4 `steps` evaluations `velocity(x, t)`, each followed by its own
backward pass to all weights and to x. The unit does not update x between its evaluations, and each graph is freed
before the next is made, so that the unit pays for nothing but the network. Both run as in a training, with the products
that `genflow.numerics.products` chooses; in turns, in one process.

Goals: at most 1.5 with one Hutchinson probe and 1.4 with the exact divergence; compiled, 0.95 and 1.4. What is
reached, and why not all: docs/numerics.md. `GENFLOW_KERNELS=0` shows what it is without kernels in C.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import interleaved

import genflow as gf
from genflow.numerics.products import fast_products
from genflow.numerics.tuning import tuned_process

ESTIMATORS = {"hutchinson": gf.divergences.Hutchinson(), "exact": gf.divergences.Exact()}


def network(dim: int, width: int) -> gf.velocities.Shallow:
    """The default network, away from the zero field that it begins as."""
    torch.manual_seed(0)
    velocity = gf.velocities.Shallow(dim, width)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return velocity


def evaluations(velocity: gf.Velocity, x: torch.Tensor, steps: int) -> Callable[[], None]:
    """The unit."""
    start, stop = velocity.interval
    times = torch.linspace(start, stop, 4 * steps)
    x = x.clone().requires_grad_()
    slope = torch.randn_like(x)

    def run() -> None:
        velocity.zero_grad()
        for t in times:
            x.grad = None
            velocity(x, t).backward(slope)

    return run


def training_step(flow: gf.Flow, x: torch.Tensor, compiled: bool = False) -> Callable[[], None]:
    """Solve, loss and backward."""
    generator = torch.Generator().manual_seed(0)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return -flow.log_prob(x, generator=generator).mean()

    loss = torch.compile(loss, dynamic=False) if compiled else loss

    def run() -> None:
        flow.velocity.zero_grad()
        loss(x).backward()

    return run


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8, 43])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rows", type=int, default=256, help="256 is the batch of JKO-iFlow")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--compile", action="store_true", help="time the compiled steps as well")
    chosen = parser.parse_args()
    print(f"{'threads':>7} {'d':>4}  training step / {4 * chosen.steps} evaluations, median (quartiles)")
    for threads in chosen.threads:
        torch.set_num_threads(threads)
        for dim in chosen.dims:
            velocity, x = network(dim, chosen.width), torch.randn(chosen.rows, dim)
            runs = {"unit": evaluations(velocity, x, chosen.steps)}
            for name, estimator in ESTIMATORS.items():
                flow = gf.Flow(velocity, gf.schedulers.Uniform(chosen.steps), gf.solvers.RK4(), estimator)
                runs[name] = training_step(flow, x)
                if chosen.compile:
                    runs[f"{name}, compiled"] = training_step(flow, x, compiled=True)
            with fast_products():
                timings = interleaved(runs, chosen.rounds)
            for name in list(runs)[1:]:
                print(f"{threads:>7} {dim:>4}  {name:<21} {timings.text(name, 'unit')}")


if __name__ == "__main__":
    main()
