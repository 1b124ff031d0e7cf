"""Samplers of diffusions: exact where the denoiser is constant, the ends of the schedule, directions, refusals."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow import Dynamics, InputError
from genflow.solvers import (
    DDIM,
    RK4,
    Ancestral,
    DPMSolver,
    EDMSampler,
    EulerMaruyama,
    PredictorCorrector,
    StochasticHeun,
)  # fmt: skip

float64 = torch.float64
SAMPLERS = [DDIM(), DPMSolver(), DDIM(eta=0.5), Ancestral(), PredictorCorrector(), EDMSampler(), EDMSampler(churn=4)]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)


def diffusion_of(denoise, noise):
    dynamics = Dynamics(lambda t, x: x)
    dynamics.denoise, dynamics.noise = denoise, noise
    return dynamics


@pytest.mark.parametrize("sampler", [DDIM(), DPMSolver(), EDMSampler()], ids=["DDIM", "DPMSolver", "EDMSampler"])
@pytest.mark.parametrize("stop", [0.0, 0.3])
def test_data_in_one_point_are_sampled_exactly_in_one_step(sampler, stop):
    """From pure noise at t = 1, where λ is -∞, to t = 0, where it is ∞: x_t = (1 - t) m + t ε on all of the way."""
    dynamics = diffusion_of(lambda t, x: torch.full_like(x, 3.0), gf.schedulers.LinearInterpolant())
    noise = torch.randn(5, 2, dtype=float64)
    for steps in (1, 4):
        end = sampler.solve(dynamics, noise, torch.linspace(1, stop, steps + 1, dtype=float64)).state
        assert torch.allclose(end, (1 - stop) * 3 + stop * noise, atol=1e-12)
        if stop:  # and back to where no signal is left
            back = sampler.solve(dynamics, end, torch.linspace(stop, 1, steps + 1, dtype=float64)).state
            assert torch.allclose(back, noise, atol=1e-12)


def test_a_denoiser_linear_in_lambda_is_solved_exactly_by_two_steps_of_memory():
    r"""σ_s ∫ e^λ (p + q λ) dλ = σ_s [e^λ (p + q (λ - 1))]: the second order of DPM-Solver++(2M), on an uneven grid.

    The published method replaces the mean of λ under e^λ by the middle of the step, which is right to the third order.
    """
    noise = gf.schedulers.VariancePreserving()
    p, q = 0.4, 0.3

    def half(t):
        return 0.5 * noise.log_snr(t)

    dynamics = diffusion_of(lambda t, x: (p + q * half(t)).expand_as(x), noise)

    def error(steps):
        times = gf.schedulers.Warped(steps, 2.0).times(0.9, 0.2, dtype=float64)
        first, last = times[0], times[-1]
        primitive = [half(t).exp() * (p + q * (half(t) - 1)) for t in (first, last)]
        exact = noise.sigma(last) / noise.sigma(first) * 1.5 + noise.sigma(last) * (primitive[1] - primitive[0])
        end = DPMSolver().solve(dynamics, torch.full((1,), 1.5, dtype=float64), times).state
        return abs(end.item() - exact.item())

    assert math.log2(error(40) / error(80)) == pytest.approx(2, abs=0.3)


def test_ddim_leads_back_where_it_came_from():
    """Up to its error, of order 1."""
    z, lost = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), []
    for steps in (40, 80):
        torch.manual_seed(0)
        model = gf.baselines.ScoreSDE(2, width=16, steps=steps).replace(integrator=DDIM())
        with torch.no_grad():
            lost.append((model.encode(model.decode(z)) - z).abs().mean().item())
    assert math.log2(lost[0] / lost[1]) == pytest.approx(1, abs=0.25)


def test_full_noise_is_ancestral_and_half_of_it_is_not():
    model = gf.baselines.ScoreSDE(2, width=16, steps=10)
    draws = [
        model.replace(integrator=sampler).sample(6, generator=torch.Generator().manual_seed(0))
        for sampler in (DDIM(eta=1.0), Ancestral(), DDIM(eta=0.5))
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("solver", [EulerMaruyama(), StochasticHeun()], ids=lambda solver: type(solver).__name__)
def test_the_reverse_equation_of_a_denoiser_is_that_of_the_model(solver):
    """`replace(integrator=…)` solves the same equation as `sampler="sde"`, which is written with the velocity."""
    model = gf.baselines.ScoreSDE(2, width=16, steps=20, noise=gf.schedulers.VariancePreserving())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        t_min, t_max = model.velocity.interval
        times = model.scheduler.times(t_max, t_min)
        x = torch.randn(6, 2)
        ends = [
            solver.solve(dynamics, x, times, generator=torch.Generator().manual_seed(0)).state
            for dynamics in (model.reverse_dynamics(), diffusion_of(model.velocity.denoise, model.velocity.noise))
        ]
    assert torch.allclose(*ends, rtol=1e-3, atol=1e-4)


@every_sampler
def test_refuses_what_it_cannot_do_in_one_line(sampler):
    noise = gf.schedulers.LinearInterpolant()
    dynamics, x = diffusion_of(lambda t, x: x, noise), torch.ones(2, 1)
    falling = torch.linspace(0.9, 0.1, 3)
    with pytest.raises(InputError, match="needs a denoise"):
        sampler.solve(lambda t, x: x, x, falling)
    with pytest.raises(InputError, match="log p needs an ODE solver"):
        sampler.solve(dynamics, (x, x), falling)
    with pytest.raises(InputError, match=r"no noise at t = 0|falling times"):
        sampler.solve(dynamics, x, torch.linspace(0, 1, 3))
    with pytest.raises(InputError, match="gradient: 'adjoint'"):
        type(sampler)(gradient="adjoint")
    if sampler.downwards_only:
        with pytest.raises(InputError, match="falling times"):
            sampler.solve(dynamics, x, falling.flip(0))


def test_wrong_numbers_get_one_line():
    for wrong in (lambda: DDIM(eta=1.5), lambda: PredictorCorrector(0), lambda: PredictorCorrector(ratio=2.0)):
        with pytest.raises(InputError) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_a_stochastic_solver_does_not_encode():
    with pytest.raises(InputError, match="encode with an ODE solver"):
        gf.baselines.ScoreSDE(2, width=8).replace(integrator=EulerMaruyama()).encode(torch.ones(2, 2))


def test_a_condition_reaches_the_denoiser():
    torch.manual_seed(0)
    model = gf.baselines.ScoreSDE(2, width=8, steps=5, condition_dim=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    sampled = model.replace(integrator=DPMSolver())
    z = torch.randn(4, 2)
    with torch.no_grad():
        ends = [sampled.integrate(z, reverse=True, log_det=False, condition=c * torch.ones(4, 1)).x for c in (0.0, 2.0)]
        near = model.replace(integrator=RK4(), scheduler=gf.schedulers.EqualLogSNR(model.velocity.noise, 60))
        exact = near.integrate(z, reverse=True, log_det=False, condition=torch.zeros(4, 1)).x
        fine = near.replace(integrator=DPMSolver()).integrate(
            z, reverse=True, log_det=False, condition=torch.zeros(4, 1)
        )
    assert not torch.allclose(*ends)
    assert torch.allclose(fine.x, exact, rtol=0.05, atol=0.05)
