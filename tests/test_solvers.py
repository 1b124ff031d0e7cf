"""Fixed-step solvers: order of convergence, gradients, states, failures."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genflow import Dynamics, Flow, InputError, SolverError
from genflow.schedulers import Uniform
from genflow.solvers import RK4, RK438, Euler, Heun, Midpoint, Ralston, RK4Simpson
from genflow.velocities import Shallow

SOLVERS = [Euler(), Midpoint(), Heun(), Ralston(), RK4(), RK438(), RK4Simpson()]
by_name = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)


def swing(t, state):
    """y' = y cos t, l' = cos t: y = exp(sin t) and l = sin t if they begin at 1 and 0."""
    y, _ = state
    return y * torch.cos(t), torch.cos(t).expand_as(y)


def swung(t):
    t = torch.tensor([t], dtype=torch.float64)
    return torch.exp(torch.sin(t)), torch.sin(t)


@by_name
@pytest.mark.parametrize(("start", "stop"), [(0.0, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("power", [1.0, 1.5])
def test_error_falls_with_the_order(solver, start, stop, power):
    errors = []
    for steps in (32, 64):
        times = start + (stop - start) * torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** power
        y, log_y = solver.solve(swing, swung(start), times).state
        errors.append(torch.stack([y - swung(stop)[0], log_y - swung(stop)[1]]).abs().flatten())
    observed = torch.log2(errors[0] / errors[1])
    assert (observed > solver.order - 0.25).all(), observed


@by_name
@given(z=st.floats(-2, 2), steps=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_step_of_a_linear_equation_is_the_truncated_exponential(solver, z, steps):
    times = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    factor = sum(z**k / math.factorial(k) for k in range(solver.order + 1))
    state = solver.solve(lambda t, y: z * y, torch.ones(1, dtype=torch.float64), times).state
    assert state.item() == pytest.approx(factor**steps, rel=1e-9, abs=1e-12)


@by_name
def test_gradients_reach_state_parameters_and_times(solver):
    times = torch.linspace(0, 1, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    c = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def end(x, c, times):
        return solver.solve(lambda t, y: torch.sin(c * y + t), x, times).state

    assert torch.autograd.gradcheck(end, (x, c, times))


@by_name
@pytest.mark.parametrize("tupled", [False, True])
def test_all_states_begin_with_the_first_and_end_with_the_last(solver, tupled):
    state = (torch.ones(3), torch.zeros(2, 3)) if tupled else torch.ones(3)
    before = torch.ones(3)
    field = (lambda t, y: (-y[0], y[1] + t)) if tupled else (lambda t, y: -y)
    solution = solver.solve(field, state, torch.linspace(0, 1, 6), save="all")
    states = solution.states if tupled else (solution.states,)
    ends = solution.state if tupled else (solution.state,)
    for all_states, end in zip(states, ends, strict=True):
        assert len(all_states) == 6
        assert torch.equal(all_states[-1], end)
    assert torch.equal(state[0] if tupled else state, before), "the caller's state was changed"
    assert (solution.steps, solution.nfe) == (5, 5 * solver.evaluations)
    assert torch.equal(states[0][0], before)


@by_name
def test_nfe_is_the_number_of_calls(solver):
    calls = []

    def field(t, y):
        assert t.ndim == 0
        assert t.dtype == torch.float64
        calls.append(t.item())
        return -y

    solution = solver.solve(field, torch.ones(2, dtype=torch.float64), torch.linspace(1, 0, 4, dtype=torch.float64))
    assert solution.nfe == len(calls)
    assert max(calls) <= 1
    assert min(calls) >= 0


@by_name
def test_state_stays_float32_under_a_bfloat16_velocity(solver):
    solution = solver.solve(lambda t, y: (-y).bfloat16(), torch.ones(2), torch.linspace(0, 1, 3))
    assert solution.state.dtype == torch.float32


@by_name
def test_no_time_to_pass_is_no_change(solver):
    x = torch.randn(3)
    assert torch.equal(solver.solve(lambda t, y: y, x, torch.zeros(1)).state, x)


@by_name
def test_times_that_turn_round_are_refused(solver):
    for times in (torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.0, math.nan])):
        with pytest.raises(InputError, match="times"):
            solver.solve(lambda t, y: y, torch.ones(1), times)


@by_name
def test_a_state_that_is_not_finite_is_named_in_every_mode(solver):
    times = torch.linspace(0, 1, 5)
    burst = Dynamics(lambda t, y: y * torch.where(t > 0.4, torch.inf, 1.0))
    for save, gradients in itertools.product(("last", "all"), (False, True)):
        with torch.set_grad_enabled(gradients), pytest.raises(SolverError, match="not finite at t = ") as caught:
            solver.solve(burst, torch.ones(2), times, save=save)
        assert 0 <= caught.value.time <= 0.5
        assert caught.value.step == 0.25
        assert caught.value.state.isfinite().all(), "the last state that was good"
    with torch.no_grad(), pytest.raises(SolverError, match="at the start"):
        solver.solve(lambda t, y: y, torch.tensor([math.nan]), times)


class Along(Dynamics):
    """x' = -x sin t and, along its path, l' = x^2 + t and m' = cos x; counts where each is asked for."""

    def __init__(self):
        super().__init__(self.everything)
        self.path = self.alone
        self.calls = {"everything": 0, "alone": 0}

    def alone(self, t, x):
        self.calls["alone"] += 1
        return -x * torch.sin(t)

    def everything(self, t, state):
        self.calls["everything"] += 1
        x = state[0]
        return -x * torch.sin(t), (x**2 + t).sum(-1), torch.cos(x)


def along(solver, steps, reverse=False, dynamics=None):
    times = torch.linspace(0.2, 1.7, steps + 1, dtype=torch.float64)
    x = torch.tensor([[0.5, -1.0], [1.2, 0.3]], dtype=torch.float64)
    state = x, torch.zeros(2, dtype=torch.float64), torch.zeros_like(x)
    return solver.solve(dynamics or Along(), state, times.flip(0) if reverse else times)


@pytest.mark.parametrize("reverse", [False, True])
def test_integrals_along_a_path_have_the_order_of_the_path(reverse):
    truth = along(RK4(), 4096, reverse).state
    errors = []
    for steps in (64, 128):
        found = along(RK4Simpson(), steps, reverse).state
        errors.append(torch.stack([(a - b).abs().max() for a, b in zip(found, truth, strict=True)]))
    observed = torch.log2(errors[0] / errors[1])
    assert (observed > 4 - 0.25).all(), observed


def test_a_path_is_asked_alone_where_nothing_is_integrated():
    dynamics = Along()
    solution = along(RK4Simpson(), 6, dynamics=dynamics)
    assert dynamics.calls == {"everything": 2 * 6 + 1, "alone": 3 * 6}
    assert solution.nfe == 5 * 6 + 1
    # The path itself is that of RK4, step by step.
    torch.testing.assert_close(solution.state[0], along(RK4(), 6).state[0], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("gradient", ["checkpoint", "adjoint"])
def test_integrals_along_a_path_have_the_gradients_of_the_steps(gradient):
    flow = Flow(Shallow(3, 8).double(), Uniform(12))
    with torch.no_grad():
        for parameter in flow.velocity.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for way in ("backprop", gradient):
        log_p = flow.replace(integrator=RK4Simpson(way)).log_prob(x)
        found.append(torch.autograd.grad(log_p.sum(), list(flow.velocity.parameters())))
    # Checkpoints take the same steps; the adjoint equation has an error of its own, of order 4 in 12 steps.
    tolerance = 1e-10 if gradient == "checkpoint" else 1e-3
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance * own.abs().max().item())
