"""The diffusion of Karras et al., as its authors elucidate it."""

from __future__ import annotations

import math
from typing import Any

from genflow.baselines.presets import diffusion, extends
from genflow.models.matching import Matching
from genflow.paths import EDM, LogNormal, Preconditioned
from genflow.schedulers import Karras
from genflow.solvers import EDMSampler

__all__ = ["edm"]


@extends(diffusion)
def edm(dim: int, steps: int = 18, churn: float = 0.0, **options: Any) -> Matching:
    r"""A preconditioned denoiser, trained at log-normal noises and sampled by Heun's method.

    .. math::
        x_\sigma = x + \sigma z, \qquad
        \min_D \; E_{\log (\sigma / 2 s_d) \sim N(-1.2, 1.2^2)}
        \frac{\sigma^2 + s_d^2}{(\sigma s_d)^2} |D(x_\sigma, \sigma) - x|^2, \qquad
        D = c_{skip} x_\sigma + c_{out} F(c_{in} x_\sigma, \tfrac14 \log \sigma)

    with :math:`s_d = 1`, that of standardized rows; the noises are the authors' in units of the data's deviation, which
    is one half of theirs (:math:`s_d = 0.5`). The likelihood is that at :math:`\sigma = 0.002`, by RK4 on equal
    steps of :math:`\log \sigma`.

    Args:
        dim: Dimension of a point.
        steps: Steps of the sampler, on Karras's grid with :math:`\rho = 7`.
        churn: How much noise the sampler adds on the way; see `genflow.solvers.EDMSampler`.
        options: Those of `genflow.baselines.presets.diffusion`.

    References:
        Karras, Aittala, Aila, Laine 2022, https://arxiv.org/abs/2206.00364

    Example:
        >>> import genflow as gf
        >>> gf.baselines.edm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    path = EDM()
    return diffusion(
        dim,
        "edm",
        path,
        Preconditioned(sigma_data=1.0),
        "karras",
        times=LogNormal(-1.2 + math.log(2.0), 1.2),
        weighting="edm",
        sampler=EDMSampler(churn),
        sampling=Karras(path, steps),
        **options,
    )
