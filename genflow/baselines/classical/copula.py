"""Columns with a law of their own, tied together by a Gaussian copula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import check_events
from genflow.baselines.classical.estimated import (
    Estimated,
    by_rows,
    frozen_parameter,
    next_untried,
    refuse_condition,
)
from genflow.baselines.classical.gaussian import SHARES, check_share, factor_of
from genflow.baselines.classical.marginals import Marginals, normal_scores
from genflow.errors import InputError
from genflow.training import TrainingData
from genflow.training.selection import Trial

__all__ = ["Copula"]


class Copula(Estimated):
    r"""A Gaussian copula with smooth marginals.

    .. math::
        p(x) = N(s; 0, R_\lambda) \prod_{j=1}^d \frac{f_j(x_j)}{\varphi(s_j)}, \qquad s_j = \Phi^{-1}(F_j(x_j)),
        \qquad R_\lambda = (1 - \lambda) R + \lambda I

    The marginals are mixtures of kernels at the quantiles, each column's smoothing chosen on validation rows; R is the
    correlation of the ranks' normal scores. At :math:`\lambda = 1` the columns are independent.

    Args:
        dim: Dimension :math:`d` of a row.
        knots: Number of quantiles that carry a kernel in each column.
        shrinkage: The share :math:`\lambda`; by default the one under which validation rows are likeliest.
        condition_dim: 0: it has no conditions.

    Raises:
        InputError: No knots, a share that is not between 0 and 1, a condition.

    References:
        | The Nonparanormal (Liu, Lafferty, Wasserman, 2009)
        | https://www.jmlr.org/papers/v10/liu09a.html

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.Copula(2, shrinkage=1.0).fit("two-moons", iterations=1)
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    _name = "copula"

    def __init__(self, dim: int, knots: int = 128, shrinkage: float | None = None, condition_dim: int = 0):
        super().__init__(dim)
        refuse_condition("copula", condition_dim)
        check_share(shrinkage)
        if knots < 2:
            raise InputError(f"knots: {knots} came; at least 2 would do")
        self.knots, self.shrinkage = knots, shrinkage
        self.marginals = Marginals(dim, knots)
        self.factor = frozen_parameter(torch.eye(dim))  # lower triangular, of R

    def encode(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The noise :math:`z = L^{-1} s(x)`, :math:`R_\lambda = L L^\top`."""
        check_events(x, (self.dim,))
        self._refuse_condition(condition)
        return by_rows(lambda rows: self._decorrelate(self.marginals(rows)[0]), x, self._numbers).to(x.dtype)

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The row of noise, :math:`x_j = F_j^{-1}(\Phi((L z)_j))`."""
        check_events(z, (self.dim,))
        self._refuse_condition(condition)
        factor = self.factor.double().mT
        return by_rows(lambda rows: self.marginals.inverse(rows.double() @ factor), z, self._numbers).to(z.dtype)

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row, in nats, a few rows at a time.

        Args:
            x: Rows, `(*batch, d)`.
            condition: None.
            generator: Not used: nothing is random here.
        """
        check_events(x, (self.dim,))
        self._refuse_condition(condition)

        def log_prob(rows: Tensor) -> Tensor:
            score, log_density = self.marginals(rows)
            z = self._decorrelate(score)
            dependence = 0.5 * (score.square() - z.square()).sum(-1) - self.factor.double().diagonal().log().sum()
            return log_density.sum(-1) + dependence

        return by_rows(log_prob, x, self._numbers).to(x.dtype)

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, d)`: noise, decoded."""
        return self.decode(self._noise(self._batch(shape, generator), generator), condition)

    def propose(self, trials: Sequence[Trial], rows: int) -> dict[str, Any] | None:
        """The shrinkages, one after the other; none where it was given."""
        return next_untried("shrinkage", SHARES if self.shrinkage is None else [self.shrinkage], trials)

    def estimate(self, data: TrainingData, generator: torch.Generator) -> None:
        """The marginals, once for all candidates, and the correlation of the normal scores."""
        if "marginals" not in data.cache:
            self.marginals.estimate(data.train, data.validation)
            scores = normal_scores(data.train)
            data.cache["marginals"] = self.marginals, scores.mT @ scores / scores.square().sum(0).mean()
        marginals, correlation = data.cache["marginals"]
        self.marginals.load_state_dict(marginals.state_dict())
        self.factor.copy_(factor_of(correlation, self.shrinkage or 0.0))

    @property
    def _numbers(self) -> int:
        return self.dim * self.knots

    def _decorrelate(self, score: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor.double().mT, score, upper=True, left=False)
