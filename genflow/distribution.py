r"""A trained model as a distribution of torch: for those who compose, drawn from torch's global generator.

.. math:: x = G_c(z), \; z \sim \mathcal N(0, I), \qquad \log p(x \mid c)

The convention is zuko's: the condition is part of the distribution, and its rows are the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from genflow.errors import InputError

__all__ = ["FittedDistribution"]


class FittedDistribution(Distribution):
    r"""A view of a trained model in the units of its data; see `Transformed.distribution`.

    It holds no copy: the weights are the model's.

    Args:
        fitted: A `Transformed` model.
        condition: What the density is conditioned on: one row, for a distribution without batch; `(*batch, k)` rows
            otherwise. Those of classes are given by name.
        batch_shape: Further independent copies in front of the condition's rows; see `expand`.
        validate_args: Whether values are checked for their shape; torch's default where it is not given.

    Attributes:
        has_rsample: Whether draws are differentiable in the weights and in the condition: those of models that move
            noise.

    Raises:
        InputError: A condition that does not fit.

    References:
        | Zuko: Normalizing flows in PyTorch (Rozet et al., 2022)
        | https://zuko.readthedocs.io
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        fitted: Any,
        condition: Any = None,
        batch_shape: tuple[int, ...] | torch.Size | None = None,
        validate_args: bool | None = None,
    ):
        self.fitted, self.condition = fitted, condition
        rows = _rows(fitted, condition)
        self.has_rsample = bool(fitted.model.invertible)
        shape = torch.Size(rows if batch_shape is None else batch_shape)
        super().__init__(shape, torch.Size([fitted.dim]), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """All of the space: what values a column can have, its log density knows."""
        return constraints.independent(constraints.real, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FittedDistribution:
        """The same with further copies in front of its batch.

        Args:
            batch_shape: A shape that the present one broadcasts to.
        """
        shape = torch.Size(batch_shape)
        try:
            fits = torch.broadcast_shapes(self.batch_shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits:
            raise InputError(f"batch_shape: {tuple(self.batch_shape)} does not broadcast to {tuple(shape)}")
        return FittedDistribution(self.fitted, self.condition, shape, self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Float[Tensor, "*shape"]:
        """Draws, `(*sample_shape, *batch_shape, d)`, float64, with torch's global generator.

        Args:
            sample_shape: The shape of the sample.
        """
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        with torch.no_grad():
            return self.fitted.sample(shape, self.condition).detach()

    def rsample(self, sample_shape: Any = ()) -> Float[Tensor, "*shape"]:
        """Draws that are differentiable in the weights and in the condition.

        Args:
            sample_shape: The shape of the sample.

        Raises:
            NotImplementedError: The model does not move noise; see `has_rsample`.
        """
        if not self.has_rsample:
            name = type(self.fitted.model).__name__
            raise NotImplementedError(f"rsample: {name} does not move noise, so its draws have no derivative; sample")
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        return self.fitted.sample(shape, self.condition, differentiable=True)

    def log_prob(self, value: Tensor) -> Float[Tensor, "*batch"]:
        """The log density, in nats, `(*sample, *batch)`, differentiable in the value, the weights and the condition.

        Args:
            value: Values, `(*sample, *batch, d)`.

        Raises:
            ValueError: Another shape.
            InputError: A model without a density.
        """
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        value = value.expand(*shape, value.shape[-1])
        return self.fitted.log_prob(value, self.condition, differentiable=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fitted!r}, batch_shape={tuple(self.batch_shape)})"


def _rows(fitted: Any, condition: Any) -> tuple[int, ...]:
    """The shape of a condition's rows, none of a single one; one that does not fit is refused."""
    if fitted.encoding is not None and condition is not None:
        rows = fitted.encoding.rows(condition)
    else:
        rows = tuple(condition.shape[:-1]) if isinstance(condition, Tensor) else ()
    fitted.encode_condition(condition, rows)
    return rows
