"""Divergence estimators: unbiased, their variance as the theory says, the finite difference's bias of second order."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow import Estimate, InputError
from genflow.divergences import Compiled, Exact, FiniteDifference, Hutchinson

T = torch.tensor(0.0)


def linear(dim, seed=0):
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return matrix, gf.as_velocity(lambda x, t, condition: x @ matrix.mT)


def estimated(estimator, velocity, rows, seed=0):
    x = torch.randn(rows, generator=torch.Generator().manual_seed(1), dtype=torch.float64).unsqueeze(-1)
    x = x.expand(rows, estimator_dim(velocity)).contiguous()
    probes = estimator.probes(x, 1, torch.Generator().manual_seed(seed))
    return estimator(velocity, x, T, probes), x


def estimator_dim(velocity):
    return velocity.function.__closure__[0].cell_contents.shape[0]


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("mode", ["push", "pull"])
def test_hutchinson_has_the_mean_and_variance_of_the_theory(distribution, n, mode):
    rows = 40_000
    matrix, velocity = linear(4)
    estimate, x = estimated(Hutchinson(n, distribution, mode), velocity, rows)
    symmetric = (matrix + matrix.mT) / 2
    squares = symmetric.square().sum()
    if distribution == "rademacher":
        squares = squares - symmetric.diagonal().square().sum()
    deviation = math.sqrt(2 * squares / n)  # independent of the rows; falls with the probes, the mean does not move
    assert abs(estimate.divergence.mean() - matrix.trace()).item() < 4.5 * deviation / math.sqrt(rows)
    assert estimate.divergence.std().item() == pytest.approx(deviation, rel=0.03)
    assert torch.allclose(estimate.velocity, x @ matrix.mT)
    assert estimate.per_probe.shape == (n, rows)
    assert torch.allclose(estimate.per_probe.mean(0), estimate.divergence)
    assert estimate.pushes == n


def test_pushing_and_pulling_a_probe_estimate_the_same():
    _, velocity = linear(5)
    pushed, pulled = (estimated(Hutchinson(2, mode=mode), velocity, 10)[0] for mode in ("push", "pull"))
    assert torch.allclose(pushed.per_probe, pulled.per_probe)


def test_standard_error_of_log_p_comes_with_the_solve():
    matrix, velocity = linear(4)
    flow = gf.Flow(velocity, divergence=Hutchinson(64), base=gf.StandardNormal(4))
    x = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    transport = flow.integrate(x, generator=torch.Generator().manual_seed(3))
    symmetric = (matrix + matrix.mT) / 2
    off = symmetric - symmetric.diagonal().diag()
    expected = math.sqrt(2 * off.square().sum() / 64)
    assert transport.standard_error.mean().item() == pytest.approx(expected, rel=0.05)
    score = (transport.log_det - matrix.trace()) / transport.standard_error
    assert score.square().mean().item() == pytest.approx(1, abs=0.4)


def test_exact_counts_the_tangents_that_it_pushes():
    x = torch.randn(3, 5)
    shallow = gf.velocities.Shallow(5)
    assert Exact()(shallow, x, T).pushes == 0
    residual = gf.velocities.ResidualMLP(5)
    estimate = Exact()(residual, x, T)
    assert estimate.pushes == 5
    assert estimate.divergence.shape == (3,)


@given(dim=st.integers(1, 6), n=st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_every_estimator_is_exact_on_a_diagonal_field(dim, n):
    rates = torch.linspace(-1, 2, dim, dtype=torch.float64)
    velocity = gf.as_velocity(lambda x, t, condition: x * rates)
    x = torch.randn(2, 3, dim, dtype=torch.float64)
    for estimator in (Exact(), Hutchinson(n), FiniteDifference(n=n)):
        estimate = estimator(velocity, x, T, estimator.probes(x, 1))
        assert estimate.divergence.shape == (2, 3)
        assert torch.allclose(estimate.divergence, rates.sum().expand(2, 3), atol=1e-9)


def test_events_of_higher_rank():
    velocity = gf.as_velocity(lambda x, t, condition: 2 * x, event_ndim=3)
    x = torch.randn(4, 3, 2, 2)
    for estimator in (Exact(), Hutchinson(2), FiniteDifference(n=2)):
        estimate = estimator(velocity, x, T, estimator.probes(x, 3))
        assert torch.allclose(estimate.divergence, torch.full((4,), 24.0), atol=1e-2)


def test_bias_of_the_finite_difference_falls_by_four_when_sigma_halves():
    velocity = gf.as_velocity(lambda x, t, condition: torch.sin(2 * x) + x.sum(-1, keepdim=True) ** 3)
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)  # all of them: no variance is left
    probes = signs[:, None].expand(4, 2, 2)
    exact = velocity.divergence(x, T)[1]
    biases = [FiniteDifference(sigma0, n=4)(velocity, x, T, probes).divergence - exact for sigma0 in (0.04, 0.02, 0.01)]
    for coarse, fine in itertools.pairwise(biases):
        assert torch.allclose(coarse / fine, torch.full((2,), 4.0, dtype=torch.float64), rtol=0.01)


def test_finite_difference_agrees_with_hutchinson_on_the_same_probes():
    torch.manual_seed(0)
    velocity = gf.velocities.ResidualMLP(4, width=16).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.normal_(0, 0.3)
    x = torch.randn(10, 4, dtype=torch.float64)
    probes = Hutchinson(3).probes(x, 1, torch.Generator().manual_seed(0))
    difference = FiniteDifference(1e-4, n=3)(velocity, x, T, probes)
    pushed = Hutchinson(3)(velocity, x, T, probes)
    assert torch.allclose(difference.per_probe, pushed.per_probe, atol=1e-3)
    assert torch.allclose(difference.pushed, pushed.pushed, atol=1e-3)


@pytest.mark.parametrize("estimator", [Hutchinson(2), Hutchinson(2, "gaussian"), FiniteDifference(n=2)])
def test_probes_follow_the_generator_and_the_input(estimator):
    x = torch.zeros(50, 3, dtype=torch.float64)
    first, again, other = (estimator.probes(x, 1, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (2, 50, 3)
    assert first.dtype == x.dtype
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.mean().abs().item() < 0.3


def test_a_function_serves_as_an_estimator():
    _, velocity = linear(3)
    x = torch.randn(5, 3, dtype=torch.float64)

    def pair(velocity, x, t, probes, condition):
        assert probes.shape == (2, *x.shape)
        v, pushed = velocity.pushforward(x, t, probes, condition)
        return v, (pushed * probes).sum(-1).mean(0)

    estimator = gf.as_divergence(pair, probes="gaussian", n=2)
    estimate = estimator(velocity, x, T, estimator.probes(x, 1))
    assert isinstance(estimate, Estimate)
    assert estimate.divergence.shape == (5,)
    assert gf.as_divergence(estimator) is estimator

    def exact(velocity, x, t, probes, condition):
        return Estimate(*velocity.divergence(x, t, condition))

    flow = gf.Flow(velocity, base=gf.StandardNormal(3))
    assert torch.allclose(flow.replace(divergence=exact).log_prob(x), flow.log_prob(x))
    assert gf.as_divergence(exact, probes=None).probes(x, 1) is None

    def summed(velocity, x, t, probes, condition):
        v, divergence = velocity.divergence(x, t, condition)
        return v, divergence.sum()

    with pytest.raises(InputError, match=r"summed returned the shape \(\)"):
        flow.replace(divergence=summed).log_prob(x)


COMPILED = """
import torch, genflow as gf
from genflow.divergences import Compiled, Exact, Hutchinson

torch.manual_seed(0)
velocity = gf.velocities.Shallow(3, 8).double()
with torch.no_grad():
    for parameter in velocity.parameters():
        parameter.normal_(0, 0.3)
x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
inputs = (x, *velocity.parameters())
for estimator in (Exact(), Hutchinson(2)):
    compiled = Compiled(estimator, backend="aot_eager")
    assert compiled.has_per_probe == estimator.has_per_probe
    probes = compiled.probes(x, 1, torch.Generator().manual_seed(0))
    for time in (0.2, 0.7):
        t = torch.tensor(time, dtype=torch.float64)
        results = [e(velocity, x, t, probes) for e in (estimator, compiled)]
        torch.testing.assert_close(results[1].divergence, results[0].divergence, rtol=1e-10, atol=1e-10)
        gradients = [torch.autograd.grad((r.velocity.sum(-1) * r.divergence).sum(), inputs) for r in results]
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)
"""


def test_compiled_estimates_and_their_gradients_are_the_same():
    # In an interpreter of its own: the compiler does not follow the checks of shapes that the tests switch on.
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


def test_without_a_compiler_the_estimator_is_used_as_it_is(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        compiled = Compiled(Exact())
    assert compiled.evaluate is compiled.estimator


def test_wrong_arguments_get_one_line():
    for wrong in (
        lambda: Hutchinson(0),
        lambda: Hutchinson(distribution="cauchy"),
        lambda: Hutchinson(mode="sideways"),
        lambda: FiniteDifference(0.0),
        lambda: gf.as_divergence(lambda *a: a, probes="cauchy"),
    ):
        with pytest.raises(InputError):
            wrong()
