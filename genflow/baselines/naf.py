"""Neural autoregressive flow: zuko's networks, with a derivative by hand and an inverse coordinate by coordinate."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from genflow.baselines.discrete import DiscreteFlow
from genflow.deadline import check_time
from genflow.extras import extra
from genflow.naming.search import OneOf

__all__ = ["NAF"]

_REACH = 100.0  # standard deviations: between which the inverse of the first layer is looked for
_CLIP = 11.0  # what zuko squeezes coordinates into between two layers
_ROWS = 64  # by which the layers are balanced


class NAF(DiscreteFlow):
    r"""Neural autoregressive flow: each layer bends a coordinate by a monotone network.

    .. math:: z_i = f\bigl(x_i; \theta_i(x_{<i})\bigr), \qquad \partial f / \partial x_i > 0

    The network's weights are positive and its activations increase, so that f does. Its inverse is found by bisection
    to the last bits, one coordinate after the other: a sample costs :math:`d` passes for each layer. Between layers
    coordinates are squeezed softly into :math:`[-11, 11]`. At first each layer keeps the mean and the variance.

    Args:
        dim: Dimension :math:`d` of a point.
        transforms: Number of layers :math:`K`.
        width: Width of the two hidden layers of each layer's two networks.
        signal: How many numbers :math:`\theta_i` the monotone network is told.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018)
        | https://arxiv.org/abs/1804.00779

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.baselines.NAF(2, transforms=2, width=16)
        >>> x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
        >>> bool(torch.allclose(model.decode(model.encode(x)), x, atol=1e-3))
        True
    """

    search = DiscreteFlow.search | {"width": OneOf((32, 64, 128)), "transforms": OneOf((2, 3, 4))}

    def __init__(
        self,
        dim: int,
        transforms: int = 3,
        width: int = 64,
        signal: int = 16,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        condition_dim: int = 0,
    ):
        with extra("baselines"):
            import zuko

        flow = zuko.flows.NAF(
            dim,
            condition_dim,
            transforms=transforms,
            signal=signal,
            network={"hidden_features": (width, width)},
            hidden_features=(width, width),
        )
        layers = list(flow.transform.transforms)
        for k, layer in enumerate(layers[::2]):  # between them, the squeezing
            layer.univariate = _Monotone(layer.univariate.network, _CLIP if k else _REACH)
        _balance(layers, dim, torch.zeros(condition_dim) if condition_dim else None)
        super().__init__(dim, flow.transform, batch_size, learning_rate, condition_dim)
        self.bound = _REACH
        self._beyond = f"{_REACH:g} standard deviations, where its inverse by bisection ends"

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The data :math:`x = T^{-1}(z)` of noise, one coordinate after the other."""
        transform = self._transform(z, condition)  # refuses what does not fit
        if self.dim == 1:
            return transform.inv(z)
        x = z.reshape(-1, self.dim)
        c = x.new_empty(len(x), 0)
        if condition is not None:
            c = condition.to(x.dtype).expand(*z.shape[:-1], self.condition_dim).reshape(len(x), self.condition_dim)
        layers: list[Any] = list(self.transform.get_submodule("transforms").children())
        for k in reversed(range(len(layers))):
            x = layers[k]().inv(x) if k % 2 else _inverse(layers[k], x, c)
        return x.reshape(z.shape)


class _Monotone(nn.Module):
    """A network for each coordinate, which increases with it and depends on a signal.

    Args:
        network: Its layers, alternately positive weights and activations.
        reach: The largest argument.
    """

    def __init__(self, network: nn.Sequential, reach: float):
        super().__init__()
        self.network, self.reach = network, reach

    def forward(self, signal: Tensor) -> _MonotoneTransform:
        return _MonotoneTransform(self, signal)

    def rise(
        self, x: Float[Tensor, "n s"], signal: Float[Tensor, "n s k"], coordinates: slice
    ) -> tuple[Tensor, Tensor]:
        """The values of some coordinates' networks and their derivatives, both `(n, s)`."""
        value = torch.cat([x[..., None], signal], -1).transpose(0, 1)
        slope = torch.zeros_like(value[..., :1])
        layer: Any
        for k, layer in enumerate(self.network):
            if k % 2:  # two halves: elu(h), and -elu(-h)
                first, second = value.chunk(2, -1)
                steep = torch.cat([first, -second], -1).clamp(max=0).exp()
                value = torch.cat([nn.functional.elu(first), -nn.functional.elu(-second)], -1)
                slope = slope * steep
            else:
                weight = layer.weight[coordinates].abs().mT
                value = torch.baddbmm(layer.bias[coordinates][:, None], value, weight)
                slope = slope @ weight if k else weight[:, :1].expand_as(value)
        return value[..., 0].mT, slope[..., 0].mT

    def inverse(self, y: Float[Tensor, "n s"], signal: Float[Tensor, "n s k"], coordinates: slice) -> Tensor:
        """The arguments at which these networks have these values, `(n, s)`: bisection, and a step of Newton's."""
        with torch.no_grad():
            low, high = torch.full_like(y, -self.reach), torch.full_like(y, self.reach)
            for _ in range(math.ceil(math.log2(2 * self.reach / torch.finfo(y.dtype).eps))):
                x = (low + high) / 2
                below = self.rise(x, signal, coordinates)[0] < y
                low, high = torch.where(below, x, low), torch.where(below, high, x)
            x = (low + high) / 2
            slope = self.rise(x, signal, coordinates)[1]
        return x - (self.rise(x, signal, coordinates)[0] - y) / slope  # which carries the gradient


class _MonotoneTransform(Transform):
    """What zuko asks of the transform of all coordinates."""

    domain = codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, monotone: _Monotone, signal: Tensor):
        super().__init__()
        self.monotone, self.signal = monotone, signal

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self.monotone.rise(*self._rows(x), slice(None))
        return value.reshape(x.shape), slope.log().reshape(x.shape)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.monotone.inverse(*self._rows(y), slice(None)).reshape(y.shape)

    def _rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dim = x.shape[-1]
        return x.reshape(-1, dim), self.signal.expand(*x.shape, -1).reshape(-1, dim, self.signal.shape[-1])


def _inverse(layer: Any, y: Float[Tensor, "n dim"], c: Float[Tensor, "n k"]) -> Float[Tensor, "n dim"]:
    """The argument of an autoregressive layer: each coordinate's signal is known from those before."""
    dim = y.shape[-1]
    columns = list(torch.zeros_like(y).unbind(-1))
    for i in layer.order.argsort().tolist():
        check_time()
        signal = layer.hyper(torch.cat([torch.stack(columns, -1), c], -1)).unflatten(-1, (dim, -1))[:, i : i + 1]
        columns[i] = layer.univariate.inverse(y[:, i : i + 1], signal, slice(i, i + 1))[:, 0]
    return torch.stack(columns, -1)


@torch.no_grad()
def _balance(layers: list[Any], dim: int, condition: Tensor | None) -> None:
    """Scales each layer's output so that normal rows stay so in mean and variance.

    Positive weights add up: without it, the density of three layers begins far from the data's mean and too narrow.
    """
    x = torch.randn(_ROWS, dim, generator=torch.Generator().manual_seed(0))
    for k, layer in enumerate(layers):
        if k % 2 == 0:
            last = layer.univariate.network[-1]  # (d, 1, width), of a network for each coordinate
            z = layer(condition)(x)
            mean, std = z.mean(0)[:, None], z.std(0)[:, None]
            last.weight.div_(std[..., None])
            last.bias.sub_(mean).div_(std)
        x = layer(condition)(x)
