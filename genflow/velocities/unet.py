r"""A small U-Net for pictures; tangents are pushed through its layers by hand.

Residual layers at each resolution, pooled on the way down, joined with what was there on the way up:

.. math::
    R(h) = h + K_2 \, a\bigl(g(t) \circ N_2(K_1 \, a(N_1(h))) + b(t)\bigr)

with convolutions :math:`K` and group norms :math:`N(h) = \gamma \circ y + \beta`, :math:`y = (h - \mu) / s`. Averages
:math:`\langle \cdot \rangle` over the channels of a group and all pixels linearize a norm to

.. math::
    \dot y = \bigl(\dot h - \langle \dot h \rangle - y \langle y \circ \dot h \rangle\bigr) / s ,

and the attention :math:`o = \alpha m, \; \alpha = \operatorname{softmax}(q k^\top)` at the coarsest resolution to
:math:`\dot o = \alpha \dot m + (\alpha \circ (\dot e - \langle \alpha, \dot e \rangle)) m`, with the logits' tangents
:math:`\dot e = \dot q k^\top + q \dot k^\top`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.activations import silu
from genflow.velocities.time import modulation

__all__ = ["UNet"]


class UNet(Velocity):
    r"""A field on pictures, `(channels, height, width)`. See the formulas above.

    Args:
        shape: Channels, height and width of a picture.
        width: Channels of the finest layers; twice as many at each coarser resolution.
        levels: Number of resolutions. Height and width must be divisible by :math:`2^{levels - 1}`.
        depth: Residual layers at each resolution, on each way.
        attention: Whether pixels of the coarsest resolution attend to each other.
        groups: Groups of a norm; a divisor of the width.
        condition_dim: Dimension of a condition vector, 0 for none.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives.

    It starts as the zero field. Its exact divergence pushes one tangent for each entry of a picture.

    Raises:
        InputError: Sizes that do not fit each other.

    References:
        | Ronneberger, Fischer, Brox 2015, U-Net, https://arxiv.org/abs/1505.04597
        | Ho, Jain, Abbeel 2020, Denoising diffusion probabilistic models, https://arxiv.org/abs/2006.11239

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.UNet((1, 8, 8), width=8)
        >>> v, pushed = velocity.pushforward(torch.randn(5, 1, 8, 8), torch.tensor(0.5), torch.randn(3, 5, 1, 8, 8))
        >>> pushed.shape
        torch.Size([3, 5, 1, 8, 8])
    """

    event_ndim = 3
    spatial = True
    event_shape: tuple[int, ...]
    condition_dim: int

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 32,
        levels: int = 2,
        depth: int = 1,
        attention: bool = True,
        groups: int = 8,
        condition_dim: int = 0,
        time_features: int = 8,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        if len(shape) != 3 or min(*shape, width, levels, depth, groups, time_features) < 1:
            raise InputError(
                f"shape, width, levels, depth, groups, time_features: {tuple(shape)}, {width}, {levels}, {depth}, "
                f"{groups}, {time_features} came; three sizes of at least 1 and at least 1 each would do"
            )
        if width % groups:
            raise InputError(f"groups: {groups} came for the width {width}; a divisor of it would do")
        factor = 2 ** (levels - 1)
        if shape[1] % factor or shape[2] % factor:
            raise InputError(f"levels: {levels} came for {shape[1]} x {shape[2]} pixels; both must divide by {factor}")
        self.event_shape = tuple(int(size) for size in shape)
        self.dim = math.prod(self.event_shape)
        self.condition_dim, self.time_features = condition_dim, time_features
        self.interval = (float(interval[0]), float(interval[1]))
        self.channels = math.ceil(width / self.event_shape[0])
        widths = [width * 2**level for level in range(levels)]
        self.lift = _Conv(self.event_shape[0], width)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before, kept = width, []
        for wide in widths:
            self.down.append(nn.ModuleList(_Residual(before if i == 0 else wide, wide, groups) for i in range(depth)))
            before = wide
            kept.append(wide)
        self.attention = _Attention(before, groups) if attention else None
        self.middle = _Residual(before, before, groups)
        for wide in reversed(kept):
            layers = (_Residual(before + wide if i == 0 else wide, wide, groups) for i in range(depth))
            self.up.append(nn.ModuleList(layers))
            before = wide
        self.norm = _Norm(width, groups)
        self.readout = _Conv(width, self.event_shape[0], scale=0.0)
        self.sizes = [2 * layer.width for layer in self._residuals()]
        # Rows: gains and biases of each residual layer; columns: time features, then condition.
        self.modulation = nn.Parameter(torch.randn(sum(self.sizes), time_features + condition_dim) * 0.1)

    def extra_repr(self) -> str:
        return f"shape={self.event_shape}, interval={self.interval}"

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiplies the field by a number."""
        self.readout.weight.mul_(factor)
        self.readout.bias.mul_(factor)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._push(x, t, condition, None)[0]

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        v, pushed = self._push(x, t, condition, tangents)
        assert pushed is not None
        return v, pushed

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        # torch.autograd.grad can't batch cotangents through a group norm that is to be differentiated again.
        v, pull, *_ = torch.func.vjp(lambda y: self(y, t, condition), x)
        (pulled,) = torch.func.vmap(pull)(cotangents)
        return v, pulled

    def _residuals(self) -> list[Any]:
        levels = [*self.down, *self.up]
        return [layer for level in levels for layer in cast(nn.ModuleList, level)] + [self.middle]

    def _push(self, x: Tensor, t: Tensor, condition: Any, tangents: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The velocity and its tangents, where there are any."""
        if x.shape[-3:] != self.event_shape:
            raise InputError(f"x: pictures (*batch, {self.event_shape}) are wanted, the shape {tuple(x.shape)} came")
        values = modulation(self.modulation, x, t, condition, self.interval, self.condition_dim)
        if values.ndim > 1:
            values = values.expand(*x.shape[:-3], -1).reshape(-1, values.shape[-1])
        of_layer = dict(zip(self._residuals(), values.split(self.sizes, -1), strict=True))
        flat = x.reshape(-1, *self.event_shape)
        h = _Dual(flat, None if tangents is None else tangents.reshape(len(tangents), *flat.shape))
        h, kept = self.lift(h), []
        for level, layers in enumerate(self.down):
            if level:
                h = h.linear(lambda y: avg_pool2d(y, 2))
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, of_layer[layer])
            kept.append(h)
        if self.attention is not None:
            h = self.attention(h)
        h = self.middle(h, of_layer[self.middle])
        for level, layers in enumerate(self.up):
            if level:
                h = h.linear(lambda y: interpolate(y, scale_factor=2.0))
            h = h.beside(kept.pop())
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, of_layer[layer])
        v, pushed = self.readout(self.norm(h).activated())
        return v.reshape(x.shape), None if pushed is None or tangents is None else pushed.reshape(tangents.shape)


class _Dual(NamedTuple):
    """Features `(batch, channels, height, width)` and their tangents, `(n, batch, …)`, where there are any."""

    value: Tensor
    tangents: Tensor | None

    def linear(self, f: Callable[[Tensor], Tensor], bias: Tensor | None = None) -> _Dual:
        """A linear map of both, and a bias for the value."""
        value = f(self.value) if bias is None else f(self.value) + bias[:, None, None]
        if self.tangents is None:
            return _Dual(value, None)
        return _Dual(value, f(self.tangents.flatten(0, 1)).unflatten(0, self.tangents.shape[:2]))

    def plus(self, other: _Dual) -> _Dual:
        tangents = None if self.tangents is None or other.tangents is None else self.tangents + other.tangents
        return _Dual(self.value + other.value, tangents)

    def beside(self, other: _Dual) -> _Dual:
        both = self.tangents is not None and other.tangents is not None
        tangents = torch.cat([self.tangents, other.tangents], -3) if both else None  # type: ignore[list-item]
        return _Dual(torch.cat([self.value, other.value], -3), tangents)

    def scaled(self, gain: Tensor, bias: Tensor) -> _Dual:
        tangents = None if self.tangents is None else gain * self.tangents
        return _Dual(gain * self.value + bias, tangents)

    def activated(self) -> _Dual:
        a, *slope = silu(self.value, 0 if self.tangents is None else 1)
        return _Dual(a, None if self.tangents is None else slope[0] * self.tangents)


class _Conv(nn.Module):
    """A convolution that keeps the size; of one pixel or of three by three."""

    def __init__(self, entering: int, leaving: int, size: int = 3, scale: float = 1.0):
        super().__init__()
        deviation = scale / math.sqrt(entering * size * size)
        self.weight = nn.Parameter(deviation * torch.randn(leaving, entering, size, size))
        self.bias = nn.Parameter(torch.zeros(leaving))

    def forward(self, h: _Dual) -> _Dual:
        return h.linear(lambda y: conv2d(y, self.weight, padding=self.weight.shape[-1] // 2), self.bias)


class _Norm(nn.Module):
    """A group norm."""

    def __init__(self, width: int, groups: int, eps: float = 1e-5):
        super().__init__()
        self.groups, self.eps = groups, eps
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, h: _Dual) -> _Dual:
        gain, bias = self.gain[:, None, None], self.bias[:, None, None]
        if h.tangents is None:
            return _Dual(nn.functional.group_norm(h.value, self.groups, self.gain, self.bias, self.eps), None)
        grouped = h.value.unflatten(1, (self.groups, -1)).flatten(2)
        variance, mean = torch.var_mean(grouped, -1, correction=0, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        y = (grouped - mean) * scale
        dh = h.tangents.unflatten(2, (self.groups, -1)).flatten(3)
        dy = (dh - dh.mean(-1, keepdim=True) - y * (y * dh).mean(-1, keepdim=True)) * scale
        return _Dual(gain * y.reshape(h.value.shape) + bias, gain * dy.reshape(h.tangents.shape))


class _Residual(nn.Module):
    """A residual layer; see the formula above. Where the number of channels changes, the link is a matrix."""

    def __init__(self, entering: int, width: int, groups: int):
        super().__init__()
        self.width = width
        self.norms = nn.ModuleList([_Norm(entering, groups), _Norm(width, groups)])
        self.convs = nn.ModuleList([_Conv(entering, width), _Conv(width, width)])
        self.link = _Conv(entering, width, size=1) if entering != width else nn.Identity()

    def forward(self, h: _Dual, values: Tensor) -> _Dual:
        gain, bias = values.unsqueeze(-1).unsqueeze(-1).split(self.width, -3)
        inner = self.convs[0](self.norms[0](h).activated())
        inner = self.norms[1](inner).scaled(1 + gain, bias)
        return self.link(h).plus(self.convs[1](inner.activated()))


class _Attention(nn.Module):
    """Pixels attend to each other, with a residual link."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = _Norm(width, groups)
        self.entering, self.leaving = _Conv(width, 3 * width, size=1), _Conv(width, width, size=1)

    def forward(self, h: _Dual) -> _Dual:
        inner = self.entering(self.norm(h))
        q, k, m = inner.value.flatten(-2).chunk(3, -2)  # (batch, width, pixels)
        scale = 1 / math.sqrt(q.shape[-2])
        alpha = torch.softmax(q.mT @ k * scale, -1)
        out, tangents = m @ alpha.mT, None
        if inner.tangents is not None:
            dq, dk, dm = inner.tangents.flatten(-2).chunk(3, -2)
            de = alpha * (dq.mT @ k + q.mT @ dk) * scale
            d_alpha = de - alpha * de.sum(-1, keepdim=True)
            tangents = (dm @ alpha.mT + m @ d_alpha.mT).reshape(h.tangents.shape)  # type: ignore[union-attr]
        return h.plus(self.leaving(_Dual(out.reshape(h.value.shape), tangents)))
