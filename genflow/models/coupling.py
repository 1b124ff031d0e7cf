"""Couplings of noise and data in a batch: which noise goes with which row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.extras import extra

__all__ = ["COUPLINGS", "coupling"]

Coupling = Callable[[Tensor, Tensor, torch.Generator | None, Tensor | None], tuple[Tensor, Tensor]]

_APART = 100.0  # the weight of a squared distance of conditions against one of points, both in standard deviations


def independent(
    x: Float[Tensor, "n *event"],
    z: Float[Tensor, "n *event"],
    generator: torch.Generator | None = None,
    condition: Float[Tensor, "n k"] | None = None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Row i with noise i."""
    rows = torch.arange(len(x), device=x.device)
    return rows, rows


def optimal_transport(
    x: Float[Tensor, "n *event"],
    z: Float[Tensor, "n *event"],
    generator: torch.Generator | None = None,
    condition: Float[Tensor, "n k"] | None = None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    r"""The pairing of a batch that minimizes :math:`\sum_i |x_i - z_{\pi(i)}|^2`, found by POT's network simplex.

    The paths of the conditional flows then hardly cross, and the field that they average to is straighter.
    Indices are returned, so that conditions and weights stay with their rows.
    Pooladian et al. 2023, https://arxiv.org/abs/2304.14772; Tong et al. 2023, https://arxiv.org/abs/2302.00482

    Under conditions, noise j is given the condition of row j, and the cost of a pair grows by
    :math:`\beta |c_i - c_j|^2`. Without it the noise of a pair would tell of its condition, while sampling draws noise
    that does not: every conditional law would be learned wrong.
    Chemseddine et al. 2024, Conditional Wasserstein distances, https://arxiv.org/abs/2403.18705

    Raises:
        SolverError: The plan is not a permutation: the solver stopped at its iteration limit.
    """
    with extra("transport"):
        import ot

    cost = torch.cdist(x.detach().flatten(1).double(), z.detach().flatten(1).double()).square()
    if condition is not None:
        c = condition.detach().double()
        cost = cost + _APART * torch.cdist(c, c).square()
    plan = torch.from_numpy(ot.emd([], [], cost.cpu().numpy(), numItermax=1_000_000))
    weight, partner = plan.max(dim=1)
    if (weight * len(x) - 1).abs().max() > 1e-6 or len(partner.unique()) < len(x):
        raise SolverError(
            f"optimal transport of a batch of {len(x)} rows did not end in a pairing within 1e6 iterations"
        )
    return torch.arange(len(x), device=x.device), partner.to(x.device)


COUPLINGS: dict[str, Coupling] = {"independent": independent, "ot": optimal_transport}


def coupling(name: str) -> Coupling:
    """The coupling of that name: `(x, z, generator, condition) -> (rows of x, rows of z)`."""
    if name not in COUPLINGS:
        raise InputError(f"coupling: no {name!r}; one of {', '.join(COUPLINGS)}")
    return COUPLINGS[name]
