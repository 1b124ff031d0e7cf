"""The walk along a given grid, one step from each time to the next, that every fixed-step solver shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.interfaces import Dynamics, Integrator, Solution, State
from genflow.numerics.recomputation import recompute
from genflow.numerics.tuning import products
from genflow.solvers.gradients import GRADIENTS, check_gradient, solved_by_adjoint
from genflow.solvers.states import detach, grid_of, is_finite, is_lost, is_watched, stack

__all__ = ["Advance", "OnGrid", "drawing", "moves_points_alone", "one_tensor"]

Advance = Callable[[int, Any, Any], tuple[Any, Any]]
"""`(n, state, memory) -> (state, memory)`: from time n of the grid to time n + 1, with what the next step needs."""


class OnGrid(Integrator):
    """One step from each time of the grid to the next; a subclass says how to advance.

    Args:
        gradient: How gradients are computed: `backprop`, `checkpoint`, or `adjoint` where the solver has it.

    Attributes:
        evaluations: Evaluations of the dynamics in one step.
        gradients: The values of `gradient` that it has.
        random: Whether it draws random numbers.

    Raises:
        InputError: A `gradient` that it does not have.
    """

    evaluations: int
    gradients: tuple[str, ...] = GRADIENTS
    gradient: str = "backprop"
    random: bool = False

    def __init__(self, gradient: str = "backprop"):
        self.gradient = check_gradient(gradient, type(self).__name__, self.gradients)

    @abstractmethod
    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        """What takes the steps of one solve.

        Args:
            dynamics: The dynamics.
            state: The state at the first time.
            times: The grid.
            h_all: Its steps: numbers, or scalar tensors where the times require gradients.
            generator: Source of randomness.

        Raises:
            InputError: Dynamics that lack something, or a state that it can't move.
        """

    def nfe(self, steps: int) -> int:
        """Evaluations of the dynamics in a solve of so many steps."""
        return self.evaluations * steps

    def nfe_of(self, dynamics: Dynamics, state: State, steps: int) -> int:
        """The same of a solve of these dynamics from this state, where that makes a difference.

        Args:
            dynamics: The dynamics.
            state: The state.
            steps: The steps.
        """
        return self.nfe(steps)

    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`, one step from each time to the next.

        Raises:
            InputError: Times that are not monotone; dynamics or a state that the solver can't do with.
            SolverError: A state that is not finite at the end, with the last one before that was. On a GPU it is looked
                for outside of grad mode only.
        """
        dynamics, watch = Dynamics.of(dynamics), is_watched(state)
        with products(times.device):
            if self.gradient == "adjoint" and torch.is_grad_enabled() and len(times) > 1:
                return solved_by_adjoint(partial(self._walk, watch=watch), dynamics, state, times, save)
            return self._walk(dynamics, state, times, generator, save, watch)

    def _walk(
        self,
        dynamics: Any,
        state: State,
        times: Tensor,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
        watch: bool = True,
    ) -> Solution:
        h_all = grid_of(times)
        source = _source(generator, times.device) if self.random else None
        begin = None if source is None else source.get_state()
        advance = self.advancing(dynamics, state, times, h_all, generator)
        again = self.gradient == "checkpoint" and torch.is_grad_enabled()
        start, memory, kept = state, (), [state]
        for n in range(len(h_all)):
            if again:
                state, memory = recompute(lambda carried, n=n: advance(n, *carried), (state, memory))
            else:
                state, memory = advance(n, state, memory)
            if save == "all":
                kept.append(state)
        if watch and is_lost(state):
            if source is not None and begin is not None:
                source.set_state(begin)
            raise self._failure(self.advancing(dynamics, start, times, h_all, generator), start, times.tolist())
        return Solution(
            state,
            states=stack(kept) if save == "all" else None,
            nfe=self.nfe_of(dynamics, state, len(h_all)),
            steps=len(h_all),
        )

    def _failure(self, advance: Advance, state: Any, values: list[float]) -> SolverError:
        """Walks once more to see which step led nowhere: only a solve that failed pays for it."""
        name, count = type(self).__name__, len(values) - 1
        if not is_finite(state):
            return SolverError(f"{name}: the state is not finite at the start, t = {values[0]:g}", values[0], state)
        memory: Any = ()
        for n in range(count):
            before = state
            state, memory = advance(n, detach(state), memory)
            if not is_finite(state) or n == count - 1:
                state = before
                break
        h = values[n + 1] - values[n]
        return SolverError(
            f"{name}: the state is not finite at t = {values[n + 1]:g}, behind step {n + 1} of {count} with a size of "
            f"{h:.3g}, from {values[0]:g} to {values[-1]:g}; more steps, or an adaptive solver, would help",
            values[n],
            detach(state),
            h,
        )


def _source(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """Where random numbers come from, if it can be told: the failure's second walk draws them again."""
    return torch.default_generator if generator is None and device.type == "cpu" else generator


def drawing(like: Tensor, generator: torch.Generator | None, gradient: str) -> Callable[[int], Tensor]:
    """Standard normal numbers for each step, drawn where the generator lives.

    A step that a backward pass takes again must meet the same noise: with `checkpoint`, it is remembered.

    Args:
        like: A tensor of their shape, dtype and device.
        generator: Source of randomness.
        gradient: The solver's option.
    """
    source = like.device if generator is None else generator.device
    remembered: dict[int, Tensor] = {}

    def noise(n: int) -> Tensor:
        if n in remembered:
            return remembered[n]
        drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=source).to(like.device)
        if gradient == "checkpoint" and torch.is_grad_enabled():
            remembered[n] = drawn
        return drawn

    return noise


def one_tensor(solver: str, state: State) -> Tensor:
    """The state of a sampler.

    Raises:
        InputError: A tuple: a log-determinant is to ride along.
    """
    if not isinstance(state, Tensor):
        raise moves_points_alone(solver)
    return state


def moves_points_alone(solver: str) -> InputError:
    """The error of a solver that a log-determinant can't ride along with."""
    return InputError(f"integrator: {solver} came, which moves points alone; log p needs an ODE solver such as RK4()")
