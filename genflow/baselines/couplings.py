r"""Discrete flows of couplings, through zuko: one half of the coordinates bends the other.

.. math:: z_a = x_a, \qquad z_b = f\bigl(x_b; \theta(x_a)\bigr)

The halves take turns from layer to layer. Both directions cost one pass of the network, whatever the dimension.
"""

from __future__ import annotations

from genflow.baselines.discrete import DiscreteFlow, beyond_spline, spline
from genflow.errors import InputError
from genflow.extras import extra
from genflow.naming.search import OneOf

__all__ = ["CouplingNSF", "RealNVP"]


class RealNVP(DiscreteFlow):
    r"""Real-valued non-volume-preserving flow: couplings that shift and scale.

    .. math:: z_a = x_a, \qquad z_b = x_b \odot \exp(s(x_a)) + t(x_a)

    Args:
        dim: Dimension :math:`d` of a point, at least 2.
        transforms: Number of layers :math:`K`.
        width: Width of the two hidden layers of each layer's network.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    Raises:
        InputError: A single column, which has no other half.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016)
        | https://arxiv.org/abs/1605.08803

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.baselines.RealNVP(3, transforms=2, width=16)
        >>> x = torch.zeros(4, 3)
        >>> bool((model.encode(x)[:, 1] == x[:, 1]).all() or (model.encode(x)[:, 0] == x[:, 0]).all())
        False
    """

    def __init__(
        self,
        dim: int,
        transforms: int = 8,
        width: int = 128,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dim: int = 0,
    ):
        with extra("baselines"):
            import zuko

        _check(dim, "realnvp", "maf")
        flow = zuko.flows.NICE(dim, condition_dim, transforms=transforms, hidden_features=(width, width))
        super().__init__(dim, flow.transform, batch_size, learning_rate, condition_dim)


class CouplingNSF(DiscreteFlow):
    r"""Neural spline flow with couplings: each layer bends half of the coordinates by rational-quadratic splines.

    .. math:: z_a = x_a, \qquad z_b = \mathrm{RQS}\bigl(x_b; \theta(x_a)\bigr) \text{ where } |x_b| < B, \qquad
        z_b = x_b \text{ beyond}

    Args:
        dim: Dimension :math:`d` of a point, at least 2.
        transforms: Number of layers :math:`K`.
        width: Width of the two hidden layers of each layer's network.
        bins: Number of the spline's bins.
        bound: The bound :math:`B`, in standard deviations of standardized data.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    Raises:
        InputError: A single column, which has no other half.

    References:
        | Neural Spline Flows (Durkan et al., 2019), RQ-NSF (C)
        | https://arxiv.org/abs/1906.04032

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.baselines.CouplingNSF(2, transforms=2, width=16)
        >>> far = torch.tensor([[6.0, 6.0]])  # beyond the bound
        >>> bool((model.encode(far) == far).all())
        True
    """

    search = DiscreteFlow.search | {"bins": OneOf((4, 8, 16))}

    def __init__(
        self,
        dim: int,
        transforms: int = 8,
        width: int = 128,
        bins: int = 8,
        bound: float = 5.0,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        condition_dim: int = 0,
    ):
        with extra("baselines"):
            import zuko

        _check(dim, "nsf-coupling", "nsf")
        layer = {"transforms": transforms, "hidden_features": (width, width), **spline(bins, bound)}
        flow = zuko.flows.NICE(dim, condition_dim, **layer)
        super().__init__(dim, flow.transform, batch_size, learning_rate, condition_dim)
        self.bound, self._beyond = bound, beyond_spline(bound)


def _check(dim: int, name: str, other: str) -> None:
    if dim < 2:
        raise InputError(f"dim: {name} couples at least two columns, {dim} came; {other} would do")
