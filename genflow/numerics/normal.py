r"""The standard normal law in logarithms: exact in both tails, where :math:`\Phi` itself is 0 or 1 to rounding."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["between", "log_density", "log_mass", "quantile"]

_LOG_ROOT = 0.5 * math.log(2 * math.pi)
_NARROW = 1e-4  # below it a cell's mass is that of its middle, to a part in 1e9
_LEAST = -700.0  # log of a probability that is still a normal double
_NEWTON = 6


def log_density(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r""":math:`\log \varphi(z)`."""
    return -0.5 * z.square() - _LOG_ROOT


def log_mass(low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r""":math:`\log (\Phi(b) - \Phi(a))` of intervals, also of those far out and of narrow ones.

    Args:
        low: :math:`a`, float64; minus infinity will do.
        high: :math:`b \ge a`; infinity will do.

    Example:
        >>> import torch
        >>> a = torch.tensor([-torch.inf, 40.0, 1.0], dtype=torch.float64)
        >>> b = torch.tensor([0.0, 41.0, 1.0 + 1e-12], dtype=torch.float64)
        >>> [f"{value:.6g}" for value in log_mass(a, b).tolist()]
        ['-0.693147', '-804.608', '-29.0499']
    """
    right = low > 0  # the same interval on the left, where the smaller tail is
    a, b = torch.where(right, -high, low), torch.where(right, -low, high)
    log_b = torch.special.log_ndtr(b)
    ratio = torch.special.log_ndtr(a) - log_b
    left = log_b + torch.log1p(-ratio.clamp(max=0.0).exp())
    across = torch.log1p(-torch.special.ndtr(a) - torch.special.ndtr(-b))
    wide = torch.where(b > 0, across, left)
    width = b - a
    middle = torch.where(width < _NARROW, 0.5 * (a + b), 0.0)
    narrow = log_density(middle) + width.clamp(min=0.0).log()
    return torch.where(width < _NARROW, narrow, wide)


def quantile(log_lower: Float[Tensor, "*shape"], log_upper: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r""":math:`z` with :math:`\log \Phi(z)` and :math:`\log \Phi(-z)` given: found from the smaller of the two.

    Args:
        log_lower: :math:`\log \Phi(z)`, float64; minus infinity will do.
        log_upper: :math:`\log \Phi(-z)`.

    References:
        Newton's method on :math:`\log \Phi`, which is concave, where :math:`\Phi` is no double.

    Example:
        >>> import torch
        >>> z = torch.tensor([-60.0, -1.0, 0.0, 9.0], dtype=torch.float64)
        >>> quantile(torch.special.log_ndtr(z), torch.special.log_ndtr(-z)).round(decimals=6).tolist()
        [-60.0, -1.0, 0.0, 9.0]
    """
    log_p = torch.minimum(log_lower, log_upper)
    z = torch.special.ndtri(log_p.clamp(min=_LEAST).exp())
    far = (log_p < _LEAST) & log_p.isfinite()
    if far.any():
        goal = log_p[far]
        x = -(-2 * goal).sqrt()
        for _ in range(_NEWTON):
            log_ndtr = torch.special.log_ndtr(x)
            x = x - (log_ndtr - goal) * (log_ndtr - log_density(x)).exp()
        z = z.masked_scatter(far, x)
    z = torch.where(log_p == -math.inf, -math.inf, z)
    return torch.where(log_lower <= log_upper, z, -z)


def between(
    low: Float[Tensor, "*shape"],
    high: Float[Tensor, "*shape"],
    log_share: Float[Tensor, "*shape"],
    log_rest: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    r"""The point of an interval below which the share :math:`u` of its mass lies.

    .. math:: \Phi(z) = (1 - u) \, \Phi(a) + u \, \Phi(b)

    Args:
        low: :math:`a`.
        high: :math:`b`.
        log_share: :math:`\log u`.
        log_rest: :math:`\log (1 - u)`.

    Example:
        >>> import torch
        >>> half = torch.tensor(0.5, dtype=torch.float64).log()
        >>> a, b = torch.tensor([-3.0, 0.0], dtype=torch.float64), torch.tensor([3.0, torch.inf], dtype=torch.float64)
        >>> between(a, b, half, half)
        tensor([0.0000, 0.6745], dtype=torch.float64)
    """

    def log_tail(first: Tensor, second: Tensor) -> Tensor:
        return torch.logaddexp(torch.special.log_ndtr(first) + log_rest, torch.special.log_ndtr(second) + log_share)

    z = quantile(log_tail(low, high), log_tail(-low, -high))
    return torch.minimum(torch.maximum(z, low), high)
