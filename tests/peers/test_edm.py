"""Karras's sampler against the loop of its authors, written out."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import genflow as gf
from genflow.paths import EDM, Preconditioned
from genflow.solvers import EDMSampler
from genflow.velocities import ProbabilityFlow

STEPS = 12


def network(x, t, condition=None):
    return torch.tanh(x + 0.3 * x.roll(1, -1)) + (t[..., None] if t.ndim == 1 else t)


def denoiser(x, sigma):
    """Their preconditioning, with a data deviation of 0.5."""
    data = 0.5
    skip = data**2 / (sigma**2 + data**2)
    out = sigma * data / (sigma**2 + data**2) ** 0.5
    scale = 1 / (data**2 + sigma**2) ** 0.5
    return skip * x + out * network(scale * x, sigma.log() / 4)


def grid():
    """Their equation 5 with ρ = 7, and the step to no noise."""
    i = torch.arange(STEPS, dtype=torch.float64)
    low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
    return torch.cat([(high + i / (STEPS - 1) * (low - high)) ** 7, torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize("churn", [0.0, 4.0, 40.0])
def test_heun_with_churn(churn):
    s_min, s_max, s_noise = 0.05, 50.0, 1.003
    start = 80 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    source, times, x_next = torch.Generator().manual_seed(1), grid(), start
    for t_cur, t_next in pairwise(times):
        x_cur = x_next
        gamma = min(churn / STEPS, math.sqrt(2) - 1) if s_min <= t_cur <= s_max else 0
        t_hat = t_cur + gamma * t_cur
        noise = torch.randn(x_cur.shape, generator=source, dtype=x_cur.dtype) if gamma else 0.0
        x_hat = x_cur + (t_hat**2 - t_cur**2).sqrt() * s_noise * noise
        d_cur = (x_hat - denoiser(x_hat, t_hat)) / t_hat
        x_next = x_hat + (t_next - t_hat) * d_cur
        if t_next > 0:
            d_prime = (x_next - denoiser(x_next, t_next)) / t_next
            x_next = x_hat + (t_next - t_hat) * (0.5 * d_cur + 0.5 * d_prime)
    path = EDM(0.002, 80.0)
    flow = ProbabilityFlow(network, path, Preconditioned(0.5), clock="karras")
    dynamics = gf.Dynamics(lambda t, x: flow(x, t))
    dynamics.denoise, dynamics.noise = flow.denoise, path
    sampler = EDMSampler(churn, s_min, s_max, s_noise)
    ours = sampler.solve(dynamics, start, times, generator=torch.Generator().manual_seed(1)).state
    torch.testing.assert_close(ours, x_next, rtol=1e-9, atol=1e-9)


def test_the_grid_of_noises():
    ours = gf.schedulers.Karras(EDM(0.002, 80.0), STEPS - 1).times(80.0, 0.002, dtype=torch.float64)
    torch.testing.assert_close(ours, grid()[:-1], rtol=1e-9, atol=1e-12)


def test_the_loss_is_theirs():
    """λ(σ) |D(x + σ z; σ) - x|² with λ = (σ² + s²) / (σ s)²."""
    source = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 64, 3, generator=source, dtype=torch.float64)
    u = torch.rand(64, generator=source, dtype=torch.float64)
    times = gf.paths.LogNormal(-1.2, 1.2)
    path = EDM(1e-6, 1e6)  # so wide that nothing is cut off
    field = gf.as_velocity(network)
    field.dim = 3
    flow = ProbabilityFlow(field, path, Preconditioned(0.5), clock="karras")
    model = gf.models.Matching(flow, times=times, weighting=gf.paths.EDMWeighting(0.5))
    sigma = torch.exp(-1.2 + 1.2 * torch.special.ndtri(u))
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    theirs = weight * (denoiser(x + sigma[:, None] * z, sigma[:, None]) - x).square().sum(-1)
    torch.testing.assert_close(model.losses(x, z, u), theirs, rtol=1e-7, atol=1e-9)
