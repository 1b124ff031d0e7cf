r"""The Wasserstein distance of order 2.

.. math::
    W_2^2(p, q) = \min_{\pi \in \Pi(p, q)} \int |x - y|^2 \, d\pi(x, y)

Between two samples it is a linear program, solved exactly; between two Gaussians it has a closed form. Two independent
samples of one law are a positive distance apart, which falls only as :math:`n^{-1/d}`: compare a model's distance with
that of the training sample to the test sample, the floor.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.extras import extra
from genflow.metrics.samples import two_samples

__all__ = ["gaussian_wasserstein2", "transport_cost", "wasserstein2"]

# The network simplex needs some ten pivots for each point; the cap is there so that it ends.
_PIVOTS = 10_000_000


def wasserstein2(
    x: Tensor, y: Tensor, max_points: int | None = 2000, generator: torch.Generator | None = None
) -> float:
    r"""The exact :math:`W_2` of two samples, not squared.

    .. math::
        W_2^2 = \min_{P \ge 0} \sum_{ij} P_{ij} |x_i - y_j|^2, \qquad
        \sum_j P_{ij} = \frac1n, \quad \sum_i P_{ij} = \frac1m

    The plan is checked: its marginals, and that its cost is that of the dual potentials, which proves it optimal.

    Args:
        x: Samples, `(n, *event)`.
        y: Samples, `(m, *event)`.
        max_points: Larger samples are cut to this many rows at random; memory grows as its square, time as its cube.
            `None` keeps all.
        generator: Source of randomness for the cut.

    Returns:
        The distance, in the units of the samples.

    Raises:
        InputError: For empty samples, values that are not finite, dimensions that differ.
        SolverError: Where no optimal plan was found.

    References:
        | Displacement Interpolation Using Lagrangian Mass Transport (Bonneel et al., 2011)
        | https://doi.org/10.1145/2070781.2024192
        | POT: Python Optimal Transport (Flamary et al., 2021)
        | https://pythonot.github.io

    Example:
        >>> import torch
        >>> from genflow.metrics import wasserstein2
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> round(wasserstein2(x, x.flip(0) + torch.tensor([3.0, 4.0])), 4)
        5.0
    """
    a, b = two_samples(x, y, max_points, generator)
    # Not through |x|^2 + |y|^2 - 2xy, whose cancellation would cost half of the digits.
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
    return transport_cost(cost) ** 0.5


def transport_cost(cost: Float[Tensor, "n m"], pivots: int = _PIVOTS) -> float:
    """The least cost of carrying uniform weights on the rows to uniform weights on the columns.

    Args:
        cost: What carrying all of the weight from a row to a column costs, `(n, m)`.
        pivots: At most so many pivots of the network simplex.

    Raises:
        SolverError: Where no optimal plan was found.
    """
    import warnings

    import numpy as np

    with extra("transport"):
        import ot

    # POT works on the array's own device and library: it is handed numpy, always.
    c = cost.cpu().numpy()
    scale = c.max() or 1.0  # POT's own tolerance is absolute
    p, q = np.full(c.shape[0], 1 / c.shape[0]), np.full(c.shape[1], 1 / c.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is checked below
        plan, log = ot.emd(p, q, c / scale, numItermax=pivots, log=True)
    marginals = max(abs(plan.sum(1) - p).max() * len(p), abs(plan.sum(0) - q).max() * len(q))
    value = float((plan * c).sum())
    gap = abs(value - scale * float(p @ log["u"] + q @ log["v"]))
    if not marginals < 1e-6 or not gap <= 1e-6 * c.max():
        raise SolverError(
            f"optimal transport between {len(p)} and {len(q)} points was not solved: marginals off by {marginals:.1e}, "
            f"duality gap {gap:.1e} after at most {pivots} pivots; fewer points (max_points) would do"
        )
    return max(value, 0.0)


def gaussian_wasserstein2(
    mean1: Float[Tensor, " d"],
    covariance1: Float[Tensor, "d d"],
    mean2: Float[Tensor, " d"],
    covariance2: Float[Tensor, "d d"],
) -> float:
    r""":math:`W_2` between two Gaussians, not squared.

    .. math::
        W_2^2 = |m_1 - m_2|^2
        + \operatorname{tr} \bigl( \Sigma_1 + \Sigma_2 - 2 (\Sigma_2^{1/2} \Sigma_1 \Sigma_2^{1/2})^{1/2} \bigr)

    Args:
        mean1: :math:`m_1`, `(d,)`.
        covariance1: :math:`\Sigma_1`, `(d, d)`, symmetric and not negative.
        mean2: :math:`m_2`, `(d,)`.
        covariance2: :math:`\Sigma_2`, `(d, d)`, symmetric and not negative.

    Returns:
        The distance, in the units of the means.

    Raises:
        InputError: For shapes that do not fit, or a matrix that is no covariance.

    References:
        | On the Bures-Wasserstein distance between positive definite matrices (Bhatia et al., 2019)
        | https://arxiv.org/abs/1712.01504

    Example:
        >>> import torch
        >>> from genflow.metrics import gaussian_wasserstein2
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> distance = gaussian_wasserstein2(zero, one, torch.tensor([3.0, 0.0]), 25 * one)
        >>> round(distance**2, 4)  # 3^2 + 2 (5 - 1)^2
        41.0
    """
    m1, m2 = (m.detach().double() for m in (mean1, mean2))
    d = len(m1)
    matrices = []
    for name, c in (("covariance1", covariance1), ("covariance2", covariance2)):
        if c.shape != (d, d) or m2.shape != (d,):
            raise InputError(
                f"{name}: shape {tuple(c.shape)} came with means of {tuple(m1.shape)} and {tuple(m2.shape)}, "
                "a (d, d) matrix and (d,) vectors are needed"
            )
        c = c.detach().double()
        if not torch.allclose(c, c.mT, rtol=1e-5, atol=1e-6 * c.abs().max().item()):
            raise InputError(f"{name}: a matrix that is not symmetric came, a covariance is needed")
        matrices.append((c + c.mT) / 2)
    c1, c2 = matrices
    root1, root2 = _square_root(c1, "covariance1"), _square_root(c2, "covariance2")
    # tr (S2^1/2 S1 S2^1/2)^1/2 is the sum of the singular values of S1^1/2 S2^1/2.
    fidelity = torch.linalg.svdvals(root1 @ root2).sum()
    squared = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * fidelity
    return squared.clamp(min=0).sqrt().item()


def _square_root(matrix: Float[Tensor, "d d"], name: str) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(matrix)
    if values.min() < -1e-6 * values.abs().max():
        raise InputError(f"{name}: a matrix with the eigenvalue {values.min().item():.3g} came, a covariance is needed")
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
