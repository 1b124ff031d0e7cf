"""A solve that leads nowhere says so: with gradients on and off, in a training, and inside of torch's transforms."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import genflow as gf
from genflow import Dynamics, SolverError
from genflow.naming import registry
from genflow.solvers import FIXED_METHODS, Adaptive
from genflow.training import Budget, Stage, TrainingData, train

GRADIENTS = ("backprop", "checkpoint", "adjoint")


def lost_field():
    """Not a number everywhere, with all that a solver may ask for."""
    dynamics = Dynamics(lambda t, x: x * math.nan, diffusion=lambda t, x: torch.zeros((), dtype=x.dtype))
    dynamics.noise, dynamics.denoise = gf.schedulers.LinearInterpolant(), lambda t, x: x * math.nan
    return dynamics


def integrators():
    for name in registry.names("integrator"):
        solver = registry.lookup("integrator", name)
        for gradient in getattr(solver, "gradients", GRADIENTS):
            yield pytest.param(solver(gradient=gradient), id=f"{name}-{gradient}")
    for method in FIXED_METHODS:
        for gradient in GRADIENTS:
            yield pytest.param(Adaptive(method, gradient=gradient), id=f"{method}-{gradient}")


def looping_euler(dynamics, x, times):
    for t, h in zip(times, times.diff(), strict=False):
        x = x + h * dynamics(t, x)
    return x


@pytest.mark.parametrize("solver", [*integrators(), pytest.param(gf.solvers.Euler(), id="plain")])
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("save", ["last", "all"])
def test_a_lost_solve_with_gradients_on_is_one_line(solver, requires_grad, save):
    x = torch.ones(3, 2, requires_grad=requires_grad)
    with torch.enable_grad(), pytest.raises(SolverError) as caught:
        solver.solve(lost_field(), x, torch.linspace(0.9, 0.1, 6), save=save)
    assert "\n" not in str(caught.value)
    assert "not finite" in str(caught.value)
    if caught.value.state is not None:
        assert caught.value.state.isfinite().all()
        assert not caught.value.state.requires_grad


@pytest.mark.parametrize("save", ["last", "all"])
def test_a_plain_function_as_integrator_says_so_too(save):
    with pytest.raises(SolverError, match="looping_euler: the state is not finite") as caught:
        gf.as_integrator(looping_euler).solve(lost_field(), torch.ones(3, 2), torch.linspace(0, 1, 5), save=save)
    assert not caught.value.state.requires_grad


def test_a_lost_log_determinant_is_a_lost_solve():
    """The points go on while the divergence is not a number: x' = 0 with a divergence of nan."""
    flow = gf.Flow(
        gf.as_velocity(lambda x, t, condition: 0 * x),
        divergence=gf.as_divergence(lambda v, x, t, p, c: (v(x, t, c), x.sum(-1) * math.nan), probes=None),
        base=gf.StandardNormal(2),
    )
    with pytest.raises(SolverError, match="not finite"):
        flow.log_prob(torch.ones(3, 2))


# Inside of torch's transforms


def flow():
    torch.manual_seed(0)
    return gf.models.CNF(2, width=8, steps=4)


def test_log_prob_of_one_row_can_be_vmapped_and_differentiated():
    model, x = flow(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    of_row = lambda row: model.log_prob(row[None])[0]
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            together = torch.func.vmap(of_row)(x)
            torch.testing.assert_close(together, model.log_prob(x))
    scores = torch.func.vmap(torch.func.grad(of_row))(x)
    torch.testing.assert_close(scores, model.score(x), rtol=1e-4, atol=1e-5)
    rows = torch.func.vmap(torch.func.jacrev(of_row))(x)
    torch.testing.assert_close(rows, scores, rtol=1e-4, atol=1e-5)
    assert torch.func.vmap(torch.func.jacfwd(of_row))(x).shape == (5, 2)


def test_a_lost_solve_inside_of_vmap_is_left_to_the_caller():
    solve = lambda x: gf.solvers.RK4().solve(lost_field(), x, torch.linspace(0, 1, 3)).state
    assert torch.func.vmap(solve)(torch.ones(3, 2)).isnan().all()


def test_a_solve_of_tensors_without_numbers_is_not_asked_for_them():
    """Shapes can be found out on the device `meta`, where no number has a value."""
    x, times = torch.ones(3, 2, device="meta"), torch.linspace(0, 1, 3)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            assert gf.solvers.RK4().solve(lambda t, y: -y, x, times).state.shape == (3, 2)


@pytest.mark.slow
def test_a_solve_can_be_compiled():
    """In a process of its own: the checks of shapes that run in the tests can't be compiled."""
    code = """
import torch, genflow as gf
x, times = torch.ones(3, 2), torch.linspace(0, 1, 3)
solve = lambda y: gf.solvers.Euler().solve(lambda t, y: -y, y, times).state
compiled = torch.compile(solve, backend="eager")
for mode in (torch.no_grad, torch.enable_grad):
    with mode():
        torch.testing.assert_close(compiled(x), solve(x))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# In a training


class Growth(nn.Module):
    """x' = a x + 1 on [0, 1] by one Euler step, whose field is lost between two evaluations of the loss."""

    def __init__(self, first=0, last=10**9, sharpness=0.0, gradient="backprop"):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.0))
        self.first, self.last, self.sharpness, self.calls = first, last, sharpness, 0
        self.solver = gf.solvers.Euler(gradient=gradient)

    def end(self, x, factor=1.0):
        dynamics = Dynamics(lambda t, y: factor * (self.rate * y + 1), [self.rate])
        return self.solver.solve(dynamics, x, torch.linspace(0, 1, 2)).state

    def loss(self, batch, generator):
        self.calls += 1
        return (self.end(batch, math.nan if self.first < self.calls <= self.last else 1.0) - 3).square().mean()

    def next_stage(self, data, history):
        if history:
            return None
        return Stage(
            name="growth",
            parameters=[self.rate],
            train=data.train,
            validation=data.validation,
            loss=self.loss,
            validate=lambda rows, generator: (self.end(rows) - 3).square().mean(1),
            batch_size=16,
            learning_rate=0.1,
            sharpness=self.sharpness,
            sharp_after=0.0,
        )


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return TrainingData(*(1 + 0.1 * torch.randn(n, 1, generator=generator) for n in (64, 32)))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_few_lost_solves_are_skipped_steps(rows, gradient):
    model = Growth(first=10, last=13, gradient=gradient)
    (entry,) = train(model, rows, Budget(iterations=60))
    assert entry["steps"] == 57  # three were skipped, and count against the iterations
    assert entry["learning_rate"] == pytest.approx(0.1)
    # 1 + a + 1 = 3 at a = 1 for rows around 1; Adam's last steps are a hundredth of a tenth.
    assert model.rate.item() == pytest.approx(1.0, abs=0.1)


def test_a_stage_that_stays_lost_goes_back_and_ends_with_the_reason(rows):
    with pytest.raises(gf.training.TrainingError, match="growth: the loss stayed non-finite"):
        train(Growth(first=10), rows, Budget(iterations=200))


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_half_of_a_sharp_step_is_a_skipped_step(rows, which):
    """Each step evaluates the loss twice; the sixth step is lost in its first or in its second half."""
    lost = 11 + which
    model = Growth(first=lost - 1, last=lost, sharpness=0.01)
    (entry,) = train(model, rows, Budget(iterations=30))
    assert entry["steps"] == 29
    assert model.rate.isfinite()
