"""The Gaussian of the rows' mean and covariance, under a condition the linear-Gaussian law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import check_events
from genflow.baselines.classical.estimated import Estimated, frozen_parameter, next_untried
from genflow.errors import InputError
from genflow.flow import check_given
from genflow.training import TrainingData
from genflow.training.selection import Trial
from genflow.velocities.time import check_condition

__all__ = ["SHARES", "Gaussian", "check_share", "factor_of"]

SHARES = (0.01, 0.0, 0.001, 0.03, 0.1, 0.3, 1.0)
"""The shrinkages that are tried; the first is one that always has a density."""

_LEAST = 1e-10  # of a variance: single precision has no digits left below


class Gaussian(Estimated):
    r"""The Gaussian law with the mean and the covariance of the rows.

    .. math::
        p(x \mid c) = N(x; \mu + A c, \Sigma_\lambda),
        \qquad \Sigma_\lambda = (1 - \lambda) \Sigma + \lambda \operatorname{diag} \Sigma

    Under a condition it is the conditional law of the joint Gaussian of rows and conditions,
    :math:`A = \Sigma_{xc} \Sigma_{cc}^+` and :math:`\Sigma = \Sigma_{xx} - A \Sigma_{cx}`: a linear regression.

    Args:
        dim: Dimension :math:`d` of a row.
        shrinkage: The share :math:`\lambda`; by default the one under which validation rows are likeliest.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.

    Raises:
        InputError: A share that is not between 0 and 1.

    References:
        | An Introduction to Multivariate Statistical Analysis (Anderson, 2003), sections 2.5 and 3.2
        | https://www.wiley.com/en-us/9780471360919

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.Gaussian(2).fit("two-moons", iterations=7)
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    _name = "gaussian"

    def __init__(self, dim: int, shrinkage: float | None = None, condition_dim: int = 0):
        super().__init__(dim, condition_dim)
        check_share(shrinkage)
        self.shrinkage = shrinkage
        self.mean = frozen_parameter(torch.zeros(dim))
        self.slope = frozen_parameter(torch.zeros(dim, condition_dim))
        self.factor = frozen_parameter(torch.eye(dim))  # lower triangular, of the covariance

    def encode(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The noise :math:`z = L^{-1} (x - \mu - A c)`, :math:`\Sigma_\lambda = L L^\top`."""
        check_events(x, (self.dim,))
        centred = x - self._centre(condition)
        z = torch.linalg.solve_triangular(self.factor.mT, centred.reshape(-1, self.dim), upper=True, left=False)
        return z.reshape(centred.shape)

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The row :math:`x = \mu + A c + L z`."""
        check_events(z, (self.dim,))
        return self._centre(condition) + z @ self.factor.mT

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r""":math:`-|z|^2 / 2 - (d / 2) \log 2\pi - \log \det L`, in nats.

        Args:
            x: Rows, `(*batch, d)`.
            condition: What the density is conditioned on, `(*batch, k)` or `(k,)`.
            generator: Not used: nothing is random here.
        """
        z = self.encode(x, condition)
        constant = 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * z.square().sum(-1) - constant - self.factor.diagonal().log().sum()

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, d)`.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on, `(*batch, k)` or `(k,)`.
            generator: Source of randomness.
        """
        return self.decode(self._noise(self._batch(shape, generator), generator), condition)

    def sample_with_log_prob(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density."""
        x = self.sample(shape, condition, generator)
        return x, self.log_prob(x, condition)

    def propose(self, trials: Sequence[Trial], rows: int) -> dict[str, Any] | None:
        """The shrinkages, one after the other; none where it was given."""
        return next_untried("shrinkage", SHARES if self.shrinkage is None else [self.shrinkage], trials)

    def estimate(self, data: TrainingData, generator: torch.Generator) -> None:
        """The largest likelihood, shrunk."""
        x = data.train.double()
        mean = x.mean(0)
        centred = x - mean
        if data.train_condition is not None:
            c = data.train_condition.double()
            # The pseudo-inverse: the indicators of classes add up to one.
            slope = (torch.linalg.pinv(c - c.mean(0)) @ centred).mT
            centred, mean = centred - (c - c.mean(0)) @ slope.mT, mean - slope @ c.mean(0)
            self.slope.copy_(slope)
        self.mean.copy_(mean)
        self.factor.copy_(factor_of(centred.mT @ centred / len(x), self.shrinkage or 0.0))

    def _centre(self, condition: Any) -> Tensor:
        check_condition(condition, self.condition_dim, f"this {type(self).__name__}")
        check_given(condition)
        return self.mean if condition is None else self.mean + condition.to(self.mean.dtype) @ self.slope.mT


def factor_of(covariance: Float[Tensor, "d d"], share: float) -> Float[Tensor, "d d"]:
    r"""The lower triangular :math:`L` of :math:`(1 - \lambda) \Sigma + \lambda \operatorname{diag} \Sigma = L L^\top`.

    Raises:
        ValueError: A column is determined by those before, to rounding.
    """
    shrunk = torch.lerp(covariance, covariance.diagonal().diag(), share)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    left = factor.diagonal().square() / shrunk.diagonal()  # of a column's variance, when those before are known
    if failed or not bool((left > _LEAST).all()):
        raise ValueError("a covariance is singular")
    return factor


def check_share(shrinkage: float | None) -> None:
    """Refuses what is no share.

    Raises:
        InputError: A number that is not between 0 and 1.
    """
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage: {shrinkage} came; a share between 0 and 1 would do")
