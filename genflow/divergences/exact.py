"""The exact divergence."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from genflow.interfaces import DivergenceEstimator, Estimate, Velocity

__all__ = ["Exact"]


class Exact(DivergenceEstimator):
    r"""The trace of the Jacobian, :math:`\nabla \cdot v = \operatorname{tr} J`, as the velocity computes it.

    A velocity with a closed form pushes no tangents; any other pushes the identity, one tangent for each dimension.

    Example:
        >>> import torch, genflow as gf
        >>> v, divergence, *_ = gf.divergences.Exact()(gf.velocities.Shallow(2), torch.randn(3, 2), torch.tensor(0.0))
        >>> divergence.shape
        torch.Size([3])
    """

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        v, divergence = velocity.divergence(x, t, condition)
        pushes = 0 if velocity.closed_form else math.prod(x.shape[x.ndim - velocity.event_ndim :])
        return Estimate(v, divergence, pushes=pushes)
