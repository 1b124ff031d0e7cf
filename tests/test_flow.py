"""Flow: what is promised of every assembly of parts, over random networks, dimensions, solvers and dtypes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

import genflow as gf
from genflow.velocities import Chain, ResidualMLP, Shallow

EVENTS = 2  # rows in most tests


def network(
    dim: int, seed: int, kind: str = "shallow", dtype=torch.float64, condition_dim: int = 0, interval=(0.0, 1.0)
):
    """A network with random weights, of moderate Lipschitz constant."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "chain":
        middle = 0.5 * sum(interval)
        ends = [(interval[0], middle), (middle, interval[1])]
        return Chain([network(dim, seed + i, "shallow", dtype, condition_dim, end) for i, end in enumerate(ends)])
    cls = {"shallow": Shallow, "residual": ResidualMLP}[kind]
    velocity = cls(dim, width=8, condition_dim=condition_dim, interval=interval).to(dtype)
    for parameter in velocity.parameters():
        scale = 0.6 / math.sqrt(parameter.shape[-1])
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return velocity


def rows(dim: int, dtype=torch.float64, count: int = EVENTS, seed: int = 0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def map_log_det(flow: gf.Flow, x: torch.Tensor) -> torch.Tensor:
    """log |det| of the Jacobian of the whole map, row by row, by automatic differentiation."""
    x = x.detach().requires_grad_()
    z = flow.encode(x)
    # Rows are mapped independently, so that the gradient of a column's sum is that column's row of every Jacobian.
    gradients = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in z.unbind(-1)]
    return torch.linalg.slogdet(torch.stack(gradients, dim=-2))[1]


KINDS = st.sampled_from(["shallow", "residual", "chain"])
ADAPTIVE = st.sampled_from(["dopri5", "bosh3", "dopri8"])
FIXED = {"Euler": gf.solvers.Euler, "Midpoint": gf.solvers.Midpoint, "Heun": gf.solvers.Heun, "RK4": gf.solvers.RK4}


@pytest.mark.slow
@settings(max_examples=9)
@given(st.integers(1, 5), st.integers(0, 10**6), KINDS, ADAPTIVE, st.sampled_from([torch.float32, torch.float64]))
def test_adaptive_inverse_and_log_determinant_are_exact_within_the_tolerance(dim, seed, kind, method, dtype):
    # A solver that keeps a local error of `tolerance` keeps a global one of about that, times the growth exp(L) of the
    # field; its Lipschitz constant L is of order 1 here. The derivative of that error, which the log-determinant of the
    # discrete map contains, is not controlled, but of the same order on smooth fields: 300 tolerances leave room.
    tolerance = 1e-6 if dtype == torch.float32 or method == "bosh3" else 1e-8
    close = {"rtol": 0.0, "atol": 300 * tolerance}
    flow = gf.Flow(
        network(dim, seed, kind, dtype), integrator=gf.solvers.Adaptive(method, rtol=tolerance, atol=tolerance)
    )
    x = rows(dim, dtype, seed=seed)
    torch.testing.assert_close(flow.decode(flow.encode(x)), x, **close)
    torch.testing.assert_close(flow.integrate(x).log_det, map_log_det(flow, x), **close)


@settings(max_examples=12)
@given(st.integers(1, 8), st.integers(0, 10**6), KINDS, st.sampled_from(sorted(FIXED)))
def test_fixed_step_inverse_and_log_determinant_converge_with_the_solvers_order(dim, seed, kind, solver):
    integrator = FIXED[solver]()
    velocity, x = network(dim, seed, kind), rows(dim, seed=seed)

    def errors(steps: int) -> tuple[float, float]:
        flow = gf.Flow(velocity, gf.schedulers.Uniform(steps), integrator)
        transport = flow.integrate(x)
        inverse = (flow.decode(transport.x) - x).abs().max()
        return inverse.item(), (transport.log_det - map_log_det(flow, x)).abs().max().item()

    for coarse, fine in zip(errors(8), errors(32), strict=True):
        # Two halvings; errors near rounding show no order, and higher terms may only help by the time of eight steps.
        if fine > 1e-11:
            assert math.log2(coarse / fine) / 2 > integrator.order - 0.35


@settings(max_examples=10)
@given(st.integers(1, 8), st.integers(0, 10**6), KINDS)
def test_samples_carry_the_log_prob_that_the_flow_gives_them(dim, seed, kind):
    flow = gf.Flow(network(dim, seed, kind), gf.schedulers.Uniform(32))
    x, log_p = flow.sample_with_log_prob(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(log_p, flow.log_prob(x), rtol=0, atol=1e-6)  # RK4, h = 1/32: h⁴ = 1e-6
    torch.testing.assert_close(flow.sample(5, generator=torch.Generator().manual_seed(seed)), x)


@settings(max_examples=12)
@given(st.integers(1, 8), st.integers(0, 10**6), KINDS, st.sampled_from([torch.float32, torch.float64]))
def test_log_prob_of_a_row_does_not_depend_on_its_batch(dim, seed, kind, dtype):
    flow = gf.Flow(network(dim, seed, kind, dtype), gf.schedulers.Uniform(8))
    x = rows(dim, dtype, count=5, seed=seed)
    together = flow.log_prob(x)
    alone = torch.cat([flow.log_prob(x[i : i + 1]) for i in range(len(x))])
    # A fixed-step solver treats rows alike; only the order of summation in the matrix products may differ.
    torch.testing.assert_close(together, alone, rtol=0, atol=200 * torch.finfo(dtype).eps * (1 + dim))


def test_an_adaptive_log_prob_depends_on_the_batch_within_the_tolerance():
    flow = gf.Flow(network(4, 0), integrator=gf.solvers.Adaptive("dopri5", rtol=1e-7, atol=1e-7))
    x = rows(4, count=7)
    alone = torch.cat([flow.log_prob(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(flow.log_prob(x), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "integrator", [gf.solvers.RK4(), *(gf.solvers.Adaptive("dopri5", 1e-8, 1e-8, adjoint=a) for a in (False, True))]
)
@pytest.mark.parametrize("kind", ["shallow", "chain"])
@pytest.mark.parametrize("divergence", [gf.divergences.Exact(), gf.divergences.Hutchinson(2)])
def test_gradients_reach_every_parameter_and_a_closed_over_condition(integrator, kind, divergence):
    velocity = network(2, 3, kind, condition_dim=2)
    x, condition = rows(2), rows(2, seed=1).requires_grad_()
    inputs = [*velocity.parameters(), condition]

    def gradients(integrator):
        flow = gf.Flow(velocity, gf.schedulers.Uniform(16), integrator, divergence)
        log_p = flow.log_prob(x, condition, generator=torch.Generator().manual_seed(0)).sum()
        return torch.autograd.grad(log_p, inputs)

    found, expected = gradients(integrator), gradients(gf.solvers.RK4())
    for gradient, reference in zip(found, expected, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_a_known_linear_flow_has_its_closed_form():
    matrix = torch.tensor([[0.3, -0.2], [0.5, -0.1]], dtype=torch.float64)
    flow = gf.Flow(
        gf.as_velocity(lambda x, t, condition: x @ matrix.mT), gf.schedulers.Uniform(64), base=gf.StandardNormal(2)
    )
    x = rows(2)
    z = x @ torch.linalg.matrix_exp(matrix).mT
    torch.testing.assert_close(flow.encode(x), z, rtol=0, atol=1e-8)
    torch.testing.assert_close(flow.log_prob(x), flow.base.log_prob(z) + matrix.trace(), rtol=0, atol=1e-8)
    # The score of N(0, S), S⁻¹ = (e^A)ᵀ e^A, is -S⁻¹ x.
    precision = torch.linalg.matrix_exp(matrix).mT @ torch.linalg.matrix_exp(matrix)
    torch.testing.assert_close(flow.score(x), -x @ precision, rtol=0, atol=1e-7)
    # Running costs: |v|² = |A e^{tA} x|², by a fine quadrature.
    cost = flow.integrate(x, costs=[lambda t, y, estimate: (estimate.velocity**2).sum(-1)]).costs[0]
    times = torch.linspace(0, 1, 2001, dtype=torch.float64)
    path = torch.stack([x @ (matrix @ torch.linalg.matrix_exp(t * matrix)).mT for t in times])
    torch.testing.assert_close(cost, torch.trapezoid((path**2).sum(-1), times, dim=0), rtol=1e-6, atol=1e-7)
    back = flow.integrate(z, reverse=True, costs=[lambda t, y, estimate: (estimate.velocity**2).sum(-1)])
    torch.testing.assert_close(back.costs[0], cost, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(back.log_det, -matrix.trace().expand(len(x)), rtol=1e-6, atol=1e-7)


@settings(max_examples=4)
@given(st.integers(0, 10**6), KINDS)
def test_a_density_in_the_plane_integrates_to_one(seed, kind):
    flow = gf.Flow(network(2, seed, kind), gf.schedulers.Uniform(16))
    side = torch.linspace(-10, 10, 81, dtype=torch.float64)  # cells of 1/4: exact to exp(-2 π² (4 h)²) for a width of h
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert abs(mass.item() - 1) < 1e-3


def test_hutchinson_gives_the_standard_error_of_log_p_in_the_same_solve():
    flow = gf.Flow(network(5, 2), gf.schedulers.Uniform(8), divergence=gf.divergences.Hutchinson(8))
    x = rows(5)
    exact = flow.replace(divergence=gf.divergences.Exact()).integrate(x).log_det
    transport = flow.integrate(x, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(transport.per_probe.mean(0), transport.log_det)
    solves = [flow.integrate(x, generator=torch.Generator().manual_seed(seed)) for seed in range(80)]
    draws = torch.stack([solve.log_det for solve in solves])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 4 * error + 1e-9).all()
    stated = torch.stack([solve.standard_error for solve in solves])
    # A deviation from 80 draws has a relative error of 1 / sqrt(160) = 8 %, the mean of the stated ones of 3 %.
    torch.testing.assert_close(stated.square().mean(0).sqrt(), draws.std(0), rtol=0.3, atol=1e-6)


def test_work_is_counted():
    x = rows(3)
    closed = gf.Flow(network(3, 0, "chain"), gf.schedulers.Uniform(5)).integrate(x)
    # A step has five velocities, two of them with a divergence, and a piece one more to begin.
    assert (closed.nfe, closed.pushes, closed.steps) == (2 * (5 * 5 + 1), 0, 10)
    pushed_flow = gf.Flow(network(3, 0, "residual"), gf.schedulers.Uniform(5))
    pushed = pushed_flow.integrate(x)
    assert (pushed.nfe, pushed.pushes) == (26, 3 * (2 * 5 + 1))
    by_stages = pushed_flow.replace(integrator=gf.solvers.RK4()).integrate(x)
    assert (by_stages.nfe, by_stages.pushes) == (20, 60)


def test_a_trajectory_visits_the_grid_of_every_piece_once():
    flow = gf.Flow(network(2, 0, "chain"), gf.schedulers.Uniform(4))
    x = rows(2)
    times, states = flow.trajectory(x)
    assert times.tolist() == [i / 8 for i in range(9)]
    torch.testing.assert_close(states[0], x)
    torch.testing.assert_close(states[-1], flow.encode(x))
    back, reverse = flow.trajectory(states[-1], reverse=True)
    assert back.tolist() == times.flip(0).tolist()
    torch.testing.assert_close(reverse[-1], x, rtol=0, atol=2.5e-4)  # RK4, h = 1/8: h⁴ = 2.4e-4


def test_replace_shares_weights_and_leaves_the_original():
    flow = gf.Flow(network(2, 0))
    other = flow.replace(
        scheduler=gf.schedulers.Uniform(2),
        divergence=lambda velocity, x, t, probes, condition: gf.Estimate(*velocity.divergence(x, t, condition)),
    )
    assert other.velocity is flow.velocity
    assert flow.scheduler.steps == 8
    torch.testing.assert_close(
        other.log_prob(rows(2)), flow.replace(scheduler=gf.schedulers.Uniform(2)).log_prob(rows(2))
    )
    third = flow.replace(velocity=network(2, 1))
    assert flow.velocity is not third.velocity
    with pytest.raises(gf.InputError, match="no part 'solver'"):
        flow.replace(solver=None)


@pytest.mark.parametrize("divergence", [gf.divergences.Exact(), gf.divergences.Hutchinson(2)], ids=["exact", "random"])
def test_score_is_differentiable_and_right_twice(divergence):
    flow = gf.Flow(network(2, 0), gf.schedulers.Uniform(4), divergence=divergence)
    x = rows(2).requires_grad_()

    def score_at(x: torch.Tensor) -> torch.Tensor:
        return flow.score(x, generator=torch.Generator().manual_seed(0))

    score = score_at(x)
    hessian = torch.autograd.grad(score[:, 0].sum(), x)[0]
    step = 1e-5
    shift = torch.zeros_like(x)
    shift[:, 0] = step
    with torch.no_grad():
        difference = (score_at(x + shift) - score_at(x - shift))[:, 0] / (2 * step)
    torch.testing.assert_close(hessian[:, 0], difference, rtol=1e-5, atol=1e-6)


def test_state_and_log_determinant_stay_float32_under_autocast():
    flow = gf.Flow(network(3, 0, "residual", torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        transport = flow.integrate(rows(3, torch.float32))
    assert transport.x.dtype == transport.log_det.dtype == torch.float32


def test_batches_of_any_shape():
    flow = gf.Flow(network(3, 0))
    x = rows(3, count=6).reshape(2, 3, 3)
    torch.testing.assert_close(flow.log_prob(x), flow.log_prob(x.reshape(6, 3)).reshape(2, 3))
    assert flow.sample((2, 4)).shape == (2, 4, 3)
    assert flow.log_prob(x[0, 0]).shape == ()


@pytest.mark.parametrize("integrator", [gf.solvers.Midpoint(), gf.solvers.RK4()], ids=["Midpoint", "RK4"])
@pytest.mark.slow
def test_a_settled_grid_is_fine_enough(integrator):
    # dx/dt = 2 sin 2x gives tan x(t) = e^4t tan x(0). One step of length 1 is far outside of what either method can do.
    velocity = gf.as_velocity(lambda x, t, condition: 2 * (2 * x).sin())
    flow = gf.Flow(velocity, gf.schedulers.Uniform(1), integrator, base=gf.StandardNormal(1))
    x = torch.linspace(-1.5, 1.5, 41, dtype=torch.float64)[:, None]
    tangent, growth = x[:, 0].tan(), math.exp(4)
    log_det = (growth * (1 + tangent**2) / (1 + (growth * tangent) ** 2)).log()
    exact = flow.base.log_prob((growth * x.tan()).atan()) + log_det

    def error():
        return (flow.log_prob(x) - exact).abs().mean().item()

    assert error() > 0.3
    flow.settle(x, tolerance=0.01, most=1024)
    # Doubling changes a fraction 1 - 2^-order of the error.
    assert error() < 0.01 / (1 - 2.0**-integrator.order) * 1.1
    assert (flow.decode(flow.encode(x)) - x).square().mean() < 1e-7 * x.square().mean()
    assert flow.scheduler.steps < 1024


def test_settling_ends_where_no_grid_is_fine_enough():
    wild = gf.as_velocity(lambda x, t, condition: 1e6 * (1e3 * x).sin())
    flow = gf.Flow(wild, gf.schedulers.Uniform(2), base=gf.StandardNormal(1))
    flow.settle(torch.linspace(-1, 1, 11)[:, None], most=16)
    assert flow.scheduler.steps == 16


def test_shapes_in_signatures_are_checked():
    flow = gf.Flow(network(2, 0))
    with pytest.raises(TypeCheckError, match="log_prob"):
        flow.log_prob(torch.zeros(3, 2, dtype=torch.long))
