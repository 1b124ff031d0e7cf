r"""Couplings of noise and data in a batch: which noise goes with which row.

A coupling returns indices, so that conditions and weights stay with their rows. Under conditions, noise j is given the
condition of row j, and the cost of a pair grows by :math:`\beta |c_i - c_j|^2`. Without it the noise of a pair would
tell of its condition, while sampling draws noise that does not: every conditional law would be learned wrong.
Chemseddine et al. 2024, Conditional Wasserstein distances, https://arxiv.org/abs/2403.18705
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.extras import extra
from genflow.interfaces import Component

__all__ = ["COUPLINGS", "Coupling", "EntropicTransport", "Independent", "OptimalTransport", "coupling"]

_APART = 100.0  # the weight of a squared distance of conditions against one of points, both in standard deviations


class Coupling(Component, ABC):
    """Which noise goes with which row of a batch.

    Attributes:
        independent: Whether the noise of a row does not depend on it, as a denoiser's formulas have it.
    """

    independent: bool = False

    @abstractmethod
    def __call__(
        self,
        x: Float[Tensor, "n *event"],
        z: Float[Tensor, "n *event"],
        generator: torch.Generator | None = None,
        condition: Float[Tensor, "n k"] | None = None,
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The pairs, as indices `(rows of x, rows of z)`.

        Args:
            x: Data, `(n, *event)`.
            z: Noise, `(n, *event)`.
            generator: Source of randomness.
            condition: What each row is conditioned on, `(n, k)`.
        """


class Independent(Coupling):
    """Row i with noise i.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Independent()(torch.zeros(2, 1), torch.ones(2, 1))
        (tensor([0, 1]), tensor([0, 1]))
    """

    independent = True

    def __call__(
        self,
        x: Float[Tensor, "n *event"],
        z: Float[Tensor, "n *event"],
        generator: torch.Generator | None = None,
        condition: Float[Tensor, "n k"] | None = None,
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        rows = torch.arange(len(x), device=x.device)
        return rows, rows


class OptimalTransport(Coupling):
    r"""The pairing of a batch that minimizes :math:`\sum_i |x_i - z_{\pi(i)}|^2`, found by POT's network simplex.

    The paths of the conditional flows then hardly cross, and the field that they average to is straighter.

    Raises:
        SolverError: The plan is not a permutation: the solver stopped at its iteration limit.

    References:
        | Pooladian et al. 2023, https://arxiv.org/abs/2304.14772
        | Tong et al. 2023, https://arxiv.org/abs/2302.00482

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.OptimalTransport()(torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [-5.0]]))
        (tensor([0, 1]), tensor([1, 0]))
    """

    def __call__(
        self,
        x: Float[Tensor, "n *event"],
        z: Float[Tensor, "n *event"],
        generator: torch.Generator | None = None,
        condition: Float[Tensor, "n k"] | None = None,
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        with extra("transport"):
            import ot

        cost = _cost(x, z, condition)
        plan = torch.from_numpy(ot.emd([], [], cost.cpu().numpy(), numItermax=1_000_000))
        weight, partner = plan.max(dim=1)
        if (weight * len(x) - 1).abs().max() > 1e-6 or len(partner.unique()) < len(x):
            raise SolverError(
                f"optimal transport of a batch of {len(x)} rows did not end in a pairing within 1e6 iterations"
            )
        return torch.arange(len(x), device=x.device), partner.to(x.device)


class EntropicTransport(Coupling):
    r"""Pairs drawn from the entropic plan of a batch, which minimizes

    .. math:: \sum_{ij} \pi_{ij} |x_i - z_j|^2 + \epsilon \sum_{ij} \pi_{ij} \log \pi_{ij} .

    With :math:`\epsilon = 2 s^2` and Brownian bridges of deviation :math:`s` between them, the marginals are those of
    the Schrödinger bridge.

    Args:
        regularization: The weight :math:`\epsilon`.

    Raises:
        InputError: A weight that is not positive.

    References:
        Tong et al. 2024, section 4, https://arxiv.org/abs/2302.00482

    Example:
        >>> import torch, genflow as gf
        >>> x, z = torch.tensor([[0.0], [9.0]]), torch.tensor([[9.0], [0.0]])
        >>> rows, partners = gf.paths.EntropicTransport(0.5)(x, z, torch.Generator().manual_seed(0))
        >>> torch.equal(x[rows], z[partners])
        True
    """

    def __init__(self, regularization: float = 0.5):
        if not regularization > 0:
            raise InputError(f"regularization: {regularization} came; a positive number would do")
        self.regularization = regularization

    def plan(self, x: Tensor, z: Tensor, condition: Tensor | None = None) -> Tensor:
        r"""The plan, `(n, m)` in float64, by Sinkhorn's iterations.

        They begin at the duals :math:`u, v` of the transport without entropy: of the cost :math:`|x_i - z_j|^2 - u_i -
        v_j`, which has the same plan, an entry in each row and column is zero, so that no kernel
        :math:`e^{-c / \epsilon}` vanishes, however small :math:`\epsilon` is.

        Args:
            x: Data, `(n, *event)`.
            z: Noise, `(m, *event)`.
            condition: What each row is conditioned on, `(n, k)`.
        """
        with extra("transport"):
            import ot

        cost = _cost(x, z, condition).cpu().numpy()
        a, b = (np.full(n, 1 / n) for n in cost.shape)
        duals = ot.emd(a, b, cost, numItermax=1_000_000, log=True)[1]
        cost = np.maximum(cost - duals["u"][:, None] - duals["v"], 0.0)
        plan = ot.sinkhorn(a, b, cost, self.regularization, numItermax=1000, warn=False)
        return torch.from_numpy(plan).to(x.device)

    def __call__(
        self,
        x: Float[Tensor, "n *event"],
        z: Float[Tensor, "n *event"],
        generator: torch.Generator | None = None,
        condition: Float[Tensor, "n k"] | None = None,
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        weights = self.plan(x, z, condition).flatten()
        device = weights.device if generator is None else generator.device
        drawn = torch.multinomial(weights.to(device), len(x), replacement=True, generator=generator).to(x.device)
        return drawn // len(z), drawn % len(z)


def _cost(x: Tensor, z: Tensor, condition: Tensor | None) -> Tensor:
    """The squared distances of points, and of conditions, in float64."""
    cost = torch.cdist(x.detach().flatten(1).double(), z.detach().flatten(1).double()).square()
    if condition is not None:
        c = condition.detach().double()
        cost = cost + _APART * torch.cdist(c, c).square()
    return cost


COUPLINGS: dict[str, type[Coupling]] = {
    "independent": Independent, "ot": OptimalTransport, "entropic": EntropicTransport,
}  # fmt: skip
"""The names that people type."""


def coupling(given: Coupling | str) -> Coupling:
    """The coupling of that name; one that is given is returned as it is.

    Args:
        given: A `Coupling`, or one of the names of `COUPLINGS`.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(given, Coupling):
        return given
    if not isinstance(given, str) or given not in COUPLINGS:
        raise InputError(f"coupling: no {given!r}; one of {', '.join(COUPLINGS)}")
    return COUPLINGS[given]()
