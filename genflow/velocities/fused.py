r"""Velocity and divergence of two hidden layers as one differentiable operation.

.. math::
    v = W_3 \, g_2 \circ a(W_2 \, g_1 \circ a(W_1^\top x + b_1) + b_2) + b_3, \qquad
    \nabla \cdot v = (g_2 \circ a'(\cdot)_2)^\top \, C \, (g_1 \circ a'(\cdot)_1)

At one time, without a condition or under one that all rows share, biases are vectors and the gains part of the weights;
under a condition for each row, biases and gains are one vector each.

Written by hand because it is what likelihood training spends its time in: the derivatives of the activations are
computed once, where their value is, and backward needs four matrix products of the hidden size and few passes over
memory. It takes about 0.75 of the time that automatic differentiation of the same formulas takes
(`benchmarks/training_step.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.velocities.activations import Activation

__all__ = ["can_fuse", "velocity_and_divergence"]


def velocity_and_divergence(
    activation: Activation,
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    w3: Tensor,
    coupling: Tensor,
    b1: Tensor,
    b2: Tensor,
    b3: Tensor,
    *gains: Tensor,
) -> tuple[Tensor, Tensor]:
    """The formulas above, for one time: `x` is `(n, d)`, `w1` and `w3` are `(d, width)`, `w2` and C `(width, width)`.

    Args:
        activation: Value and derivatives of the activation.
        x: Points.
        w1: Weights of the first layer.
        w2: Weights of the second layer.
        w3: Weights of the output.
        coupling: The matrix C.
        b1: Bias of the first layer.
        b2: Bias of the second layer.
        b3: Bias of the output.
        gains: Of both layers, `(n, width)`, where every row has biases and gains of its own; else none.
    """
    fused = _FusedRows if gains else _Fused
    return fused.apply(activation, x, w1, w2, w3, coupling, b1, b2, b3, *gains)


def can_fuse(x: Tensor) -> bool:
    """Whether plain reverse mode is all that is asked for: no function transform, no forward mode, no compiler."""
    if torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return False
    return torch.autograd.forward_ad._current_level < 0


def _plain(
    activation: Activation, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, c: Tensor, b1: Tensor, b2: Tensor, b3: Tensor
) -> tuple[Tensor, Tensor]:
    a1, slope1 = activation(torch.addmm(b1, x, w1), 1)
    a2, slope2 = activation(torch.addmm(b2, a1, w2.mT), 1)
    return torch.addmm(b3, a2, w3.mT), ((slope1 @ c.mT) * slope2).sum(-1)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Activation, x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        if not any(ctx.needs_input_grad):
            return _plain(activation, x, *rest)
        w1, w2, w3, c, b1, b2, b3 = rest
        a1, slope1, curvature1 = activation(torch.addmm(b1, x, w1), 2)
        a2, slope2, curvature2 = activation(torch.addmm(b2, a1, w2.mT), 2)
        spread = slope1 @ c.mT
        ctx.activation = activation
        ctx.save_for_backward(x, *rest, a1, slope1, curvature1, a2, slope2, curvature2, spread)
        return torch.addmm(b3, a2, w3.mT), (spread * slope2).sum(-1)

    @staticmethod
    def backward(ctx: Any, v_bar: Tensor, divergence_bar: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, w2, w3, c, b1, b2, b3, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(ctx, _plain, (x, w1, w2, w3, c, b1, b2, b3), (v_bar, divergence_bar))
        a1, slope1, curvature1, a2, slope2, curvature2, spread = saved
        divergence_bar = divergence_bar.unsqueeze(-1)
        spread_bar = slope2 * divergence_bar
        u2_bar = (v_bar @ w3).mul_(slope2).addcmul_(curvature2 * spread, divergence_bar)
        u1_bar = (u2_bar @ w2).mul_(slope1).addcmul_(spread_bar @ c, curvature1)
        return (
            None,
            u1_bar @ w1.mT,
            x.mT @ u1_bar,
            u2_bar.mT @ a1,
            v_bar.mT @ a2,
            spread_bar.mT @ slope1,
            u1_bar.sum(0),
            u2_bar.sum(0),
            v_bar.sum(0),
        )


def _differentiable(
    ctx: Any, plain: Callable[..., tuple[Tensor, Tensor]], saved: tuple[Tensor, ...], bars: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, ...]:
    """The gradients, for somebody who differentiates twice: what is saved has no graph, so begin again."""
    # Views cut the search for gradients off here: C is made of the weights, x of earlier evaluations.
    inputs = [tensor.view_as(tensor) for tensor in saved]
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad[1:], strict=True) if needed]
    outputs = plain(ctx.activation, *inputs)
    gradients = iter(torch.autograd.grad(outputs, wanted, bars, create_graph=True, allow_unused=True))
    return None, *(next(gradients) if needed else None for needed in ctx.needs_input_grad[1:])


def _plain_rows(
    activation: Activation, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, c: Tensor,
    b1: Tensor, b2: Tensor, b3: Tensor, g1: Tensor, g2: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    a1, slope1 = activation(torch.addmm(b1, x, w1), 1)
    a2, slope2 = activation(torch.addmm(b2, a1 * g1, w2.mT), 1)
    return torch.addmm(b3, a2 * g2, w3.mT), (((slope1 * g1) @ c.mT) * slope2 * g2).sum(-1)


class _FusedRows(torch.autograd.Function):
    """Biases and gains of its own for each row."""

    @staticmethod
    def forward(ctx: Any, activation: Activation, x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        if not any(ctx.needs_input_grad):
            return _plain_rows(activation, x, *rest)
        w1, w2, w3, c, b1, b2, b3, g1, g2 = rest
        a1, slope1, curvature1 = activation(torch.addmm(b1, x, w1), 2)
        h1, d1 = a1 * g1, slope1 * g1
        a2, slope2, curvature2 = activation(torch.addmm(b2, h1, w2.mT), 2)
        h2, d2 = a2 * g2, slope2 * g2
        spread = d1 @ c.mT
        ctx.activation = activation
        ctx.save_for_backward(x, *rest, a1, slope1, curvature1, h1, d1, a2, slope2, curvature2, h2, d2, spread)
        return torch.addmm(b3, h2, w3.mT), (spread * d2).sum(-1)

    @staticmethod
    def backward(ctx: Any, v_bar: Tensor, divergence_bar: Tensor) -> tuple[Tensor | None, ...]:
        inputs, saved = ctx.saved_tensors[:10], ctx.saved_tensors[10:]
        if torch.is_grad_enabled():
            return _differentiable(ctx, _plain_rows, inputs, (v_bar, divergence_bar))
        x, w1, w2, w3, c, _, _, _, g1, g2 = inputs
        a1, slope1, curvature1, h1, d1, a2, slope2, curvature2, h2, d2, spread = saved
        divergence_bar = divergence_bar.unsqueeze(-1)
        h2_bar, d2_bar = v_bar @ w3, spread * divergence_bar
        g2_bar = (h2_bar * a2).addcmul_(d2_bar, slope2)
        u2_bar = h2_bar.mul_(slope2).addcmul_(d2_bar, curvature2).mul_(g2)
        spread_bar = d2 * divergence_bar
        h1_bar, d1_bar = u2_bar @ w2, spread_bar @ c
        g1_bar = (h1_bar * a1).addcmul_(d1_bar, slope1)
        u1_bar = h1_bar.mul_(slope1).addcmul_(d1_bar, curvature1).mul_(g1)
        return (
            None,
            u1_bar @ w1.mT,
            x.mT @ u1_bar,
            u2_bar.mT @ h1,
            v_bar.mT @ h2,
            spread_bar.mT @ d1,
            u1_bar,
            u2_bar,
            v_bar,
            g1_bar,
            g2_bar,
        )
