"""What the solvers share: sums over states that are tensors or tuples of them, grids of times, the check at the end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.interfaces import State

__all__ = ["grid_of", "is_finite", "moved", "raise_unless_finite", "stacked"]


def moved(y: Any, *terms: tuple[Any, Any]) -> Any:
    r""":math:`y + \sum_i h_i k_i` for a tensor or a tuple of tensors.

    Args:
        y: The state.
        terms: Pairs :math:`(h_i, k_i)` of a step, a number or a scalar tensor, and a rate of the state's structure.
    """
    if isinstance(y, Tensor):
        return _moved(y, terms)
    return tuple(_moved(part, [(h, rate[i]) for h, rate in terms]) for i, part in enumerate(y))


def _moved(y: Tensor, terms: Sequence[tuple[Any, Tensor]]) -> Tensor:
    (h, k), *rest = terms
    if isinstance(h, Tensor):
        return sum((h * k for h, k in rest), y + h * k)
    y = torch.add(y, k, alpha=h)
    for h, k in rest:
        # In place: y is ours since the line before, and addition keeps nothing for its backward pass.
        y.add_(k, alpha=h)
    return y


def grid_of(times: Tensor) -> list[Any]:
    """The steps between the times: numbers, read in one transfer; scalar tensors where the times require gradients.

    Raises:
        InputError: Times that are not monotone, or not a vector.
    """
    if times.ndim != 1 or not len(times):
        raise InputError(f"times: a vector of at least one time is wanted, the shape {tuple(times.shape)} came")
    values = times.tolist()
    h_all = [b - a for a, b in itertools.pairwise(values)]
    if not (all(h >= 0 for h in h_all) or all(h <= 0 for h in h_all)):
        raise InputError("times: they must rise or fall throughout")
    return list(times.diff().unbind()) if times.requires_grad else h_all


def stacked(states: Sequence[State]) -> State:
    """States at several times along a new first axis."""
    if isinstance(states[0], Tensor):
        return torch.stack(list(states))  # type: ignore[arg-type]
    return tuple(torch.stack(parts) for parts in zip(*states, strict=True))


def is_finite(state: State) -> bool:
    """Whether all numbers of a state are finite."""
    parts = (state,) if isinstance(state, Tensor) else state
    return all(bool(torch.isfinite(part).all()) for part in parts)


def raise_unless_finite(solver: str, times: Tensor, state: State, kept: Sequence[State]) -> None:
    """Names a state that is not finite at the end of a solve, and the first of the kept ones that was not."""
    if is_finite(state):
        return
    values = times.tolist()
    if not is_finite(kept[0]):
        raise SolverError(f"{solver}: the state is not finite at the start, t = {values[0]:g}", values[0], kept[0])
    time = values[-1]
    for value, earlier in zip(values, kept):
        if not is_finite(earlier):
            time, state = value, earlier
            break
    raise SolverError(
        f"{solver}: the state is not finite at t = {time:g}, from t = {values[0]:g} in {len(values) - 1} steps; "
        "more steps, or an adaptive solver, would show where it went",
        time,
        state,
    )
