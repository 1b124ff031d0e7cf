r"""How far a covariance should be shrunk towards its diagonal, chosen by the likelihood of rows left out.

.. math::
    \Sigma_\lambda = (1 - \lambda) \Sigma + \lambda \operatorname{diag} \Sigma

With :math:`n` rows of :math:`d` columns the smallest eigenvalues of a covariance are far too small: from as many rows
as columns on, a direction in which the training rows do not vary at all is one in which others do. What is lost if
columns are independent grows as :math:`d^2 / 4 n` nats, and without bound as :math:`n` falls to :math:`d`.

A Gaussian sees correlations only. Where single columns have a shape of their own, such as pixels that are mostly empty,
whitening mixes what was simple: with a density of its own for each column, rows may be likelier as they are than
whitened. Then they are left alone.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.scales import moments

__all__ = ["FLOOR", "shrinkage"]

FLOOR = 1e-12
"""Least variance of a direction, in units of the greatest: below it there is rounding."""

_FOLDS = 10
_WIDE = 256  # columns, from where on half as many folds: a decomposition takes 0.1 s for 784 columns
_EVIDENCE = 4.0  # nats, of all rows together, that correlations must be worth: keeps a dozen rows from being read into
_ROWS = 5000  # rows by which columns are compared one by one, as they are and whitened
_RESOLUTION = 0.3  # deviations: what is narrower, such as the spike of a repeated value, counts as so wide
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

        1 also where the product of the columns' own densities is larger without whitening, by more than two
        standard errors. They are estimated from distances of ordered values (Vasicek, 1976).

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
    folds = min(n, _FOLDS if x.shape[-1] <= _WIDE else _FOLDS // 2)

    def standard(rows: slice) -> Tensor:
        return (x[rows].to(torch.float64) - mean) / std

    counts, sums, squares = [], [], []
    for k in range(folds):
        part = standard(slice(k, None, folds))
        counts.append(len(part))
        sums.append(part.sum(0))
        squares.append(part.mT @ part)
    all_sums, all_squares = torch.stack(sums).sum(0), torch.stack(squares).sum(0)
    loss = _EVIDENCE * (1 - shares)
    for count, total, square in zip(counts, sums, squares, strict=True):
        rest = n - count
        center = (all_sums - total) / rest
        inner = (all_squares - square) / rest - center.outer(center)
        cross = center.outer(total / count)
        outer = square / count - cross - cross.mT + center.outer(center)
        scale = inner.diagonal().clamp(min=_LEAST).rsqrt()
        r, vectors = torch.linalg.eigh(inner * scale * scale[:, None])
        q = (vectors * ((outer * scale * scale[:, None]) @ vectors)).sum(0)
        rho = shrunk(r, shares[:, None], floor)
        loss = loss + 0.5 * count * (rho.log() + q / rho).sum(-1)
    share = float(shares[loss.argmin()])
    if share == 1:
        return share
    some = standard(slice(None, None, -(-n // _ROWS)))
    return 1.0 if _simpler_alone(some, all_squares / n, share, floor) else share


def shrunk(r: Float[Tensor, " dim"], share: Tensor | float, floor: float = FLOOR) -> Float[Tensor, "*shares dim"]:
    r"""Eigenvalues :math:`(1 - \lambda) r + \lambda`, none below `floor` times the greatest of :math:`r`, or one."""
    r = r.clamp(min=0)
    return ((1 - share) * r + share).clamp(min=floor * max(1.0, float(r.max())))


def _simpler_alone(
    y: Float[Tensor, "n dim"], correlations: Float[Tensor, "dim dim"], share: float, floor: float
) -> bool:
    """Whether a density for each column makes standardized rows likelier as they are than whitened."""
    r, vectors = torch.linalg.eigh(correlations)
    rho = shrunk(r, share, floor)
    white = y @ (vectors / rho.sqrt()) @ vectors.mT
    gain = _surprise(y) - _surprise(white) - 0.5 * rho.log().sum()
    return bool(gain.mean() < -2 * gain.std() / math.sqrt(len(y)))


def _surprise(z: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
    """Minus the log of the product of the columns' densities at each row, by the distances of ordered values."""
    n = len(z)
    reach = max(1, round(math.sqrt(n)))
    ordered, order = z.sort(0)
    place = torch.arange(n, device=z.device)
    low, high = (place - reach).clamp(min=0), (place + reach).clamp(max=n - 1)
    share = ((high - low) / n)[:, None]
    logs = ((ordered[high] - ordered[low]) / share + _RESOLUTION).log()
    return torch.empty_like(logs).scatter_(0, order, logs).sum(-1)


def _candidates(device: torch.device) -> Float[Tensor, " shares"]:
    """Half a step to either side costs less than a thousandth of what the share is worth, since the loss is flat."""
    inner = torch.arange(-28.0, 8.01, 0.25, dtype=torch.float64).sigmoid()
    return torch.cat([torch.zeros(1), inner, torch.ones(1)]).to(device)
