r"""The promises of an integrator.

Two equations with known solutions serve:

.. math::
    \dot y = y \cos t, \quad \dot l = \cos t \qquad \Rightarrow \qquad
    y = y_0 e^{\sin t - \sin t_0}, \quad l = \sin t - \sin t_0,

and, for integrators that ask the dynamics for a denoiser, the probability flow of data :math:`N(0, s^2)` under a
variance-preserving noise, whose solution is :math:`x(t) = x_0 \sqrt{N(t) / N(t_0)}` with
:math:`N = \alpha^2 s^2 + \sigma^2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.interfaces import Dynamics, Integrator, Solution
from genflow.solvers.function import as_integrator
from genflow.testing.promises import answering, generator, near, promise, same_kind

__all__ = ["check_integrator"]

_START, _STOP = 0.2, 0.9
_MOST = 100_000  # evaluations in one solve of a harmless equation
_S = 0.5  # deviation of the data under the diffusion


class _Watched(Dynamics):
    """Counts evaluations, keeps the times, and ends what would not end."""

    def __init__(self, function: Callable[[Tensor, Any], Any], tensors: tuple[Tensor, ...] = (), **offered: Any):
        super().__init__(self._observe, tensors, offered.pop("diffusion", None))
        self.inner, self.calls, self.seen = function, 0, [math.inf, -math.inf]
        for name, value in offered.items():
            setattr(self, name, value)

    def _observe(self, t: Tensor, state: Any) -> Any:
        self._count(t)
        return self.inner(t, state)

    def _count(self, t: Tensor) -> None:
        self.calls += 1
        self.seen = [min(self.seen[0], t.min().item()), max(self.seen[1], t.max().item())]
        if self.calls > _MOST:
            raise _Endless


class _Endless(Exception):
    pass


def _swing(t: Tensor, state: Any) -> Any:
    if isinstance(state, Tensor):
        return state * torch.cos(t)
    y, log_y = state
    return y * torch.cos(t), torch.cos(t).expand_as(log_y)


class _Diffusion:
    """Data N(0, s²) under a variance-preserving noise: denoiser, probability flow and solution in closed form."""

    def __init__(self) -> None:
        from genflow.schedulers import VariancePreserving

        self.noise = VariancePreserving()

    def variance(self, t: Tensor) -> Tensor:
        return self.noise.alpha(t) ** 2 * _S**2 + self.noise.sigma(t) ** 2

    def denoise(self, t: Tensor, x: Tensor) -> Tensor:
        return self.noise.alpha(t) * _S**2 / self.variance(t) * x

    def rate(self, t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma = self.noise.alpha(t), self.noise.sigma(t)
        slope = alpha * self.noise.alpha_dot(t) * _S**2 + sigma * self.noise.sigma_dot(t)
        return slope / self.variance(t) * x

    def end(self, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        return x * (self.variance(stop) / self.variance(start)).sqrt()

    def watched(self) -> _Watched:
        dynamics = _Watched(self.rate, noise=self.noise, diffusion=lambda t, x: self.noise.diffusion(t))

        def denoise(t: Tensor, x: Tensor) -> Tensor:
            dynamics._count(t)
            return self.denoise(t, x)

        dynamics.denoise = denoise
        return dynamics


class _Problem:
    """What an integrator is checked on: dynamics, and where they lead."""

    def __init__(self, integrator: Integrator):
        x = torch.ones(3, 2, dtype=torch.float64)
        self.diffusion = False
        try:
            integrator.solve(self.dynamics(), x, self.times(4), generator=generator())
        except InputError:  # it asks for a denoiser; silent dynamics would not do
            self.diffusion = True

    def dynamics(self) -> _Watched:
        if self.diffusion:
            return _Diffusion().watched()
        # No noise: an integrator of stochastic equations then solves the ordinary one.
        return _Watched(_swing, diffusion=lambda t, x: torch.zeros((), dtype=x.dtype))

    def times(self, steps: int, dtype: torch.dtype = torch.float64, rising: bool = True, growth: float = 0.0) -> Tensor:
        """A grid whose last step is `1 + 2 growth` times the first, whatever their number."""
        u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        u = u * (1 + growth * u) / (1 + growth)
        start, stop = (_START, _STOP) if rising and not self.diffusion else (_STOP, _START)
        return (start + (stop - start) * u).to(dtype)

    def end(self, x: Tensor, times: Tensor) -> Tensor:
        if self.diffusion:
            return _Diffusion().end(x, times[0], times[-1])
        return x * torch.exp(times[-1].sin() - times[0].sin())


def check_integrator(integrator: Integrator | Callable[..., Any]) -> None:
    """Checks an integrator: its order in both directions, its count of evaluations, rows, gradients, dtypes, failures.

    An integrator may refuse what it can't do with an `InputError` of one line: a tuple of states (it then gives
    samples, and no log p), dynamics without a denoiser. One that chooses its own steps, known by an argument `rtol`, is
    held to its tolerance instead of its order; one that draws noise of its own to what does not depend on it.

    Args:
        integrator: The integrator, or a function that `as_integrator` takes.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import genflow as gf
        >>> from genflow.testing import check_integrator
        >>> check_integrator(gf.solvers.RK4())
    """
    with answering(integrator):
        integrator = as_integrator(integrator)
        _check_promises(integrator)


def _check_promises(integrator: Integrator) -> None:
    try:
        problem = _Problem(integrator)
        with torch.no_grad():
            noisy = _check_solution(integrator, problem)
            _check_states(integrator, problem)
            if not noisy:
                _check_order(integrator, problem)
                _check_rows(integrator, problem)
            _check_tuple(integrator, problem, noisy)
            _check_failure(integrator, problem)
        _check_failure(integrator, problem)
        if not noisy:
            _check_gradients(integrator, problem)
    except _Endless:
        promise(False, integrator, f"{_MOST} evaluations of a harmless equation did not bring it to an end")


def _solve(integrator: Integrator, dynamics: Any, state: Any, times: Tensor, seed: int = 0, **options: Any) -> Solution:
    solution = integrator.solve(dynamics, state, times, generator=generator(seed), **options)
    promise(
        isinstance(solution, Solution),
        integrator,
        f"solve returned a {type(solution).__name__}; a Solution is promised",
    )
    return solution


def _check_solution(integrator: Integrator, problem: _Problem) -> bool:
    """Shape, dtype, NFE, times, randomness; returns whether it draws noise of its own."""
    for dtype in (torch.float64, torch.float32):
        x = torch.linspace(0.5, 2, 6).reshape(3, 2).to(dtype)
        before, dynamics, times = x.clone(), problem.dynamics(), problem.times(8, dtype)
        solution = _solve(integrator, dynamics, x, times)
        same_kind(solution.state, x, integrator, "the state")
        promise(torch.equal(x, before), integrator, "it changed the state that it was given")
        promise(
            solution.nfe == dynamics.calls,
            integrator,
            f"it reports {solution.nfe} evaluations (nfe), the dynamics were called {dynamics.calls} times",
        )
        slack = 1e-6
        promise(
            dynamics.seen[0] >= min(times).item() - slack and dynamics.seen[1] <= max(times).item() + slack,
            integrator,
            f"it evaluated at t = {dynamics.seen[0]:g} … {dynamics.seen[1]:g}, outside of the times it was given",
        )
        again = _solve(integrator, problem.dynamics(), x, times).state
        promise(torch.equal(solution.state, again), integrator, "two solves from one seed differ")
    other = _solve(integrator, problem.dynamics(), x, times, seed=1).state
    return not torch.equal(other, again)


def _check_states(integrator: Integrator, problem: _Problem) -> None:
    x, times = torch.ones(3, 2, dtype=torch.float64), problem.times(5)
    solution = _solve(integrator, problem.dynamics(), x, times, save="all")
    promise(solution.states is not None, integrator, 'save="all" returned no states')
    same_kind(solution.states, x.expand(6, 3, 2), integrator, 'states with save="all"')
    promise(torch.equal(solution.states[0], x), integrator, "the first of all states is not the one it began with")
    promise(
        torch.equal(solution.states[-1], solution.state),
        integrator,
        "the last of all states is not the state at the end",
    )


def _adaptive(integrator: Integrator) -> float | None:
    """The tolerance of an integrator that chooses its own steps."""
    return sum(integrator.tolerances.values()) if integrator.tolerances else None


def _check_order(integrator: Integrator, problem: _Problem) -> None:
    x, tolerance = torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(3, 2), _adaptive(integrator)
    for rising in (True, False) if not problem.diffusion else (True,):
        for growth in (0.0, 1.0):
            where = f"{'up' if rising else 'down'} in time{', on a grid of unequal steps' if growth else ''}"

            def error(steps: int, rising: bool = rising, growth: float = growth) -> float:
                times = problem.times(steps, rising=rising, growth=growth)
                state = _solve(integrator, problem.dynamics(), x, times).state
                return (state - problem.end(x, times)).abs().max().item()

            if tolerance is not None:
                # Local errors add up over the steps, which are fewer than a hundred here.
                promise(
                    (found := error(48)) <= 100 * tolerance,
                    integrator,
                    f"its error is {found:.1e} {where}; its tolerance is {tolerance:.0e}",
                )
                continue
            # From 48 steps on, the next term of the error is a few per cent of the first: a third of an order is ample.
            # Where the first changes its sign between two grids, finer ones tell.
            coarse, ratio = error(24), 0.0
            for steps in (48, 96, 192):
                fine = error(steps)
                ratio = coarse / fine if fine else math.inf
                if fine < 1e-11 or math.log2(max(ratio, 1e-9)) > integrator.order - 0.35:  # below, rounding rules
                    break
                coarse = fine
            else:
                promise(
                    False,
                    integrator,
                    f"its order is {integrator.order}, but halving the steps divides the error by "
                    f"{ratio:.2g} (an order of {math.log2(max(ratio, 1e-9)):.2f}) {where}",
                )


def _check_rows(integrator: Integrator, problem: _Problem) -> None:
    x = torch.linspace(-2, 30, 12, dtype=torch.float64).reshape(6, 2)
    times = problem.times(8)
    together = _solve(integrator, problem.dynamics(), x, times).state
    alone = _solve(integrator, problem.dynamics(), x[:2], times).state
    allowed = 1e-9 if (tolerance := _adaptive(integrator)) is None else 100 * tolerance
    promise(
        near(alone, together[:2], allowed), integrator, "the result of a row depends on the other rows of the batch"
    )


def _check_tuple(integrator: Integrator, problem: _Problem, noisy: bool) -> None:
    """A tuple of states is moved as one: a log-determinant rides along. Or it is refused in one line."""
    if problem.diffusion or noisy:
        return
    x, times = torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(3, 2), problem.times(16)
    state = (x, torch.zeros(3, dtype=torch.float64))
    try:
        moved = _solve(integrator, problem.dynamics(), state, times).state
    except InputError:
        return
    except Exception as error:
        promise(
            False,
            integrator,
            f"a tuple of states ends in a {type(error).__name__} ({error}); move it, or refuse it with an InputError",
        )
    promise(
        isinstance(moved, tuple) and len(moved) == 2,
        integrator,
        "of a tuple of two states it did not return a tuple of two",
    )
    same_kind(moved[1], state[1], integrator, "the second state of a tuple")
    alone = _solve(integrator, problem.dynamics(), x, times).state
    allowed = 1e-9 if (tolerance := _adaptive(integrator)) is None else 100 * tolerance
    promise(near(moved[0], alone, allowed), integrator, "a point moves otherwise when a log-determinant rides along")
    # An Euler step of 0.7/16 errs by h |f'| / 2 at most: 0.02.
    wanted = (times[-1].sin() - times[0].sin()).expand(3)
    promise(near(moved[1], wanted, 0.02), integrator, "the log-determinant that rides along is wrong")


def _check_gradients(integrator: Integrator, problem: _Problem) -> None:
    """Gradients with respect to the state, and to a tensor that the dynamics list; those of the exact solution."""
    x = torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
    times = problem.times(48)
    if problem.diffusion:
        end = _solve(integrator, problem.dynamics(), x, times).state
        promise(end.requires_grad, integrator, "no gradient reaches the state that it began with")
        return
    c = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    dynamics = _Watched(lambda t, y: c * y, (c,), diffusion=lambda t, y: torch.zeros((), dtype=y.dtype))
    end = _solve(integrator, dynamics, x, times).state
    promise(end.requires_grad, integrator, "no gradient reaches the state that it began with")
    for_x, for_c = torch.autograd.grad(end.sum(), (x, c), allow_unused=True)
    span = (times[-1] - times[0]).item()
    growth = math.exp(c.item() * span)
    promise(
        for_x is not None and near(for_x, torch.full_like(x, growth), 0.02),
        integrator,
        "the gradient for the state is wrong",
    )
    promise(
        for_c is not None and near(for_c, (x * span * growth).sum(), 0.02),
        integrator,
        "no gradient, or a wrong one, reaches a tensor that the dynamics list",
    )


def _check_failure(integrator: Integrator, problem: _Problem) -> None:
    """A velocity that is not a number ends in a named error, with gradients on and off."""
    x = torch.ones(3, 2, dtype=torch.float64)
    lost = _Watched(lambda t, y: y * math.nan, diffusion=lambda t, y: torch.zeros((), dtype=y.dtype))
    if problem.diffusion:
        lost.noise, lost.denoise = _Diffusion().noise, lambda t, y: y * math.nan
    try:
        state = _solve(integrator, lost, x, problem.times(8)).state
    except SolverError:
        return
    promise(
        not state.isfinite().any(),
        integrator,
        "of a velocity that is not a number it makes a finite state: nobody would see the failure",
    )
    mode = "on" if torch.is_grad_enabled() else "off"
    promise(
        False,
        integrator,
        f"with gradients {mode}, a velocity that is not a number ends in a state that is none, without a word; a "
        "SolverError is promised",
    )
