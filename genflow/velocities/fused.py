r"""The divergence and the pushed tangents of two hidden layers, each as one differentiable operation.

.. math::
    z_1 = W_1^\top x + b_1, \quad z_2 = W_2 \, g_1 \circ a(z_1) + b_2, \quad v = W_3 \, g_2 \circ a(z_2) + b_3 + A x

With :math:`d_i = g_i \circ a'(z_i)`, a tangent :math:`\varepsilon` and the divergence are

.. math::
    J \varepsilon = W_3 \, d_2 \circ W_2 \, d_1 \circ W_1^\top \varepsilon + A \varepsilon, \qquad
    \nabla \cdot v = d_2^\top \bigl(W_2 \circ (W_3^\top W_1)\bigr) d_1 + \operatorname{tr} A .

They are written by hand because they are what likelihood training spends its time in. At one time, without a condition
or under one that all rows share, the gains belong to the weights; under a condition for each row they are one vector
each, and the divergence has a second operation for that. The derivatives of the activations are computed once, where
their value is; what backward needs of two factors is kept as their product; and the whole is one node of the graph.
What is left is six products of the hidden size, three of them the bare network's (`benchmarks/training_step.py`).
In few dimensions what lies between them is done by kernels in C, where there are (`genflow.velocities.fused_in_c`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.velocities.activations import Activation, push_through
from genflow.velocities.fused_in_c import DivergenceInC, PushedInC, is_compiled
from genflow.velocities.two_layers import differentiable, plain_divergence, plain_pushed, split_modulation

__all__ = ["velocity_and_divergence", "velocity_and_pushed"]


def velocity_and_divergence(
    activation: Activation, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, skip: Tensor, modulation: Tensor
) -> tuple[Tensor, Tensor]:
    """The velocity `(*batch, d)` and its divergence `(*batch,)`, by the formulas above.

    Args:
        activation: Value and derivatives of the activation.
        x: Points, `(*batch, d)`.
        w1: Weights of the first layer, `(d, width)`.
        w2: Weights of the second layer, `(width, width)`.
        w3: Weights of the output, `(d, width)`.
        skip: The matrix A, `(d, d)`.
        modulation: b1, b2, g1 - 1, g2 - 1, b3 behind one another, `(4 width + d,)`, or one row for each point.
    """
    arguments = (activation, x, w1, w2, w3, skip, modulation)
    if not _can_fuse(x, modulation):
        return plain_divergence(*arguments)
    shared = DivergenceInC if is_compiled(activation, x) else _Divergence
    operation = shared if modulation.ndim == 1 else _DivergenceOfRows
    return operation.apply(activation, *_detach_unless_graph(arguments[1:]))


def velocity_and_pushed(
    activation: Activation,
    x: Tensor,
    tangents: Tensor,
    w1: Tensor,
    w2: Tensor,
    w3: Tensor,
    skip: Tensor,
    modulation: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""The velocity `(*batch, d)` and :math:`J \varepsilon` of each tangent, `(n, *batch, d)`.

    Args:
        activation: Value and derivatives of the activation.
        x: Points, `(*batch, d)`.
        tangents: Tangents, `(n, *batch, d)`.
        w1: Weights of the first layer, `(d, width)`.
        w2: Weights of the second layer, `(width, width)`.
        w3: Weights of the output, `(d, width)`.
        skip: The matrix A, `(d, d)`.
        modulation: As in `velocity_and_divergence`.
    """
    arguments = (activation, x, tangents, w1, w2, w3, skip, modulation)
    shared = modulation.ndim == 1 and tangents.shape[1:] == x.shape
    fuse = shared and _can_fuse(x, modulation) and _can_fuse(tangents[0], modulation)
    if not fuse:
        return plain_pushed(*arguments)
    one = len(tangents) == 1 and not tangents.requires_grad
    operation = PushedInC if one and is_compiled(activation, x) else _Pushed
    return operation.apply(activation, *_detach_unless_graph(arguments[1:]))


def _can_fuse(x: Tensor, modulation: Tensor) -> bool:
    """Whether rows share a modulation or have one each, and plain reverse mode in one dtype is all that is wanted."""
    rows = x.ndim == 2 and (modulation.ndim == 1 or modulation.shape[:-1] == x.shape[:-1])
    if torch.compiler.is_compiling() or not rows:
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(x) or torch.autograd.forward_ad._current_level >= 0:
        return False
    return not torch.is_autocast_enabled(x.device.type)


def _detach_unless_graph(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Where gradients are off, an operation still believes that weights need one, unless they are detached."""
    return tensors if torch.is_grad_enabled() else tuple(tensor.detach() for tensor in tensors)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Activation, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, w1, w2, w3, skip, modulation = inputs
        b1, b2, g1, g2, b3 = split_modulation(modulation, x.shape[-1])
        w2g, w3g = w2 * g1, w3 * g2
        overlap = w3g.mT @ w1
        coupling = w2g * overlap
        order = 2 if any(ctx.needs_input_grad) else 1
        a1, slope1, *curvature1 = activation(torch.addmm(b1, x, w1), order)
        a2, slope2, *curvature2 = activation(torch.addmm(b2, a1, w2g.mT), order)
        spread = slope1 @ coupling.mT
        v = torch.addmm(b3, x, skip.mT).addmm_(a2, w3g.mT)
        divergence = (spread * slope2).sum(-1) + skip.trace()
        if order == 2:
            k2 = spread.mul_(curvature2[0])
            ctx.activation = activation
            ctx.save_for_backward(*inputs, w2g, w3g, overlap, coupling, a1, slope1, *curvature1, a2, slope2, k2)
        return v, divergence

    @staticmethod
    def backward(ctx: Any, v_bar: Tensor, divergence_bar: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors  # asked for once: a second time would compute a checkpointed piece again
        inputs, saved = kept[:6], kept[6:]
        if torch.is_grad_enabled():
            return None, *differentiable(ctx, plain_divergence, inputs, (v_bar, divergence_bar))
        x, w1, w2, w3, skip, modulation = inputs
        w2g, w3g, overlap, coupling, a1, slope1, curvature1, a2, slope2, k2 = saved
        row_bar = divergence_bar.unsqueeze(-1)
        spread_bar = slope2 * row_bar
        z2_bar = (v_bar @ w3g).mul_(slope2).addcmul_(k2, row_bar)
        z1_bar = (z2_bar @ w2g).mul_(slope1).addcmul_(spread_bar @ coupling, curvature1)
        coupling_bar = spread_bar.mT @ slope1
        overlap_bar = coupling_bar * w2g
        w2g_bar = coupling_bar.mul_(overlap).addmm_(z2_bar.mT, a1)
        w3g_bar = (w1 @ overlap_bar.mT).addmm_(v_bar.mT, a2)
        w1_bar = (w3g @ overlap_bar).addmm_(x.mT, z1_bar)
        skip_bar = v_bar.mT @ x
        skip_bar.diagonal().add_(divergence_bar.sum())
        return (
            None,
            (z1_bar @ w1.mT).addmm_(v_bar, skip) if ctx.needs_input_grad[1] else None,
            w1_bar,
            *_weights_bar(w2, w3, w2g_bar, w3g_bar, modulation),
            skip_bar,
            _modulation_bar(z1_bar, z2_bar, w2, w3, w2g_bar, w3g_bar, v_bar),
        )


class _DivergenceOfRows(torch.autograd.Function):
    """Biases and gains of its own for each row."""

    @staticmethod
    def forward(ctx: Any, activation: Activation, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, w1, w2, w3, skip, modulation = inputs
        b1, b2, g1, g2, b3 = split_modulation(modulation, x.shape[-1])
        overlap = w3.mT @ w1
        coupling = w2 * overlap
        order = 2 if any(ctx.needs_input_grad) else 1
        a1, slope1, *curvature1 = activation(torch.addmm(b1, x, w1), order)
        h1, d1 = a1 * g1, slope1 * g1
        a2, slope2, *curvature2 = activation(torch.addmm(b2, h1, w2.mT), order)
        h2, d2 = a2 * g2, slope2 * g2
        spread = d1 @ coupling.mT
        v = torch.addmm(b3, x, skip.mT).addmm_(h2, w3.mT)
        divergence = (spread * d2).sum(-1) + skip.trace()
        if order == 2:
            ctx.activation = activation
            kept = (a1, slope1, *curvature1, h1, d1, a2, slope2, *curvature2, h2, d2, spread)
            ctx.save_for_backward(*inputs, overlap, coupling, *kept)
        return v, divergence

    @staticmethod
    def backward(ctx: Any, v_bar: Tensor, divergence_bar: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors  # asked for once: a second time would compute a checkpointed piece again
        inputs, saved = kept[:6], kept[6:]
        if torch.is_grad_enabled():
            return None, *differentiable(ctx, plain_divergence, inputs, (v_bar, divergence_bar))
        x, w1, w2, w3, skip, modulation = inputs
        overlap, coupling, a1, slope1, curvature1, h1, d1, a2, slope2, curvature2, h2, d2, spread = saved
        _, _, g1, g2, _ = split_modulation(modulation, x.shape[-1])
        row_bar = divergence_bar.unsqueeze(-1)
        h2_bar, d2_bar = v_bar @ w3, spread * row_bar
        g2_bar = (h2_bar * a2).addcmul_(d2_bar, slope2)
        z2_bar = h2_bar.mul_(slope2).addcmul_(d2_bar, curvature2).mul_(g2)
        spread_bar = d2 * row_bar
        h1_bar, d1_bar = z2_bar @ w2, spread_bar @ coupling
        g1_bar = (h1_bar * a1).addcmul_(d1_bar, slope1)
        z1_bar = h1_bar.mul_(slope1).addcmul_(d1_bar, curvature1).mul_(g1)
        coupling_bar = spread_bar.mT @ d1
        overlap_bar = coupling_bar * w2
        skip_bar = v_bar.mT @ x
        skip_bar.diagonal().add_(divergence_bar.sum())
        return (
            None,
            (z1_bar @ w1.mT).addmm_(v_bar, skip) if ctx.needs_input_grad[1] else None,
            (w3 @ overlap_bar).addmm_(x.mT, z1_bar),
            coupling_bar.mul_(overlap).addmm_(z2_bar.mT, h1),
            (w1 @ overlap_bar.mT).addmm_(v_bar.mT, h2),
            skip_bar,
            torch.cat([z1_bar, z2_bar, g1_bar, g2_bar, v_bar], -1),
        )


class _Pushed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Activation, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, tangents, w1, w2, w3, skip, modulation = inputs
        b1, b2, g1, g2, b3 = split_modulation(modulation, x.shape[-1])
        w2g, w3g = w2 * g1, w3 * g2
        # One matrix of all tangents for the products, `(n, rows, width)` for what is row by row.
        flat = tangents.reshape(-1, x.shape[-1])
        u1 = (flat @ w1).unflatten(0, tangents.shape[:2])
        if not any(ctx.needs_input_grad):  # nothing is kept for a backward pass
            a1, h1 = push_through(activation, torch.addmm(b1, x, w1), u1)
            u2 = (h1.flatten(0, 1) @ w2g.mT).unflatten(0, tangents.shape[:2])
            a2, h2 = push_through(activation, torch.addmm(b2, a1, w2g.mT), u2)
            pushed = (flat @ skip.mT).addmm_(h2.flatten(0, 1), w3g.mT).view(tangents.shape)
            return torch.addmm(b3, x, skip.mT).addmm_(a2, w3g.mT), pushed
        a1, slope1, curvature1 = activation(torch.addmm(b1, x, w1), 2)
        a2, slope2, curvature2 = activation(torch.addmm(b2, a1, w2g.mT), 2)
        v = torch.addmm(b3, x, skip.mT).addmm_(a2, w3g.mT)
        h1 = u1 * slope1
        u2 = (h1.flatten(0, 1) @ w2g.mT).unflatten(0, tangents.shape[:2])
        h2 = u2 * slope2
        pushed = (flat @ skip.mT).addmm_(h2.flatten(0, 1), w3g.mT).view(tangents.shape)
        k1, k2 = u1.mul_(curvature1), u2.mul_(curvature2)
        ctx.activation = activation
        ctx.save_for_backward(*inputs, w2g, w3g, a1, slope1, h1, k1, a2, slope2, h2, k2)
        return v, pushed

    @staticmethod
    def backward(ctx: Any, v_bar: Tensor, pushed_bar: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors  # asked for once: a second time would compute a checkpointed piece again
        inputs, saved = kept[:7], kept[7:]
        if torch.is_grad_enabled():
            return None, *differentiable(ctx, plain_pushed, inputs, (v_bar, pushed_bar))
        x, tangents, w1, w2, w3, skip, modulation = inputs
        w2g, w3g, a1, slope1, h1, k1, a2, slope2, h2, k2 = saved
        flat, pushed_bar = tangents.reshape(-1, x.shape[-1]), pushed_bar.reshape(-1, x.shape[-1])
        h2_bar = (pushed_bar @ w3g).view_as(h2)
        z2_bar = _add_products((v_bar @ w3g).mul_(slope2), h2_bar, k2)
        u2_bar = h2_bar.mul_(slope2).flatten(0, 1)
        h1_bar = (u2_bar @ w2g).view_as(h1)
        z1_bar = _add_products((z2_bar @ w2g).mul_(slope1), h1_bar, k1)
        u1_bar = h1_bar.mul_(slope1).flatten(0, 1)
        w1_bar = (x.mT @ z1_bar).addmm_(flat.mT, u1_bar)
        w2g_bar = (z2_bar.mT @ a1).addmm_(u2_bar.mT, h1.flatten(0, 1))
        w3g_bar = (v_bar.mT @ a2).addmm_(pushed_bar.mT, h2.flatten(0, 1))
        _, needs_x, needs_tangents, *_ = ctx.needs_input_grad
        return (
            None,
            (z1_bar @ w1.mT).addmm_(v_bar, skip) if needs_x else None,
            (u1_bar @ w1.mT).addmm_(pushed_bar, skip).view(tangents.shape) if needs_tangents else None,
            w1_bar,
            *_weights_bar(w2, w3, w2g_bar, w3g_bar, modulation),
            (v_bar.mT @ x).addmm_(pushed_bar.mT, flat),
            _modulation_bar(z1_bar, z2_bar, w2, w3, w2g_bar, w3g_bar, v_bar),
        )


def _add_products(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The total plus the products of each probe, in place."""
    for a, b in zip(left, right, strict=True):
        total.addcmul_(a, b)
    return total


def _weights_bar(w2: Tensor, w3: Tensor, w2g_bar: Tensor, w3g_bar: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the weights from those of the weights with their gains."""
    _, _, g1, g2, _ = split_modulation(modulation, len(w3))
    return w2g_bar * g1, w3g_bar * g2


def _modulation_bar(
    z1_bar: Tensor, z2_bar: Tensor, w2: Tensor, w3: Tensor, w2g_bar: Tensor, w3g_bar: Tensor, v_bar: Tensor
) -> Tensor:
    """The gradient of the modulation: of biases, sums over the rows; of gains, sums over what they multiply."""
    g1_bar, g2_bar = (w2g_bar * w2).sum(0), (w3g_bar * w3).sum(0)
    return torch.cat([z1_bar.sum(0), z2_bar.sum(0), g1_bar, g2_bar, v_bar.sum(0)])
