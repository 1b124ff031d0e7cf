r"""Maximum mean discrepancy: how far apart are two samples in the eyes of a kernel?

.. math::
    \mathrm{MMD}^2 = \frac{1}{n^2} \sum_{ij} k(x_i, x_j) + \frac{1}{m^2} \sum_{ij} k(y_i, y_j)
    - \frac{2}{n m} \sum_{ij} k(x_i, y_j), \qquad k(x, y) = \exp \Bigl( -\frac{|x - y|^2}{2 \gamma^2} \Bigr)

This is the biased V-statistic: never negative, and not zero under equal laws; its threshold says how large is large.
With the signed weights :math:`w = (1/n, \dots, -1/m, \dots)` on the pooled points it is :math:`w^\top K w`, so every
relabelling of the points is one more column of weights for the same kernel matrix.

In many dimensions all distances are alike: within a tenth of the median no point has a neighbour, and `"c"` gives
:math:`1/n + 1/m` whatever the laws; `"m"` still sees.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.metrics.samples import two_samples

__all__ = ["mmd", "mmd_threshold"]

# Bandwidths by name, in units of the median distance: the names of the JKO-iFlow paper.
_BANDWIDTHS = {"c": 0.1, "m": 1.0}
# Relabellings at once: as many kernel-matrix products in one, at some megabytes of weights.
_CHUNK = 250


def mmd(
    x: Tensor,
    y: Tensor,
    bandwidth: str | float = "c",
    max_points: int | None = 2000,
    generator: torch.Generator | None = None,
) -> float:
    r"""The squared discrepancy :math:`\mathrm{MMD}^2`, biased.

    Args:
        x: The reference sample, `(n, *event)`: data. It sets the bandwidth, so that the figures of several models
            against the same data compare.
        y: The sample in question, `(m, *event)`.
        bandwidth: :math:`\gamma`: a number in the units of the samples, or `"m"` for the median distance within the
            reference, `"c"` for a tenth of it.
        max_points: Larger samples are cut to this many rows at random; memory grows as its square. `None` keeps all.
        generator: Source of randomness for the cut.

    Returns:
        The discrepancy, from 0 to 2, without unit.

    Raises:
        InputError: For samples of fewer than two rows, values that are not finite, dimensions that differ, an unknown
            or non-positive bandwidth, a reference whose median distance is zero.

    References:
        | A Kernel Two-Sample Test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html
        | Normalizing flow neural networks by JKO scheme (Xu et al., 2023)
        | https://arxiv.org/abs/2212.14424

    Example:
        >>> import torch
        >>> from genflow.metrics import mmd
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> round(mmd(x, x + 1, bandwidth=1.0), 4)  # 1 + e^-2 - (3 e^-1/2 + e^-9/2) / 2
        0.22
    """
    a, b = two_samples(x, y, max_points, generator, least=2)
    kernel = _kernel(a, b, bandwidth)
    return _discrepancy(kernel, _labels(len(a), len(b), kernel)).clamp(min=0).item()


def mmd_threshold(
    x: Tensor,
    y: Tensor,
    bandwidth: str | float = "c",
    level: float = 0.95,
    resamples: int = 1000,
    max_points: int | None = 2000,
    generator: torch.Generator | None = None,
) -> float:
    r"""What :math:`\mathrm{MMD}^2` stays below with probability `level` if both samples have one law.

    The pooled points are dealt again at random to two samples of the same sizes, `resamples` times; the threshold is
    the quantile of the discrepancies found. A larger `mmd` with the same arguments rejects equality.

    Args:
        x: The reference sample, `(n, *event)`.
        y: The sample in question, `(m, *event)`; or a second sample of the data, for a threshold that is the same for
            all models.
        bandwidth: As in `mmd`.
        level: :math:`1 - \alpha`: one minus the rate of false alarms.
        resamples: How often the points are dealt again.
        max_points: As in `mmd`.
        generator: Source of randomness for the cut and the resampling.

    Returns:
        The threshold :math:`\tau`, without unit.

    Raises:
        InputError: As `mmd`, and for a level outside (0, 1).

    References:
        | A Kernel Two-Sample Test, section 3.3 (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html

    Example:
        >>> import torch
        >>> from genflow.metrics import mmd, mmd_threshold
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(2, 200, 2, generator=generator)
        >>> mmd(x, y, "m") < mmd_threshold(x, y, "m", generator=generator) < mmd(x, y + 1, "m")
        True
    """
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level and resamples: {level} and {resamples} came, 0 < level < 1 and at least 1 are needed")
    a, b = two_samples(x, y, max_points, generator, least=2)
    # Under the null the figure is near 1/n, and single precision resolves it to one part in a thousand: enough here.
    kernel = _kernel(a, b, bandwidth).float()
    labels = _labels(len(a), len(b), kernel)
    null = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        order = torch.rand(count, len(labels), generator=generator).argsort(-1).to(labels.device)
        null.append(_discrepancy(kernel, labels[order]))
    return torch.cat(null).quantile(level).clamp(min=0).item()


def _kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], bandwidth: str | float) -> Float[Tensor, "k k"]:
    pooled = torch.cat((x, y))
    distances = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    if isinstance(bandwidth, str):
        if bandwidth not in _BANDWIDTHS:
            raise InputError(f"bandwidth: {bandwidth!r} came, one of {', '.join(_BANDWIDTHS)} or a number would do")
        n = len(x)
        upper = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        median = distances[:n, :n][upper].median().item()
        if median == 0:
            raise InputError("x: the median distance is 0, most rows are equal; give the bandwidth as a number")
        gamma = _BANDWIDTHS[bandwidth] * median
    else:
        gamma = float(bandwidth)
        if not 0 < gamma < float("inf"):
            raise InputError(f"bandwidth: {bandwidth} came, a positive number is needed")
    return distances.div_(gamma).square_().mul_(-0.5).exp_()


def _labels(n: int, m: int, like: Tensor) -> Float[Tensor, " k"]:
    return torch.cat((like.new_full((n,), 1 / n), like.new_full((m,), -1 / m)))


def _discrepancy(kernel: Float[Tensor, "k k"], weights: Float[Tensor, "*count k"]) -> Float[Tensor, "*count"]:
    return (weights @ kernel * weights).sum(-1)
