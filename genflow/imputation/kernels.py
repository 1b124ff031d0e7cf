r"""A kernel estimate of a law from its samples: its conditional laws are mixtures of Gaussians in closed form.

.. math::
    q(z) = \frac1N \sum_i N\bigl(z; \mu + \sqrt{1 - h^2} (s_i - \mu), h^2 \Sigma\bigr)

with the mean and the covariance of the samples :math:`s_i`, which q has, too. Given some entries, sample i keeps the
weight of its kernel there, and the others follow by regression with the matrix :math:`\Sigma`:

.. math::
    q(z_m \mid z_s) = \sum_i w_i \, N\bigl(z_m; \mu_i + \Sigma_{ms} \Sigma_{ss}^{-1} (z_s - \mu_{i, s}),
    h^2 \Sigma_{m \mid s}\bigr), \qquad w_i \propto N(z_s; \mu_{i, s}, h^2 \Sigma_{ss})

At :math:`h = 1` it is the Gaussian of the samples, at a small one it follows their shape. The bandwidth is the one
under which samples that were left out are likeliest.

References:
    Combined parameter and state estimation in simulation-based filtering (Liu and West, 2001): kernels that are shrunk
    towards the mean, https://doi.org/10.1007/978-1-4757-3437-9_10
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Given", "KernelLaw"]

_BANDWIDTHS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
_SHARE = 0.2  # of the samples, by which the bandwidth is chosen
_RIDGE = 1e-4  # of a variance, so that samples of fewer directions than entries have a density
_ENTRIES = 1 << 22  # of the largest tensor of pairs, of rows and samples


class KernelLaw:
    """The kernel estimate; see the formulas above.

    Args:
        samples: Samples of the law, `(N, dim)`, float64.

    Example:
        >>> import torch
        >>> s = torch.randn(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> s[:, 1] = 0.9 * s[:, 0] + 0.436 * s[:, 1]
        >>> law = KernelLaw(s)
        >>> given = law.given(torch.tensor([[True, False]]))
        >>> z = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(4000, 2)
        >>> draws = given.draw(z, torch.zeros(4000, dtype=torch.long), torch.Generator().manual_seed(0))
        >>> bool((draws[:, 0] == 1).all()), bool((draws[:, 1].mean() - 0.9).abs() < 0.05)
        (True, True)
    """

    def __init__(self, samples: Float[Tensor, "N dim"]):
        samples = samples.double()
        self.mean = samples.mean(0)
        centred = samples - self.mean
        covariance = centred.mT @ centred / len(samples)
        variance = covariance.diagonal().clamp(min=1e-12)
        self.covariance = covariance + _RIDGE * variance.diag()
        held_out = max(1, int(_SHARE * len(samples)))
        if len(samples) > 2 * held_out:
            self.bandwidth, self.centres = 1.0, centred[held_out:]
            losses = []
            for bandwidth in _BANDWIDTHS:
                self._place(centred[held_out:], bandwidth)
                losses.append(-self.log_prob(samples[:held_out]).mean().item())
            best = _BANDWIDTHS[losses.index(min(losses))]
        else:
            best = 1.0
        self._place(centred, best)

    def _place(self, centred: Tensor, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self.centres = self.mean + math.sqrt(1 - bandwidth**2) * centred
        if bandwidth == 1:
            self.centres = self.centres[:1]  # they are all the same
        self.factor = torch.linalg.cholesky(self.covariance) * bandwidth

    def log_prob(self, z: Float[Tensor, "n dim"]) -> Float[Tensor, "n"]:
        """The log density of rows, but for a constant that does not depend on them.

        Args:
            z: Rows.
        """
        scaled = torch.linalg.solve_triangular(self.factor, self.centres.mT, upper=False).mT.float()
        parts = []
        for part in z.split(max(1, _ENTRIES // len(self.centres))):
            own = torch.linalg.solve_triangular(self.factor, part.mT, upper=False).mT
            parts.append((-0.5 * torch.cdist(own.float(), scaled).square()).logsumexp(-1).double())
        return torch.cat(parts) - self.factor.diagonal().log().sum() - math.log(len(self.centres))

    def given(self, seen: Bool[Tensor, "n dim"]) -> Given:
        """Its conditional laws under masks.

        Args:
            seen: Which entries of each row are given.
        """
        return Given(self, seen)


class Given:
    """The conditional laws of a kernel estimate under the masks of some rows.

    Args:
        law: The estimate.
        seen: Which entries of each row are given, `(n, dim)`.
    """

    def __init__(self, law: KernelLaw, seen: Bool[Tensor, "n dim"]):
        self.law = law
        patterns, self.pattern = seen.unique(dim=0, return_inverse=True)
        self.seen = patterns
        both = patterns[:, :, None] & patterns[:, None, :]
        identity = torch.eye(seen.shape[-1], dtype=torch.float64)
        # The matrix of the seen entries, beside ones: one inverse for all masks, zero where nothing is seen.
        block = torch.where(both, law.covariance, identity)
        self.precision = torch.where(both, torch.linalg.inv(block), 0.0)
        self.slope = torch.where(patterns[:, :, None], 0.0, law.covariance @ self.precision)
        missing = ~patterns
        rest = law.covariance - self.slope @ law.covariance
        rest = torch.where(missing[:, :, None] & missing[:, None, :], 0.5 * (rest + rest.mT), identity)
        factor, _ = torch.linalg.cholesky_ex(rest)
        self.factor = torch.where(missing[:, :, None], factor, 0.0)
        # Centred, so that single precision does for the products of pairs.
        centred = law.centres - law.mean
        self.norms = torch.einsum("pij,ni,nj->pn", self.precision, centred, centred).float() / (2 * law.bandwidth**2)
        self.single = centred.float()

    def _weights(self, z: Tensor, pattern: Tensor) -> Tensor:
        """The log of the kernels at the seen entries, `(rows, N)`, in single precision, as pairs are many."""
        pulled = torch.einsum("rij,rj->ri", self.precision[pattern], z) / self.law.bandwidth**2
        own = -0.5 * (pulled * z).sum(-1, keepdim=True)
        return torch.addmm(own.float() - self.norms[pattern], pulled.float(), self.single.mT)

    def draw(self, z: Float[Tensor, "m dim"], row: Tensor, generator: torch.Generator) -> Float[Tensor, "m dim"]:
        """Rows with their missing entries drawn.

        Args:
            z: Rows, several for each mask, perhaps.
            row: Which of the masks each is under, `(m,)`.
            generator: Source of randomness, of the CPU.
        """
        parts = []
        for part, mask in self._portions(z, row):
            pattern = self.pattern[mask]
            known = torch.where(self.seen[pattern], part, 0.0)
            weights = self._weights(torch.where(self.seen[pattern], part - self.law.mean, 0.0), pattern)
            noise = torch.rand(weights.shape, generator=generator).clamp(min=1e-30)
            centre = self.law.centres[(weights - (-noise.log()).log()).argmax(-1)]  # Gumbel's trick
            mean = centre + torch.einsum("rij,rj->ri", self.slope[pattern], known - centre)
            normal = torch.randn(part.shape, generator=generator, dtype=torch.float64)
            spread = torch.einsum("rij,rj->ri", self.factor[pattern], normal)
            parts.append(torch.where(self.seen[pattern], part, mean + self.law.bandwidth * spread))
        return torch.cat(parts)

    def log_prob(self, z: Float[Tensor, "m dim"], row: Tensor) -> Float[Tensor, "m"]:
        """The log density of the missing entries given the others, but for what the mask alone decides.

        Args:
            z: Rows.
            row: Which of the masks each is under.
        """
        known = torch.cat([
            self._weights(
                torch.where(self.seen[self.pattern[mask]], part - self.law.mean, 0.0), self.pattern[mask]
            ).logsumexp(-1).double()
            for part, mask in self._portions(z, row)
        ])  # fmt: skip
        return self.law.log_prob(z) - known

    def spread(self, row: Tensor, noise: Float[Tensor, "m dim"]) -> Float[Tensor, "m dim"]:
        """Noise with the covariance that the missing entries of a Gaussian have given the others.

        Args:
            row: Which of the masks each is under.
            noise: Standard normal numbers.
        """
        return torch.cat([
            torch.einsum("rij,rj->ri", self.factor[self.pattern[mask]], part)
            for part, mask in self._portions(noise, row)
        ])  # fmt: skip

    def _portions(self, z: Tensor, row: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = max(1, _ENTRIES // max(len(self.law.centres), z.shape[-1] ** 2))
        return list(zip(z.split(size), row.split(size), strict=True))
