"""Karras's grid of noise levels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import GaussianPath, Scheduler
from genflow.schedulers.grids import checked_steps, finished

__all__ = ["Karras"]


class Karras(Scheduler):
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
        self.noise, self.steps, self.rho = noise, checked_steps(steps, 18), rho

    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        ends = self.noise.log_snr(torch.tensor([min(start, stop), max(start, stop)], dtype=torch.float64))
        if not ends.isfinite().all():
            raise InputError(
                f"start, stop: the noise is infinite, or none, at an end of [{start:g}, {stop:g}]; "
                f"[{self.noise.t_min:g}, {self.noise.t_max:g}] would do"
            )
        low, high = torch.exp(-0.5 * ends / self.rho).tolist()  # r^(1/ρ)
        grid = torch.linspace(low, high, checked_steps(steps, self.steps) + 1, dtype=torch.float64)
        return finished(self.noise.time_of(-2 * self.rho * grid.log()), start, stop, dtype, device)
