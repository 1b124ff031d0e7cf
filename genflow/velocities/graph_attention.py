r"""Attention over the neighbours in a graph; tangents are pushed through its layers by hand.

A head turns the features of the nodes into messages :math:`m_j = W h_j` and mixes those of a node's neighbours,

.. math::
    o_i = \sum_j \alpha_{ij} m_j, \qquad \alpha_{ij} \propto (A + I)_{ij} \exp e_{ij}, \qquad
    e_{ij} = a(p^\top m_i + q^\top m_j) .

The weight of an edge multiplies the attention, so that an edge disappears without a jump as its weight goes to 0. The
activation is smooth where the original has a leaky ReLU: a field with kinks costs a solver its order. With
:math:`\beta_{ij} = \alpha_{ij} a'(\cdot)` and tangents :math:`\dot s = p^\top \dot m`, :math:`\dot r = q^\top \dot m`,
the softmax linearizes to

.. math::
    \dot o_i = \sum_j \alpha_{ij} \dot m_j + \sum_j \beta_{ij} (\dot s_i + \dot r_j) (m_j - o_i),

so that a tangent costs matrix products of the shape of the layer, and no matrix (nodes, nodes) of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.velocities.activations import activation as activation_named
from genflow.velocities.graph import GraphVelocity

__all__ = ["GraphAttention"]


class GraphAttention(GraphVelocity):
    r"""Residual layers of attention over neighbours.

    .. math::
        h_0 = [x, c] W_{in}, \qquad h_{l+1} = h_l + g_l(t) \circ a(o(h_l) + b_l(t)), \qquad v = h_D R + b(t)

    with the heads' outputs :math:`o` above, side by side. With depth D, the velocity of a node depends on nodes at most
    D edges away.

    Args:
        adjacency: Weights :math:`A` of the edges, `(nodes, nodes)`: symmetric, not negative, 0 where there is no edge.
        features: Features of each node.
        width: Channels of the hidden layers, shared out among the heads.
        heads: Number of heads.
        depth: Number :math:`D` of layers.
        condition_features: Features of a condition at each node, `(*batch, nodes, condition_features)`; 0 for none.
        activation: `silu`, `tanh`, `sine` or `softplus`.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives; the series is stretched to them.

    It starts as the zero field. Its exact divergence pushes one tangent for each node and feature.

    P. Veličković et al., Graph attention networks, ICLR 2018, https://arxiv.org/abs/1710.10903

    Example:
        >>> import torch, genflow as gf
        >>> path = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
        >>> velocity = gf.velocities.GraphAttention(path, features=2, width=8, heads=2)
        >>> v, pushed = velocity.pushforward(torch.randn(5, 3, 2), torch.tensor(0.5), torch.randn(7, 5, 3, 2))
        >>> pushed.shape
        torch.Size([7, 5, 3, 2])
    """

    def __init__(
        self,
        adjacency: Collection[Any],
        features: int = 1,
        width: int = 32,
        heads: int = 4,
        depth: int = 2,
        condition_features: int = 0,
        activation: str = "silu",
        time_features: int = 4,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__(adjacency, features, condition_features, time_features, interval)
        if width < 1 or heads < 1 or depth < 1:
            raise InputError(f"width, heads, depth: {width}, {heads}, {depth} came; at least 1 each would do")
        if width % heads:
            raise InputError(f"heads: {heads} came for the width {width}; a divisor of it would do")
        self.width, self.heads, self.depth = width, heads, depth
        self.channels = math.ceil(width / features)
        self.activation = activation_named(activation)
        entering, share = features + condition_features, width // heads
        self.lift = nn.Parameter(torch.randn(entering, width) / math.sqrt(entering))
        # Matrices, as an optimizer with a basis for each side wants them.
        self.messages = nn.ParameterList(torch.randn(width, width) / math.sqrt(width) for _ in range(depth))
        # p and q of each layer, the heads side by side: what a node asks for, and what it offers.
        self.attention = nn.Parameter(torch.randn(2 * depth, width) / math.sqrt(share))
        self.readout = nn.Parameter(torch.zeros(width, features))
        # Rows: biases and gains of the layers, then the bias of the output; columns: time features.
        modulation = torch.zeros(2 * depth * width + features, time_features)
        modulation[: depth * width, 0] = torch.rand(depth * width) * 2 - 1
        self.modulation = nn.Parameter(modulation)

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.readout.mul_(factor)
        self.modulation[2 * self.depth * self.width :] *= factor

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._push(x, t, condition, None)[0]

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, pushed = self._push(x, t, condition, tangents)
        assert pushed is not None
        return v, pushed

    def _push(self, x: Tensor, t: Tensor, condition: Any, tangents: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The velocity and its tangents, where there are any."""
        values = nn.functional.linear(self.time(x, t), self.modulation)
        hidden, bias = values.split([2 * self.depth * self.width, self.features], -1)
        shifts, gains = hidden.unflatten(-1, (2, self.depth, self.width)).unbind(-3)
        h = self.inputs(x, condition) @ self.lift
        pushed = None if tangents is None else tangents @ self.lift[: self.features]
        for weights, attention, shift, gain in zip(
            self.messages, self.attention.split(2), shifts.unbind(-2), (1 + gains).unbind(-2), strict=True
        ):
            mixed, mixed_tangents = self._attend(h, pushed, weights, attention)
            a, *slope = self.activation(mixed + shift, 0 if pushed is None else 1)
            h = h + gain * a
            if pushed is not None:
                pushed = pushed + gain * slope[0] * mixed_tangents
        return h @ self.readout + bias, None if pushed is None else pushed @ self.readout

    def _attend(
        self, h: Tensor, pushed: Tensor | None, weights: Tensor, attention: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What the heads mix, `(*batch, nodes, width)`, and its tangents."""
        m = self._split_heads(h @ weights)
        p, q = attention.unflatten(-1, (self.heads, -1, 1))
        s, r = m @ p, m @ q
        e, *slope = self.activation(s + r.mT, 0 if pushed is None else 1)
        # The logarithm is -inf where there is no edge; a node's own entry is at least 0, so no row is without any.
        prior = (self.adjacency + torch.eye(len(self.adjacency)).to(self.adjacency)).log()
        alpha = torch.softmax(e + prior, -1)
        o = alpha @ m
        if pushed is None:
            return self._join_heads(o), None
        beta = alpha * slope[0]
        dm = self._split_heads(pushed @ weights)
        ds, dr = dm @ p, dm @ q
        do = _mix(alpha, dm) + _mix(beta, dr * m) - _mix(beta, dr) * o + ds * (beta @ m - beta.sum(-1, True) * o)
        return self._join_heads(o), self._join_heads(do)

    def _split_heads(self, h: Tensor) -> Tensor:
        """`(…, nodes, width) -> (…, heads, nodes, share)`."""
        return h.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _join_heads(self, h: Tensor) -> Tensor:
        """`(…, heads, nodes, share) -> (…, nodes, width)`."""
        return h.transpose(-3, -2).flatten(-2)


def _mix(weights: Tensor, tangents: Tensor) -> Tensor:
    """The weights on each tangent, `(…, nodes, nodes), (n, …, nodes, share) -> (n, …, nodes, share)`.

    A plain product would copy the weights for each tangent.
    """
    return torch.einsum("...ij,n...jd->n...id", weights, tangents)
