r"""torchdiffeq's methods, adaptive or fixed, with and without the adjoint, bounded and with named failures.

An adaptive method chooses its steps so that the estimated error :math:`e` of each keeps

.. math:: \bigl\| e_i / (atol + rtol \, \max(|y_i|, |y_i'|)) \bigr\| \le 1 .

With the norm `max`, this holds for every component of every row; the rows of a batch still share their steps, so that
a row's result depends on the other rows, within the tolerance.

R. T. Q. Chen, torchdiffeq, https://github.com/rtqichen/torchdiffeq
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.interfaces import Dynamics, Integrator, Solution, State
from genflow.numerics.recomputation import recompute
from genflow.solvers.gradients import check_gradient, tensors_of
from genflow.solvers.states import detach, grid_of, is_finite, is_lost, is_watched, stack

__all__ = ["ADAPTIVE_METHODS", "FIXED_METHODS", "Adaptive"]

ADAPTIVE_METHODS = {"dopri8": 8, "dopri5": 5, "bosh3": 3, "fehlberg2": 2, "adaptive_heun": 2, "scipy_solver": 5}
"""Methods that choose their own steps, with their orders (that of `scipy_solver` varies)."""

FIXED_METHODS = {
    "euler": 1,
    "midpoint": 2,
    "heun2": 2,
    "heun3": 3,
    "rk4": 4,
    "explicit_adams": 3,
    "implicit_adams": 4,
    "fixed_adams": 4,
}
"""Methods that walk the grid that they are given, with their orders."""


class Adaptive(Integrator):
    r"""Any of torchdiffeq's methods by name. See above.

    Gradients go through the steps; or through one interval of the grid at a time, computed again; or by the adjoint
    equation, in memory that does not grow with the steps, at 1.35 to 1.45 times the cost. The adjoint reaches the
    tensors in `dynamics.tensors` and, if the dynamics are a module, its parameters; it has no second derivatives.

    Args:
        method: One of `ADAPTIVE_METHODS` or `FIXED_METHODS`.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        adjoint: The older name of `gradient="adjoint"`.
        norm: `max`, which controls the error of every number, or `rms`, which controls its mean over the batch.
        max_evaluations: Most evaluations in one solve of an adaptive method, and in one adjoint solve.
        options: Further options of torchdiffeq, such as `{"solver": "LSODA"}` for `scipy_solver`. Adams methods have
            `max_order` 4 unless told otherwise: torchdiffeq's own 12 is hardly ever stable. (The explicit one has one
            order less.) They take all
            steps for equal, and lose their order on an uneven grid; `AdamsBashforth` does not.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`. With `checkpoint`, an adaptive
            method stops at all times of the grid.

    Attributes:
        methods: The names of all of them.

    Raises:
        InputError: An unknown method, norm or gradient; a tolerance that is not positive.

    References:
        | Dormand, Prince 1980, https://doi.org/10.1016/0771-050X(80)90013-3
        | Chen et al. 2018, Neural ordinary differential equations, https://arxiv.org/abs/1806.07366

    Example:
        >>> import math, torch, genflow as gf
        >>> times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> solution = gf.solvers.Adaptive("dopri5", rtol=1e-8, atol=1e-8).solve(lambda t, x: x, times[1:], times)
        >>> abs(solution.state.item() - math.e) < 1e-7
        True
    """

    methods = (*ADAPTIVE_METHODS, *FIXED_METHODS)

    carries_density = True

    def __init__(
        self,
        method: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        adjoint: bool = False,
        norm: str = "max",
        max_evaluations: int = 10_000,
        options: dict[str, Any] | None = None,
        gradient: str = "backprop",
    ):
        orders = {**ADAPTIVE_METHODS, **FIXED_METHODS}
        if method not in orders:
            raise InputError(f"method: no {method!r}; one of {', '.join(orders)}")
        if norm not in _NORMS:
            raise InputError(f"norm: {norm!r} came; max or rms would do")
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise InputError(f"rtol, atol: {rtol}, {atol} came; numbers such as 1e-5 would do")
        if max_evaluations < 1:
            raise InputError(f"max_evaluations: {max_evaluations} came; at least 1 would do")
        self.method, self.order = method, orders[method]
        self.rtol, self.atol, self.norm = rtol, atol, norm
        if adjoint and gradient == "checkpoint":
            raise InputError("gradient: checkpoint came with adjoint=True; one of the two would do")
        self.gradient = check_gradient("adjoint" if adjoint else gradient, type(self).__name__)
        self.max_evaluations = max_evaluations
        self.options = dict(options or {})

    @property
    def adjoint(self) -> bool:
        """Whether gradients come from the adjoint equation."""
        return self.gradient == "adjoint"

    @property
    def tolerances(self) -> dict[str, float]:
        return {} if self.method in FIXED_METHODS else super().tolerances

    def config(self) -> dict[str, Any]:
        arguments = super().config()
        if arguments.pop("adjoint", False):  # a checkpoint that is written now has the newer name
            arguments["gradient"] = "adjoint"
        return arguments

    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`; never evaluates outside of them.

        An adaptive method stops at the times between only where their states are to be saved.

        Raises:
            InputError: Times that are not strictly monotone; gradients through `scipy_solver` without the adjoint.
            SolverError: With time, step, tolerance and the state that was reached: the step falls below the resolution
                of the state's dtype, the evaluations are used up, or the velocity or the state is not finite.
        """
        dynamics, steps = Dynamics.of(dynamics), grid_of(times.detach())
        if not any(steps):
            return Solution(state, states=stack([state] * len(times)) if save == "all" else None)
        if not all(steps):
            raise InputError("times: two of them are the same; they must be strictly monotone")
        if self.gradient == "checkpoint" and torch.is_grad_enabled():
            return self._by_intervals(dynamics, state, times, save)
        return self._solve(dynamics, state, times, save)

    def _by_intervals(self, dynamics: Dynamics, state: State, times: Tensor, save: Literal["last", "all"]) -> Solution:
        """One solve for each interval of the grid, of which the graph keeps the state at its begin."""
        total, kept = Solution(state), [state]
        for interval in times.unfold(0, 2, 1):
            solution = recompute(lambda y, ends=interval: self._solve(dynamics, y, ends, "last"), total.state)
            total.state = solution.state
            total.count(solution)
            kept.append(solution.state)
        total.states = stack(kept) if save == "all" else None
        return total

    def _solve(self, dynamics: Dynamics, state: State, times: Tensor, save: Literal["last", "all"]) -> Solution:
        adaptive = self.method in ADAPTIVE_METHODS
        if adaptive and save == "last":
            times = times[[0, -1]]
        tensors = tensors_of(dynamics)
        gradients = torch.is_grad_enabled()
        if self.method == "scipy_solver" and gradients and not self.adjoint and _any_requires_grad(state, tensors):
            raise InputError(
                "method: scipy_solver has no gradients of its own; adjoint=True or torch.no_grad() would do"
            )
        watched = _Watched(self, dynamics, state, times.tolist())
        options, adjoint_options = self._options(times)
        call: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "method": self.method, "options": options}
        if self.adjoint and gradients:
            from torchdiffeq import odeint_adjoint

            states = odeint_adjoint(
                watched, state, times, **call, adjoint_params=tensors, adjoint_options=adjoint_options
            )
        else:
            from torchdiffeq import odeint

            states = odeint(watched, state, times, **call)
        reached = len(states if isinstance(states, Tensor) else states[0])
        last = states[-1] if isinstance(states, Tensor) else tuple(part[-1] for part in states)
        watched.finish(last, complete=reached == len(times))
        return Solution(
            last,
            states=states if save == "all" else None,
            nfe=watched.nfe,
            steps=watched.accepted if self.method in _WITH_CALLBACKS else watched.begun,
            rejected=watched.rejected,
        )

    def _options(self, times: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of the solve and of the adjoint solve, whose clock runs in the opposite direction."""
        given = {"max_order": 4, **self.options} if self.method.endswith("adams") else self.options
        options = {**given, "norm": _NORMS[self.norm]}
        if self.method not in _WITH_CALLBACKS:
            return options, dict(given)
        # Steps end on the times themselves: torchdiffeq would step beyond the last one and interpolate.
        stops = times.detach()
        turned = -stops if stops[0] > stops[-1] else stops
        return {**options, "step_t": stops}, {**given, "step_t": turned}


_WITH_CALLBACKS = {name for name in ADAPTIVE_METHODS if name != "scipy_solver"}


class _Watched:
    """Dynamics under watch during one solve: counts, keeps the state reached, stops what can't come to an end."""

    def __init__(self, solver: Adaptive, dynamics: Callable[[Tensor, Any], Any], state: State, times: list[float]):
        self.solver, self.dynamics = solver, dynamics
        self.low, self.high = min(times), max(times)
        self.start, self.stop = times[0], times[-1]
        self.limit = solver.max_evaluations if solver.method in ADAPTIVE_METHODS else None
        self.check_values = solver.method == "scipy_solver"
        dtype = (state if isinstance(state, Tensor) else state[0]).dtype
        self.dtype_name = str(dtype).removeprefix("torch.")
        self.resolution = torch.finfo(dtype).eps
        self.least_step = self.resolution * max(abs(self.low), abs(self.high))
        self.time, self.step = self.start, 0.0
        self.state: State | None = state
        self.evaluations = self.begun = self.accepted = self.rejected = 0
        self.nfe = 0
        self.phase = ""
        self.sign = -1.0 if self.start > self.stop else 1.0
        if solver.method in ADAPTIVE_METHODS:
            self.callback_step_adjoint = self._callback_step_adjoint
        if solver.method in _WITH_CALLBACKS:
            self.callback_step = self._callback_step
            self.callback_accept_step = self._callback_accept_step
            self.callback_reject_step = self._callback_reject_step
        elif solver.method in FIXED_METHODS:
            self.callback_step = self._callback_fixed_step

    def __call__(self, t: Tensor, state: Any) -> Any:
        self.evaluations += 1
        if self.limit is not None and self.evaluations > self.limit:
            self._fail(
                f"{self.limit} evaluations were not enough",
                self._advice("a looser tolerance or a larger max_evaluations"),
            )
        if self.limit is not None:  # the first trial step may reach too far
            t = t.clamp(self.low, self.high)
        if self.check_values:  # scipy does not hand out its steps
            self.time, self.state = t.item(), None
        rates = self.dynamics(t, state)
        if self.check_values and not is_finite(rates):
            self._fail("the velocity is not finite", "a look at the velocity there")
        return rates

    def finish(self, state: State, complete: bool) -> None:
        """The end of the solve; what is evaluated from now on belongs to the adjoint."""
        if not complete:
            self._fail("scipy gave up", "another method or a looser tolerance")
        if (self.limit is not None or is_watched(state)) and is_lost(state):
            self.time, self.state = self.stop, None  # the last good one is not known
            self._fail("the state is not finite", "more steps or an adaptive method")
        self.nfe, self.evaluations, self.phase = self.evaluations, 0, " adjoint"

    def _callback_step(self, t: Tensor, state: Any, step: Tensor) -> None:
        self.begun += 1
        self.time, self.state = t.item(), state
        self._check_step(state, step.item())

    def _callback_step_adjoint(self, t: Tensor, state: Any, step: Tensor) -> None:
        self.time, self.state = self.sign * t.item(), None
        self._check_step(state, step.item())

    def _check_step(self, state: Any, step: float) -> None:
        if not is_finite(state):
            self._fail("the state is not finite", "a look at the velocity before")
        if step == 0.0:  # torchdiffeq's answer to an error estimate that is not a number
            self._fail("the velocity is not finite within the next step", "a look at the velocity there")
        self.step = step
        if step < self.least_step:
            self._fail(
                f"the step {step:.3g} fell below the resolution of {self.dtype_name}",
                self._advice("a looser tolerance"),
            )

    def _callback_accept_step(self, t: Tensor, state: Any, step: Tensor) -> None:
        self.accepted += 1

    def _callback_reject_step(self, t: Tensor, state: Any, step: Tensor) -> None:
        self.rejected += 1

    def _callback_fixed_step(self, t: Tensor, state: Any, step: Tensor) -> None:
        self.begun += 1

    def _advice(self, usual: str) -> str:
        if max(self.solver.rtol, self.solver.atol) < 10 * self.resolution:
            return f"a tolerance that {self.dtype_name} can hold, above {10 * self.resolution:.0e}, or float64"
        return usual

    def _fail(self, reason: str, remedy: str) -> None:
        step = f" with a step of {self.step:.3g}" if self.step else ""
        solver = self.solver
        raise SolverError(
            f"{solver.method}{self.phase}: {reason}: t = {self.time:g}{step} was reached on the way from "
            f"{self.start:g} to {self.stop:g}, rtol {solver.rtol:g}, atol {solver.atol:g}; {remedy} would help",
            self.time,
            detach(self.state),
            self.step or None,
        )


def _any_requires_grad(state: State, tensors: tuple[Tensor, ...]) -> bool:
    parts = (state,) if isinstance(state, Tensor) else state
    return any(tensor.requires_grad for tensor in (*parts, *tensors))


def _max_norm(y: Any) -> Tensor:
    parts = (y,) if isinstance(y, Tensor) else y
    return torch.stack([part.abs().max() for part in parts if part.numel()] or [torch.zeros(())]).max()


def _rms_norm(y: Any) -> Tensor:
    parts = (y,) if isinstance(y, Tensor) else y
    return torch.stack([part.abs().square().mean().sqrt() for part in parts if part.numel()] or [torch.zeros(())]).max()


_NORMS: dict[str, Callable[[Any], Tensor]] = {"max": _max_norm, "rms": _rms_norm}
