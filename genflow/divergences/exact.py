"""The exact divergence."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from genflow.divergences.probes import check_mode
from genflow.errors import InputError
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity, trace

__all__ = ["Exact"]


class Exact(DivergenceEstimator):
    r"""The trace of the Jacobian, :math:`\nabla \cdot v = \operatorname{tr} J`, as the velocity computes it.

    A velocity with a closed form pushes no tangents; any other pushes the identity, one tangent for each dimension.

    Args:
        chunk: How many tangents are pushed at once, less for less memory. By default as many as hold some 64 MB.
        mode: `push` for forward mode; `pull` for reverse mode, for networks that have no forward mode.

    Raises:
        InputError: A chunk below one; an unknown mode.

    Example:
        >>> import torch, genflow as gf
        >>> v, divergence, *_ = gf.divergences.Exact()(gf.velocities.Shallow(2), torch.randn(3, 2), torch.tensor(0.0))
        >>> divergence.shape
        torch.Size([3])
    """

    def __init__(self, chunk: int | None = None, mode: str = "push"):
        check_mode(mode)
        if chunk is not None and chunk < 1:
            raise InputError(f"chunk: {chunk} tangents at once came; at least 1 would do")
        self.chunk, self.mode = chunk, mode

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        if velocity.closed_form:
            return Estimate(*velocity.divergence(x, t, condition))
        if self.chunk is None and self.mode == "push":
            v, divergence = velocity.divergence(x, t, condition)
        else:
            push = velocity.pushforward if self.mode == "push" else velocity.pullback
            v, divergence = trace(lambda columns: push(x, t, columns, condition), x, velocity, self.chunk)
        return Estimate(v, divergence, pushes=math.prod(x.shape[x.ndim - velocity.event_ndim :]))
