r"""Gaussian mixtures of any dimension, whose density is known.

.. math:: p(x) = \sum_k w_k \, N(x; \mu_k, \Sigma_k)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError

__all__ = ["GaussianMixture"]


class GaussianMixture:
    r"""A mixture of Gaussians with full covariances.

    Args:
        weights: :math:`w_k`, `(components,)`, positive; they are made to sum to one.
        means: :math:`\mu_k`, `(components, dim)`.
        covariances: :math:`\Sigma_k`, `(components, dim, dim)`, positive definite.

    Raises:
        InputError: Shapes that do not fit, a weight that is not positive, a covariance that is not positive definite.

    Example:
        >>> import numpy as np, torch
        >>> mixture = GaussianMixture.random(dim=3, seed=0)
        >>> x = mixture.sample(1000, np.random.default_rng(0))
        >>> mixture.log_prob(torch.from_numpy(x)).shape
        torch.Size([1000])
    """

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        weights, means, covariances = (np.asarray(a, dtype=np.float64) for a in (weights, means, covariances))
        if means.ndim != 2 or covariances.shape != (*means.shape, means.shape[1]) or weights.shape != means.shape[:1]:
            raise InputError(
                f"GaussianMixture: shapes {weights.shape}, {means.shape}, {covariances.shape} came; "
                "give (components,), (components, dim), (components, dim, dim)"
            )
        if not (weights > 0).all():
            raise InputError("GaussianMixture: every weight must be positive")
        try:
            self.factors = np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError:
            raise InputError("GaussianMixture: every covariance must be positive definite") from None
        self.weights = weights / weights.sum()
        self.means = means

    @property
    def dim(self) -> int:
        """The number of columns."""
        return self.means.shape[1]

    @classmethod
    def random(cls, dim: int, components: int = 8, seed: int = 0) -> GaussianMixture:
        r"""A random mixture: means from :math:`N(0, 3^2 I)`, covariances turned at random, axes between 0.3 and 1.2.

        Args:
            dim: The dimension :math:`d \ge 1`.
            components: The number of components.
            seed: Seed of everything random in it.
        """
        if dim < 1 or components < 1:
            raise InputError(f"GaussianMixture: dimension {dim}, {components} components came; both must be at least 1")
        rng = np.random.default_rng([seed, dim, components])
        weights = rng.uniform(0.5, 1.5, components)
        means = 3 * rng.standard_normal((components, dim))
        turns = np.linalg.qr(rng.standard_normal((components, dim, dim)))[0]
        axes = np.exp(rng.uniform(math.log(0.3), math.log(1.2), (components, dim)))
        return cls(weights, means, np.einsum("kij,kj,klj->kil", turns, axes**2, turns))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, `(n, dim)`.

        Args:
            n: How many.
            rng: Source of randomness.
        """
        labels = rng.choice(len(self.weights), n, p=self.weights)
        x = rng.standard_normal((n, self.dim))
        for k, factor in enumerate(self.factors):  # by component: no (n, dim, dim) array
            mine = labels == k
            x[mine] = x[mine] @ factor.T + self.means[k]
        return x

    def log_prob(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """The log density in nats.

        Args:
            x: Points, `(*batch, dim)`.
        """
        rows = x.reshape(-1, self.dim)
        terms = []
        for weight, mean, factor in zip(self.weights, self.means, self.factors, strict=True):
            triangle = torch.as_tensor(factor, dtype=x.dtype, device=x.device)
            centred = (rows - torch.as_tensor(mean, dtype=x.dtype, device=x.device)).mT
            white = torch.linalg.solve_triangular(triangle, centred, upper=False)
            constant = math.log(weight) - np.log(np.diag(factor)).sum() - 0.5 * self.dim * math.log(2 * math.pi)
            terms.append(constant - 0.5 * white.square().sum(0))
        return torch.stack(terms).logsumexp(0).reshape(x.shape[:-1])
