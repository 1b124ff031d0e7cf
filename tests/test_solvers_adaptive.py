"""torchdiffeq's methods: accuracy, gradients with and without the adjoint, bounds and named failures."""

from __future__ import annotations

import math

import pytest
import torch

from genflow import Dynamics, InputError, SolverError
from genflow.solvers import ADAPTIVE_METHODS, FIXED_METHODS, Adaptive

WITH_STEPS = [name for name in ADAPTIVE_METHODS if name != "scipy_solver"]
every_method = pytest.mark.parametrize("method", [*ADAPTIVE_METHODS, *FIXED_METHODS])


def decay(t, y):
    return -y * (1 + torch.cos(t))


def decayed(start, stop):
    return math.exp(start + math.sin(start) - stop - math.sin(stop))


@every_method
@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("save", ["last", "all"])
def test_every_method_solves_in_both_directions(method, start, stop, save):
    times = torch.linspace(start, stop, 101, dtype=torch.float64)
    state = (torch.ones(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    rough = ADAPTIVE_METHODS.get(method) in (2, 3)
    solver = Adaptive(method, *(2 * (1e-4,) if rough else 2 * (1e-6,)))
    with torch.no_grad():
        solution = solver.solve(lambda t, s: (decay(t, s[0]), torch.ones_like(s[1])), state, times, save=save)
    tolerance = {"euler": 0.02, "fehlberg2": 0.06}.get(method, 2e-3 if solver.order < 4 else 2e-5)
    assert solution.state[0][0].item() == pytest.approx(decayed(start, stop), rel=tolerance)
    assert solution.state[1][0].item() == pytest.approx(stop - start, rel=1e-6)
    assert solution.nfe > 0
    if save == "all":
        assert solution.states[0].shape == (101, 2)
        assert solution.states[0][50, 0].item() == pytest.approx(decayed(start, 0.5), rel=tolerance)


@pytest.mark.parametrize("method", WITH_STEPS)
def test_a_tighter_tolerance_gives_a_smaller_error_and_more_evaluations(method):
    times = torch.tensor([0.0, 2.0], dtype=torch.float64)
    errors, counts = [], []
    for tolerance in (1e-2, 1e-5):
        solution = Adaptive(method, tolerance, tolerance).solve(decay, torch.ones(1, dtype=torch.float64), times)
        errors.append(abs(solution.state.item() - decayed(0, 2)))
        counts.append(solution.nfe)
    assert errors[1] < errors[0] / 10
    assert errors[1] < 1e-3
    assert counts[1] > counts[0]


@pytest.mark.parametrize("method", ADAPTIVE_METHODS)
@pytest.mark.parametrize(("start", "stop"), [(1e-3, 1.0), (1.0, 1e-3)])
def test_never_evaluates_outside_of_the_times(method, start, stop):
    seen = []

    def field(t, y):
        seen.append(t.item())
        return y / t.sqrt()

    with torch.no_grad():
        Adaptive(method).solve(field, torch.full((2,), 1e-6), torch.tensor([start, stop]))
    assert min(seen) >= torch.tensor(min(start, stop)).item()
    assert max(seen) <= max(start, stop)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk4"])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (1.0, 0.0)])
def test_gradient_reaches_a_condition_that_is_closed_over(adjoint, method, start, stop):
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    condition = 2 * a  # not a leaf
    dynamics = Dynamics(lambda t, y: -condition * y, tensors=[condition])
    tolerance = 1e-6 if method == "bosh3" else 1e-9
    solver = Adaptive(method, rtol=tolerance, atol=tolerance, adjoint=adjoint)
    times = torch.linspace(start, stop, 21, dtype=torch.float64)
    solution = solver.solve(dynamics, x, times)
    nfe = solution.nfe
    by_a, by_x = torch.autograd.grad(solution.state[0], (a, x))
    factor = math.exp(-1.4 * (stop - start))
    assert by_a.item() == pytest.approx(-2 * (stop - start) * factor, rel=1e-4)
    assert by_x[0].item() == pytest.approx(factor, rel=1e-5)
    assert solution.nfe == nfe, "the adjoint's evaluations are not the solve's"


def test_adjoint_finds_the_parameters_of_a_module():
    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 2).double()

        def forward(self, t, y):
            return torch.tanh(self.linear(y)) * (1 + t)

    field, gradients = Field(), []
    x, times = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    for adjoint in (False, True):
        end = Adaptive("dopri5", 1e-9, 1e-9, adjoint=adjoint).solve(field, x, times).state
        gradients.append(torch.autograd.grad(end.square().sum(), list(field.parameters())))
    for direct, by_adjoint in zip(*gradients, strict=True):
        assert torch.allclose(direct, by_adjoint, rtol=1e-6, atol=1e-8)


def test_error_is_controlled_for_every_row():
    """One stiff row among a thousand: a mean over the batch would hide it."""
    rates = torch.ones(1000, 1, dtype=torch.float64)
    rates[0] = 60.0
    times, ones = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(1000, 1, dtype=torch.float64)

    def wave(t, y):
        return rates * torch.cos(rates * t) * y

    end = Adaptive("dopri5", 1e-5, 1e-5).solve(wave, ones, times).state
    alone = Adaptive("dopri5", 1e-5, 1e-5).solve(lambda t, y: wave(t, y.expand(1000, 1))[:1], ones[:1], times).state
    assert abs(end[0] - alone[0]).item() < 1e-9
    assert end[0].item() == pytest.approx(math.exp(math.sin(60.0)), rel=1e-3)


@every_method
def test_a_field_that_is_not_a_number_fails_at_once(method):
    calls = []

    def field(t, y):
        calls.append(t)
        return y * math.nan

    with torch.no_grad(), pytest.raises(SolverError, match="not finite") as caught:
        Adaptive(method).solve(field, torch.ones(2), torch.linspace(0, 1, 5))
    assert len(calls) < 60
    assert caught.value.time is not None


def test_a_state_that_is_not_a_number_is_named():
    with pytest.raises(SolverError, match="the state is not finite"):
        Adaptive("dopri5").solve(lambda t, y: -y, torch.tensor([math.nan, 1.0]), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3"])
def test_a_blow_up_hands_out_where_it_came_to(method):
    with pytest.raises(SolverError, match="fell below the resolution of float32") as caught:
        Adaptive(method).solve(lambda t, y: y * y, torch.ones(1), torch.tensor([0.0, 2.0]))
    assert caught.value.time == pytest.approx(1.0, abs=1e-3)  # y = 1 / (1 - t)
    assert caught.value.state.item() > 1e4
    assert "rtol 1e-05" in str(caught.value)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "fehlberg2"])
def test_a_tolerance_beyond_the_dtype_fails_within_the_bound(method):
    calls = []

    def field(t, y):
        calls.append(t)
        return -torch.sin(20 * t) * y

    solver = Adaptive(method, rtol=1e-14, atol=1e-14, max_evaluations=500)
    with pytest.raises(SolverError, match=r"float32 can hold.*or float64") as caught:
        solver.solve(field, torch.ones(2), torch.tensor([0.0, 1.0]))
    assert len(calls) <= 500
    assert caught.value.state.shape == (2,)
    assert 0 <= caught.value.time < 1


def test_the_adjoint_is_bounded_as_well():
    """A state far below the tolerance needs few steps; its adjoint, which is of order 1, needs many."""
    x = torch.full((1,), 1e-12, dtype=torch.float64, requires_grad=True)
    solver = Adaptive("dopri5", rtol=1e-7, atol=1e-7, adjoint=True, max_evaluations=60)
    wave = Dynamics(lambda t, y: 20 * torch.cos(30 * t) * y)
    end = solver.solve(wave, x, torch.tensor([0.0, 1.0], dtype=torch.float64)).state
    with pytest.raises(SolverError, match="dopri5 adjoint: 60 evaluations"):
        end.sum().backward()


def test_wrong_arguments_get_one_line():
    for arguments in ({"method": "dopri6"}, {"norm": "l7"}, {"rtol": -1.0}, {"max_evaluations": 0}):
        with pytest.raises(InputError) as caught:
            Adaptive(**arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="strictly"):
        Adaptive().solve(decay, torch.ones(1), torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="scipy_solver has no gradients"):
        Adaptive("scipy_solver").solve(decay, torch.ones(1, requires_grad=True), torch.tensor([0.0, 1.0]))


def test_no_time_to_pass_is_no_change():
    x = torch.randn(3)
    solution = Adaptive().solve(decay, x, torch.tensor([0.5, 0.5]))
    assert torch.equal(solution.state, x)
    assert solution.nfe == 0


def test_an_empty_batch_comes_back_empty():
    assert Adaptive().solve(decay, torch.ones(0, 2), torch.tensor([0.0, 1.0])).state.shape == (0, 2)


def test_the_older_name_of_the_adjoint_is_read_and_the_newer_written():
    """A checkpoint of an earlier version says `adjoint`."""
    old = Adaptive("rk4", adjoint=True)
    assert old.gradient == "adjoint"
    assert old.config()["gradient"] == "adjoint"
    assert "adjoint" not in old.config()
    assert Adaptive(**old.config()).gradient == "adjoint"
    assert Adaptive(adjoint=False).config() == Adaptive().config()
    with pytest.raises(InputError, match="gradient: checkpoint"):
        Adaptive(adjoint=True, gradient="checkpoint")
