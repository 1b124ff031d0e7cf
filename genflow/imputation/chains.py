r"""Missing entries of rows, drawn by Markov chains under a density of whole rows.

.. math:: p(z_m \mid z_s) \propto p(z_m, z_s)

Global and local steps take turns, each accepted by the rule of Metropolis and Hastings, so that each leaves the
conditional law as it is:

- *global*: all missing entries anew, from the kernel estimate of samples of the model given the seen entries;
- *local*: a normal step, with the covariance that the missing entries have given the others; its length is found in
  the first half of the steps and then kept.

The seen entry that owns an interval of the line is at one of its places, which the global steps draw anew.

References:
    | Monte Carlo sampling methods using Markov chains and their applications (Hastings, 1970),
      https://doi.org/10.1093/biomet/57.1.97
    | Local-Global MCMC kernels: the best of both worlds (Samsonov et al., 2022), https://arxiv.org/abs/2111.02702
    | Examples of adaptive MCMC (Roberts and Rosenthal, 2009), https://doi.org/10.1198/jcgs.2009.06134
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.imputation.kernels import Given

__all__ = ["Acceptance", "Chains"]

_GOAL = 0.35  # of local steps that are accepted: between that of one entry, 0.44, and of many, 0.23
_LENGTH = 2.38  # of a step in one entry of a Gaussian


@dataclass
class Acceptance:
    """How the chains moved.

    Attributes:
        rate_global: Share of global steps that were accepted.
        rate_local: Share of local ones, in the second half.
        still: Share of chains that never moved.
    """

    rate_global: float
    rate_local: float
    still: float


class Chains:
    """One chain for each draw of a row.

    Args:
        log_density: The log density of whole rows, `(m, dim) -> (m,)`; minus infinity where one may not be.
        given: The conditional laws of the kernel estimate, under the mask of each row.
        row: Which of the masks each chain is under, `(m,)`.
        missing: Which entries each chain draws, `(m, dim)`.
        places: The seen entries of all chains at other places of theirs, and the log of the law they are drawn from,
            `z -> (new, log q(z), log q(new))`; `None` where each has one place.
        generator: Source of randomness, of the CPU.
    """

    def __init__(
        self,
        log_density: Callable[[Tensor], Tensor],
        given: Given,
        row: Tensor,
        missing: Tensor,
        places: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] | None,
        generator: torch.Generator,
    ):
        self.log_density, self.given, self.row, self.missing = log_density, given, row, missing
        self.places, self.generator = places, generator

    def run(self, z: Float[Tensor, "m dim"], steps: int) -> tuple[Float[Tensor, "m dim"], Acceptance]:
        """Where the chains are after so many steps.

        Args:
            z: Where they begin.
            steps: Of both kinds together, each of which asks for one density of each chain.
        """
        log_p = self.log_density(z)
        # Where the seen entries stay, their density under the kernel estimate is the same for every proposal.
        log_q_of = self.given.law.log_prob if self.places is None else self._log_q
        log_q = log_q_of(z)
        count = int(self.row.max()) + 1
        log_length = (_LENGTH / self.missing.sum(-1).clamp(min=1).sqrt()).log()
        adapted = torch.zeros(count, dtype=torch.float64)  # of all chains of a row
        moved = torch.zeros(len(z), dtype=torch.bool)
        rates: dict[str, list[Tensor]] = {"global": [], "local": []}
        for step in range(steps):
            if step % 2 == 0:
                if step:
                    log_q = log_q_of(z)
                new, log_here, log_there = (z, 0.0, 0.0) if self.places is None else self.places(z)
                new = self.given.draw(new, self.row, self.generator)
                log_ratio = log_q + log_here - log_q_of(new) - log_there
            else:
                length = (log_length + adapted[self.row]).exp()
                noise = torch.randn(z.shape, generator=self.generator, dtype=torch.float64)
                new = z + length[:, None] * self.given.spread(self.row, noise)
                log_ratio = torch.zeros_like(log_p)
            new_p = self.log_density(new)
            log_accept = (new_p - log_p + log_ratio).nan_to_num(nan=-math.inf).clamp(max=0.0)
            accepted = torch.rand(len(z), generator=self.generator, dtype=torch.float64).log() < log_accept
            z = torch.where(accepted[:, None], new, z)
            log_p = torch.where(accepted, new_p, log_p)
            moved |= accepted
            if step % 2 == 0:
                rates["global"].append(log_accept.exp().mean())
            elif step < steps // 2:
                rate = self.row.bincount(log_accept.exp(), count) / self.row.bincount(minlength=count).clamp(min=1)
                adapted += (rate - _GOAL) * 4 / (1 + step // 2) ** 0.6
            else:
                rates["local"].append(log_accept.exp().mean())
        mean = {kind: float(torch.stack(found).mean()) if found else math.nan for kind, found in rates.items()}
        return z, Acceptance(mean["global"], mean["local"], 1 - float(moved.double().mean()))

    def _log_q(self, z: Tensor) -> Tensor:
        return self.given.log_prob(z, self.row)
