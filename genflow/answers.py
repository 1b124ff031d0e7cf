"""What parts of one's own answer, refused in one line where it isn't what was asked for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genflow.errors import InputError, name_of_function
from genflow.interfaces import Estimate, in_words

__all__ = ["answer_in_words", "check_estimate", "check_field", "check_states"]


def check_field(found: Any, x: Tensor, velocity: Any) -> Tensor:
    """What a velocity returned for points, if it is one number for each of theirs.

    Args:
        found: What it returned.
        x: The points.
        velocity: The velocity.

    Raises:
        InputError: It is anything else.

    Example:
        >>> import torch, genflow as gf
        >>> check_field(torch.ones(5, 3), torch.ones(5, 2), gf.velocities.Shallow(2))
        Traceback (most recent call last):
        genflow.errors.InputError: velocity: Shallow returned the shape (5, 3) for points of the shape (5, 2), ...
    """
    if isinstance(found, Tensor) and found.shape == x.shape:
        return found
    came = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else in_words(found)
    raise InputError(
        f"velocity: {_name(velocity)} returned {came} for points of the shape {tuple(x.shape)}, of which it should be"
    )


def check_estimate(found: Any, x: Tensor, event_ndim: int, name: str) -> Estimate:
    """What a divergence estimator returned for points, if it is an `Estimate` of theirs.

    Args:
        found: What it returned.
        x: The points.
        event_ndim: Rank of an event.
        name: What the estimator is called.

    Raises:
        InputError: It is anything else.

    Example:
        >>> import torch
        >>> check_estimate((torch.ones(5, 2), torch.ones(5)), torch.ones(5, 2), 1, "Exact")
        Traceback (most recent call last):
        genflow.errors.InputError: divergence: Exact returned a tuple; an Estimate would do
    """
    if not isinstance(found, Estimate):
        raise InputError(f"divergence: {name} returned {answer_in_words(found)}; an Estimate would do")
    batch = x.shape[: x.ndim - event_ndim]
    if found.divergence.shape != batch:
        raise InputError(
            f"divergence: {name} returned the shape {tuple(found.divergence.shape)}, "
            f"one number for each point, {tuple(batch)}, is wanted"
        )
    if found.velocity.shape != x.shape:
        raise InputError(
            f"divergence: {name} returned a velocity of the shape {tuple(found.velocity.shape)}; that of the "
            f"points, {tuple(x.shape)}, is wanted, before the divergence"
        )
    return found


def check_states(states: Any, integrator: Any) -> Any:
    """The states of all times, if an integrator that was asked for them returned them.

    Args:
        states: What it returned as such.
        integrator: The integrator.

    Raises:
        InputError: There are none.

    Example:
        >>> import genflow as gf
        >>> check_states(None, gf.solvers.Heun())
        Traceback (most recent call last):
        genflow.errors.InputError: integrator: Heun returned no states for save='all'; gf.Solution(state, ...) would do
    """
    if states is None:
        advice = "gf.Solution(state, gf.solvers.stack(states), …) would do"
        raise InputError(f"integrator: {_name(integrator)} returned no states for save='all'; {advice}")
    return states


def answer_in_words(found: Any) -> str:
    """What a message calls an answer: a tensor by its shape.

    Args:
        found: Anything.

    Example:
        >>> import torch
        >>> answer_in_words(torch.ones(5, 2))
        'a tensor of the shape (5, 2)'
    """
    return f"a tensor of the shape {tuple(found.shape)}" if isinstance(found, Tensor) else in_words(found)


def _name(part: Any) -> str:
    """A part's class, or the function that it is made of."""
    function = getattr(part, "function", None)
    return type(part).__name__ if function is None else name_of_function(function)
