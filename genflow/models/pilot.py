r"""Where the boundaries of a chain's blocks are to be, known before any of them is trained.

The flow that the scheme discretizes carries a law :math:`\rho_\gamma` towards :math:`N(0, \sigma^2 I)` by the velocity

.. math::
    v_\gamma(x) = -x - \sigma^2 \nabla \log \rho_\gamma(x), \qquad
    W(\gamma) = \int_0^\gamma \bigl(E_{\rho_s} |v_s|^2\bigr)^{1/2} ds,

and of a mixture of normal laws the velocity is in closed form: after a time :math:`\gamma` the components are
:math:`N(e^{-\gamma} \mu_k, e^{-2\gamma} \Sigma_k + \sigma^2 (1 - e^{-2\gamma}) I)`. So a small mixture that is
estimated on the rows tells how far they will be moved until when, and the boundaries can be put where each block has
its share of the way. The scheme's step of the same contraction is :math:`h = \sigma^2 (e^{\Delta\gamma} - 1)`.

C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
(equal movement of the blocks, found by rounds of training)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.deadline import check_time
from genflow.models.local_matching import diffuse
from genflow.normal_mixture import NormalMixture, fit_mixture

__all__ = ["diffused", "pilot_boundaries", "travelled"]

_ROWS, _COMPONENTS, _SHARE = 5000, 16, 0.05  # for the estimate, and its share of the time
_DRAWS = 256  # of the mixture, that its speed is the mean of
_TIMES = tuple(4.0 * (i / 32) ** 2 for i in range(33))  # gamma: fast at first, and nearly at rest behind 4
_LAST = 0.9  # of the last block's way: the rest takes forever


@torch.no_grad()
def diffused(mixture: NormalMixture, gamma: float, scale: float = 1.0) -> NormalMixture:
    r"""What the Ornstein–Uhlenbeck flow to :math:`N(0, \sigma^2 I)` makes of a mixture in a time :math:`\gamma`.

    Args:
        mixture: The mixture.
        gamma: The time :math:`\gamma`.
        scale: The deviation :math:`\sigma`.

    Example:
        >>> import torch, genflow as gf
        >>> from genflow.models.pilot import diffused
        >>> far = gf.NormalMixture.of(torch.ones(1), torch.tensor([[8.0]]), torch.tensor([[[2.0]]]))
        >>> near = diffused(far, gamma=2.0)
        >>> near.means.round(decimals=3), (near.factors**-2).round(decimals=3)  # 8 e^-2, 1 - .75 e^-4
        (tensor([[1.0830]]), tensor([[[0.9860]]]))
    """
    weights, means, covariances = mixture.laws()
    shrunk, noise = math.exp(-2 * gamma), scale**2 * -math.expm1(-2 * gamma)
    identity = torch.eye(means.shape[1], dtype=means.dtype, device=means.device)
    roots = torch.linalg.cholesky(shrunk * covariances + noise * identity)
    factors = torch.linalg.solve_triangular(roots, identity.expand_as(roots), upper=False).mT
    like = mixture.means
    return NormalMixture.of(weights.to(like), (math.exp(-gamma) * means).to(like), factors.to(like))


def travelled(mixture: NormalMixture, gammas: Sequence[float], scale: float = 1.0) -> list[float]:
    r"""How far the flow has moved a mixture until when, :math:`W(\gamma)`, by the trapezoid rule.

    Args:
        mixture: The mixture.
        gammas: The times, increasing from 0.
        scale: The deviation :math:`\sigma`.

    Example:
        >>> import torch, genflow as gf
        >>> from genflow.models.pilot import travelled
        >>> far = gf.NormalMixture.of(torch.ones(1), torch.tensor([[8.0]]), torch.ones(1, 1, 1))
        >>> [round(w, 2) for w in travelled(far, [0.05 * i for i in range(60)])][::20]  # 8 (1 - e^-γ)
        [0.0, 5.06, 6.92]
    """
    like = mixture.means
    generator = torch.Generator(like.device).manual_seed(0)
    start = mixture.sample((_DRAWS,), generator, dtype=like.dtype)
    speeds = []
    for gamma in gammas:
        check_time()
        at = diffuse(start, gamma, generator.manual_seed(1), scale)  # with the same noise at all times
        velocity = -at - scale**2 * _score(diffused(mixture, gamma, scale), at)
        speeds.append(velocity.square().sum(-1).mean().sqrt().item())
    legs = [(b - a) * (v + w) / 2 for (a, b), (v, w) in zip(pairwise(gammas), pairwise(speeds), strict=True)]
    return list(accumulate(legs, initial=0.0))


def _score(law: NormalMixture, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    return score


def pilot_boundaries(
    rows: Float[Tensor, "n d"], validation: Float[Tensor, "m d"], blocks: int, scale: float = 1.0
) -> tuple[float, ...]:
    r"""The boundaries :math:`0 = t_0 < \dots < t_K` of so many blocks.

    Block k, counted from 1, has a share of the way that goes with K + 1 - k: it has its own, and what those before it
    have left.

    Args:
        rows: Rows of about unit variance.
        validation: Validation rows.
        blocks: Their number :math:`K`.
        scale: The deviation :math:`\sigma` of the base.

    Example:
        >>> import torch
        >>> from genflow.models.pilot import pilot_boundaries
        >>> moved = 6 + torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
        >>> [round(t, 1) for t in pilot_boundaries(moved[:400], moved[400:], blocks=2)]  # 6 (1 - 1 / 2.9) is two thirds
        [0.0, 1.9, 7.7]
    """
    mixture = fit_mixture(rows[:_ROWS], validation, _COMPONENTS, _SHARE, _COMPONENTS)
    way = travelled(mixture, _TIMES, scale)
    parts = [*range(blocks, 1, -1), _LAST]
    unit = way[-1] / (blocks * (blocks + 1) / 2)
    gammas = np.interp([unit * part for part in accumulate(parts, initial=0.0)], way, _TIMES).tolist()
    return tuple(accumulate((scale**2 * math.expm1(b - a) for a, b in pairwise(gammas)), initial=0.0))
