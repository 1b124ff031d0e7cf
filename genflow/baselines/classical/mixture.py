"""A mixture of Gaussians by the EM algorithm, its size chosen on validation rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import check_events
from genflow.baselines.classical.estimated import Estimated, frozen_parameter, refuse_condition
from genflow.deadline import time_left
from genflow.draws import choose_components
from genflow.errors import InputError
from genflow.extras import extra
from genflow.normal_mixture import component_log_densities, place_in_components
from genflow.training import TrainingData
from genflow.training.selection import Trial

__all__ = ["GaussianMixture"]

Covariance = Literal["full", "tied", "diag"]
_KINDS: tuple[Covariance, ...] = ("full", "tied", "diag")
_ROUND = 5  # iterations of EM between two looks at the clock
_ROUNDS = 40
_PATIENCE = 2  # doublings in a row that a kind may lose
_DRAFT_ROWS = 4096  # by which sizes are chosen where no clock bounds what they cost
_MOST = 256  # components that are proposed: where values repeat, the likelihood rises until each has one of its own


class GaussianMixture(Estimated):
    r"""A mixture of Gaussians, estimated by expectation and maximization (scikit-learn).

    .. math:: p(x) = \sum_{k=1}^K \pi_k \, N(x; \mu_k, \Sigma_k)

    The number of components and the kind of their covariances are those under which validation rows are likeliest:
    1, 2, 4, … components of each kind, until two doublings in a row lose, 256 at most. On a clock all rows are used. A
    budget of iterations counts candidates, and nothing else would bound what one of them costs: they are estimated on
    4096 rows, drawn by the seed, and the best one then on all.

    Args:
        dim: Dimension :math:`d` of a row.
        components: Number of components :math:`K`; by default chosen on validation rows.
        covariance: `full`, one for each component; `tied`, one for all; `diag`, without correlations; by default
            chosen on validation rows, too.
        floor: What is added to every variance, in standardized units.
        condition_dim: 0: it has no conditions.

    Raises:
        InputError: No component, another kind of covariance, a condition.

    References:
        | Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird, Rubin, 1977)
        | https://doi.org/10.1111/j.2517-6161.1977.tb01600.x

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.GaussianMixture(2, covariance="full").fit("two-moons", iterations=4)
        >>> model.model.components > 1
        True
    """

    _name = "gaussian-mixture"
    _draft_rows = _DRAFT_ROWS

    def __init__(
        self,
        dim: int,
        components: int | None = None,
        covariance: Covariance | None = None,
        floor: float = 1e-6,
        condition_dim: int = 0,
    ):
        super().__init__(dim)
        refuse_condition("gaussian-mixture", condition_dim)
        if components is not None and components < 1:
            raise InputError(f"components: {components} came; at least 1 would do")
        if covariance is not None and covariance not in _KINDS:
            raise InputError(f"covariance: {covariance!r} came; {', '.join(_KINDS)} would do")
        if not 0 <= floor < math.inf:
            raise InputError(f"floor: {floor} came; a number from 0 up would do")
        self.components, self.covariance, self.floor = components, covariance, floor
        count = components or 1
        self.weights = frozen_parameter(torch.full((count,), 1 / count))
        self.means = frozen_parameter(torch.zeros(count, dim))
        # P of the precision P Pᵀ, upper triangular; its diagonal alone where the covariance is diagonal.
        if covariance == "diag":
            factors = torch.ones(count, dim)
        else:
            factors = torch.eye(dim).repeat(1 if covariance == "tied" else count, 1, 1)
        self.factors = frozen_parameter(factors)

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r""":math:`\log \sum_k \pi_k |\det P_k| \, N\bigl(P_k^\top (x - \mu_k); 0, I\bigr)`, in nats.

        Args:
            x: Rows, `(*batch, d)`.
            condition: None.
            generator: Not used: nothing is random here.
        """
        check_events(x, (self.dim,))
        self._refuse_condition(condition)
        parts = component_log_densities(x, self.weights, self.means, self._factor_of_each())
        return torch.logsumexp(parts, 0) - 0.5 * self.dim * math.log(2 * math.pi)

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, d)`: a component by its weight, and a draw of it."""
        self._refuse_condition(condition)
        batch = self._batch(shape, generator)
        count = math.prod(batch)
        which = choose_components(self.weights.detach(), count, generator)
        x = place_in_components(self._noise((count,), generator), which, self.means, self._factor_of_each())
        return x.reshape(*batch, self.dim)

    def propose(self, trials: Sequence[Trial], rows: int) -> dict[str, Any] | None:
        """Twice as many components of each kind, as long as that pays; only what was left open."""
        kinds = _KINDS if self.covariance is None else (self.covariance,)
        if self.components is not None:
            return None if len(trials) == len(kinds) else _options(self.components, kinds[len(trials)])
        size = 1
        while size <= min(_MOST, rows // 2):
            for kind in kinds:
                if size == 1 and kind == "tied" and len(kinds) > 1:
                    continue  # one of its own, or one for all: the same
                losses = [trial.loss for trial in trials if trial.options["covariance"] == kind]
                lost = len(losses) - 1 - losses.index(min(losses)) if losses else 0
                if lost < _PATIENCE and _options(size, kind) not in [trial.options for trial in trials]:
                    return _options(size, kind)
            size *= 2
        return None

    def estimate(self, data: TrainingData, generator: torch.Generator) -> None:
        """EM in rounds; before a deadline it stops where another round would not end in time."""
        with extra("baselines"):
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.mixture import GaussianMixture as Estimator

        rows = data.train.double().cpu().numpy()
        count = self.components or 1
        if count > len(rows):
            raise ValueError(f"{count} components of {len(rows)} rows")
        seed = int(torch.randint(1 << 31, (), generator=generator, device=generator.device))
        found = Estimator(
            count,
            covariance_type=self.covariance or "full",
            reg_covar=self.floor,
            max_iter=1,
            warm_start=True,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for _ in range(_ROUNDS):
                before = time_left()
                found.fit(rows)
                left = time_left()
                if found.converged_ or not left > 0:
                    break
                if left < math.inf:  # as many iterations as fit, and their validation
                    pace = max(1e-9, (before - left) / found.max_iter)
                    if left < 2 * pace:
                        break
                    found.max_iter = max(1, min(_ROUND, int(left / (2 * pace))))
                else:
                    found.max_iter = _ROUND
        factors = torch.as_tensor(found.precisions_cholesky_)
        self.weights.copy_(torch.as_tensor(found.weights_))
        self.means.copy_(torch.as_tensor(found.means_))
        self.factors.copy_(factors.reshape(self.factors.shape))

    def _factor_of_each(self) -> Tensor:
        return self.factors.expand(self.means.shape[0], *self.factors.shape[1:])


def _options(components: int, covariance: Covariance) -> dict[str, Any]:
    return {"components": components, "covariance": covariance}
