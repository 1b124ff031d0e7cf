"""A plain function as an integrator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import SolverError, name_of_function
from genflow.interfaces import Dynamics, Integrator, Solution, State, check_function
from genflow.solvers.states import detach, is_finite, is_lost, is_watched, stack

__all__ = ["FunctionIntegrator", "as_integrator"]


class FunctionIntegrator(Integrator):
    """An integrator made of a plain function; see `as_integrator`."""

    def __init__(self, function: Callable[..., Any], order: int = 1):
        self.function, self.order, self.method = function, order, name_of_function(function)

    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`; between every two times on its own where all states are kept.

        Raises:
            SolverError: A state that is not finite at the end. On a GPU it is looked for outside of grad mode only.
        """
        counted, kept = _Counted(dynamics), [state]
        for part in (times,) if save == "last" else map(torch.stack, itertools.pairwise(times.unbind())):
            state = self.function(counted, state, part)
            state = state.state if isinstance(state, Solution) else state
            kept.append(state)
        if is_watched(state) and is_lost(state):
            raise self._failure(times[[0, -1]] if save == "last" else times, kept)
        states = stack(kept) if save == "all" else None
        return Solution(state, states=states, nfe=counted.calls, steps=len(times) - 1)

    def _failure(self, times: Tensor, kept: Sequence[State]) -> SolverError:
        """Names the first of the states that is not finite, and carries the one before."""
        values, name = times.tolist(), self.method
        first = next(i for i, state in enumerate(kept) if not is_finite(state))
        where = f"at t = {values[first]:g}, in its call from t = {values[first - 1]:g}" if first else "at the start"
        last = max(first - 1, 0)
        return SolverError(
            f"{name}: the state is not finite {where}; more steps, or an adaptive solver, would show where it went",
            values[last],
            detach(kept[last]),
            values[first] - values[last] or None,
        )


class _Counted(Dynamics):
    """Dynamics that count how often they are evaluated, and offer what those behind them offer."""

    def __init__(self, dynamics: Any):
        offered = Dynamics.of(dynamics)
        super().__init__(dynamics, offered.tensors, offered.diffusion)
        self.denoise, self.noise = offered.denoise, offered.noise
        self.batch_ndim, self.controlled = offered.batch_ndim, offered.controlled
        self.calls = 0

    def __call__(self, t: Tensor, state: State) -> State:
        self.calls += 1
        return super().__call__(t, state)


def as_integrator(function: Integrator | Callable[..., Any], order: int = 1) -> Integrator:
    r"""A plain `f(dynamics, state, times)` as an integrator; an integrator is returned as it is.

    Args:
        function: Returns the state at `times[-1]`, of the structure of `state`: a tensor, or a tuple of tensors where a
            log-determinant rides along. It calls `dynamics(t, state)`, whose result has the same structure; these
            calls are counted for it.
        order: Its order of convergence.

    Raises:
        InputError: Something that can't be called.

    Example:
        >>> import torch, genflow as gf
        >>> def euler(dynamics, x, times):
        ...     for t, h in zip(times, times.diff()):
        ...         x = x + h * dynamics(t, x)
        ...     return x
        >>> solution = gf.as_integrator(euler).solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 3))
        >>> solution.state, solution.nfe
        (tensor([2.2500]), 2)
    """
    check_function("integrator", function, Integrator)
    return function if isinstance(function, Integrator) else FunctionIntegrator(function, order)
