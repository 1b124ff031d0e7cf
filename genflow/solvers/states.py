"""What the solvers share: sums over states that are tensors or tuples of them, grids of times, checks for numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import State

__all__ = ["combine", "detach", "grid_of", "is_finite", "is_lost", "is_watched", "move", "parts_of", "stack"]


def move(y: Any, *terms: tuple[Any, Any]) -> Any:
    r""":math:`y + \sum_i h_i k_i` for a tensor or a tuple of tensors.

    Args:
        y: The state.
        terms: Pairs :math:`(h_i, k_i)`: a step, which is a number, a scalar tensor, or a tensor with one number for
            each row; and a rate of the state's structure.

    Example:
        >>> import torch
        >>> move((torch.ones(2), torch.zeros(())), (0.5, (torch.ones(2), torch.ones(()))))
        (tensor([1.5000, 1.5000]), tensor(0.5000))
    """
    if isinstance(y, Tensor):
        return _move(y, terms)
    return tuple(_move(part, [(h, rate[i]) for h, rate in terms]) for i, part in enumerate(y))


def _move(y: Tensor, terms: Sequence[tuple[Any, Tensor]]) -> Tensor:
    (h, k), *rest = terms
    if isinstance(h, Tensor):
        return sum((_over(h, k) * k for h, k in rest), y + _over(h, k) * k)
    y = torch.add(y, k, alpha=h)
    for h, k in rest:
        # In place: y is ours since the line before, and addition keeps nothing for its backward pass.
        y.add_(k, alpha=h)
    return y


def combine(*terms: tuple[Any, Any]) -> Any:
    r""":math:`\sum_i h_i k_i`, of the structure of the rates; see `move`."""
    (h, k), *rest = terms
    if isinstance(k, Tensor):
        first = _over(h, k) * k
    else:
        first = tuple(_over(h, part) * part for part in k)
    return move(first, *rest) if rest else first


def _over(h: Any, k: Tensor) -> Any:
    """One number for each row, to be multiplied with what each row has."""
    return h.reshape(*h.shape, *(1,) * (k.ndim - h.ndim)) if isinstance(h, Tensor) and h.ndim else h


def parts_of(state: State) -> tuple[Tensor, ...]:
    """The tensors of a state."""
    return (state,) if isinstance(state, Tensor) else state


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


def stack(states: Sequence[State]) -> State:
    """States at several times along a new first axis, of a tensor or of each of a tuple's.

    Args:
        states: The states.

    Example:
        >>> import torch
        >>> stack([torch.zeros(2), torch.ones(2)]).shape
        torch.Size([2, 2])
    """
    if isinstance(states[0], Tensor):
        return torch.stack(list(states))  # type: ignore[arg-type]
    return tuple(torch.stack(parts) for parts in zip(*states, strict=True))


def is_finite(state: State) -> bool:
    """Whether all numbers of a state are finite."""
    return all(bool(torch.isfinite(part.detach()).all()) for part in parts_of(state))


def is_watched(state: State) -> bool:
    """Whether a solve looks at the state that it ends with.

    It does on a CPU, where a look costs nothing to speak of. Elsewhere a look waits for everything that the device has
    been given to do, which in grad mode would hold up a training; that sees a lost state in its loss.
    """
    if torch.compiler.is_compiling():
        return False
    return not torch.is_grad_enabled() or all(part.device.type == "cpu" for part in parts_of(state))


def is_lost(state: State) -> bool:
    """Whether a state is seen to be not finite. Nothing is seen inside of `torch.func.vmap`, or of tracing."""
    try:
        return not is_finite(state)
    except RuntimeError:  # such tensors stand for many, or for none, and have no one answer
        return False


def detach(state: Any) -> Any:
    """A state without its history."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else tuple(part.detach() for part in state)
