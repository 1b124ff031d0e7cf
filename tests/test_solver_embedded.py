"""Adaptive Runge–Kutta pairs: accuracy, rows of their own, gradients, bounds and named failures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow import Dynamics, InputError, SolverError
from genflow.solvers import DOP853, BogackiShampine, DormandPrince, Tsitouras, tableaus

PAIRS = [BogackiShampine, DormandPrince, Tsitouras, DOP853]
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)
float64 = torch.float64
UNIT = torch.tensor([0.0, 1.0], dtype=float64)


def waves(rates):
    """y' = ω cos(ω t) y: y = exp(sin ω t), the harder the larger ω; one number for each row."""
    return lambda t, y: (rates * torch.cos(rates * t)).unsqueeze(-1) * y


@pytest.mark.parametrize("name", [name for name in tableaus.__all__ if name != "Tableau"])
def test_tables_meet_the_conditions_of_quadrature(name):
    """The nodes are the row sums; the weights integrate polynomials below the order, those of the errors to zero."""
    table = getattr(tableaus, name)
    order = {"EULER": 1, "MIDPOINT": 2, "HEUN": 2, "RALSTON": 2, "RK4": 4, "RK4_38": 4, "BOGACKI_SHAMPINE": 3}
    order = {**order, "DORMAND_PRINCE": 5, "TSITOURAS": 5, "DOP853": 8}[name]
    assert [sum(row) for row in table.a] == pytest.approx(table.c, abs=1e-13)
    for power in range(order):
        assert sum(b * c**power for b, c in zip(table.b, table.c)) == pytest.approx(1 / (power + 1), abs=1e-14)
    for errors, error_order in zip(table.errors, (5, 3) if name == "DOP853" else (order - 1,)):
        for power in range(error_order):
            assert sum(e * c**power for e, c in zip(errors, table.c)) == pytest.approx(0, abs=1e-14)
        assert abs(sum(e * c**error_order for e, c in zip(errors, table.c))) > 1e-5
    if table.errors:
        assert table.a[-1] == table.b[:-1], "the last stage stands at the new point"


@every_pair
@pytest.mark.parametrize(("start", "stop"), [(0.0, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("per_row", [False, True])
def test_the_error_follows_the_tolerance(pair, start, stop, per_row):
    rates = torch.tensor([1.0, 5.0], dtype=float64)
    begin, end = torch.exp(torch.sin(rates * start)), torch.exp(torch.sin(rates * stop))
    times = torch.tensor([start, stop], dtype=float64)
    for tolerance in (1e-3, 1e-6, 1e-9):
        if pair is BogackiShampine and tolerance < 1e-6:
            continue
        solution = pair(tolerance, tolerance, per_row).solve(waves(rates), begin[:, None], times)
        assert (solution.state[:, 0] - end).abs().max() < 30 * tolerance


@every_pair
def test_evaluations_are_two_and_those_of_the_steps(pair):
    calls = []

    def field(t, y):
        calls.append(t)
        return -y

    solution = pair().solve(field, torch.ones(3, 1), torch.linspace(0, 1, 5))
    each = len(pair.tableau.c) - 1
    assert solution.nfe == len(calls) == 2 + each * (solution.steps + solution.rejected)


@every_pair
@pytest.mark.parametrize("per_row", [False, True])
def test_stops_at_all_times_and_evaluates_within_them(pair, per_row):
    seen = []

    def field(t, y):
        assert t.shape == ((2,) if per_row else ())
        seen.append(t)
        return y / t.sqrt().reshape(-1, 1)

    times = torch.linspace(1.0, 1e-3, 7, dtype=float64)
    with torch.no_grad():
        solution = pair(1e-7, 1e-7, per_row).solve(field, torch.ones(2, 1, dtype=float64), times, save="all")
    exact = torch.exp(2 * times.sqrt() - 2)
    assert (solution.states[..., 0] - exact[:, None]).abs().max() < 1e-5
    assert torch.equal(solution.states[-1], solution.state)
    assert min(t.min().item() for t in seen) >= 1e-3
    assert max(t.max().item() for t in seen) <= 1.0


@every_pair
@given(seed=st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_neighbours_change_nothing_bit_for_bit(pair, seed):
    """A batch of the same size, with other rows beside: the same bits. A shared step would differ."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 8, generator=generator) * 3
    x = torch.randn(6, 8, generator=generator)
    other = x.clone()
    other[3:] = 10 * torch.randn(3, 8, generator=generator)

    def field(t, y):
        return torch.tanh(y @ weight) * torch.cos(9 * t).reshape(-1, 1)

    times = torch.tensor([0.0, 1.0])
    ends = [pair(per_row=True).solve(field, rows, times).state for rows in (x, other)]
    assert torch.equal(ends[0][:3], ends[1][:3])
    shared = [pair().solve(field, rows, times).state for rows in (x, other)]
    assert not torch.equal(shared[0][:3], shared[1][:3])


def a_flow(**parts):
    torch.manual_seed(0)
    velocity = gf.velocities.Shallow(3, width=16, condition_dim=2).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return gf.Flow(velocity, **parts)


@pytest.mark.parametrize(
    "divergence",
    [gf.divergences.Exact(), gf.divergences.Hutchinson(n=4), gf.divergences.FiniteDifference(n=4)],
    ids=lambda divergence: type(divergence).__name__,
)
def test_log_prob_of_a_row_does_not_depend_on_the_batch(divergence):
    """As many rows as probes, so that their axes could be mistaken, and a condition for each row."""
    flow = a_flow(integrator=DormandPrince(1e-6, 1e-6, per_row=True), divergence=divergence)
    precise = flow.replace(integrator=DormandPrince(1e-10, 1e-10))
    x, c = torch.randn(4, 3, dtype=float64), torch.randn(4, 2, dtype=float64)
    wild = torch.cat([x[:2], 30 * x[2:]])

    def transport(flow, x):
        return flow.integrate(x, condition=c, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        calm, beside, exact = transport(flow, x), transport(flow, wild), transport(precise, x)
    assert torch.equal(calm.log_det[:2], beside.log_det[:2])
    assert torch.equal(calm.x[:2], beside.x[:2])
    assert (calm.log_det - exact.log_det).abs().max() < 1e-4
    if divergence.has_per_probe:
        assert calm.per_probe.shape == (4, 4)
        assert torch.allclose(calm.per_probe, exact.per_probe, atol=1e-4)
        assert torch.allclose(calm.per_probe.mean(0), calm.log_det, atol=1e-12)


def test_a_batch_in_parts_is_the_same_to_rounding():
    flow = a_flow(integrator=Tsitouras(1e-6, 1e-6, per_row=True))
    x, c = torch.randn(12, 3, dtype=float64), torch.randn(12, 2, dtype=float64)
    with torch.no_grad():
        whole = flow.log_prob(x, c)
        parts = torch.cat([flow.log_prob(*rows) for rows in zip(x.split(5), c.split(5))])
        transport = flow.integrate(x, condition=c)
    # Products of another shape are added up in another order. Log p sums as many evaluations as the solve has, each of
    # which sums over the width of 16: rounding is relative to the size of what is summed, log p(z) and log |det|.
    size = flow.base.log_prob(transport.x).abs() + transport.log_det.abs()
    assert ((whole - parts).abs() < torch.finfo(float64).eps * 16 * transport.nfe * size).all()


def test_batches_of_any_rank():
    flow = a_flow(integrator=DormandPrince(per_row=True))
    x, c = torch.randn(2, 3, 3, dtype=float64), torch.randn(2, 3, 2, dtype=float64)
    with torch.no_grad():
        assert torch.allclose(
            flow.log_prob(x, c).flatten(), flow.log_prob(x.reshape(6, 3), c.reshape(6, 2)), atol=1e-12
        )
        assert flow.log_prob(x[0, 0], c[0, 0]).shape == ()
        assert flow.log_prob(x[:0], c[:0]).shape == (0, 3)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("gradient", gf.solvers.GRADIENTS)
def test_gradients_are_those_of_the_exact_solution(gradient, per_row):
    """y = y0 exp(a sin ω t): dy/da = y sin ω t. Rejected steps leave no trace in them."""
    a = torch.tensor(0.7, dtype=float64, requires_grad=True)
    rates = torch.tensor([3.0, 40.0], dtype=float64)
    dynamics = Dynamics(lambda t, y: a * (rates * torch.cos(rates * t)).unsqueeze(-1) * y, tensors=[a])
    y0 = torch.ones(2, 1, dtype=float64, requires_grad=True)
    solver = DormandPrince(1e-9, 1e-9, per_row=per_row, gradient=gradient)
    solution = solver.solve(dynamics, y0, UNIT)
    assert solution.rejected > 0
    by_a, by_y = torch.autograd.grad(solution.state.sum(), (a, y0))
    exact = torch.exp(a.detach() * torch.sin(rates))
    assert by_a.item() == pytest.approx((exact * torch.sin(rates)).sum().item(), rel=1e-6)
    assert torch.allclose(by_y[:, 0], exact, rtol=1e-6)


@pytest.mark.parametrize("per_row", [False, True])
def test_a_rejected_step_into_infinity_leaves_finite_gradients(per_row):
    """The field jumps at t = 1/2 and overflows beyond y = 2, where a step that grew before the jump leads to."""
    y0 = torch.tensor([[1.0], [1.1]], dtype=float64, requires_grad=True)

    def field(t, y):
        late = (t > 0.5).to(y).reshape(-1, 1)
        return 0.1 + late * 50 * (1.9 - y) * torch.exp(1e4 * (y - 2).clamp(min=0.0))

    solution = DormandPrince(1e-4, 1e-4, per_row=per_row).solve(field, y0, UNIT)
    assert solution.rejected > 0
    (by_y,) = torch.autograd.grad(solution.state.sum(), y0)
    assert by_y.isfinite().all()


def test_says_where_it_stopped_and_in_which_row():
    start = torch.tensor([[0.1], [1.0], [0.1]])
    with torch.no_grad(), pytest.raises(SolverError, match=r"fell below.*row 1") as caught:
        DormandPrince(per_row=True).solve(lambda t, y: y * y, start, torch.tensor([0.0, 2.0]))
    assert caught.value.time == pytest.approx(1.0, abs=1e-3)  # y = 1 / (1 - t)
    assert caught.value.state[1].item() > 1e4
    assert caught.value.step < 1e-5


def test_wrong_arguments_get_one_line():
    for arguments in ({"norm": "l7"}, {"rtol": -1.0}, {"max_evaluations": 0}, {"gradient": "magic"}):
        with pytest.raises(InputError) as caught:
            DormandPrince(**arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="strictly"):
        DormandPrince().solve(lambda t, y: y, torch.ones(1), torch.tensor([0.0, 1.0, 1.0]))
    state = (torch.ones(3, 2), torch.zeros(2, 3))
    with pytest.raises(InputError, match="per_row=False would do"):
        DormandPrince(per_row=True).solve(lambda t, y: y, state, UNIT)


def test_no_time_to_pass_is_no_change():
    x = torch.randn(3)
    assert torch.equal(DormandPrince().solve(lambda t, y: y, x, torch.tensor([0.5, 0.5])).state, x)


def test_the_norm_of_a_mean_takes_fewer_steps():
    rates = torch.linspace(0, 30, 50, dtype=float64)
    start = torch.ones(50, 1, dtype=float64)
    steps = [DormandPrince(norm=norm).solve(waves(rates), start, UNIT).steps for norm in ("max", "rms")]
    assert steps[1] < steps[0]
    assert math.isfinite(steps[0])
