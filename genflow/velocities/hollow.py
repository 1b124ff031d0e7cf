r"""A network whose Jacobian is hollow but for one layer: its exact divergence comes in the same pass.

.. math::
    v_i = \sum_{j=1}^k C_{ij}(t) \, a\bigl(A_{ij} x_i + h_{ij}(x_{-i}, t)\bigr) + (M x)_i + \beta_i(t), \qquad
    \nabla \cdot v = \sum_{ij} C_{ij} A_{ij} \, a'(\cdot) + \operatorname{tr} M

What :math:`h_i` sees of the point are all entries but the i-th. It is a network of two halves with masked weights: a
unit of the first sees :math:`x_1, \dots, x_m`, one of the second :math:`x_{m+1}, \dots, x_d`, and :math:`h_i` has those
of the first with :math:`m < i` and of the second with :math:`m \ge i`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.activations import activation as activation_named
from genflow.velocities.time import modulation

__all__ = ["Hollow"]


class Hollow(Velocity):
    r"""Each entry of the field is a small network of its own coordinate, steered by all others. See the formulas above.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the masked layers.
        depth: Number of masked layers.
        units: Hidden units :math:`k` of each entry.
        condition_dim: Dimension of a condition vector, 0 for none.
        activation: `silu`, `tanh`, `sine`, `softplus` or `log-cosh`.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives.

    It starts as the zero field.

    References:
        Chen, Duvenaud 2019, Neural networks with cheap differential operators, https://arxiv.org/abs/1912.03579

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.Hollow(dim=3)
        >>> v, divergence = velocity.divergence(torch.randn(5, 3), torch.tensor(0.5))
        >>> v.shape, divergence.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    closed_form = True
    entering_mask: Tensor
    inner_mask: Tensor
    leaving_mask: Tensor
    dim: int
    condition_dim: int

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 2,
        units: int = 8,
        condition_dim: int = 0,
        activation: str = "silu",
        time_features: int = 4,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        if dim < 1 or width < 2 or depth < 1 or units < 1 or time_features < 1:
            raise InputError(
                f"dim, width, depth, units, time_features: {dim}, {width}, {depth}, {units}, {time_features} came; "
                "at least 1, 2, 1, 1, 1 would do"
            )
        self.dim, self.width, self.depth, self.units, self.condition_dim = dim, width, depth, units, condition_dim
        self.time_features = time_features
        self.interval = (float(interval[0]), float(interval[1]))
        self.channels = math.ceil(max(width / dim, units))
        self.activation = activation_named(activation)
        masks = _masks(dim, width, units)
        for name, mask in zip(("entering", "inner", "leaving"), masks, strict=True):
            self.register_buffer(f"{name}_mask", mask, persistent=False)

        def weights(mask: Tensor) -> nn.Parameter:
            return nn.Parameter(mask * torch.randn(mask.shape) / mask.sum(0).clamp(min=1).sqrt())

        self.entering = weights(masks[0])
        self.inner = nn.ParameterList(weights(masks[1]) for _ in range(depth - 1))
        self.leaving = weights(masks[2])
        self.own = nn.Parameter(torch.randn(dim, units))
        self.readout = nn.Parameter(torch.zeros(dim, units))
        self.skip = nn.Parameter(torch.zeros(dim, dim))
        # Rows: biases of the masked layers and of the entries' units, gains of C, then β; columns: time, condition.
        rows = torch.zeros(depth * width + 2 * dim * units + dim, time_features + condition_dim)
        biases = depth * width + dim * units
        rows[:biases, 0] = torch.rand(biases) * 2 - 1
        self.modulation = nn.Parameter(rows)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, width={self.width}, depth={self.depth}, interval={self.interval}"

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.readout.mul_(factor)
        self.skip.mul_(factor)
        self.modulation[-self.dim :] *= factor

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._push(x, t, condition, None)[0]

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        v, slope, _ = self._push(x, t, condition, None, order=1)
        own = (slope * self.own).sum((-2, -1)) + self.skip.diagonal().sum()
        return v, own.expand(x.shape[:-1])

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, _, pushed = self._push(x, t, condition, tangents, order=1)
        assert pushed is not None
        return v, pushed

    def _push(
        self, x: Tensor, t: Tensor, condition: Any, tangents: Tensor | None, order: int = 0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The field, C a' of each unit of each entry (where the order is 1), and the tangents, where there are any."""
        values = modulation(self.modulation, x, t, condition, self.interval, self.condition_dim)
        d, k = self.dim, self.units
        *shifts, shift, gain, beta = values.split([*(self.width,) * self.depth, d * k, d * k, d], -1)
        # What depends on x_i in h_i would be no error that anybody sees: so the masks hold in training as well.
        layers = [self.entering * self.entering_mask, *(matrix * self.inner_mask for matrix in self.inner)]
        leaving = self.leaving * self.leaving_mask
        h, pushed = x, tangents
        for matrix, bias in zip(layers, shifts, strict=True):
            h, *slope = self.activation(h @ matrix + bias, order)
            if pushed is not None:
                pushed = pushed @ matrix * slope[0]
        argument = (h @ leaving + shift).unflatten(-1, (d, k)) + self.own * x.unsqueeze(-1)
        readout = self.readout * (1 + gain.unflatten(-1, (d, k)))
        a, *slope = self.activation(argument, order)
        v = (a * readout).sum(-1) + x @ self.skip.mT + beta
        slope_of_entries = readout * slope[0] if order else readout
        if pushed is not None and tangents is not None:
            arriving = (pushed @ leaving).unflatten(-1, (d, k)) + self.own * tangents.unsqueeze(-1)
            pushed = (arriving * slope_of_entries).sum(-1) + tangents @ self.skip.mT
        return v, slope_of_entries, pushed


def _masks(dim: int, width: int, units: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which weights may differ from zero, `(inputs, outputs)`: entering, between and leaving the masked layers."""
    entry = torch.arange(1, dim + 1)
    degree = torch.arange(width) // 2 % max(1, dim - 1) + 1  # m, of one unit of each half in turn
    left = torch.arange(width) % 2 == 0  # the half that sees the entries up to m; the other those beyond
    entering = torch.where(left, entry[:, None] <= degree, entry[:, None] > degree)
    earlier = torch.where(left, degree[:, None] <= degree, degree[:, None] >= degree)
    inner = earlier & (left[:, None] == left)
    leaving = torch.where(left[:, None], degree[:, None] < entry, degree[:, None] >= entry)
    default = torch.get_default_dtype()
    return entering.to(default), inner.to(default), leaving.repeat_interleave(units, 1).to(default)
