r"""A network of two hidden layers whose divergence has a closed form.

.. math::
    v(x, t) = W_3 \, g_2(t) \circ a\bigl(W_2 \, g_1(t) \circ a(W_1^\top x + b_1(t)) + b_2(t)\bigr) + b_3(t) + A x

With :math:`d_1 = g_1 \circ a'(\cdot)` and :math:`d_2 = g_2 \circ a'(\cdot)` at the two layers, its Jacobian is
:math:`W_3 D_2 W_2 D_1 W_1^\top + A`, and the trace of that is

.. math::
    \nabla \cdot v = d_2^\top \bigl(W_2 \circ (W_3^\top W_1)\bigr) d_1 + \operatorname{tr} A :

one more matrix product of the size of the hidden layer, whatever the dimension.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.velocities.activations import activation as activation_named
from genflow.velocities.fused import velocity_and_divergence, velocity_and_pushed
from genflow.velocities.time import TimeSeries, modulation
from genflow.velocities.two_layers import layers, split_modulation

__all__ = ["Shallow"]


class Shallow(TimeSeries):
    r"""Two hidden layers; time and a condition enter their biases and gains. See the formulas above.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        condition_dim: Dimension of a condition vector, 0 for none.
        activation: `silu`, `tanh`, `sine` or `softplus`.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives.
        frequencies: The first layer's weights and biases are drawn at scales spread evenly in their logarithm over
            this range: large ones resolve sharp features early, small ones see the whole.
        series: The times that the cosine series is stretched to; the interval by default. A block that is cut in two,
            or moved, keeps its series: the field at a time stays what it was.

    It starts as the zero field: :math:`W_3`, :math:`b_3` and :math:`A` are zero.

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.Shallow(dim=3)
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
        width: int = 128,
        condition_dim: int = 0,
        activation: str = "silu",
        time_features: int = 4,
        interval: tuple[float, float] = (0.0, 1.0),
        frequencies: tuple[float, float] = (1.0, 1.0),
        series: tuple[float, float] | None = None,
    ):
        super().__init__()
        if dim < 1 or width < 1 or time_features < 1:
            raise InputError(
                f"dim, width, time_features: {dim}, {width}, {time_features} given; each must be at least 1"
            )
        self.dim, self.width, self.condition_dim = dim, width, condition_dim
        self.time_features = time_features
        self.live(interval, series)
        self.activation = activation_named(activation)
        inputs = time_features + condition_dim
        # The short side of w1 and w3 comes first: skinny products are several times faster in that layout.
        scale = torch.linspace(math.log(frequencies[0]), math.log(frequencies[1]), width).exp()
        self.w1 = nn.Parameter(scale * torch.randn(dim, width) / math.sqrt(dim))
        self.w2 = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.w3 = nn.Parameter(torch.zeros(dim, width))
        self.skip = nn.Parameter(torch.zeros(dim, dim))
        # Rows: biases and gains of both layers, then the bias of the output; columns: time features, then condition.
        weights = torch.zeros(4 * width + dim, inputs)
        weights[: 2 * width, 0] = torch.rand(2 * width) * 2 - 1
        weights[:width, 0] *= scale
        self.modulation = nn.Parameter(weights)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, width={self.width}, interval={self.interval}"

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.w3.mul_(factor)
        self.skip.mul_(factor)
        self.modulation[4 * self.width :] *= factor

    def inputs(self, x: Tensor, t: Tensor, condition: Any) -> tuple[Tensor, ...]:
        """The weights, and the modulation: a vector where all rows share one, else one for each row."""
        values = modulation(self.modulation, x, t, condition, self.series, self.condition_dim)
        return self.w1, self.w2, self.w3, self.skip, values

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        w1, w2, w3, skip, values = self.inputs(x, t, condition)
        b1, b2, g1, g2, b3 = split_modulation(values, self.dim)
        (a1,) = self.activation(x @ w1 + b1, 0)
        (a2,) = self.activation((a1 * g1) @ w2.mT + b2, 0)
        return (a2 * g2) @ w3.mT + x @ skip.mT + b3

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        return velocity_and_divergence(self.activation, x, *self.inputs(x, t, condition))

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return velocity_and_pushed(self.activation, x, tangents, *self.inputs(x, t, condition))

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, d1, d2 = layers(self.activation, x, *self.inputs(x, t, condition))
        hidden = ((cotangents @ self.w3) * d2) @ self.w2 * d1
        return v, hidden @ self.w1.mT + cotangents @ self.skip
