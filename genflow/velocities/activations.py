"""Activation functions together with their derivatives, which closed-form divergences and pushed tangents need."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genflow.errors import InputError

__all__ = ["ACTIVATIONS", "activation"]

WithDerivative = Callable[[Tensor], tuple[Tensor, Tensor]]


def silu(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`a = x s`, :math:`a' = s + a (1 - s)` with the logistic function :math:`s`."""
    s = torch.sigmoid(x)
    a = x * s
    return a, torch.addcmul(s, a, 1 - s)


def tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`a = \tanh x`, :math:`a' = 1 - a^2`."""
    a = torch.tanh(x)
    return a, 1 - a * a


def sine(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`a = \sin x`, :math:`a' = \cos x`."""
    return torch.sin(x), torch.cos(x)


def softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`a = \log(1 + e^{\beta x}) / \beta`, :math:`a' = s(\beta x)` with :math:`\beta = 20`, as published for JKO-iFlow."""
    return torch.nn.functional.softplus(x, beta=20), torch.sigmoid(20 * x)


ACTIVATIONS: dict[str, WithDerivative] = {"silu": silu, "tanh": tanh, "sine": sine, "softplus": softplus}


def activation(name: str) -> WithDerivative:
    """The activation of that name, as a function that returns its value and its derivative."""
    if name not in ACTIVATIONS:
        raise InputError(f"activation: no {name!r}; one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
