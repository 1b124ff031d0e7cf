"""The cost of log p, against the divergences of other libraries.

    python benchmarks/likelihood.py [threads]

`log_prob` of 500 rows at d = 8, 43 and 63 in one interleaved run, without gradients, the network, the rows and the
number of RK4 steps the same for all; before anything is timed, all have to agree on log p. By what factor genflow is
faster than

- the divergence of zuko's CNF, a batched vjp (its own code, on a fixed grid instead of its adaptive one);
- flow_matching's `compute_likelihood(exact_divergence=True)`, a loop of vjps over the columns;
- torchdiffeq's `odeint` with one vjp for Hutchinson's estimate, as FFJORD made it usual.

The first two for the exact divergence of `Shallow` (width 128, in closed form) and of `ResidualMLP` (width 128, three
layers, by pushed tangents). Goals: `Shallow` 7, 25 and 40 times by dimension; `ResidualMLP` 4 times faster than zuko
and 1.5 times than flow_matching at d >= 43; Hutchinson 1.3 times. `pip install genflow[bench]` brings the peers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
import zuko
from flow_matching.solver import ODESolver
from interleaved import interleaved
from torch import Tensor
from torchdiffeq import odeint

import genflow as gf
from genflow.numerics.tuning import tuned_process

ROWS, STEPS, ROUNDS = 500, 2, 11


def randomized(velocity: gf.Velocity) -> gf.Velocity:
    """Weights away from the zero field that it begins as."""
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return velocity


def rk4(f: Callable[..., tuple[Tensor, ...]], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The classical method on the same grid as everybody's."""
    h = 1 / STEPS

    def moved(slopes: tuple[Tensor, ...], by: float) -> tuple[Tensor, ...]:
        return tuple(y + by * k for y, k in zip(state, slopes, strict=True))

    for t in torch.arange(STEPS) * h:
        k1 = f(t, *state)
        k2 = f(t + h / 2, *moved(k1, h / 2))
        k3 = f(t + h / 2, *moved(k2, h / 2))
        k4 = f(t + h, *moved(k3, h))
        state = moved(tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)), h)
    return state


def of_zuko(velocity: gf.Velocity, base: gf.StandardNormal) -> Callable[[Tensor], Tensor]:
    """zuko's own augmented field, its `odeint` replaced by the fixed grid."""
    transform = zuko.transforms.FreeFormJacobianTransform(lambda t, x: velocity(x, t), 0.0, 1.0, exact=True)
    zuko.transforms.odeint = lambda f, state, *rest: rk4(f, state)

    def log_prob(x: Tensor) -> Tensor:
        z, log_det = transform.call_and_ladj(x)
        return base.log_prob(z) + log_det

    return log_prob


def of_flow_matching(velocity: gf.Velocity, base: gf.StandardNormal) -> Callable[[Tensor], Tensor]:
    """Its time runs from the data at 1 to the noise at 0."""
    solver = ODESolver(velocity_model=lambda x, t: -velocity(x, 1 - t))
    options = {"step_size": 1 / STEPS, "method": "rk4", "exact_divergence": True}
    return lambda x: solver.compute_likelihood(x.clone(), base.log_prob, **options)[1]


def of_torchdiffeq(velocity: gf.Velocity, base: gf.StandardNormal) -> Callable[[Tensor], Tensor]:
    """One random probe for each solve, one vjp for each evaluation."""
    times = torch.linspace(0, 1, STEPS + 1)

    def log_prob(x: Tensor) -> Tensor:
        probe = torch.randint(0, 2, x.shape).to(x) * 2 - 1

        def augmented(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                y = state[0].detach().requires_grad_()
                v = velocity(y, t)
                (pulled,) = torch.autograd.grad(v, y, probe)
            return v.detach(), (pulled * probe).sum(-1)

        z, log_det = odeint(augmented, (x, x.new_zeros(len(x))), times, method="rk4")
        return base.log_prob(z[-1]) + log_det[-1]

    return log_prob


def check(own: Tensor, finer: Tensor, other: Tensor, name: str) -> None:
    """The peers integrate the same: another variant of RK4 has errors of the size of one's own on this grid."""
    gap, error = (own - other).abs().mean().item(), (own - finer).abs().mean().item()
    if not gap < 3 * error + 1e-3:
        raise SystemExit(f"{name} is {gap:.3g} nats away, more than the grid explains: it does not compute the same")


@tuned_process()
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"{ROWS} rows, {STEPS} RK4 steps, {threads} thread(s): how many times faster, median (quartiles)")
    print(
        f"{'network':>12} {'d':>4} {'exact / zuko':>24} {'exact / flow_matching':>24} {'Hutchinson / torchdiffeq':>24}"
    )
    for build in (
        lambda dim: gf.velocities.Shallow(dim, 128),
        lambda dim: gf.velocities.ResidualMLP(dim, 128, depth=3),
    ):
        for dim in (8, 43, 63):
            torch.manual_seed(0)
            velocity, x = randomized(build(dim)), torch.randn(ROWS, dim)
            exact = gf.Flow(velocity, gf.schedulers.Uniform(STEPS))
            random = exact.replace(divergence=gf.divergences.Hutchinson())
            peers = {
                "zuko": of_zuko(velocity, exact.base),
                "flow_matching": of_flow_matching(velocity, exact.base),
                "torchdiffeq": of_torchdiffeq(velocity, exact.base),
            }
            with torch.no_grad():
                finer = exact.replace(scheduler=gf.schedulers.Uniform(2 * STEPS)).log_prob(x)
                for name in ("zuko", "flow_matching"):
                    check(exact.log_prob(x), finer, peers[name](x), name)
                gap = (random.log_prob(x) - peers["torchdiffeq"](x)).mean().abs().item()
                spread = math.sqrt(2) * (random.log_prob(x) - exact.log_prob(x)).std().item() / math.sqrt(ROWS)
                if gap > 5 * spread:
                    raise SystemExit(f"torchdiffeq is {gap:.3g} nats away in the mean: it does not compute the same")
                functions = {name: lambda f=f, x=x: f(x) for name, f in peers.items()}
                functions["exact"] = lambda f=exact.log_prob, x=x: f(x)
                functions["random"] = lambda f=random.log_prob, x=x: f(x)
                timings = interleaved(functions, ROUNDS)
            ratios = (("zuko", "exact"), ("flow_matching", "exact"), ("torchdiffeq", "random"))
            columns = " ".join(f"{timings.text(*pair):>24}" for pair in ratios)
            print(f"{type(velocity).__name__:>12} {dim:>4} {columns}", flush=True)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
