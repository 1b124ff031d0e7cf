"""Grids of times that a solver steps along.

A grid is the same set of times in both directions, so that decoding retraces the steps of encoding.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import NoiseSchedule, Scheduler

__all__ = ["EqualLogSNR", "Uniform", "Warped"]


def check_steps(steps: int | None, default: int) -> int:
    """The number of steps, the default where none is given.

    Raises:
        InputError: Fewer than one.
    """
    steps = default if steps is None else steps
    if steps < 1:
        raise InputError(f"steps: {steps} came; at least 1 would do")
    return steps


class Uniform(Scheduler):
    r"""Equal steps, :math:`t_k = t_0 + (k / n) (t_1 - t_0)`.

    Args:
        steps: Number :math:`n` of steps.

    Example:
        >>> import genflow as gf
        >>> gf.schedulers.Uniform(4).times(0.0, 1.0)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """

    def __init__(self, steps: int = 8):
        self.steps = check_steps(steps, 8)

    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        return torch.linspace(start, stop, check_steps(steps, self.steps) + 1, dtype=dtype, device=device)


class Warped(Scheduler):
    r"""Steps that shrink towards the data by a power, :math:`t_k = t_{min} + (k / n)^p (t_{max} - t_{min})`.

    Args:
        steps: Number :math:`n` of steps.
        power: The power :math:`p > 0`: above 1 the steps are finer near the data, below 1 near the noise.

    Example:
        >>> import genflow as gf
        >>> gf.schedulers.Warped(4, power=2.0).times(1.0, 0.0)
        tensor([1.0000, 0.5625, 0.2500, 0.0625, 0.0000])
    """

    def __init__(self, steps: int = 8, power: float = 2.0):
        if not power > 0:
            raise InputError(f"power: {power} came; a positive number would do")
        self.steps, self.power = check_steps(steps, 8), power

    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        u = torch.linspace(0, 1, check_steps(steps, self.steps) + 1, dtype=torch.float64) ** self.power
        low, high = min(start, stop), max(start, stop)
        return _orient(low + (high - low) * u, start, stop, dtype, device)


class EqualLogSNR(Scheduler):
    r"""Equal steps in the log signal-to-noise ratio :math:`\lambda(t) = \log(\alpha^2 / \sigma^2)` of a noise schedule.

    Args:
        noise: The noise schedule.
        steps: Number of steps.

    References:
        Lu et al. 2022, DPM-Solver, https://arxiv.org/abs/2206.00927

    Example:
        >>> import genflow as gf
        >>> noise = gf.schedulers.LinearInterpolant()
        >>> gf.schedulers.EqualLogSNR(noise, steps=4).times(0.01, 0.99)
        tensor([0.0100, 0.0913, 0.5000, 0.9087, 0.9900])
    """

    def __init__(self, noise: NoiseSchedule, steps: int = 32):
        self.noise, self.steps = noise, check_steps(steps, 32)

    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        low, high = min(start, stop), max(start, stop)
        ends = self.noise.log_snr(torch.tensor([low, high], dtype=torch.float64))
        if not torch.isfinite(ends).all():
            t_min, t_max = self.noise.t_min, self.noise.t_max
            raise InputError(
                f"start, stop: the log-SNR is infinite on [{low:g}, {high:g}]; [{t_min:g}, {t_max:g}] would do"
            )
        first, last = ends.tolist()
        grid = self._log_snr(first, last, check_steps(steps, self.steps))
        return _orient(self.noise.time_of(grid), start, stop, dtype, device)

    def _log_snr(self, first: float, last: float, steps: int) -> Tensor:
        r"""The grid of :math:`\lambda`, in float64."""
        return torch.linspace(first, last, steps + 1, dtype=torch.float64)


def _orient(rising: Tensor, start: float, stop: float, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    """The grid in the direction that was asked for, its ends exact."""
    times = rising if start <= stop else rising.flip(0)
    times[0], times[-1] = start, stop
    return times.to(device, dtype)
