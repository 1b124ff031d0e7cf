"""How a broken promise is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError, name_of_function
from genflow.interfaces import Component

__all__ = [
    "BrokenPromise",
    "answering",
    "finite_difference",
    "generator",
    "near",
    "promise",
    "rebuild",
    "same_kind",
]


class BrokenPromise(AssertionError):
    """A component does not keep a promise of its interface; one line says which."""


def promise(kept: bool, component: Any, reason: str) -> None:
    """Raises where a promise is not kept."""
    if not kept:
        raise BrokenPromise(f"{type(component).__name__}: {' '.join(reason.split())}")


@contextmanager
def answering(component: Any) -> Iterator[None]:
    """Promises that a component does not fail on a problem that it should solve: within, every error is its own."""
    try:
        yield
    except BrokenPromise:
        raise
    except Exception as error:  # a component of the user's own may fail in any way
        name = name_of_function(component, type(component).__name__)
        said = " ".join(str(error).split())
        # A line of genflow's own says what would do.
        reason = said if isinstance(error, InputError) else f"it fails ({type(error).__name__}: {said})"
        raise BrokenPromise(f"{name}: {reason}") from error


def same_kind(found: Any, wanted: Tensor, component: Any, what: str) -> None:
    """Promises a tensor of the shape and the dtype of another."""
    promise(isinstance(found, Tensor), component, f"{what} is a {type(found).__name__}, not a tensor")
    promise(
        found.shape == wanted.shape,
        component,
        f"{what} has the shape {tuple(found.shape)}; {tuple(wanted.shape)} is promised",
    )
    promise(found.dtype == wanted.dtype, component, f"{what} is {found.dtype}; {wanted.dtype} went in")


def near(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree within a tolerance, relative to the largest number of the second."""
    scale = 1.0 + (wanted.detach().abs().max().item() if wanted.numel() else 0.0)
    return bool((found.detach() - wanted.detach()).abs().le(tolerance * scale).all())


def generator(seed: int = 0) -> torch.Generator:
    """A source of randomness."""
    return torch.Generator().manual_seed(seed)


def finite_difference(
    function: Any, tensors: Sequence[Tensor], directions: Sequence[Tensor], h: float = 1e-5
) -> Tensor:
    """The derivative of a function of tensors along a direction, by central differences, with an error of h²."""

    def moved(by: float) -> Tensor:
        with torch.no_grad():
            for tensor, direction in zip(tensors, directions, strict=True):
                tensor.add_(direction, alpha=by)
            value = function().detach().clone()
            for tensor, direction in zip(tensors, directions, strict=True):
                tensor.sub_(direction, alpha=by)
        return value

    return (moved(h) - moved(-h)) / (2 * h)


def rebuild(component: Component) -> Any:
    """The component, built again from all of its own arguments, as a checkpoint does."""
    return type(component)(**component.config())
