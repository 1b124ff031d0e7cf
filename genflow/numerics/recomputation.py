"""Trading time for memory: what a backward pass needs is computed again instead of being kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from genflow.numerics.tuning import pages

__all__ = ["recompute"]


def recompute(function: Callable[..., Any], state: Any, apart: bool = False) -> Any:
    """`function(state)`, of whose graph nothing is kept: the backward pass calls the function once more.

    What the two calls save for it must be the same tensors in the same order, so the function must be deterministic.
    `torch.utils.checkpoint` does this, too, and more, but loads torch's compiler: 75 MB and seconds at its first call.

    Args:
        function: A differentiable function. It may close over parameters.
        state: A tensor or a tuple of tensors, which may be nested.
        apart: Whether, in a tuned process, the large tensors of the first call get pages of their own. The graph
            that outlives them is made of small pieces, which else come to lie between them: holes in the heap, more
            with every call.

    Example:
        >>> import torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> recompute(lambda y: y.exp().sin(), x).sum().backward()
        >>> bool(torch.allclose(x.grad, x.exp().cos() * x.exp()))
        True
    """
    if not torch.is_grad_enabled():
        return function(state)
    places = 0
    again: dict[int, Tensor] = {}

    def forget(tensor: Tensor) -> int:
        nonlocal places
        places += 1
        return places - 1

    def recall(place: int) -> Tensor:
        if place not in again:
            again.clear()

            def keep(tensor: Tensor) -> int:
                again[len(again)] = tensor.detach()
                return len(again) - 1

            with torch.enable_grad(), saved_tensors_hooks(keep, again.__getitem__):
                function(_leaves(state))
        return again.pop(place)

    with saved_tensors_hooks(forget, recall), pages() if apart else nullcontext():
        return function(state)


def _leaves(state: Any) -> Any:
    """The same tensors without their history, so that the second graph ends here."""
    if isinstance(state, Tensor):
        return state.detach().requires_grad_(state.requires_grad)
    return tuple(map(_leaves, state))
