"""Divergence estimators: unbiased, their variance as the theory says, the finite difference's bias of second order."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow import Estimate, InputError
from genflow.divergences import Compiled, ControlVariate, Exact, FiniteDifference, Hutchinson, HutchPlusPlus
from genflow.divergences.probes import orthonormal
from genflow.naming import registry
from genflow.velocities import Linear

T = torch.tensor(0.0)
PROBES = ("rademacher", "gaussian", "orthogonal", "hadamard")


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


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_orthogonal_probes_have_the_variance_of_the_theory_and_d_of_them_are_exact(n):
    rows, d = 20_000, 5
    matrix, velocity = linear(d)
    estimate, _ = estimated(Hutchinson(n, "orthogonal"), velocity, rows)
    deviatoric = (matrix + matrix.mT) / 2 - matrix.trace() / d * torch.eye(d, dtype=torch.float64)
    variance = 2 / n * d / (d + 2) * (d - n) / (d - 1) * deviatoric.square().sum().item()
    if n == d:
        torch.testing.assert_close(estimate.per_probe, matrix.trace().expand(n, rows))
    else:
        assert abs(estimate.divergence.mean() - matrix.trace()).item() < 4.5 * math.sqrt(variance / rows)
        assert estimate.divergence.var().item() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("d", [5, 8])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_hadamard_probes_have_the_variance_of_the_theory_and_all_of_them_are_exact(d, n):
    rows, m = 20_000, 8
    matrix, velocity = linear(d)
    estimate, _ = estimated(Hutchinson(n, "hadamard"), velocity, rows)
    symmetric = (matrix + matrix.mT) / 2
    squares = symmetric.square().sum() - symmetric.diagonal().square().sum()
    variance = (2 / n * (m - n) / (m - 1) * squares).item()
    assert abs(estimate.divergence.mean() - matrix.trace()).item() < 4.5 * math.sqrt(variance / rows) + 1e-12
    assert estimate.divergence.var().item() == pytest.approx(variance, rel=0.05, abs=1e-12)


@given(dim=st.integers(1, 40), n=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_hadamard_probes_are_signs_and_orthogonal_where_they_are_not_cut(dim, n, seed):
    m = 1 << (dim - 1).bit_length()
    n = min(n, m)
    probes = Hutchinson(n, "hadamard").probes(torch.zeros(4, dim), 1, torch.Generator().manual_seed(seed))
    assert (probes.abs() == 1).all()
    if m == dim:
        gram = torch.einsum("ibd,jbd->bij", probes, probes)
        assert torch.equal(gram, dim * torch.eye(n).expand(4, n, n))


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


def curved(dim=6, seed=0):
    """A network with random weights in float64, its Jacobian neither symmetric nor of low rank."""
    velocity = gf.velocities.ResidualMLP(dim, width=16, depth=2).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in velocity.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return velocity


def point(dim=6, rows=1000):
    """One point, in as many rows as there are draws wanted."""
    return torch.linspace(-1, 1, dim, dtype=torch.float64).expand(rows, dim).contiguous()


SURROGATE = Linear(torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(5)).tolist())
CHOICES = {  # how each registered estimator is built here; what is not listed takes its defaults
    "hutch++": [lambda: HutchPlusPlus(4), lambda: HutchPlusPlus(7, sketch=2), lambda: HutchPlusPlus(3, mode="pull")],
    "hutchinson": [lambda n=n, law=law: Hutchinson(n, law) for n in (1, 3) for law in PROBES],
    # Near enough to the derivative: a bias of 1e-8, against errors of 1e-2.
    "finite-difference": [lambda law=law: FiniteDifference(1e-4, 2, law) for law in PROBES],
    "exact": [Exact, lambda: Exact(chunk=4), lambda: Exact(mode="pull")],
    "control-variate": [
        lambda: ControlVariate(Hutchinson(2), SURROGATE),
        lambda: ControlVariate(HutchPlusPlus(3), SURROGATE),
        lambda: ControlVariate(Exact(), SURROGATE),
    ],
}
ESTIMATORS = [
    pytest.param(make, id=f"{entry.name}-{i}")
    for entry in registry.entries("divergence")
    for i, make in enumerate(CHOICES.get(entry.name, [entry.load()]))
]


@pytest.mark.parametrize("make", ESTIMATORS)
def test_every_estimator_is_unbiased(make):
    velocity, x = curved(), point()
    exact = velocity.divergence(x[:1], T)[1]
    estimator = make()
    estimate = estimator(velocity, x, T, estimator.probes(x, 1, torch.Generator().manual_seed(3)))
    torch.testing.assert_close(estimate.velocity, velocity(x, T))
    error = estimate.divergence.std() / math.sqrt(len(x))
    # Five standard errors: 24 estimators, of which one in a hundred thousand runs is beyond. A bias of the difference.
    assert (estimate.divergence.mean() - exact).abs().item() <= 5 * error.item() + 1e-7
    if estimate.per_probe is not None and len(estimate.per_probe) == estimator.estimates(estimate.per_probe):
        torch.testing.assert_close(estimate.per_probe.mean(0), estimate.divergence)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_every_estimator_is_deterministic_within_a_solve_and_keeps_rows_apart(make):
    velocity, x = curved(), torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    estimator = make()
    probes = estimator.probes(x, 1, torch.Generator().manual_seed(1))
    whole, again = (estimator(velocity, x, T, probes) for _ in range(2))
    assert torch.equal(whole.divergence, again.divergence)
    for i in range(len(x)):
        row = estimator(velocity, x[i : i + 1], T, None if probes is None else probes[:, i : i + 1])
        torch.testing.assert_close(row.divergence[0], whole.divergence[i])
        torch.testing.assert_close(row.velocity[0], whole.velocity[i])


def has_spread(make):
    estimator = make()
    return estimator.estimates(estimator.probes(point(rows=1), 1)) > 1


@pytest.mark.parametrize("make", [choice for choice in ESTIMATORS if has_spread(choice.values[0])])
def test_the_standard_error_of_every_estimator_is_that_of_its_draws(make):
    velocity, x = curved(), point(rows=4000)
    estimator = make()
    flow = gf.Flow(velocity, gf.schedulers.Uniform(1), gf.solvers.Euler(), estimator)
    transport = flow.integrate(x, generator=torch.Generator().manual_seed(4))
    squares = transport.standard_error.square()
    # Both sides are means over draws: the variance of the first is about 2/rows of its square for light tails.
    noise = math.sqrt(2 / len(x) + (squares.var() / len(x) / squares.mean().square()).item())
    assert transport.log_det.var().item() == pytest.approx(squares.mean().item(), rel=5 * noise)


@given(rank=st.integers(0, 3), dim=st.integers(6, 9), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_hutch_plus_plus_is_exact_on_a_jacobian_of_the_rank_of_its_sketch(rank, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, dim, rank, dtype=torch.float64, generator=generator)
    matrix = left @ right.mT
    velocity = gf.as_velocity(lambda x, t, condition: x @ matrix.mT)
    x = torch.randn(20, dim, dtype=torch.float64, generator=generator)
    estimator = HutchPlusPlus(8, sketch=3)
    estimate = estimator(velocity, x, T, estimator.probes(x, 1, generator))
    # The sketch's condition number takes digits: in one draw of a hundred thousand more than eight of sixteen.
    torch.testing.assert_close(estimate.divergence, matrix.trace().expand(20), rtol=1e-7, atol=1e-7)


def test_hutch_plus_plus_is_exact_where_sketch_and_rest_fill_the_space():
    velocity, x = curved(), point(rows=10)
    exact = velocity.divergence(x, T)[1]
    for n, sketch in ((8, 2), (7, 1)):
        estimate = HutchPlusPlus(n, sketch)(velocity, x, T)
        torch.testing.assert_close(estimate.divergence, exact)
        torch.testing.assert_close(estimate.per_probe, exact.expand(n - 2 * sketch, -1))
        assert estimate.pushes == n


def test_gradients_of_hutch_plus_plus_have_the_mean_of_the_exact_ones():
    velocity = curved()
    x = point(rows=2000).requires_grad_()
    (exact,) = torch.autograd.grad(velocity.divergence(x, T)[1].sum(), x)
    estimator = HutchPlusPlus(5)
    probes = estimator.probes(x, 1, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(estimator(velocity, x, T, probes).divergence.sum(), x)
    error = gradient.std(0) / math.sqrt(len(x))
    assert ((gradient - exact).mean(0).abs() < 4 * error).all()


def test_a_network_that_begins_as_the_zero_field_trains_under_hutch_plus_plus():
    velocity = gf.velocities.ResidualMLP(6, width=8)
    estimate = HutchPlusPlus(4)(velocity, torch.randn(3, 6), T)
    assert not estimate.divergence.any()
    estimate.divergence.sum().backward()
    assert velocity.readout.weight.grad.isfinite().all()
    assert velocity.readout.weight.grad.any()


@given(n=st.integers(1, 4), rows=st.integers(1, 3), repeated=st.booleans())
@settings(max_examples=10, deadline=None)
def test_directions_are_made_orthonormal_even_where_they_depend_on_each_other(n, rows, repeated):
    directions = torch.randn(n, rows, 2, 3, dtype=torch.float64)
    if repeated:
        directions[n // 2 :] = directions[0]
    q = orthonormal(directions, 2).flatten(2)
    gram = torch.einsum("ibd,jbd->bij", q, q)
    torch.testing.assert_close(gram, torch.eye(n, dtype=torch.float64).expand(rows, n, n))
    first = directions[0].flatten(1)
    torch.testing.assert_close(q[0], first / first.norm(dim=-1, keepdim=True))


def test_the_mean_jacobian_takes_away_the_variance_that_rows_have_in_common():
    flow = gf.Flow(curved(), base=gf.StandardNormal(6))
    generator = torch.Generator().manual_seed(0)
    surrogate = Linear.fit(
        flow.velocity, *flow.trajectory(torch.randn(64, 6, dtype=torch.float64, generator=generator))
    )
    x = 0.3 * torch.randn(500, 6, dtype=torch.float64, generator=generator)
    exact = flow.integrate(x).log_det

    def error(estimator):
        other = flow.replace(divergence=estimator)
        return (other.integrate(x, generator=torch.Generator().manual_seed(1)).log_det - exact).square().mean()

    assert error(ControlVariate(Hutchinson(), surrogate)) < 0.5 * error(Hutchinson())
    # On a field that is linear, nothing is left.
    matrix, velocity = linear(6)
    surrogate = Linear([matrix.tolist()])
    estimate = ControlVariate(Hutchinson(1, "gaussian"), surrogate)(velocity, x, T)
    torch.testing.assert_close(estimate.divergence, matrix.trace().expand(500))


def test_a_control_variate_is_read_back_from_a_checkpoint_with_its_surrogate(tmp_path):
    surrogate = Linear(torch.randn(3, 2, 2).tolist(), [0.0, 0.5, 1.0])
    flow = gf.Flow(gf.velocities.Shallow(2), divergence=ControlVariate(Hutchinson(2, "orthogonal"), surrogate))
    flow.save(tmp_path / "run")
    other = gf.load(tmp_path / "run").divergence
    assert other.estimator.distribution == "orthogonal"
    torch.testing.assert_close(other.surrogate.matrices, surrogate.matrices)


@given(chunk=st.integers(1, 8), mode=st.sampled_from(["push", "pull"]))
@settings(max_examples=10, deadline=None)
def test_the_exact_divergence_comes_in_chunks_of_columns(chunk, mode):
    class Watched(gf.Velocity):
        def forward(self, x, t, condition=None):
            return x.sin() * x.sum((-1, -2), keepdim=True)

        def pushforward(self, x, t, tangents, condition=None):
            most.append(len(tangents))
            return super().pushforward(x, t, tangents, condition)

        def pullback(self, x, t, cotangents, condition=None):
            most.append(len(cotangents))
            return super().pullback(x, t, cotangents, condition)

    most: list[int] = []
    velocity = Watched()
    velocity.event_ndim = 2
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    estimate = Exact(chunk, mode)(velocity, x, T)
    assert max(most) <= chunk
    assert sum(most) == estimate.pushes == 6
    torch.testing.assert_close(estimate.divergence, velocity.divergence(x, T)[1])


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
    for estimator in (
        Exact(),
        Exact(chunk=5),
        Hutchinson(2),
        Hutchinson(2, "orthogonal"),
        HutchPlusPlus(7),
        FiniteDifference(n=2),
        ControlVariate(Hutchinson(2), Linear([torch.eye(12).tolist()], event_ndim=3)),
    ):
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


@pytest.mark.parametrize("estimator", [*(Hutchinson(2, law) for law in PROBES), FiniteDifference(n=2)])
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
for estimator, backend in ((Exact(), "aot_eager"), (Hutchinson(2), "aot_eager"), (Hutchinson(2), "inductor")):
    compiled = Compiled(estimator, backend)
    assert compiled.has_per_probe == estimator.has_per_probe
    probes = compiled.probes(x, 1, torch.Generator().manual_seed(0))
    for time in (0.2, 0.7):
        t = torch.tensor(time, dtype=torch.float64)
        results = [e(velocity, x, t, probes) for e in (estimator, compiled)]
        torch.testing.assert_close(results[1].divergence, results[0].divergence, rtol=1e-10, atol=1e-10)
        gradients = [torch.autograd.grad((r.velocity.sum(-1) * r.divergence).sum(), inputs) for r in results]
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)
"""


@pytest.mark.slow
def test_compiled_estimates_and_their_gradients_are_the_same(tmp_path):
    # In an interpreter of its own: the compiler does not follow the checks of shapes that the tests switch on. With a
    # cache of its own: what torch keeps for one ATEN_CPU_CAPABILITY it would take for another, too.
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment)


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
        lambda: Hutchinson(4, "orthogonal").probes(torch.zeros(2, 3), 1),
        lambda: Hutchinson(5, "hadamard").probes(torch.zeros(2, 3), 1),
        lambda: HutchPlusPlus(2),
        lambda: HutchPlusPlus(6, sketch=3),
        lambda: HutchPlusPlus(9).probes(torch.zeros(2, 3), 1),
        lambda: Exact(chunk=0),
        lambda: Exact(mode="sideways"),
        lambda: Linear([[1.0]]),
        lambda: Linear([[[1.0]], [[1.0]]], [1.0, 0.0]),
        lambda: FiniteDifference(0.0),
        lambda: gf.as_divergence(lambda *a: a, probes="cauchy"),
    ):
        with pytest.raises(InputError):
            wrong()
