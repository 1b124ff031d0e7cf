"""The two-dimensional table of torchcfm: its code and ours in one run, the same network and batches.

    python benchmarks/two_dimensional.py [--iterations 2000] [--seeds 0 1 2] [--cases NAME …] [--methods NAME …]

Transport from eight Gaussians to moons, and from a normal law to moons and to an S curve, by conditional flow matching
with independent pairs (CFM), with optimal transport (OT-CFM) and with entropic transport (SB-CFM, deviation 1). The
network is the four layers of 64 of its examples, the batch 256. Theirs: Adam at 1e-3, as in the examples; ours:
`genflow.models.Matching` with its defaults, whose rate falls from 2e-3 like a cosine: the same on average.

W2: the 2-Wasserstein distance of 2048 samples to 2048 new points of the target. Energy: the normalized path energy
|E - W2²| / W2² of the solution, E the integral of |v|² and W2 that of source and target. Means over seeds with their
standard errors. Table 2 of Tong et al. 2024, https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import make_moons, make_s_curve
from torch import Tensor, nn
from torchcfm import conditional_flow_matching as peers

import genflow as gf
from genflow.metrics import wasserstein2
from genflow.models import Matching
from genflow.numerics.tuning import tuned_process
from genflow.paths import BrownianBridge, EntropicTransport, Linear
from genflow.training import Budget, TrainingData, train

WIDTH, BATCH, RATE, ROWS, DEVIATION = 64, 256, 1e-3, 2048, 1.0


def eight_gaussians(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    angle = rng.integers(8, size=count) * np.pi / 4
    centres = 5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return torch.as_tensor(centres + 0.1**0.25 * rng.standard_normal((count, 2)), dtype=torch.float32)


def normal(count: int, seed: int) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((count, 2)), dtype=torch.float32)


def moons(count: int, seed: int) -> Tensor:
    return torch.as_tensor(make_moons(count, noise=0.2, random_state=seed)[0] * 3 - 1, dtype=torch.float32)


def s_curve(count: int, seed: int) -> Tensor:
    rows = make_s_curve(count, noise=0.05, random_state=seed)[0][:, [0, 2]]
    return torch.as_tensor(rows * 1.5, dtype=torch.float32)


CASES = {
    "8 Gaussians -> moons": (eight_gaussians, moons),
    "N -> moons": (normal, moons),
    "N -> S curve": (normal, s_curve),
}
METHODS = {
    "CFM": (lambda: peers.ConditionalFlowMatcher(sigma=0.0), Linear, "independent"),
    "OT-CFM": (lambda: peers.ExactOptimalTransportConditionalFlowMatcher(sigma=0.0), Linear, "ot"),
    "SB-CFM": (
        lambda: peers.SchrodingerBridgeConditionalFlowMatcher(sigma=DEVIATION, ot_method="sinkhorn"),
        lambda: BrownianBridge(DEVIATION),
        EntropicTransport(2 * DEVIATION**2),
    ),
}


class Network(gf.Velocity):
    """Their four layers, told of the time by one more input."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, WIDTH, WIDTH, WIDTH]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SELU())]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, 2))

    def forward(self, x: Tensor, t: Tensor, condition: None = None) -> Tensor:
        return self.layers(torch.cat([x, t.expand(x.shape[:-1])[..., None]], -1))


class Source(gf.Base):
    """Draws of a source, without a density."""

    shape = (2,)

    def __init__(self, rows: Tensor):
        super().__init__()
        self.rows = rows

    def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
        index = torch.randint(len(self.rows), tuple(batch), generator=generator)
        return self.rows[index].to(device, dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        raise NotImplementedError


def theirs(
    make: Callable, network: Network, source: Callable, target: Callable, iterations: int, seed: int
) -> gf.Velocity:
    """Their loop; its time runs from the source to the target."""
    matcher, optimizer = make(), torch.optim.Adam(network.parameters(), RATE)
    sources, targets = source(50_000, 10 * seed + 1), target(50_000, 10 * seed + 2)
    for _ in range(iterations):
        x0, x1 = (rows[torch.randint(len(rows), (BATCH,))] for rows in (sources, targets))
        t, x_t, u_t = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = (network(x_t, t) - u_t).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reversed_field = gf.as_velocity(lambda x, t, condition: -network(x, 1 - t))
    reversed_field.dim = 2
    return reversed_field


def ours(
    path, coupling, network: Network, source: Callable, target: Callable, iterations: int, seed: int
) -> gf.Velocity:
    base = Source(source(50_000, 10 * seed + 1))
    model = Matching(network, path(), coupling, batch_size=BATCH, base=base)
    rows = target(50_000, 10 * seed + 2)
    train(model, TrainingData(rows[:48_000], rows[48_000:]), Budget(iterations=iterations), seed=seed)
    return model.velocity


@torch.no_grad()
def judged(field: gf.Velocity, source: Callable, target: Callable, seed: int) -> tuple[float, float]:
    z, x = source(ROWS, 10 * seed + 3), target(ROWS, 10 * seed + 4)
    start, stop = field.interval
    flow = gf.Flow(field, gf.schedulers.Uniform(50), base=Source(z))
    energy = lambda t, x, estimate: estimate.velocity.square().sum(-1)
    transport = flow.integrate(z, reverse=True, log_det=False, costs=[energy])
    least = wasserstein2(z.double(), x.double()) ** 2
    spent = transport.costs[0].abs().mean().item() / (stop - start)
    return wasserstein2(transport.x.double(), x.double()), abs(spent - least) / least


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.iterations} iterations, seeds {options.seeds}; mean ± standard error")
    print(f"{'':<22}{'':<8}{'W2 theirs':>16}{'W2 ours':>16}{'energy theirs':>18}{'energy ours':>18}{'time ratio':>12}")
    for case in options.cases:
        source, target = CASES[case]
        for name in options.methods:
            make, path, coupling = METHODS[name]
            figures: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
            seconds = {"theirs": 0.0, "ours": 0.0}
            for seed in options.seeds:
                torch.manual_seed(seed)
                network = Network()
                for who in ("theirs", "ours"):
                    torch.manual_seed(seed)
                    begin, fresh = time.perf_counter(), copy.deepcopy(network)
                    if who == "theirs":
                        field = theirs(make, fresh, source, target, options.iterations, seed)
                    else:
                        field = ours(path, coupling, fresh, source, target, options.iterations, seed)
                    seconds[who] += time.perf_counter() - begin
                    figures[who].append(judged(field, source, target, seed))
            columns = [
                f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
                for k in (0, 1)
                for values in ([pair[k] for pair in figures[who]] for who in ("theirs", "ours"))
            ]
            ratio = seconds["ours"] / seconds["theirs"]
            print(
                f"{case:<22}{name:<8}{columns[0]:>16}{columns[1]:>16}{columns[2]:>18}{columns[3]:>18}{ratio:>12.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
