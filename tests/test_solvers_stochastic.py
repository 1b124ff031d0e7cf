"""Euler–Maruyama: the law of an Ornstein–Uhlenbeck process in both directions of time, and the weak order."""

from __future__ import annotations

import math

import pytest
import torch

from genflow import Dynamics, InputError, SolverError
from genflow.solvers import EulerMaruyama

PATHS = 100_000
OU = Dynamics(lambda t, x: -x, diffusion=lambda t, x: math.sqrt(2))


def solve(dynamics, x, times, seed=0):
    return EulerMaruyama().solve(dynamics, x, times, generator=torch.Generator().manual_seed(seed)).state


@pytest.mark.parametrize("steps", [1, 8])
def test_law_of_the_discrete_process(steps):
    """x' = (1 - h) x + sqrt(2 h) xi: mean and variance follow from the recursion."""
    h = 1 / steps
    x = solve(OU, torch.full((PATHS,), 2.0), torch.linspace(0, 1, steps + 1))
    mean = 2 * (1 - h) ** steps
    variance = 2 * h * sum((1 - h) ** (2 * k) for k in range(steps))
    assert abs(x.mean().item() - mean) < 4 * math.sqrt(variance / PATHS)
    assert abs(x.var().item() - variance) < 4 * variance * math.sqrt(2 / PATHS)


def test_weak_order_is_one():
    errors = [
        abs(solve(OU, torch.full((PATHS,), 2.0), torch.linspace(0, 1, steps + 1)).mean().item() - 2 / math.e)
        for steps in (4, 8)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.5


def test_the_reverse_equation_leads_back():
    """From the law of the OU process at t = 1 back to N(2, 0.25) at t = 0."""

    def drift(t, x):
        mean, variance = 2 * torch.exp(-t), 1 - 0.75 * torch.exp(-2 * t)
        return -x + 2 * (x - mean) / variance

    reverse = Dynamics(drift, diffusion=lambda t, x: torch.full_like(x, math.sqrt(2)))
    generator = torch.Generator().manual_seed(1)
    x = 2 / math.e + math.sqrt(1 - 0.75 * math.exp(-2)) * torch.randn(PATHS, generator=generator)
    x = solve(reverse, x, torch.linspace(1, 0, 201))
    assert x.mean().item() == pytest.approx(2, abs=0.02)
    assert x.var().item() == pytest.approx(0.25, abs=0.01)


def test_same_seed_same_path_and_states():
    times, x = torch.linspace(0, 1, 5), torch.zeros(7)
    assert torch.equal(solve(OU, x, times), solve(OU, x, times))
    assert not torch.equal(solve(OU, x, times), solve(OU, x, times, seed=1))
    solution = EulerMaruyama().solve(OU, x, times, save="all")
    assert torch.equal(solution.states[-1], solution.state)
    assert torch.equal(solution.states[0], x)
    assert solution.nfe == solution.steps == 4


def test_says_what_it_misses():
    times = torch.linspace(0, 1, 3)
    with pytest.raises(InputError, match=r"needs a diffusion\(t, x\)"):
        EulerMaruyama().solve(Dynamics(lambda t, x: -x), torch.ones(2), times)
    with pytest.raises(InputError, match="moves points alone"):
        EulerMaruyama().solve(OU, (torch.ones(2), torch.ones(2)), times)
    with torch.no_grad(), pytest.raises(SolverError, match="EulerMaruyama: the state is not finite"):
        solve(Dynamics(lambda t, x: x / 0, diffusion=OU.diffusion), torch.ones(2), times)
