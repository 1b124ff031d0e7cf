r"""A network of graph filters; up to two hidden layers, its divergence has a closed form.

A filter of order K is a polynomial of the graph's Laplacian, :math:`G h = \sum_{k \le K} T_k(\tilde L) \, h \, W_k`,
in Chebyshev's basis :math:`T_0 = I, \; T_1 = \tilde L, \; T_k = 2 \tilde L T_{k-1} - T_{k-2}` with the rescaled
Laplacian :math:`\tilde L = 2 L / \lambda_{max} - I`, :math:`L = I - D^{-1/2} A D^{-1/2}`. The layers are

.. math::
    h_1 = g_1 \circ a(G_1 [x, c] + b_1), \qquad h_{l+1} = h_l + g_{l+1} \circ a(G_{l+1} h_l + b_{l+1}), \qquad
    v = h_D R + S [x, c] + b,

with biases and gains that are functions of time. For two layers with slopes :math:`d_1, d_2` the Jacobian is
:math:`R^\top (I + D_2 G_2) D_1 G_1 + S`. The trace over nodes and channels leaves node by node products of the
polynomials and entry by entry products of the weights,

.. math::
    \nabla \cdot v = \Bigl\langle d_1, \sum_j \operatorname{diag}(T_j) \, M_j^{diag} \Bigr\rangle
    + \Bigl\langle d_2, \sum_{j, k} (T_j \circ T_k) \, d_1 \, (W_{2,k} \circ M_j) \Bigr\rangle
    + \sum_k \operatorname{tr} T_k \operatorname{tr} S_k, \qquad M_j = W_{1,j}^\top R^\top :

the middle term is one more graph filter, in the basis :math:`T_j \circ T_k`, whatever the number of nodes.
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
from genflow.velocities.graph import GraphVelocity, check_adjacency

__all__ = ["Chebyshev"]


class Chebyshev(GraphVelocity):
    r"""Graph filters with activations between them. See the formulas above.

    With depth D and order K, the velocity of a node depends on nodes at most D K edges away.

    Args:
        adjacency: Weights :math:`A` of the edges, `(nodes, nodes)`: symmetric, not negative, 0 where there is no edge.
        features: Features of each node.
        width: Channels of the hidden layers.
        order: Order :math:`K` of the filters.
        depth: Number :math:`D` of hidden layers; up to 2, the divergence has a closed form.
        condition_features: Features of a condition at each node, `(*batch, nodes, condition_features)`; 0 for none.
        activation: `silu`, `tanh`, `sine` or `softplus`.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives; the series is stretched to them.

    It starts as the zero field: :math:`R`, :math:`S` and :math:`b` are zero. The filters are dense matrices, for graphs
    of up to some hundreds of nodes.

    M. Defferrard, X. Bresson, P. Vandergheynst, Convolutional neural networks on graphs with fast localized spectral
    filtering, NeurIPS 2016, https://arxiv.org/abs/1606.09375

    Example:
        >>> import torch, genflow as gf
        >>> path = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
        >>> velocity = gf.velocities.Chebyshev(path, features=2, condition_features=1)
        >>> x, yesterday = torch.randn(5, 3, 2), torch.randn(5, 3, 1)
        >>> gf.Flow(velocity).log_prob(x, yesterday).shape
        torch.Size([5])
    """

    basis: Tensor

    def __init__(
        self,
        adjacency: Collection[Any],
        features: int = 1,
        width: int = 32,
        order: int = 2,
        depth: int = 2,
        condition_features: int = 0,
        activation: str = "silu",
        time_features: int = 4,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__(adjacency, features, condition_features, time_features, interval)
        if width < 1 or order < 1 or depth < 1:
            raise InputError(f"width, order, depth: {width}, {order}, {depth} came; at least 1 each would do")
        self.width, self.order, self.depth = width, order, depth
        self.closed_form, self.channels = depth <= 2, math.ceil(width / features)
        self.activation = activation_named(activation)
        polynomials = chebyshev_polynomials(check_adjacency(adjacency), order)
        self.register_buffer("basis", polynomials.to(self.adjacency.dtype))
        entering = features + condition_features
        # Matrices, the polynomials one below the other, as an optimizer with a basis for each side wants them.
        rows = [(order + 1) * channels for channels in (entering, *(width,) * (depth - 1))]
        self.filters = nn.ParameterList(torch.randn(count, width) / math.sqrt(count) for count in rows)
        self.readout = nn.Parameter(torch.zeros(width, features))
        self.skip = nn.Parameter(torch.zeros(rows[0], features))
        # Rows: biases and gains of the hidden layers, then the bias of the output; columns: time features.
        modulation = torch.zeros(2 * depth * width + features, time_features)
        modulation[: depth * width, 0] = torch.rand(depth * width) * 2 - 1
        self.modulation = nn.Parameter(modulation)

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.readout.mul_(factor)
        self.skip.mul_(factor)
        self.modulation[2 * self.depth * self.width :] *= factor

    def layers(self, x: Tensor, t: Tensor, condition: Any, order: int) -> tuple[Tensor, list[Tensor]]:
        """The velocity, and for `order=1` the slopes of the hidden layers."""
        values = nn.functional.linear(self.time(x, t), self.modulation)
        hidden, bias = values.split([2 * self.depth * self.width, self.features], -1)
        shifts, gains = hidden.unflatten(-1, (2, self.depth, self.width)).unbind(-3)
        inputs = self.inputs(x, condition)
        h, slopes = inputs, []
        for k, (weights, shift, gain) in enumerate(
            zip(self.filters, shifts.unbind(-2), (1 + gains).unbind(-2), strict=True)
        ):
            a, *slope = self.activation(_filter(self.basis, h, weights) + shift, order)
            h = h + gain * a if k else gain * a
            slopes += [gain * s for s in slope]
        return h @ self.readout + _filter(self.basis, inputs, self.skip) + bias, slopes

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self.layers(x, t, condition, 0)[0]

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, (first, *later) = self.layers(x, t, condition, 1)
        pushed = first * _filter(self.basis, tangents, self._of_point(self.filters[0]).flatten(0, 1))
        for weights, slope in zip(list(self.filters)[1:], later, strict=True):
            pushed = pushed + slope * _filter(self.basis, pushed, weights)
        return v, pushed @ self.readout + _filter(self.basis, tangents, self._of_point(self.skip).flatten(0, 1))

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        if not self.closed_form:
            return super().divergence(x, t, condition)
        v, (d1, *later) = self.layers(x, t, condition, 1)
        first, skip = self._of_point(self.filters[0]), self._of_point(self.skip)
        own = self.basis.diagonal(dim1=-2, dim2=-1).mT  # (nodes, K + 1): what the filters return of a node to itself
        total = (d1 * (own @ torch.einsum("kfw,wf->kw", first, self.readout))).sum((-2, -1))
        for d2 in later:
            through = first.mT @ self.readout.mT  # M_j, (K + 1, width, width)
            second = self.filters[1].unflatten(0, (-1, self.width))
            j, k = torch.triu_indices(len(second), len(second), device=x.device)  # T_j ∘ T_k is that of k and j, too
            weights = second[k] * through[j] + (j != k)[:, None, None] * second[j] * through[k]
            total = total + (d2 * _filter(self.basis[j] * self.basis[k], d1, weights.flatten(0, 1))).sum((-2, -1))
        return v, total + (own.sum(0) * torch.einsum("kff->k", skip)).sum()

    def _of_point(self, weights: Tensor) -> Tensor:
        """The weights of each polynomial that act on the point, not on the condition, `(K + 1, features, out)`."""
        return weights.unflatten(0, (self.order + 1, -1))[:, : self.features]


def chebyshev_polynomials(adjacency: Float[Tensor, "nodes nodes"], order: int) -> Float[Tensor, "orders nodes nodes"]:
    r""":math:`T_0(\tilde L), \dots, T_K(\tilde L)` of a graph's rescaled normalized Laplacian.

    Args:
        adjacency: :math:`A`, symmetric, not negative. The Laplacian of a node without edges is 0.
        order: :math:`K \ge 1`.
    """
    degree = adjacency.sum(-1)
    scale = torch.where(degree > 0, degree, torch.inf).rsqrt()
    laplacian = torch.diag((degree > 0).to(adjacency)) - scale[:, None] * adjacency * scale
    largest = torch.linalg.eigvalsh(laplacian)[-1].item()
    identity = torch.eye(len(adjacency), dtype=adjacency.dtype)
    rescaled = laplacian * (2 / largest if largest > 1e-9 else 0.0) - identity  # no edges at all: the Laplacian is 0
    polynomials = [identity, rescaled]
    while len(polynomials) <= order:
        polynomials.append(2 * rescaled @ polynomials[-1] - polynomials[-2])
    return torch.stack(polynomials)


def _filter(basis: Tensor, h: Tensor, weights: Tensor) -> Tensor:
    r""":math:`\sum_k B_k h W_k`, `(*batch, nodes, in) -> (*batch, nodes, out)`; the W_k stand one below the other."""
    return torch.einsum("kij,...jf->...ikf", basis, h).flatten(-2) @ weights
