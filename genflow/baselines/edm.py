"""The diffusion of Karras et al., as its authors elucidate it."""

from __future__ import annotations

from typing import Any

from genflow.baselines.networks import along, network
from genflow.models.matching import Matching
from genflow.paths import EDM, LogNormal, Preconditioned
from genflow.schedulers import Karras
from genflow.solvers import EDMSampler

__all__ = ["edm"]


def edm(
    dim: int,
    width: int = 128,
    depth: int = 3,
    steps: int = 18,
    churn: float = 0.0,
    batch_size: int = 512,
    learning_rate: float = 4e-3,
    condition_dim: int = 0,
    condition_dropout: float = 0.0,
    **parts: Any,
) -> Matching:
    r"""A preconditioned denoiser, trained at log-normal noises and sampled by Heun's method.

    .. math::
        x_\sigma = x + \sigma z, \qquad
        \min_D \; E_{\log \sigma \sim N(-1.2, 1.2^2)}
        \frac{\sigma^2 + s_d^2}{(\sigma s_d)^2} |D(x_\sigma, \sigma) - x|^2, \qquad
        D = c_{skip} x_\sigma + c_{out} F(c_{in} x_\sigma, \tfrac14 \log \sigma)

    with :math:`s_d = 1`, that of standardized rows. The likelihood is that at :math:`\sigma = 0.002`, by RK4 on a grid
    of equal steps in :math:`\log \sigma`.

    Args:
        dim: Dimension of a point.
        width: Width of the network.
        depth: Its residual layers.
        steps: Steps of the sampler, on Karras's grid with :math:`\rho = 7`.
        churn: How much noise the sampler adds on the way; see `genflow.solvers.EDMSampler`.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Parts of the flow; `velocity` is the network F.

    References:
        Karras, Aittala, Aila, Laine 2022, https://arxiv.org/abs/2206.00364

    Example:
        >>> import genflow as gf
        >>> gf.baselines.edm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    path = EDM()
    field = network(dim, width, depth, condition_dim, condition_dropout, parts)
    return Matching(
        along(path, Preconditioned(sigma_data=1.0), field, clock="karras"),
        times=LogNormal(-1.2, 1.2),
        weighting="edm",
        sampler=EDMSampler(churn),
        sampling=Karras(path, steps),
        batch_size=batch_size,
        learning_rate=learning_rate,
        condition_dropout=condition_dropout,
        name="edm",
        **parts,
    )
