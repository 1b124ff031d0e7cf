"""Divergence and pushed tangent of two hidden layers in C: a pass for five to ten of `genflow.velocities.fused`.

The products of the hidden size are torch's; what lies between them, activations, gains, narrow products and sums, is
done row by row while it is in the cache (`genflow.numerics.kernels`). Results agree to float32's rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from genflow.numerics.kernels import Library, two_layers
from genflow.velocities.activations import Activation, silu
from genflow.velocities.two_layers import differentiable, modulation_parts, plain_divergence, plain_pushed

__all__ = ["DivergenceInC", "PushedInC", "is_compiled"]

_NARROW = 16  # dimensions up to which a narrow product is better made on the way than by a library for matrices
_ONE_CORE = 1024  # rows from which torch's passes, on several threads, are the faster ones


def is_compiled(activation: Activation, x: Tensor) -> bool:
    """Whether there are kernels for such points, and they gain something.

    Args:
        activation: The activation of the network.
        x: Points, `(rows, d)`.
    """
    if activation is not silu or x.dtype != torch.float32 or x.device.type != "cpu":
        return False
    if x.shape[1] > _NARROW or (len(x) > _ONE_CORE and torch.get_num_threads() > 1):
        return False
    return _found() is not None


@cache
def _found() -> Library | None:
    """The kernels, where they say of a small example what the formulas say."""
    kernels = two_layers()
    return kernels if kernels is not None and _agrees(kernels) else None


def _kernels() -> Library:
    """The kernels, which there are."""
    kernels = _found()
    assert kernels is not None
    return kernels


def _agrees(kernels: Library) -> bool:
    """Whether values and gradients are the formulas', to some hundred units of float32's rounding."""
    n, d, w = 5, 3, 7
    generator = torch.Generator().manual_seed(0)
    weights = [(d, w), (w, w), (d, w), (d, d), (4 * w + d,)]
    shapes = [(n, d), *weights, (1, n, d), (n, d), (n,), (1, n, d)]
    # Asked within whatever goes on around: inference, a piece that is computed again, another default device.
    with torch.inference_mode(False), torch.enable_grad(), saved_tensors_hooks(lambda x: x, lambda x: x):
        exact = [torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu") for shape in shapes]
        *inputs, tangents, v_bar, divergence_bar, pushed_bar = (tensor.float() for tensor in exact)
        kept, *found = _forward(kernels, *inputs)
        found += _backward(kernels, kept, v_bar, divergence_bar)
        kept, *pushed = _push(kernels, inputs[0], tangents, *inputs[1:])
        found += pushed
        found += [bar for bar in _push_back(kernels, kept, v_bar, pushed_bar) if bar is not None]
        x, *rest = variables = [tensor.requires_grad_() for tensor in exact[:6]]
        wanted = list(plain_divergence(silu, *variables))
        wanted += torch.autograd.grad(wanted, variables, exact[7:9])
        outputs = plain_pushed(silu, x, exact[6], *rest)
        wanted += [*outputs, *torch.autograd.grad(outputs, variables, [exact[7], exact[9]])]
    return all(torch.allclose(a.double(), b, rtol=1e-4, atol=1e-4) for a, b in zip(found, wanted, strict=True))


class DivergenceInC(torch.autograd.Function):
    """Velocity and divergence; all rows share their biases and gains."""

    @staticmethod
    def forward(ctx: Any, activation: Activation, *inputs: Tensor) -> tuple[Tensor, ...]:
        return _computed(ctx, _forward, activation, *inputs)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_gradients(ctx, _backward, plain_divergence, *bars)


class PushedInC(torch.autograd.Function):
    """Velocity and one pushed tangent for each row, which is no function of anything; all share biases and gains."""

    @staticmethod
    def forward(ctx: Any, activation: Activation, *inputs: Tensor) -> tuple[Tensor, ...]:
        return _computed(ctx, _push, activation, *inputs)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_gradients(ctx, _push_back, plain_pushed, *bars)


def _computed(ctx: Any, forward: Callable[..., Any], activation: Activation, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The outputs of an operation, which keeps its inputs and what else `forward` made for a backward pass."""
    kept, *outputs = forward(_kernels(), *(tensor.contiguous() for tensor in inputs))
    if any(ctx.needs_input_grad):
        ctx.activation = activation
        ctx.save_for_backward(*inputs, *kept[len(inputs) :])
    return tuple(outputs)


def _gradients(
    ctx: Any, backward: Callable[..., Sequence[Tensor | None]], plain: Callable[..., Any], *bars: Tensor
) -> Sequence[Tensor | None]:
    """The gradients of the inputs of an operation, from those of its two outputs."""
    kept = ctx.saved_tensors  # asked for once: a second time would compute a checkpointed piece again
    if torch.is_grad_enabled():
        v_bar, other_bar = bars
        return differentiable(ctx, plain, kept[: len(ctx.needs_input_grad) - 1], (v_bar, other_bar))
    return backward(_kernels(), [tensor.contiguous() for tensor in kept], *(bar.contiguous() for bar in bars))


def _gained(kernels: Library, w2: Tensor, w3: Tensor, g1: Tensor, g2: Tensor) -> tuple[Tensor, Tensor]:
    """W2 and W3 with the gains of their inputs."""
    w2g, w3g = torch.empty_like(w2), torch.empty_like(w3)
    kernels.gained(*w2.shape, w2, g1, w2g)
    kernels.gained(*w3.shape, w3, g2, w3g)
    return w2g, w3g


def _forward(
    kernels: Library, x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, skip: Tensor, modulation: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """What backward needs, the velocity, the divergence; all contiguous."""
    (n, d), w = x.shape, len(w2)
    b1, b2, g1, g2, b3 = modulation_parts(modulation, d)
    (w2g, w3g), coupling = _gained(kernels, w2, w3, g1, g2), torch.empty_like(w2)
    kernels.coupling(w, d, w1, w2g, w3g, coupling)
    a1, slope1, curvature1, slope2 = (x.new_empty(n, w) for _ in range(4))
    kernels.first_layer(n, d, w, x, w1, b1, a1, slope1, curvature1)
    a2, spread = a1 @ w2g.mT, slope1 @ coupling.mT
    v, divergence = torch.empty_like(x), x.new_empty(n)
    kernels.second_layer(n, d, w, x, w3g, skip, b2, b3, a2, spread, slope2, v, divergence)
    kept = (x, w1, w2, w3, skip, modulation, w2g, w3g, coupling, a1, slope1, curvature1, a2, slope2, spread)
    return kept, v, divergence


def _backward(kernels: Library, kept: Sequence[Tensor], v_bar: Tensor, divergence_bar: Tensor) -> list[Tensor]:
    """The gradients of x, w1, w2, w3, skip, modulation, from what `_forward` kept; all contiguous."""
    x, w1, w2, w3, skip, modulation, w2g, w3g, coupling, a1, slope1, curvature1, a2, slope2, spread = kept
    (n, d), w = x.shape, len(w2)
    _, _, g1, g2, _ = modulation_parts(modulation, d)
    w1_bar, w3_bar, skip_bar, modulation_bar = map(torch.zeros_like, (w1, w3, skip, modulation))
    b1_bar, b2_bar, g1_bar, g2_bar, b3_bar = modulation_parts(modulation_bar, d)
    z2_bar, spread_bar, x_bar = torch.empty_like(a2), torch.empty_like(a2), torch.empty_like(x)
    kernels.second_layer_back(
        n, d, w, x, w3g, a2, slope2, spread, v_bar, divergence_bar, z2_bar, spread_bar, b2_bar, b3_bar, w3_bar, skip_bar
    )
    w2_bar, coupling_bar = z2_bar.mT @ a1, spread_bar.mT @ slope1
    z1_bar, d1_bar = z2_bar @ w2g, spread_bar @ coupling
    kernels.first_layer_back(n, d, w, x, w1, skip, slope1, curvature1, v_bar, d1_bar, z1_bar, b1_bar, w1_bar, x_bar)
    kernels.coupling_back(w, d, w1, w2g, w3g, coupling_bar, w1_bar, w2_bar, w3_bar, w1.new_empty(w))
    kernels.gained_back(w, w, w2, g1, w2_bar, g1_bar)
    kernels.gained_back(d, w, w3, g2, w3_bar, g2_bar)
    return [x_bar, w1_bar, w2_bar, w3_bar, skip_bar, modulation_bar]


def _push(
    kernels: Library, x: Tensor, tangents: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, skip: Tensor, modulation: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """What backward needs, the velocity, the pushed tangents; all contiguous.

    Value and tangent stand below each other in one matrix: one product of twice as many rows for the two of them.
    """
    (n, d), w = x.shape, len(w2)
    b1, b2, g1, g2, b3 = modulation_parts(modulation, d)
    w2g, w3g = _gained(kernels, w2, w3, g1, g2)
    both1, slope1, k1, slope2, k2 = x.new_empty(2 * n, w), *(x.new_empty(n, w) for _ in range(4))
    kernels.push_first_layer(n, d, w, x, tangents, w1, b1, both1[:n], both1[n:], slope1, k1)
    both2 = both1 @ w2g.mT
    v, pushed = torch.empty_like(x), torch.empty_like(tangents)
    kernels.push_second_layer(n, d, w, x, tangents, w3g, skip, b2, b3, both2[:n], both2[n:], slope2, k2, v, pushed)
    kept = (x, tangents, w1, w2, w3, skip, modulation, w2g, w3g, both1, slope1, k1, both2, slope2, k2)
    return kept, v, pushed


def _push_back(kernels: Library, kept: Sequence[Tensor], v_bar: Tensor, pushed_bar: Tensor) -> list[Tensor | None]:
    """The same of x, tangents, which have none, w1, w2, w3, skip, modulation, from what `_push` kept."""
    x, tangents, w1, w2, w3, skip, modulation, w2g, w3g, both1, slope1, k1, both2, slope2, k2 = kept
    (n, d), w = x.shape, len(w2)
    _, _, g1, g2, _ = modulation_parts(modulation, d)
    w1_bar, w3_bar, skip_bar, modulation_bar = map(torch.zeros_like, (w1, w3, skip, modulation))
    b1_bar, b2_bar, g1_bar, g2_bar, b3_bar = modulation_parts(modulation_bar, d)
    both2_bar, x_bar = torch.empty_like(both2), torch.empty_like(x)
    second = x, tangents, w3g, both2[:n], both2[n:], slope2, k2, v_bar, pushed_bar
    kernels.push_second_layer_back(n, d, w, *second, both2_bar[:n], both2_bar[n:], b2_bar, b3_bar, w3_bar, skip_bar)
    w2_bar, both1_bar = both2_bar.mT @ both1, both2_bar @ w2g
    first = x, tangents, w1, skip, slope1, k1, v_bar
    kernels.push_first_layer_back(n, d, w, *first, both1_bar[:n], both1_bar[n:], b1_bar, w1_bar, x_bar)
    kernels.gained_back(w, w, w2, g1, w2_bar, g1_bar)
    kernels.gained_back(d, w, w3, g2, w3_bar, g2_bar)
    return [x_bar, None, w1_bar, w2_bar, w3_bar, skip_bar, modulation_bar]
