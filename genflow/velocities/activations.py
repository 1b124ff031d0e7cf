"""Activation functions together with their derivatives, which closed-form divergences and pushed tangents need."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genflow.errors import InputError

__all__ = ["ACTIVATIONS", "Activation", "activation", "push_through"]

Activation = Callable[[Tensor, int], tuple[Tensor, ...]]
"""`(x, order) -> (a(x), a'(x), …)`, the value and its derivatives up to `order`, at most 2."""


def silu(x: Tensor, order: int = 0) -> tuple[Tensor, ...]:
    r""":math:`a = x s, \; a' = s + a (1 - s), \; a'' = (1 - s)(2 a' - a)` with the logistic function :math:`s`."""
    if order == 0:
        return (torch.nn.functional.silu(x),)
    s = torch.sigmoid(x)
    a = x * s
    slope = torch.lerp(s, s.new_ones(()), a)  # s + a (1 - s) in one pass
    if order == 1:
        return a, slope
    return a, slope, s.sub(1).mul_(torch.sub(a, slope, alpha=2))


def tanh(x: Tensor, order: int = 0) -> tuple[Tensor, ...]:
    r""":math:`a = \tanh x, \; a' = 1 - a^2, \; a'' = -2 a a'`."""
    a = torch.tanh(x)
    if order == 0:
        return (a,)
    slope = 1 - a * a
    return (a, slope, -2 * a * slope)[: order + 1]


def sine(x: Tensor, order: int = 0) -> tuple[Tensor, ...]:
    r""":math:`a = \sin x, \; a' = \cos x, \; a'' = -a`."""
    a = torch.sin(x)
    return (a,) if order == 0 else (a, torch.cos(x), -a)[: order + 1]


def softplus(x: Tensor, order: int = 0) -> tuple[Tensor, ...]:
    r""":math:`a = \log(1 + e^{\beta x}) / \beta, \; a' = s(\beta x), \; a'' = \beta s (1 - s)`.

    With :math:`\beta = 20`, as in the published JKO-iFlow.
    """
    a = torch.nn.functional.softplus(x, beta=20, threshold=40)
    if order == 0:
        return (a,)
    s = torch.sigmoid(20 * x)
    return (a, s, 20 * s * (1 - s))[: order + 1]


def log_cosh(x: Tensor, order: int = 0) -> tuple[Tensor, ...]:
    r""":math:`a = \log \cosh x, \; a' = \tanh x, \; a'' = 1 - a'^2`: a smooth :math:`|x|`, convex."""
    a = torch.logaddexp(x, -x).sub(math.log(2))
    if order == 0:
        return (a,)
    slope = torch.tanh(x)
    return (a, slope, 1 - slope * slope)[: order + 1]


ACTIVATIONS: dict[str, Activation] = {
    "silu": silu,
    "tanh": tanh,
    "sine": sine,
    "softplus": softplus,
    "log-cosh": log_cosh,
}


def push_through(activation: Activation, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """The value :math:`a(x)`, and :math:`a'(x)` times each of the tangents, `(n, *shape)`.

    Where no graph is wanted, the kernel that torch has for the backward pass of a SiLU does both factors in one pass.
    """
    if activation is silu and len(tangents) <= 2 and _plain(x, tangents):
        return torch.nn.functional.silu(x), torch.ops.aten.silu_backward(tangents, x.expand_as(tangents))
    a, slope = activation(x, 1)
    return a, tangents * slope


def _plain(*tensors: Tensor) -> bool:
    """Whether numbers are all that is wanted: no graph, no function transform, nothing compiled."""
    if torch.compiler.is_compiling() or torch.autograd.forward_ad._current_level >= 0:
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    return not any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))


def activation(name: str) -> Activation:
    """The activation of that name; see `Activation`."""
    if name not in ACTIVATIONS:
        raise InputError(f"activation: no {name!r}; one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
