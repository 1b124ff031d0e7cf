"""The samplers of diffusions against diffusers' schedulers, given the same denoiser and the same noise.

Conventions: their timestep t = 0, …, N - 1 is our time (t + 1) / N, on the same table of rates.
"""

from __future__ import annotations

import pytest
import torch

import genflow as gf
from genflow.paths import DiscreteSteps, Noise, Tabulated
from genflow.solvers import DDIM, Ancestral, DPMSolver
from genflow.velocities import ProbabilityFlow

diffusers = pytest.importorskip("diffusers")

LEVELS = 1000


def network(x, t, condition=None):
    """Some smooth prediction of the noise."""
    return torch.tanh(1.3 * x + 0.4 * x.roll(1, -1)) * (0.5 + t)


def dynamics(path):
    flow = ProbabilityFlow(network, path, Noise())
    offered = gf.Dynamics(lambda t, x: flow(x, t))
    offered.denoise, offered.noise = flow.denoise, flow.noise
    return offered


def settings(rates):
    return {
        "num_train_timesteps": LEVELS,
        "beta_schedule": {"linear": "linear", "cosine": "squaredcos_cap_v2"}[rates],
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "timestep_spacing": "leading",
        "prediction_type": "epsilon",
    }


def start():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def times_of(scheduler):
    """Their timesteps as our times, and the step to the data."""
    return torch.cat([(scheduler.timesteps.double() + 1) / LEVELS, torch.zeros(1, dtype=torch.float64)])


# Their tables are in single precision.
close = {"rtol": 2e-4, "atol": 2e-4}


@pytest.mark.parametrize("rates", ["linear", "cosine"])
def test_the_tables_are_the_same(rates):
    scheduler = diffusers.DDPMScheduler(**settings(rates))
    path = DiscreteSteps(rates, LEVELS)
    n = torch.arange(1, LEVELS + 1, dtype=torch.float64) / LEVELS
    torch.testing.assert_close(path.alpha(n) ** 2, scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-7)


def test_any_of_their_schedules_is_a_path():
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(20)
    path = Tabulated(scheduler.alphas_cumprod)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, (t.double() + 1) / LEVELS), t, x).prev_sample
    torch.testing.assert_close(DDIM().solve(dynamics(path), start(), times_of(scheduler)).state, x, **close)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rates", ["linear", "cosine"])
def test_ddim(rates, eta):
    scheduler = diffusers.DDIMScheduler(**settings(rates), clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(20)
    x, source = start(), torch.Generator().manual_seed(1)
    for t in scheduler.timesteps:
        noise = torch.randn(x.shape, generator=source, dtype=x.dtype) if eta else None
        x = scheduler.step(network(x, (t.double() + 1) / LEVELS), t, x, eta=eta, variance_noise=noise).prev_sample
    ours = DDIM(eta).solve(
        dynamics(DiscreteSteps(rates, LEVELS)), start(), times_of(scheduler), generator=torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(ours.state, x, **close)


@pytest.mark.parametrize("steps", [50, 1000])
def test_ddpm(steps):
    scheduler = diffusers.DDPMScheduler(**settings("linear"), clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    x, source = start(), torch.Generator().manual_seed(1)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, (t.double() + 1) / LEVELS), t, x, generator=source).prev_sample
    ours = Ancestral().solve(
        dynamics(DiscreteSteps("linear", LEVELS)),
        start(),
        times_of(scheduler),
        generator=torch.Generator().manual_seed(1),
    )
    # Theirs keeps the variance of a step above 1e-20 and its noise in the dtype of the prediction: as ours.
    torch.testing.assert_close(ours.state, x, **close)


def test_dpm_solver():
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **settings("linear"),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(20)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, (t.double() + 1) / LEVELS), t, x).prev_sample
    ours = DPMSolver().solve(dynamics(DiscreteSteps("linear", LEVELS)), start(), times_of(scheduler))
    torch.testing.assert_close(ours.state, x.double(), **close)
