r"""Discrete flows: a few invertible layers instead of a velocity, through zuko. The yardstick of every comparison.

.. math::
    z = T(x) = T_K \circ \dots \circ T_1(x), \qquad \log p(x) = \log p_Z(T(x)) + \log |\det \partial T / \partial x|

Each layer is autoregressive, :math:`z_i = f(x_i; \theta_i(x_{<i}))` with a monotonic :math:`f` whose parameters a
masked network computes from the coordinates before: the Jacobian is triangular, so that a density costs one pass of the
network. A sample costs :math:`d` passes, one for each coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.base import StandardNormal, check_events
from genflow.draws import batch_shape, check_generator
from genflow.extras import extra
from genflow.flow import check_given
from genflow.model import GenerativeModel
from genflow.naming.search import Between, OneOf
from genflow.numerics.tuning import products
from genflow.training import Optimization, Rows, Stage, TrainingData, pair, unpair
from genflow.velocities.time import check_condition

__all__ = ["MAF", "NSF", "DiscreteFlow", "beyond_spline", "spline"]


class DiscreteFlow(GenerativeModel):
    r"""An invertible transform of standard normal noise, trained by maximum likelihood.

    .. math:: \min_T \; E \bigl[ -\log p_Z(T(x)) - \log |\det \partial T / \partial x| \bigr]

    Args:
        dim: Dimension :math:`d` of a point.
        transform: A module that returns a `torch.distributions` transform from data to noise when called, with the
            condition if there is one, as zuko's do.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    Attributes:
        bound: The largest :math:`|x_i|` that its layers are made for; rows beyond are counted and said.

    References:
        | zuko (Rozet et al., 2022)
        | https://zuko.readthedocs.io
    """

    settles = False
    bound: float = math.inf
    _beyond = ""
    search = {
        "learning_rate": Between(1e-3, 2e-2, log=True),
        "width": OneOf((64, 128, 256)),
        "transforms": OneOf((3, 5, 8)),
    }

    def __init__(
        self,
        dim: int,
        transform: nn.Module,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        condition_dim: int = 0,
    ):
        super().__init__()
        self.dim, self.condition_dim = dim, condition_dim
        self.transform = transform
        self.base = StandardNormal(dim)
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def encode(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The noise :math:`z = T(x)` of data."""
        if not x.numel():
            return x
        with products(x.device):
            return self._transform(x, condition)(x)

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The data :math:`x = T^{-1}(z)` of noise."""
        if not z.numel():
            return z
        with products(z.device):
            return self._transform(z, condition).inv(z)

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r""":math:`\log p_Z(T(x)) + \log |\det \partial T / \partial x|`, in nats.

        Args:
            x: Data, `(*batch, d)`.
            condition: What the density is conditioned on, `(*batch, k)` or `(k,)`.
            generator: Not used: nothing is random here.

        Raises:
            InputError: A last axis that is not `d`, or a condition that the model was not built for.
        """
        if not x.numel():
            return x.sum(-1)
        with products(x.device):
            z, log_det = self._transform(x, condition).call_and_ladj(x)
        return self.base.log_prob(z) + log_det

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, d)`: noise from the base, decoded.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on, `(*batch, k)` or `(k,)`.
            generator: Source of randomness.
        """
        check_generator(generator)
        batch = batch_shape(shape)
        like = next(self.parameters())
        return self.decode(self.base.sample(batch, generator, dtype=like.dtype, device=like.device), condition)

    def sample_with_log_prob(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density, for one more pass than `sample`."""
        x = self.sample(shape, condition, generator)
        return x, self.log_prob(x, condition)

    def remark_on(self, x: Float[Tensor, "*shape"], rows: str = "rows") -> str | None:
        """How many rows lie beyond its bound, where there is one."""
        beyond = int((x.abs() > self.bound).any(-1).sum())
        if not beyond:
            return None
        return f"{beyond:,} of {len(x):,} {rows} {'lies' if beyond == 1 else 'lie'} beyond {self._beyond}"

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        """One stage of maximum likelihood."""
        if history:
            return None

        def loss(batch: Rows, generator: torch.Generator) -> Tensor:
            return -self.log_prob(*unpair(batch)).mean()

        def validate(rows: Rows, generator: torch.Generator) -> Tensor:
            x, condition = unpair(rows)
            parts = (slice(begin, begin + _ROWS) for begin in range(0, len(x), _ROWS))
            return -torch.cat(
                [self.log_prob(x[part], None if condition is None else condition[part]) for part in parts]
            )

        return Stage(
            name="likelihood",
            parameters=[parameter for parameter in self.parameters() if parameter.requires_grad],
            train=data.batched,
            validation=pair(data.validation, data.validation_condition),
            loss=loss,
            validate=validate,
            optimization=Optimization("adam", self.learning_rate, self.batch_size),
        )

    def _transform(self, x: Tensor, condition: Any) -> Any:
        check_condition(condition, self.condition_dim, f"this {type(self).__name__}")
        check_given(condition)
        check_events(x, (self.dim,))
        return self.transform() if condition is None else self.transform(condition.to(x.dtype))


# A spline's bins are gathered for every coordinate at once: some kilobytes for each row.
_ROWS = 4096


class MAF(DiscreteFlow):
    r"""Masked autoregressive flow: each layer shifts and scales.

    .. math:: z_i = x_i \exp(a_i(x_{<i})) + b_i(x_{<i})

    The order of the coordinates is reversed from layer to layer.

    Args:
        dim: Dimension :math:`d` of a point.
        transforms: Number of layers :math:`K`.
        width: Width of the two hidden layers of each layer's network.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.baselines.MAF(2, transforms=2, width=16)
        >>> x, log_p = model.sample_with_log_prob(4, generator=torch.Generator().manual_seed(0))
        >>> x.shape, log_p.shape
        (torch.Size([4, 2]), torch.Size([4]))
    """

    def __init__(
        self,
        dim: int,
        transforms: int = 5,
        width: int = 128,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        condition_dim: int = 0,
    ):
        with extra("baselines"):
            import zuko

        flow = zuko.flows.MAF(dim, condition_dim, transforms=transforms, hidden_features=(width, width))
        super().__init__(dim, flow.transform, batch_size, learning_rate, condition_dim)


class NSF(DiscreteFlow):
    r"""Neural spline flow, autoregressive: each layer bends an interval by a rational-quadratic spline.

    .. math:: z_i = \mathrm{RQS}\bigl(x_i; \theta_i(x_{<i})\bigr) \text{ if } |x_i| < B, \qquad z_i = x_i \text{ beyond}

    Beyond the bound :math:`B` a layer does nothing, so that the tails keep the Gaussian's: standardize the data.

    Args:
        dim: Dimension :math:`d` of a point.
        transforms: Number of layers :math:`K`.
        width: Width of the two hidden layers of each layer's network.
        bins: Number of the spline's bins.
        bound: The bound :math:`B`, in standard deviations of standardized data.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    References:
        | Neural Spline Flows (Durkan et al., 2019)
        | https://arxiv.org/abs/1906.04032

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.baselines.NSF(2, transforms=2, width=16)
        >>> far = torch.tensor([[6.0, 6.0]])  # beyond the bound
        >>> bool((model.encode(far) == far).all())
        True
    """

    search = DiscreteFlow.search | {"bins": OneOf((4, 8, 16))}

    def __init__(
        self,
        dim: int,
        transforms: int = 5,
        width: int = 128,
        bins: int = 8,
        bound: float = 5.0,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        condition_dim: int = 0,
    ):
        with extra("baselines"):
            import zuko

        # zuko's own NSF, with the bound set free.
        layer = {"transforms": transforms, "hidden_features": (width, width), **spline(bins, bound)}
        flow = zuko.flows.MAF(dim, condition_dim, **layer)
        super().__init__(dim, flow.transform, batch_size, learning_rate, condition_dim)
        self.bound, self._beyond = bound, beyond_spline(bound)


def spline(bins: int, bound: float) -> dict[str, Any]:
    """The rational-quadratic spline of a layer, as zuko takes it.

    Args:
        bins: Number of bins.
        bound: Where it ends.
    """
    with extra("baselines"):
        import zuko

    univariate = partial(zuko.transforms.MonotonicRQSTransform, slope=1e-3, bound=bound)
    return {"univariate": univariate, "shapes": [(bins,), (bins,), (bins - 1,)]}


def beyond_spline(bound: float) -> str:
    """What a spline's bound means for the rows beyond, in words."""
    return f"its spline's bound of {bound:g} standard deviations, where the tails are the base's"
