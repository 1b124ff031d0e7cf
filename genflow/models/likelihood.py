"""The loss of a continuous flow: its negative log-likelihood, with running costs as regularizers."""

from __future__ import annotations

import torch
from torch import Tensor

from genflow.flow import Cost, Flow
from genflow.interfaces import Estimate

__all__ = ["jacobian_norm", "kinetic_energy", "negative_log_likelihood", "validation_probes"]


def negative_log_likelihood(
    flow: Flow,
    x: Tensor,
    generator: torch.Generator | None = None,
    costs: tuple[Cost, ...] = (),
    weights: tuple[float, ...] = (),
) -> Tensor:
    r""":math:`-\log p(x) + \sum_i w_i \int c_i \, dt` of each row, in nats.

    Args:
        flow: The flow.
        x: Data.
        generator: Source of the estimator's probes.
        costs: Running costs.
        weights: Their weights.
    """
    transport = flow.integrate(x, costs=costs, generator=generator)
    loss = -flow.base.log_prob(transport.x) - transport.log_det
    for weight, cost in zip(weights, transport.costs, strict=True):
        loss = loss + weight * cost
    return loss


def kinetic_energy(t: Tensor, x: Tensor, estimate: Estimate) -> Tensor:
    r"""The running cost :math:`|v|^2`; its least value over all flows between two laws is their :math:`W_2^2`."""
    return (estimate.velocity**2).flatten(estimate.divergence.ndim).sum(-1)


def jacobian_norm(flow: Flow, x: Tensor, generator: torch.Generator | None = None) -> Cost:
    r"""The running cost :math:`|J \varepsilon|^2`, an unbiased estimate of :math:`|J|_F^2`, with one probe for a solve.

    It takes the probes that the divergence estimator has pushed; an exact divergence pushes none, and one is drawn.
    Finlay et al. 2020, https://arxiv.org/abs/2002.02798
    """
    drawn = torch.randint(0, 2, (1, *x.shape), generator=generator, device=x.device).to(x.dtype) * 2 - 1

    def cost(t: Tensor, y: Tensor, estimate: Estimate) -> Tensor:
        pushed = estimate.pushed
        if pushed is None:
            pushed = flow.velocity.pushforward(y, t, drawn)[1]
        return (pushed**2).flatten(1 + estimate.divergence.ndim).sum(-1).mean(0)

    return cost


def validation_probes(like: Tensor) -> torch.Generator:
    """The same random numbers for every validation, so that two of them can be compared."""
    return torch.Generator(like.device).manual_seed(0)
