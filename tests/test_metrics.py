"""Figures of merit against closed forms and invariants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.metrics import (
    c2st,
    gaussian_wasserstein2,
    inversion_error,
    mean_and_se,
    mmd,
    mmd_threshold,
    paired_difference,
    wasserstein2,
)
from genflow.metrics.wasserstein import transport_cost

seeds = st.integers(0, 2**31 - 1)
dims = st.integers(1, 5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def spd(d: int, seed: int) -> Tensor:
    a = normal(d, d, seed=seed)
    return a @ a.mT + 0.1 * torch.eye(d, dtype=torch.float64)


# Likelihood


def test_standard_error_covers_the_mean_about_as_often_as_it_says():
    inside = 0
    for values in torch.randn(400, 50, generator=generator()) + 3:
        mean, se = mean_and_se(values)
        inside += abs(mean - 3) < 1.96 * se
    assert abs(inside / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_pairing_removes_what_the_rows_have_in_common():
    common, noise = 100 * normal(200), 0.1 * normal(200, seed=1)
    difference, se = paired_difference(common + noise + 1, common)
    assert difference == pytest.approx(1 + noise.mean().item())
    assert se < 0.01 < mean_and_se(common)[1]
    assert paired_difference(common, common + noise)[0] == pytest.approx(-noise.mean().item())


def test_an_infinite_row_makes_the_mean_infinite_and_one_row_has_no_error():
    assert mean_and_se(torch.tensor([1.0, math.inf]))[0] == math.inf
    assert math.isnan(mean_and_se(torch.tensor([1.0]))[1])


# Wasserstein


@settings(max_examples=25, deadline=None)
@given(seeds, dims, st.integers(1, 60))
def test_w2_of_a_gradient_of_a_convex_function_is_the_distance_moved(seed: int, d: int, n: int):
    """Brenier: y = Ax + b with A symmetric and positive carries optimally, whatever the sample."""
    x = normal(n, d, seed=seed)
    y = x @ spd(d, seed + 1) + normal(d, seed=seed + 2)
    assert wasserstein2(x, y) ** 2 == pytest.approx((x - y).square().sum(-1).mean().item(), rel=1e-9)
    order = torch.randperm(n, generator=generator(seed))
    assert wasserstein2(x, y[order]) == pytest.approx(wasserstein2(x, y), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds, dims, st.integers(1, 40), st.integers(1, 40), st.floats(-1e3, 1e3))
def test_w2_is_a_distance(seed: int, d: int, n: int, m: int, shift: float):
    x, y, z = normal(n, d, seed=seed), normal(m, d, seed=seed + 1), normal(n, d, seed=seed + 2)
    assert wasserstein2(x, x) == 0
    assert wasserstein2(x, y) == pytest.approx(wasserstein2(y, x), rel=1e-9)
    assert wasserstein2(x, z) <= wasserstein2(x, y) + wasserstein2(y, z) + 1e-9
    assert wasserstein2(x, x + shift) == pytest.approx(abs(shift) * d**0.5, rel=1e-6, abs=1e-9)
    # |m_x - m_y|^2 splits off: W2^2(x, y + b) = W2^2(x - m_x, y - m_y) + |m_x - m_y - b|^2.
    centred = wasserstein2(x - x.mean(0), y - y.mean(0)) ** 2
    assert wasserstein2(x, y + shift) ** 2 == pytest.approx(
        centred + (x.mean(0) - y.mean(0) - shift).square().sum().item(), rel=1e-6
    )


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_w2_has_the_unit_of_the_points(scale: float):
    x, y = normal(30, 2), normal(20, 2, seed=1)
    assert wasserstein2(scale * x, scale * y) == pytest.approx(scale * wasserstein2(x, y), rel=1e-9)
    assert wasserstein2(scale * x[:1], scale * y[:1]) == pytest.approx(scale * (x[0] - y[0]).norm().item(), rel=1e-9)


def test_w2_in_one_dimension_pairs_sorted_points():
    x, y = normal(300, 1), 2 * normal(300, 1, seed=1) + 1
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt().item()
    assert wasserstein2(x, y) == pytest.approx(expected, rel=1e-9)


def test_w2_takes_events_of_any_rank_and_cuts_large_samples():
    x, y = normal(30, 2, 3), normal(20, 2, 3, seed=1)
    assert wasserstein2(x, y) == wasserstein2(x.flatten(1), y.flatten(1))
    cut = wasserstein2(x, y, max_points=10, generator=generator(3))
    assert cut == wasserstein2(x, y, max_points=10, generator=generator(3))
    assert cut != wasserstein2(x, y)


def test_a_plan_cut_off_at_the_iteration_cap_is_an_error():
    cost = torch.cdist(normal(300, 2), normal(300, 2, seed=1)).square()
    with pytest.raises(SolverError, match="300 and 300 points was not solved"):
        transport_cost(cost, pivots=10)


@settings(max_examples=50, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(-5, 5), st.floats(0.1, 5))
def test_gaussian_w2_in_one_dimension(m1: float, s1: float, m2: float, s2: float):
    w2 = gaussian_wasserstein2(
        torch.tensor([m1]).double(),
        torch.tensor([[s1**2]]).double(),
        torch.tensor([m2]).double(),
        torch.tensor([[s2**2]]).double(),
    )
    assert w2 == pytest.approx(math.hypot(m1 - m2, s1 - s2), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 6))
def test_gaussian_w2_of_an_optimal_map(seed: int, d: int):
    """T(x) = Ax + b, A symmetric and positive: W2^2 = |m1 - m2|^2 + tr (A - I) S (A - I)."""
    m, s, a, b = normal(d, seed=seed), spd(d, seed + 1), spd(d, seed + 2), normal(d, seed=seed + 3)
    move = a - torch.eye(d, dtype=torch.float64)
    expected = (move @ m + b).square().sum() + (move @ s @ move).trace()
    forward = gaussian_wasserstein2(m, s, a @ m + b, a @ s @ a)
    assert forward == pytest.approx(expected.sqrt().item(), rel=1e-6)
    assert forward == pytest.approx(gaussian_wasserstein2(a @ m + b, a @ s @ a, m, s), rel=1e-6)


def test_gaussian_w2_of_flat_gaussians():
    line = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert gaussian_wasserstein2(torch.zeros(2), line, torch.zeros(2), line) == pytest.approx(0, abs=1e-6)
    assert gaussian_wasserstein2(torch.zeros(2), line, torch.zeros(2), line.flip(0, 1)) == pytest.approx(2**0.5)


def test_sampled_w2_tends_to_that_of_the_gaussians():
    x = normal(1500, 2)
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    y = normal(1500, 2, seed=1) @ a + 3
    exact = gaussian_wasserstein2(torch.zeros(2), torch.eye(2), torch.full((2,), 3.0), (a @ a).float())
    assert wasserstein2(x, y) == pytest.approx(exact, abs=0.15)


# MMD


def test_mmd_is_the_distance_of_kernel_means():
    x, y, gamma = normal(40, 3), normal(30, 3, seed=1) + 0.5, 1.3

    def k(a: Tensor, b: Tensor) -> float:
        return torch.exp(-(a[:, None] - b).square().sum(-1) / (2 * gamma**2)).mean().item()

    assert mmd(x, y, gamma) == pytest.approx(k(x, x) + k(y, y) - 2 * k(x, y), abs=1e-12)


def test_mmd_of_gaussians_in_closed_form():
    """For N(0, 1) and N(m, 1): E k(x, y) = g / sqrt(g^2 + 2) exp(-m^2 / (2 (g^2 + 2))); the diagonal adds 1/n."""
    n, m, gamma = 2000, 1.0, 1.0
    scale = gamma / math.sqrt(gamma**2 + 2)
    exact = 2 * scale * (1 - math.exp(-(m**2) / (2 * (gamma**2 + 2)))) + 2 / n * (1 - scale)
    assert mmd(normal(n, 1), normal(n, 1, seed=1) + m, gamma) == pytest.approx(exact, abs=0.02)


def test_bandwidths_are_the_median_distance_and_a_tenth_of_it():
    x, y = normal(50, 2), normal(60, 2, seed=1)
    median = torch.pdist(x).median().item()
    assert mmd(x, y, "m") == pytest.approx(mmd(x, y, median))
    assert mmd(x, y, "c") == pytest.approx(mmd(x, y, 0.1 * median))
    assert mmd(7 * x, 7 * y, "c") == pytest.approx(mmd(x, y, "c"))  # free of units
    assert mmd(x, x) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bandwidth", ["c", "m"])
def test_the_threshold_is_exceeded_under_the_null_in_five_of_a_hundred(bandwidth: str):
    source, trials, rejected = generator(1), 400, 0
    for _ in range(trials):
        x, y = torch.randn(2, 50, 2, generator=source).double()
        rejected += mmd(x, y, bandwidth) > mmd_threshold(x, y, bandwidth, resamples=200, generator=source)
    assert abs(rejected / trials - 0.05) < 3 * math.sqrt(0.05 * 0.95 / trials)


def test_the_threshold_is_exceeded_by_another_law():
    x, y = normal(400, 2), 1.5 * normal(300, 2, seed=1)
    for bandwidth in ("c", "m", 0.5):
        assert mmd(x, y, bandwidth) > mmd_threshold(x, y, bandwidth, generator=generator())
    high = mmd_threshold(x, y, level=0.99, generator=generator())
    assert mmd_threshold(x, y, level=0.5, generator=generator()) < mmd_threshold(x, y, generator=generator()) < high


# Classifier two-sample test


@pytest.mark.slow
def test_c2st_is_a_half_on_equal_laws():
    trials = [c2st(normal(200, 2, seed=2 * i), normal(200, 2, seed=2 * i + 1), seed=i) for i in range(20)]
    error = sum(t.standard_error for t in trials) / len(trials)
    accuracy = torch.tensor([t.accuracy for t in trials])
    assert abs(accuracy.mean().item() - 0.5) < 4 * error / math.sqrt(len(trials))
    assert accuracy.std().item() < 1.5 * error  # the error is no smaller than the spread


def test_c2st_is_one_on_distinct_laws_and_below_the_optimum_in_between():
    x, y = normal(1000, 4), normal(1000, 4, seed=1)
    assert c2st(x, y + 5).accuracy > 0.99
    # N(0, I) and N(e, I): the best classifier is right with probability Phi(|e| / 2).
    shifted = c2st(x, y + torch.tensor([1.0, 0.0, 0.0, 0.0]))
    optimum = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert optimum - 0.05 < shifted.accuracy < optimum + 2 * shifted.standard_error


def test_c2st_balances_unequal_samples_ignores_units_and_repeats_itself():
    x, y = normal(600, 2), normal(200, 2, seed=1)
    result = c2st(x, y, seed=3)
    assert abs(result.accuracy - 0.5) < 4 * result.standard_error
    assert result == c2st(x, y, seed=3)
    assert c2st(x * 1024, y * 1024, seed=3) == result


# Inversion


def test_inversion_error_is_a_mean_of_squared_distances():
    x = normal(50, 3)
    assert inversion_error(lambda x: 2 * x, lambda z: z / 2, x) == 0
    assert inversion_error(lambda x: 2 * x, lambda z: z / 2 + 0.1, x) == pytest.approx(3 * 0.01)
    assert inversion_error(lambda x: x, lambda z: z * math.nan, x) == math.inf


# Wrong input


@pytest.mark.parametrize("metric", [wasserstein2, mmd, mmd_threshold, c2st])
def test_wrong_samples_are_named(metric):
    x = normal(50, 2)
    broken = x.clone()
    broken[3, 1] = math.nan
    with pytest.raises(InputError, match="y: row 3, column 1 is nan"):
        metric(x, broken)
    with pytest.raises(InputError, match="dimension 2 and 3"):
        metric(x, normal(50, 3))
    with pytest.raises(InputError, match="rows"):
        metric(x, normal(0, 2))


def test_wrong_arguments_are_named():
    x = normal(50, 2)
    with pytest.raises(InputError, match="'z' came, one of c, m or a number"):
        mmd(x, x, "z")
    with pytest.raises(InputError, match="positive"):
        mmd(x, x, -1.0)
    with pytest.raises(InputError, match="median distance is 0"):
        mmd(torch.ones(10, 2), x)
    with pytest.raises(InputError, match="level"):
        mmd_threshold(x, x, level=95.0)
    with pytest.raises(InputError, match="empty"):
        mean_and_se(torch.empty(0))
    with pytest.raises(InputError, match="folds"):
        c2st(x, x, folds=1)
    with pytest.raises(InputError, match="eigenvalue"):
        gaussian_wasserstein2(torch.zeros(2), torch.eye(2), torch.zeros(2), -torch.eye(2))
    with pytest.raises(InputError, match="symmetric"):
        gaussian_wasserstein2(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.zeros(2), torch.eye(2))
