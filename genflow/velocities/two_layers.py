"""The formulas of two hidden layers, as torch differentiates them: what the fused operations are made after.

They hold for modulations and points of any shape, any dtype, under transforms of functions, and twice differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.velocities.activations import Activation

__all__ = ["differentiable", "layers", "modulation_parts", "plain_divergence", "plain_pushed", "split_modulation"]


def modulation_parts(modulation: Tensor, dim: int) -> tuple[Tensor, ...]:
    """b1, b2, g1 - 1, g2 - 1, b3, views of the vector, or the rows, that they stand in behind one another."""
    width = (modulation.shape[-1] - dim) // 4
    return modulation.split([*(width,) * 4, dim], dim=-1)


def split_modulation(modulation: Tensor, dim: int) -> tuple[Tensor, ...]:
    """b1, b2, g1, g2, b3 of the vector, or the rows, that they stand in behind one another."""
    b1, b2, g1, g2, b3 = modulation_parts(modulation, dim)
    return b1, b2, 1 + g1, 1 + g2, b3


def layers(
    activation: Activation, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, skip: Tensor, modulation: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The velocity and d1, d2, for modulations of any shape."""
    b1, b2, g1, g2, b3 = split_modulation(modulation, x.shape[-1])
    a1, slope1 = activation(x @ w1 + b1, 1)
    a2, slope2 = activation((a1 * g1) @ w2.mT + b2, 1)
    return (a2 * g2) @ w3.mT + x @ skip.mT + b3, slope1 * g1, slope2 * g2


def plain_divergence(
    activation: Activation, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, skip: Tensor, modulation: Tensor
) -> tuple[Tensor, Tensor]:
    v, d1, d2 = layers(activation, x, w1, w2, w3, skip, modulation)
    coupling = w2 * (w3.mT @ w1)
    return v, ((d1 @ coupling.mT) * d2).sum(-1) + skip.diagonal().sum()


def plain_pushed(
    activation: Activation,
    x: Tensor,
    tangents: Tensor,
    w1: Tensor,
    w2: Tensor,
    w3: Tensor,
    skip: Tensor,
    modulation: Tensor,
) -> tuple[Tensor, Tensor]:
    v, d1, d2 = layers(activation, x, w1, w2, w3, skip, modulation)
    return v, ((tangents @ w1) * d1 @ w2.mT * d2) @ w3.mT + tangents @ skip.mT


def differentiable(
    ctx: Any, plain: Callable[..., tuple[Tensor, Tensor]], inputs: tuple[Tensor, ...], bars: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients with a graph, for somebody who differentiates twice: what is saved has none, so begin again."""
    needed = ctx.needs_input_grad[1:]
    # Views cut the search for gradients off here: x is made of earlier evaluations, the modulation of its weights.
    inputs = tuple(tensor.view_as(tensor) for tensor in inputs)
    wanted = [tensor for tensor, is_needed in zip(inputs, needed, strict=True) if is_needed]
    outputs = plain(ctx.activation, *inputs)
    gradients = iter(torch.autograd.grad(outputs, wanted, bars, create_graph=True, allow_unused=True))
    return tuple(next(gradients) if is_needed else None for is_needed in needed)
