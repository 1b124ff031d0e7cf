r"""How far a covariance should be shrunk towards its diagonal, chosen by the likelihood of rows left out.

.. math::
    \Sigma_\lambda = (1 - \lambda) \Sigma + \lambda \operatorname{diag} \Sigma

With :math:`n` rows of :math:`d` columns the smallest eigenvalues of a covariance are far too small: from as many rows
as columns on, a direction in which the training rows do not vary at all is one in which others do. What is lost if
columns are independent grows as :math:`d^2 / 4 n` nats, and without bound as :math:`n` falls to :math:`d`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.scales import moments

__all__ = ["FLOOR", "shrinkage"]

FLOOR = 1e-12
"""Least variance of a direction, in units of the greatest: below it there is rounding."""

_FOLDS = 10
_EVIDENCE = 4.0  # nats, of all rows together, that correlations must be worth: keeps a dozen rows from being read into
_LEAST = 1e-2  # variance of a column within a fold, in units of that of all rows: a rare value may lie outside the fold


def shrinkage(x: Float[Tensor, "n dim"], floor: float = FLOOR) -> float:
    r"""The share :math:`\lambda` under which rows left out have the largest Gaussian likelihood.

    Ten folds; the correlation matrices of the rest, :math:`R = V \operatorname{diag}(r) V^\top`, are decomposed once
    each. With :math:`q_j` the mean square of the left-out rows, standardized by the rest, along the eigenvector
    :math:`v_j`,

    .. math::
        -\log p_\lambda = \tfrac12 \sum_j \log \rho_j + q_j / \rho_j + const,
        \qquad \rho_j = (1 - \lambda) r_j + \lambda

    is evaluated for :math:`\lambda = 0`, :math:`1`, and on a grid even in :math:`\log(\lambda / (1 - \lambda))`.

    Args:
        x: Rows, `(n, dim)`.
        floor: Least variance of a direction, in units of the greatest.

    Returns:
        From 0, the covariance as it is, to 1, its diagonal alone. The scales of the columns do not matter.

    References:
        The likelihood of rows left out: Covariance matrix estimation and classification with limited training data
        (Hoffbeck and Landgrebe, 1996), https://doi.org/10.1109/34.506799

    Example:
        >>> import torch
        >>> x = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> shrinkage(x) > 0.5, shrinkage(x.cumsum(1)) < 0.05  # independent columns, correlated ones
        (True, True)
    """
    n = len(x)
    if n < 2:
        return 1.0
    mean, std = moments(x)
    std = torch.where(std > 0, std, 1)
    shares = _candidates(x.device)
    parts = [(x[k::_FOLDS].to(torch.float64) - mean) / std for k in range(min(_FOLDS, n))]
    sums = torch.stack([part.sum(0) for part in parts])
    squares = torch.stack([part.mT @ part for part in parts])
    loss = _EVIDENCE * (1 - shares)
    for part, total, square in zip(parts, sums, squares, strict=True):
        rest = n - len(part)
        center = (sums.sum(0) - total) / rest
        inner = (squares.sum(0) - square) / rest - center.outer(center)
        cross = center.outer(total / len(part))
        outer = square / len(part) - cross - cross.mT + center.outer(center)
        scale = inner.diagonal().clamp(min=_LEAST).rsqrt()
        r, vectors = torch.linalg.eigh(inner * scale * scale[:, None])
        q = (vectors * ((outer * scale * scale[:, None]) @ vectors)).sum(0)
        rho = shrunk(r, shares[:, None], floor)
        loss = loss + 0.5 * len(part) * (rho.log() + q / rho).sum(-1)
    return float(shares[loss.argmin()])


def shrunk(r: Float[Tensor, " dim"], share: Tensor | float, floor: float = FLOOR) -> Float[Tensor, "*shares dim"]:
    r"""Eigenvalues :math:`(1 - \lambda) r + \lambda`, none below `floor` times the greatest of :math:`r`, or one."""
    r = r.clamp(min=0)
    return ((1 - share) * r + share).clamp(min=floor * max(1.0, float(r.max())))


def _candidates(device: torch.device) -> Float[Tensor, " shares"]:
    """Half a step to either side costs less than a thousandth of what the share is worth, since the loss is flat."""
    inner = torch.arange(-28.0, 8.01, 0.25, dtype=torch.float64).sigmoid()
    return torch.cat([torch.zeros(1), inner, torch.ones(1)]).to(device)
