"""Karras's grid of noise levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import GaussianPath
from genflow.schedulers.grids import EqualLogSNR

__all__ = ["Karras"]


class Karras(EqualLogSNR):
    r"""Equal steps in a power of the noise :math:`r = \sigma / \alpha` of a path.

    .. math:: r_k = \Bigl(r_0^{1/\rho} + \frac{k}{n} (r_n^{1/\rho} - r_0^{1/\rho})\Bigr)^\rho

    Args:
        noise: The path.
        steps: Number :math:`n` of steps.
        rho: The power :math:`\rho`: the larger, the finer are the steps near the data.

    Raises:
        InputError: A power below 1.

    References:
        Karras et al. 2022, equation 5, https://arxiv.org/abs/2206.00364

    Example:
        >>> import genflow as gf
        >>> [round(t, 2) for t in gf.schedulers.Karras(gf.paths.EDM(), steps=3).times(80.0, 0.002).tolist()]
        [80.0, 9.72, 0.47, 0.0]
    """

    def __init__(self, noise: GaussianPath, steps: int = 18, rho: float = 7.0):
        if not rho >= 1:
            raise InputError(f"rho: {rho} came; a number from 1 on would do")
        super().__init__(noise, steps)
        self.rho = rho

    def _log_snr(self, first: float, last: float, steps: int) -> Tensor:
        low, high = (math.exp(-0.5 * end / self.rho) for end in (first, last))  # r^(1/ρ)
        return -2 * self.rho * torch.linspace(low, high, steps + 1, dtype=torch.float64).log()
