"""Diffusions of so many steps: a schedule as a table, such as that of the authors of DDPM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import GaussianPath

__all__ = ["DiscreteSteps", "Tabulated"]

_LARGEST = 0.999  # rate of the cosine schedule, that of its authors
_FAINT, _FAINTEST = -7.0, -11.0  # log-SNR between which a schedule should end: a signal of 0.03 and of 0.004


class Tabulated(GaussianPath):
    r"""The variance-preserving path through a table of signals :math:`\bar\alpha_1 > \dots > \bar\alpha_N`.

    .. math:: \alpha(n / N)^2 = \bar\alpha_n, \qquad \sigma^2 = 1 - \alpha^2

    Between two steps :math:`\log \bar\alpha` is a monotone cubic, whose slope does not jump, so that every solver
    serves; at t = 0 stand the data. It is the bridge to models of other libraries, whose schedules differ under one
    name: `Tabulated(scheduler.alphas_cumprod)` of one of diffusers', whose timestep k is the time (k + 1) / N.

    The latest time is that of the last step with a log-SNR of -11 or more. An error of a predicted noise is one of
    :math:`\sigma / \alpha` times its size in the data, 20 000 times at the last step of the cosine schedule, where no
    signal is left to be found: with that step, a density in the plane is 1.4 nats from the truth, without it 0.03.

    Args:
        signals: :math:`\bar\alpha_1, \dots, \bar\alpha_N`.

    Raises:
        InputError: Fewer than two; signals that do not fall from below 1 to above 0.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Tabulated([0.81, 0.25, 0.01]).alpha(torch.tensor([0.0, 1 / 3, 1.0]))
        tensor([1.0000, 0.9000, 0.1000])
    """

    def __init__(self, signals: Sequence[float] | Tensor):
        table = torch.as_tensor(signals, dtype=torch.float64).flatten()
        falling = torch.cat([table.new_ones(1), table])
        if len(table) < 2 or not bool((falling.diff() < 0).all() and table[-1] > 0):
            raise InputError(f"signals: {len(table)} came; at least 2 that fall from below 1 to above 0 would do")
        if isinstance(signals, Tensor):
            object.__setattr__(self, "_arguments", {**self._arguments, "signals": table.tolist()})
        self._tabulate(-falling.log().diff())

    def _tabulate(self, secants: Tensor) -> None:
        r"""Takes the steps of :math:`-\log \bar\alpha`, in float64."""
        self.steps = len(secants)
        self.t_min = 1 / self.steps
        # The exponents at n / N, n = 0 … N, and their slopes in n: harmonic means of those to both sides keep the cubic
        # monotone. Fritsch, Butland 1984, https://doi.org/10.1137/0905021
        self._exponents = torch.cat([secants.new_zeros(1), secants.cumsum(0)])
        inner = 2 / (1 / secants[:-1] + 1 / secants[1:])
        self._slopes = torch.cat([secants[:1], inner, secants[-1:]])
        log_snr = -self._exponents[1:].expm1().log()
        first, last = int((log_snr > _FAINT).sum()) + 1, int((log_snr >= _FAINTEST).sum())
        self.t_max = min(max(first, last), self.steps) / self.steps

    def _cubic(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""The exponent :math:`-\log \bar\alpha` and its rate in time, by Hermite's polynomials in the step."""
        values, slopes = (table.to(t.device, t.dtype) for table in (self._exponents, self._slopes))
        place = t * self.steps
        n = place.detach().floor().long().clamp(0, self.steps - 1)
        s, height = place - n, values[n + 1] - values[n]
        low, high = slopes[n], slopes[n + 1]
        a, b = 3 * height - 2 * low - high, low + high - 2 * height  # y = y_n + s (low + s (a + s b))
        return values[n] + s * (low + s * (a + s * b)), self.steps * (low + s * (2 * a + 3 * s * b))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._cubic(t)[0])

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._cubic(t)[0]))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -0.5 * self._cubic(t)[1] * self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return 0.5 * self._cubic(t)[1] * self.alpha(t) ** 2 / self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -torch.log(torch.expm1(self._cubic(t)[0]))

    def diffusion(self, t: Tensor) -> Tensor:
        return self._cubic(t)[1].sqrt()


class DiscreteSteps(Tabulated):
    r"""The variance-preserving schedule of N steps with rates :math:`\beta_1, \dots, \beta_N`.

    .. math:: \alpha(n / N)^2 = \bar\alpha_n = \prod_{i \le n} (1 - \beta_i), \qquad \sigma^2 = 1 - \alpha^2

    `linear` rates rise from :math:`10^{-4}` to 0.02 in 1000 steps, scaled by 1000 / N
    for another number; `cosine` ones are those of :math:`\bar\alpha = f(t) / f(0)`,
    :math:`f = \cos^2(\frac{t + 0.008}{1.008} \frac{\pi}{2})`, at most 0.999.

    Args:
        rates: `linear` or `cosine`.
        steps: The number N of steps.

    Raises:
        InputError: Other rates; fewer than two steps.

    References:
        | Ho, Jain, Abbeel 2020, Denoising diffusion probabilistic models, https://arxiv.org/abs/2006.11239
        | Nichol, Dhariwal 2021, Improved denoising diffusion probabilistic models, https://arxiv.org/abs/2102.09672

    Example:
        >>> import torch, genflow as gf
        >>> path = gf.paths.DiscreteSteps("linear", 1000)
        >>> round(path.alpha(torch.tensor(1.0)).item() ** 2, 7)  # the last of the authors' table
        4.04e-05
    """

    def __init__(self, rates: Literal["linear", "cosine"] = "linear", steps: int = 1000):
        if rates not in ("linear", "cosine"):
            raise InputError(f"rates: {rates!r} came; linear or cosine would do")
        if steps < 2:
            raise InputError(f"steps: {steps} came; at least 2 would do")
        self.rates, self.steps = rates, steps
        self._tabulate(-torch.log1p(-self.betas()))

    def betas(self) -> Tensor:
        r"""The rates :math:`\beta_1, \dots, \beta_N`, in float64."""
        n = self.steps
        if self.rates == "linear":
            return torch.linspace(0.1 / n, 20 / n, n, dtype=torch.float64).clamp_max(_LARGEST)
        t = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - signal[1:] / signal[:-1]).clamp_max(_LARGEST)
