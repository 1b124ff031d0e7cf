r"""The gradient of a potential, whose divergence is a Laplacian in closed form.

.. math::
    \Phi(x, t) = w(t)^\top u_L + \tfrac12 x^\top S x + b(t)^\top x, \qquad
    u_0 = a(K_0 x + b_0(t)), \quad u_l = u_{l-1} + \tfrac1L a(K_l u_{l-1} + b_l(t))

and :math:`v = -\nabla \Phi`. A sweep downwards gives :math:`z_l = \partial \Phi / \partial u_l`,

.. math::
    z_L = w, \quad z_{l-1} = z_l + \tfrac1L K_l^\top (a'_l \circ z_l), \qquad
    \nabla \Phi = K_0^\top (a'_0 \circ z_0) + S x + b ,

and with the Jacobians :math:`J_l = \partial u_l / \partial x`, pushed upwards only,

.. math::
    \nabla^2 \Phi = (a''_0 \circ z_0)^\top (K_0 \circ K_0) 1
    + \tfrac1L \sum_{l=1}^L (a''_l \circ z_l)^\top \bigl(K_l J_{l-1} \circ K_l J_{l-1}\bigr) 1 + \operatorname{tr} S .
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow import interfaces
from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.activations import activation as activation_named
from genflow.velocities.time import modulation

__all__ = ["PotentialGradient"]


class PotentialGradient(Velocity):
    r"""A field without rotation, :math:`v = -\nabla \Phi`, as that of optimal transport is. See the formulas above.

    Its Jacobian is a Hessian, so that a pushed tangent is a pulled cotangent as well. OT-Flow has :math:`A^\top A` in
    place of the symmetric :math:`S`, which can bend one way only and does not learn from zero.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        depth: Number :math:`L` of residual layers. With none, the divergence costs no more than the field.
        condition_dim: Dimension of a condition vector, 0 for none.
        activation: `log-cosh`, whose derivative is tanh, or another; the field's own activation is its derivative.
        time_features: Terms of the cosine series in time that :math:`w, b` and the biases are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives.

    It starts as the zero field.

    References:
        Onken, Fung, Li, Ruthotto 2021, OT-Flow, https://arxiv.org/abs/2006.00104

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.PotentialGradient(dim=3)
        >>> v, divergence = velocity.divergence(torch.randn(5, 3), torch.tensor(0.5))
        >>> v.shape, divergence.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    closed_form = True
    dim: int
    condition_dim: int

    def __init__(
        self,
        dim: int,
        width: int = 64,
        depth: int = 1,
        condition_dim: int = 0,
        activation: str = "log-cosh",
        time_features: int = 8,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        if dim < 1 or width < 1 or depth < 0 or time_features < 1:
            raise InputError(
                f"dim, width, depth, time_features: {dim}, {width}, {depth}, {time_features} came; "
                "at least 1, 1, 0, 1 would do"
            )
        self.dim, self.width, self.depth, self.condition_dim = dim, width, depth, condition_dim
        self.time_features = time_features
        self.interval = (float(interval[0]), float(interval[1]))
        self.channels = math.ceil(width / dim)
        self.activation = activation_named(activation)
        self.lift = nn.Parameter(torch.randn(dim, width) / math.sqrt(dim))
        self.inner = nn.ParameterList(torch.randn(width, width) / math.sqrt(width) for _ in range(depth))
        self.quadratic = nn.Parameter(torch.zeros(dim, dim))
        # Rows: biases of all layers, then w, then b; columns: time features, then condition.
        rows = torch.zeros((depth + 2) * width + dim, time_features + condition_dim)
        rows[: (depth + 1) * width, 0] = torch.rand((depth + 1) * width) * 2 - 1
        self.modulation = nn.Parameter(rows)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, width={self.width}, depth={self.depth}, interval={self.interval}"

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.quadratic.mul_(factor)
        self.modulation[(self.depth + 1) * self.width :] *= factor

    @property
    def symmetric(self) -> Tensor:
        """The matrix :math:`S`."""
        return (self.quadratic + self.quadratic.mT) / 2

    def potential(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*batch"]:
        r"""The potential :math:`\Phi(x, t)`."""
        (first, *others), w, b = self._modulate(x, t, condition)
        (u,) = self.activation(x @ self.lift + first, 0)
        for matrix, bias in zip(self.inner, others, strict=True):
            u = u + self.activation(u @ matrix.mT + bias, 0)[0] / self.depth
        return (u * w).sum(-1) + (x * (x @ self.symmetric / 2 + b)).sum(-1)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._sweep(x, t, condition, 1)[0]

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, derivatives, z = self._sweep(x, t, condition, 2)
        arriving = [tangents @ self.lift]  # the tangent of each layer's argument
        u = arriving[0] * derivatives[0][0]
        for matrix, (slope, _) in zip(self.inner, derivatives[1:], strict=True):
            arriving.append(u @ matrix.mT)
            u = u + slope * arriving[-1] / self.depth
        dz = torch.zeros_like(u)
        for layer in range(self.depth, 0, -1):
            slope, curvature = derivatives[layer]
            dz = dz + (curvature * z[layer] * arriving[layer] + slope * dz) @ self.inner[layer - 1] / self.depth
        slope, curvature = derivatives[0]
        dz = curvature * z[0] * arriving[0] + slope * dz
        return v, -(dz @ self.lift.mT) - tangents @ self.symmetric

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return self.pushforward(x, t, cotangents, condition)

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        v, derivatives, z = self._sweep(x, t, condition, 2)
        slope, curvature = derivatives[0]
        laplacian = (curvature * z[0]) @ self.lift.square().sum(0) + self.quadratic.diagonal().sum()
        if self.depth:
            chunk = max(1, interfaces._PUSHED_ELEMENTS // max(1, x.numel() * self.channels))
            for rows in self.lift.split(chunk):  # the columns of J_0, a few at a time
                columns = rows.reshape(-1, *(1,) * (x.ndim - 1), self.width) * slope
                for layer, matrix in enumerate(self.inner, 1):
                    arriving = columns @ matrix.mT
                    weights = derivatives[layer][1] * z[layer] / self.depth
                    laplacian = laplacian + (arriving.square().sum(0) * weights).sum(-1)
                    if layer < self.depth:
                        columns = columns + derivatives[layer][0] * arriving / self.depth
        return v, -laplacian

    def _modulate(self, x: Tensor, t: Tensor, condition: Any) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """The biases of the layers, w and b, at these times, under this condition."""
        values = modulation(self.modulation, x, t, condition, self.interval, self.condition_dim)
        *biases, w, b = values.split([*(self.width,) * (self.depth + 2), self.dim], -1)
        return tuple(biases), w, b

    def _sweep(
        self, x: Tensor, t: Tensor, condition: Any, order: int
    ) -> tuple[Tensor, list[tuple[Tensor, ...]], list[Tensor]]:
        """The field; of each layer, the derivatives of its activation up to the order, and z."""
        (first, *others), w, b = self._modulate(x, t, condition)
        u, *derivative = self.activation(x @ self.lift + first, order)
        derivatives = [tuple(derivative)]
        for matrix, bias in zip(self.inner, others, strict=True):
            a, *derivative = self.activation(u @ matrix.mT + bias, order)
            u = u + a / self.depth
            derivatives.append(tuple(derivative))
        z = [w.expand_as(u)]
        for matrix, (slope, *_) in zip(reversed(self.inner), reversed(derivatives), strict=False):
            z.append(z[-1] + (slope * z[-1]) @ matrix / self.depth)
        z.reverse()
        gradient = (derivatives[0][0] * z[0]) @ self.lift.mT + x @ self.symmetric + b
        return -gradient, derivatives, z
