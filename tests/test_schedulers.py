"""Grids, block boundaries and noise schedules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genflow import InputError
from genflow.schedulers import (
    EqualLogSNR,
    JKOSteps,
    LinearInterpolant,
    Uniform,
    VariancePreserving,
    Warped,
    refine,
    reparameterize,
)

NOISES = [
    VariancePreserving(),
    VariancePreserving(0.5, 0.5),
    VariancePreserving(0.1, 30.0, t_min=1e-4),
    LinearInterpolant(),
]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
GRIDS = [Uniform(), Warped(power=3.0), Warped(power=0.5), JKOSteps(), EqualLogSNR(LinearInterpolant())]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: type(grid).__name__)


@every_grid
@given(ends=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), steps=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_a_grid_joins_its_ends_and_is_the_same_backwards(grid, ends, steps):
    start, stop = ends
    if abs(start - stop) < 1e-3:
        return
    times = grid.times(start, stop, steps, dtype=torch.float64)
    assert times.shape == (steps + 1,)
    assert times[0].item() == start
    assert times[-1].item() == stop
    assert (times.diff() * math.copysign(1, stop - start) > 0).all()
    assert torch.allclose(times.flip(0), grid.times(stop, start, steps, dtype=torch.float64), rtol=1e-12)


@every_grid
def test_the_default_number_of_steps_and_the_dtype(grid):
    times = grid.times(0.1, 0.9)
    assert len(times) == grid.steps + 1
    assert times.dtype == torch.float32
    with pytest.raises(InputError, match="steps"):
        grid.times(0.1, 0.9, 0)


def test_warped_by_one_is_uniform():
    assert torch.allclose(Warped(7, power=1.0).times(2.0, -1.0), Uniform(7).times(2.0, -1.0))


@every_noise
def test_equal_steps_in_log_snr(noise):
    times = EqualLogSNR(noise, 10).times(noise.t_min, noise.t_max, dtype=torch.float64)
    steps = noise.log_snr(times).diff()
    assert torch.allclose(steps, steps.mean().expand_as(steps), rtol=1e-6)


def test_an_infinite_log_snr_is_refused():
    with pytest.raises(InputError, match=r"infinite on \[0, 1\]; \[0.001, 0.999\] would do"):
        EqualLogSNR(LinearInterpolant()).times(0.0, 1.0)


@given(first=st.floats(0.01, 1), growth=st.floats(0.5, 2), maximum=st.floats(0.5, 5), steps=st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_jko_steps_grow_up_to_the_largest(first, growth, maximum, steps):
    jko = JKOSteps(first, growth, maximum, steps)
    expected = [min(first * growth**k, maximum) for k in range(steps)]
    assert [jko.step(k) for k in range(steps)] == pytest.approx(expected)
    natural = jko.times(1.5, dtype=torch.float64)
    assert natural.diff().tolist() == pytest.approx(expected)
    scaled = jko.times(0.0, 1.0, dtype=torch.float64)
    assert scaled.diff().tolist() == pytest.approx([h / sum(expected) for h in expected])


def test_jko_steps_of_a_long_chain_stay_finite():
    assert JKOSteps(0.25, 1.4, 3.0).step(100_000) == 3.0


@every_noise
def test_derivatives_are_those_of_autograd(noise):
    t = torch.linspace(noise.t_min, noise.t_max, 50, dtype=torch.float64, requires_grad=True)
    for value, rate in ((noise.alpha, noise.alpha_dot), (noise.sigma, noise.sigma_dot)):
        (expected,) = torch.autograd.grad(value(t).sum(), t)
        assert torch.allclose(rate(t), expected, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(noise.log_snr(t).sum(), t)
    assert torch.allclose(noise.diffusion(t) ** 2, -(noise.sigma(t) ** 2) * slope, rtol=1e-9)


@every_noise
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_of_inverts_the_log_snr(noise, dtype):
    t = torch.linspace(noise.t_min, noise.t_max, 50, dtype=dtype)
    log_snr = noise.log_snr(t)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert torch.allclose(log_snr, 2 * (noise.alpha(t) / noise.sigma(t)).log(), rtol=tolerance, atol=tolerance)
    assert torch.allclose(noise.time_of(log_snr), t, rtol=tolerance)
    assert (log_snr.diff() < 0).all()
    assert all(torch.isfinite(f(t)).all() for f in (noise.sigma_dot, noise.alpha_dot, noise.diffusion))


@given(t=st.floats(1e-5, 1), beta_min=st.floats(1e-3, 1), range_=st.floats(0, 30))
@settings(max_examples=50, deadline=None)
def test_variance_preserving_preserves_the_variance(t, beta_min, range_):
    noise, t = VariancePreserving(beta_min, beta_min + range_), torch.tensor(t, dtype=torch.float64)
    assert (noise.alpha(t) ** 2 + noise.sigma(t) ** 2).item() == pytest.approx(1, abs=1e-12)


def test_wrong_schedules_are_refused():
    for wrong in (
        lambda: VariancePreserving(2.0, 1.0),
        lambda: VariancePreserving(t_min=0.0),
        lambda: LinearInterpolant(t_max=1.0),
        lambda: Warped(power=0.0),
        lambda: JKOSteps(first=-1.0),
        lambda: Uniform(0),
    ):
        with pytest.raises(InputError):
            wrong()


@given(
    lengths=st.lists(st.floats(0.01, 3.0), min_size=1, max_size=12),
    movements=st.data(),
    damping=st.floats(0.0, 1.0),
)
def test_boundaries_move_towards_equal_movement(lengths, movements, damping):
    boundaries = list(itertools.accumulate(lengths, initial=0.5))
    moved = movements.draw(st.lists(st.floats(0.01, 5.0), min_size=len(lengths), max_size=len(lengths)))
    new = reparameterize(boundaries, moved, damping)
    assert (new[0], new[-1], len(new)) == (boundaries[0], boundaries[-1], len(boundaries))
    assert all(a < b for a, b in itertools.pairwise(new))
    # All the way, every interval holds the same share of a movement that is spread evenly within the old ones.
    cumulative = np.interp(reparameterize(boundaries, moved, 1.0), boundaries, np.cumsum([0.0, *moved]))
    np.testing.assert_allclose(np.diff(cumulative), sum(moved) / len(moved), rtol=1e-6)
    # Blocks that move alike stay where they are.
    np.testing.assert_allclose(reparameterize(boundaries, [2.0] * len(lengths), damping), boundaries, rtol=1e-12)


@pytest.mark.parametrize("movements", [[1.0], [0.0, 0.0], [1.0, -1.0], [math.nan, 1.0]])
def test_movements_without_sense_are_refused(movements):
    with pytest.raises(InputError, match="movements"):
        reparameterize([0.0, 1.0, 2.0], movements)


def test_refined_boundaries_are_the_old_ones_and_the_middles():
    assert refine([0.0, 0.4, 2.0]) == pytest.approx([0.0, 0.2, 0.4, 1.2, 2.0])
