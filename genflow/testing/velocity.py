"""The promises of a velocity."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.testing.promises import answering, finite_difference, generator, near, promise, rebuild, same_kind
from genflow.velocities import as_velocity
from genflow.velocities.function import FunctionVelocity

__all__ = ["check_velocity"]

_ROWS = 6


def check_velocity(
    velocity: Velocity | Callable[..., Any], shape: int | tuple[int, ...] | None = None, condition: Tensor | None = None
) -> None:
    r"""Checks a velocity: shapes, times, rows, and every derivative that it overrides against central differences.

    A copy is checked, in float64, whose parameters are moved a little at random: many networks begin at zero, where
    every derivative is right.

    Args:
        velocity: The velocity, or a function that `as_velocity` takes.
        shape: Shape of an event, where the velocity has neither `event_shape` nor `dim`.
        condition: A condition `(k,)` that it is tried with, for one that needs one.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import torch, genflow as gf
        >>> from genflow.testing import check_velocity
        >>> check_velocity(gf.velocities.Shallow(3, width=8))
        >>> class Wrong(gf.velocities.Shallow):
        ...     def divergence(self, x, t, condition=None):
        ...         v, divergence = super().divergence(x, t, condition)
        ...         return v, 2 * divergence
        >>> check_velocity(Wrong(3, width=8))
        Traceback (most recent call last):
        genflow.testing.promises.BrokenPromise: Wrong: divergence is not the trace of the Jacobian: ...
    """
    with answering(velocity):
        original = as_velocity(velocity)
    event = _event(original, shape)
    field = _shift_weights(original)
    x = torch.randn(_ROWS, *event, generator=generator(), dtype=torch.float64)
    low, high = field.interval
    t = torch.tensor(low + 0.4 * (high - low), dtype=torch.float64)
    condition = None if condition is None else condition.double()
    with answering(velocity):
        _check_values(field, x, t, condition)
        _check_rows(field, x, t, condition)
        _check_derivatives(field, x, t, condition)
        _check_gradients(field, x, t, condition)
        _check_structure(field, original)


def _event(velocity: Velocity, shape: int | tuple[int, ...] | None) -> tuple[int, ...]:
    found = shape or velocity.event()
    if found is None:
        raise InputError("shape: the velocity does not say its dimension; give the shape of an event")
    return (found,) if isinstance(found, int) else tuple(found)


def _shift_weights(velocity: Velocity) -> Velocity:
    field = copy.deepcopy(velocity).double()
    source = generator(1)
    with torch.no_grad():
        for parameter in field.parameters():
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
            parameter.add_(noise, alpha=0.3 / math.sqrt(max(1, parameter.shape[-1] if parameter.ndim else 1)))
    return field


def _check_values(field: Velocity, x: Tensor, t: Tensor, condition: Tensor | None) -> None:
    before = x.clone()
    v = field(x, t, condition)
    same_kind(v, x, field, "the velocity")
    promise(torch.equal(x, before), field, "it changed the points that it was given")
    promise(bool(v.isfinite().all()), field, "the velocity is not finite at points of a standard normal law")
    promise(torch.equal(v, field(x, t, condition)), field, "two evaluations at one point differ (dropout? call eval())")
    for_each = field(x, t.expand(len(x)), condition)
    promise(
        near(for_each, v, 1e-9),
        field,
        "with a time for each row, (*batch,), it is another velocity than with one for all",
    )
    grid = x.reshape(2, _ROWS // 2, *x.shape[1:])
    same_kind(field(grid, t, condition), grid, field, "the velocity of a batch of rank 2")
    promise(
        near(field(grid, t, condition).reshape(x.shape), v, 1e-9),
        field,
        "the velocity depends on the shape of the batch",
    )
    single = copy.deepcopy(field).float()(x.float(), t.float(), None if condition is None else condition.float())
    promise(single.dtype == torch.float32, field, f"in float32 the velocity is {single.dtype}")


def _check_rows(field: Velocity, x: Tensor, t: Tensor, condition: Tensor | None) -> None:
    v = field(x, t, condition)
    promise(
        near(field(x[:2], t, condition), v[:2], 1e-9),
        field,
        "the velocity of a row depends on how many others there are",
    )
    other = x.clone()
    other[-1] += 3.0
    promise(
        near(field(other, t, condition)[:-1], v[:-1], 1e-9), field, "the velocity of a row depends on the other rows"
    )


def _check_derivatives(field: Velocity, x: Tensor, t: Tensor, condition: Tensor | None) -> None:
    """Pushed tangents, pulled cotangents and the divergence, against central differences of `forward`."""
    size = math.prod(x.shape[1:])
    h = 1e-5
    with torch.no_grad():
        columns = []
        for unit in torch.eye(size, dtype=x.dtype).reshape(size, *x.shape[1:]):
            columns.append((field(x + h * unit, t, condition) - field(x - h * unit, t, condition)).flatten(1) / (2 * h))
        jacobian = torch.stack(columns, -1)  # (rows, size, size)
        tangents = torch.randn(2, *x.shape, generator=generator(2), dtype=x.dtype)
        flat = tangents.flatten(2)
        v = field(x, t, condition)
        # h² of the third derivative, and 1e-16 / h of rounding.
        for name, method, wanted in (
            ("pushforward", field.pushforward, torch.einsum("bij,nbj->nbi", jacobian, flat)),
            ("pullback", field.pullback, torch.einsum("bji,nbj->nbi", jacobian, flat)),
        ):
            value, pushed = method(x, t, tangents, condition)
            promise(near(value, v, 1e-9), field, f"{name} returns another velocity than forward")
            same_kind(pushed, tangents, field, f"{name} of (n, *batch, *event)")
            promise(
                near(pushed.flatten(2), wanted, 1e-6),
                field,
                f"{name} is not the product with the Jacobian{' transposed' if name == 'pullback' else ''}",
            )
        value, divergence = field.divergence(x, t, condition)
        promise(near(value, v, 1e-9), field, "divergence returns another velocity than forward")
        trace = jacobian.diagonal(dim1=1, dim2=2).sum(-1)
        same_kind(divergence, trace, field, "the divergence")
        promise(
            near(divergence, trace, 1e-6),
            field,
            f"divergence is not the trace of the Jacobian: {divergence[0].item():.4g} at a point, "
            f"{trace[0].item():.4g} by central differences",
        )


def _check_gradients(field: Velocity, x: Tensor, t: Tensor, condition: Tensor | None) -> None:
    """Gradients of the velocity and of its divergence for the parameters, against central differences."""
    parameters = [p for p in field.parameters() if p.requires_grad]
    if not parameters:
        return

    def total() -> Tensor:
        v, divergence = field.divergence(x, t, condition)
        return v.square().sum() + divergence.sum()

    with torch.enable_grad():
        gradients = torch.autograd.grad(total(), parameters, allow_unused=True)
    promise(any(g is not None for g in gradients), field, "no gradient reaches its parameters: it can't be trained")
    source = generator(3)
    directions = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in parameters]
    along = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    slope = finite_difference(total, parameters, directions, h=1e-6)
    promise(
        near(torch.as_tensor(along), slope, 1e-4),
        field,
        "gradients of v or of its divergence for the parameters are wrong",
    )


def _check_structure(field: Velocity, original: Velocity) -> None:
    """Pieces that cover its interval, another interval by `on`, and a constructor that builds it again."""
    low, high = field.interval
    edge = low
    for _, start, stop in field.pieces():
        promise(
            start == edge and stop > start, field, f"its pieces do not cover the interval ({low:g}, {high:g}) in order"
        )
        edge = stop
    promise(edge == high, field, f"its pieces do not cover the interval ({low:g}, {high:g}) in order")
    promise(original.event_ndim >= 1, field, f"event_ndim is {original.event_ndim}; at least 1 is promised")
    if isinstance(original, FunctionVelocity):  # a plain function has no arguments to be built from
        return
    try:
        again = rebuild(original)
        again.load_state_dict(original.state_dict())
    except Exception as error:
        promise(
            False,
            field,
            f"it can't be built again from its own arguments, as a checkpoint does ({type(error).__name__}: {error})",
        )
