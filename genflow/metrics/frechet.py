r"""The Fréchet distance of two samples: between the normal laws that have their means and covariances.

.. math::
    F = |m_1 - m_2|^2
    + \operatorname{tr} \bigl( \Sigma_1 + \Sigma_2 - 2 (\Sigma_2^{1/2} \Sigma_1 \Sigma_2^{1/2})^{1/2} \bigr)

In the features of a classifier of pictures it is what generators of pictures are told apart by (as "FID" in those of
one network of 2014). It has a bias of the order d / n: only samples of one size can be compared.

Heusel et al. 2017, GANs trained by a two time-scale update rule, https://arxiv.org/abs/1706.08500
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.metrics.samples import two_samples
from genflow.metrics.wasserstein import gaussian_wasserstein2

__all__ = ["frechet_distance"]

_GROUPS = 10  # of the jackknife


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> tuple[float, float]:
    r"""The Fréchet distance of two samples, and its standard error as far as it is due to `x`.

    That error is a jackknife's that leaves out a tenth of `x` at a time. It says how another sample of the same law
    would differ, not how large the bias is.

    Args:
        x: Samples, `(n, d)`, such as features of pictures.
        y: Samples, `(m, d)`.

    Returns:
        The distance, in squared units of the samples, and its standard error.

    Raises:
        InputError: For fewer than 20 rows, values that are not finite, dimensions that differ.

    References:
        Heusel et al. 2017, https://arxiv.org/abs/1706.08500

    Example:
        >>> import torch
        >>> from genflow.metrics import frechet_distance
        >>> x, y = torch.randn(2, 4000, 3, generator=torch.Generator().manual_seed(0))
        >>> value, error = frechet_distance(x + 1, y)
        >>> abs(value - 3) < 4 * error + 0.01
        True
    """
    a, b = two_samples(x, y, least=2 * _GROUPS)
    aim, groups = _moments(b), torch.arange(len(a), device=a.device) % _GROUPS

    def distance(rows: Tensor) -> float:
        return gaussian_wasserstein2(*_moments(rows), *aim) ** 2

    value, without = distance(a), torch.tensor([distance(a[groups != group]) for group in range(_GROUPS)])
    return value, ((_GROUPS - 1) * without.var(correction=0)).sqrt().item()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])
