r"""Samplers of a diffusion that solve the linear part exactly, and approximate its denoiser alone.

With :math:`x_t = \alpha x_0 + \sigma \varepsilon`, :math:`\lambda = \log(\alpha / \sigma)` and the denoiser
:math:`D(x, t) = E[x_0 \mid x_t = x]`, the probability flow from :math:`t` to :math:`s` is

.. math::
    x_s = \frac{\sigma_s}{\sigma_t} x_t + \sigma_s \int_{\lambda_t}^{\lambda_s} e^\lambda \, D \, d\lambda .

A constant :math:`D` gives DDIM, a linear one in :math:`\lambda` DPM-Solver++(2M). Noise may be taken away and drawn
anew in each step, with the law :math:`p(x_s \mid x_t, x_0 = D)`: ancestral sampling. They ask the dynamics for
`denoise` and `noise`, and integrate no log-determinant; the likelihood of the same model is that of its probability
flow, with any ODE solver. Steps that are equal in :math:`\lambda` (`EqualLogSNR`) suit them.

| Song, Meng, Ermon 2021, Denoising diffusion implicit models, https://arxiv.org/abs/2010.02502
| Lu et al. 2022, DPM-Solver++, https://arxiv.org/abs/2211.01095
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import State
from genflow.solvers.grid import Advance, OnGrid, drawing, one_tensor
from genflow.solvers.states import move

__all__ = ["DDIM", "Ancestral", "DPMSolver", "Denoising", "OfDenoiser", "PredictorCorrector"]


@dataclass(frozen=True)
class Interval:
    r"""Signal and noise at both ends of a step, from :math:`t` to :math:`s`."""

    alpha_t: float
    sigma_t: float
    alpha_s: float
    sigma_s: float

    @property
    def width(self) -> float:
        r"""The step in :math:`\lambda`; infinite from pure noise, and to pure data."""
        return _log_ratio(self.alpha_s, self.sigma_s) - _log_ratio(self.alpha_t, self.sigma_t)

    def terms(self, fresh: float = 0.0) -> tuple[float, float, float]:
        r"""The coefficients of :math:`x_s = a x_t + b D + \varsigma z`.

        .. math::
            a = \frac{\sqrt{\sigma_s^2 - \varsigma^2}}{\sigma_t}, \qquad b = \alpha_s - a \alpha_t, \qquad
            \varsigma = \eta \sigma_s \sqrt{1 - \Bigl(\frac{\alpha_t \sigma_s}{\alpha_s \sigma_t}\Bigr)^2}

        Args:
            fresh: The share :math:`\eta` of fresh noise, 0 for none.
        """
        drawn = 0.0
        if fresh and self.alpha_s:
            ratio = self.alpha_t * self.sigma_s / (self.alpha_s * self.sigma_t)
            drawn = fresh * self.sigma_s * math.sqrt(max(0.0, 1 - ratio**2))
        a = math.sqrt(max(0.0, self.sigma_s**2 - drawn**2)) / self.sigma_t
        return a, self.alpha_s - a * self.alpha_t, drawn


def _log_ratio(alpha: float, sigma: float) -> float:
    if not alpha or not sigma:
        return math.inf if alpha else -math.inf
    return math.log(alpha / sigma)


class OfDenoiser(OnGrid):
    """A sampler that asks for the denoiser; a subclass says how it advances with it.

    Args:
        gradient: `backprop` or `checkpoint`.
    """

    gradients = ("backprop", "checkpoint")
    carries_density = False
    downwards_only = False

    def offer(self, dynamics: Any, times: Tensor) -> tuple[Callable[..., Tensor], Any, list[tuple[float, float]]]:
        """The denoiser and the path of the dynamics, and the path's signal and noise at each time of the grid.

        Raises:
            InputError: The dynamics have none; rising times, where a sampler can't encode; a start without noise.
        """
        name = type(self).__name__
        denoise, schedule = dynamics.denoise, dynamics.noise
        if denoise is None or schedule is None:
            raise InputError(f"dynamics: {name} needs a denoise(t, x) and its noise, these have none; RK4 would do")
        values = torch.tensor(times.tolist(), dtype=torch.float64)
        if self.downwards_only and len(values) > 1 and values[-1] > values[0]:
            raise InputError(f"times: {name} goes from noise to data, in falling times; DDIM or RK4 would encode")
        # In float64: differences of squares below would lose their digits near the data.
        ends = list(zip(schedule.alpha(values).tolist(), schedule.sigma(values).tolist(), strict=True))
        for t, (_, sigma) in zip(values.tolist()[:-1], ends):
            if not sigma > 0:
                raise InputError(
                    f"times: there is no noise at t = {t:g}; {name} can start at {schedule.t_min:g} or later"
                )
        return denoise, schedule, ends


class Denoising(OfDenoiser):
    """One that looks at each time of the grid; a subclass writes its formula in `stepping`.

    Args:
        gradient: `backprop` or `checkpoint`.
    """

    @abstractmethod
    def stepping(
        self, denoise: Callable[[int, Tensor], Tensor], intervals: list[Interval], noise: Callable[[int], Tensor]
    ) -> Advance:
        """What takes the steps.

        Args:
            denoise: The denoiser at time n of the grid, `(n, x)`.
            intervals: Signal and noise at the ends of each step.
            noise: Standard normal numbers for step n.
        """

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        x = one_tensor(type(self).__name__, state)
        denoise, _, ends = self.offer(dynamics, times)
        t_all, noise = times.unbind(), drawing(x, generator, self.gradient)
        return self.stepping(lambda n, x: denoise(t_all[n], x), [Interval(*a, *b) for a, b in pairwise(ends)], noise)


class DDIM(Denoising):
    r"""Denoising diffusion implicit models: the exponential Euler method, of order 1 in :math:`\lambda`.

    .. math::
        x_s = \alpha_s D + \sqrt{\sigma_s^2 - \varsigma^2} \, \frac{x_t - \alpha_t D}{\sigma_t} + \varsigma z, \qquad
        \varsigma = \eta \sigma_s \sqrt{1 - \Bigl(\frac{\alpha_t \sigma_s}{\alpha_s \sigma_t}\Bigr)^2}

    Args:
        eta: The share :math:`\eta` of fresh noise: 0 solves the probability flow, in both directions; 1 is ancestral.
        gradient: `backprop` or `checkpoint`.

    Raises:
        InputError: A share that is not in [0, 1].

    References:
        Song, Meng, Ermon 2021, https://arxiv.org/abs/2010.02502

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).replace(integrator=gf.solvers.DDIM())
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    order = 1
    evaluations = 1

    def __init__(self, eta: float = 0.0, gradient: str = "backprop"):
        if not 0 <= eta <= 1:
            raise InputError(f"eta: {eta} came; a number from 0 to 1 would do")
        super().__init__(gradient)
        self.eta = eta
        self.random = self.downwards_only = eta > 0

    def stepping(
        self, denoise: Callable[[int, Tensor], Tensor], intervals: list[Interval], noise: Callable[[int], Tensor]
    ) -> Advance:
        def advance(n: int, x: Any, memory: Any) -> tuple[Any, Any]:
            a, b, drawn = intervals[n].terms(self.eta)
            x = move(a * x, (b, denoise(n, x)))
            return (move(x, (drawn, noise(n))) if self.eta else x), memory

        return advance


class Ancestral(DDIM):
    r"""Ancestral sampling, the sampler of DDPM: DDIM with all noise drawn anew, of weak order 1.

    .. math::
        x_s \sim p(x_s \mid x_t, x_0 = D), \quad \text{mean } \alpha_s D +
        \frac{\alpha_t \sigma_s^2}{\alpha_s \sigma_t^2} (x_t - \alpha_t D), \quad
        \text{variance } \sigma_s^2 \Bigl(1 - \frac{\alpha_t^2 \sigma_s^2}{\alpha_s^2 \sigma_t^2}\Bigr)

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        Ho, Jain, Abbeel 2020, Denoising diffusion probabilistic models, https://arxiv.org/abs/2006.11239

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).replace(integrator=gf.solvers.Ancestral())
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    def __init__(self, gradient: str = "backprop"):
        super().__init__(1.0, gradient)


class DPMSolver(Denoising):
    r"""DPM-Solver++(2M): the denoiser is extrapolated from two steps, of order 2 in :math:`\lambda`.

    .. math::
        x_s = \frac{\sigma_s}{\sigma_t} x_t + \Bigl(\alpha_s - \frac{\sigma_s}{\sigma_t} \alpha_t\Bigr) D', \qquad
        D' = D_n + \frac{h_n}{2 h_{n-1}} (D_n - D_{n-1}), \qquad h_n = \lambda_{n+1} - \lambda_n

    One evaluation a step. The first step is DDIM's, and so is one from or to an infinite :math:`\lambda`.

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        Lu et al. 2022, DPM-Solver++, algorithm 2, https://arxiv.org/abs/2211.01095

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).replace(integrator=gf.solvers.DPMSolver())
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    order = 2
    evaluations = 1

    def stepping(
        self, denoise: Callable[[int, Tensor], Tensor], intervals: list[Interval], noise: Callable[[int], Tensor]
    ) -> Advance:
        widths = [interval.width for interval in intervals]

        def advance(n: int, x: Any, memory: Any) -> tuple[Any, Any]:
            """`memory`: the denoised point of the step before."""
            denoised = denoise(n, x)
            a, b, _ = intervals[n].terms()
            ahead = denoised
            if memory and math.isfinite(widths[n]) and widths[n - 1]:
                ahead = torch.lerp(memory[0], denoised, 1 + widths[n] / (2 * widths[n - 1]))
            return move(a * x, (b, ahead)), (denoised,)

        return advance


class PredictorCorrector(Denoising):
    r"""An ancestral step, then steps of Langevin dynamics at the time that was reached.

    .. math::
        x \leftarrow x + \delta \, \nabla \log p_s(x) + \sqrt{2 \delta} \, z, \qquad \delta = 2 (r \sigma_s)^2, \qquad
        \nabla \log p_s(x) = \frac{\alpha_s D - x}{\sigma_s^2}

    Song's rule for the step, :math:`\delta = 2 (r |z| / |\nabla \log p_s|)^2`, with the length that the score has on
    average, :math:`\sqrt d / \sigma_s`: so the rows stay independent. Correcting costs a bias of the variance of
    :math:`r^2` at most, relative to :math:`\sigma_s^2`. Of weak order 1.

    Args:
        corrections: Langevin steps behind each step.
        ratio: The signal-to-noise ratio :math:`r` of a Langevin step.
        gradient: `backprop` or `checkpoint`.

    Raises:
        InputError: Less than one correction; a ratio that is not in (0, 0.7].

    References:
        Song et al. 2021, Score-based generative modeling through SDEs, appendix G, https://arxiv.org/abs/2011.13456

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).replace(integrator=gf.solvers.PredictorCorrector())
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    order = 1
    random = True
    downwards_only = True

    def __init__(self, corrections: int = 1, ratio: float = 0.16, gradient: str = "backprop"):
        if corrections < 1:
            raise InputError(f"corrections: {corrections} came; at least 1 would do, and Ancestral for none")
        if not 0 < ratio <= 0.7:
            raise InputError(f"ratio: {ratio} came; a number from 0 to 0.7 would do, such as 0.16")
        super().__init__(gradient)
        self.corrections, self.ratio = corrections, ratio
        self.evaluations = 1 + corrections

    def stepping(
        self, denoise: Callable[[int, Tensor], Tensor], intervals: list[Interval], noise: Callable[[int], Tensor]
    ) -> Advance:
        each = self.evaluations

        def advance(n: int, x: Any, memory: Any) -> tuple[Any, Any]:
            a, b, drawn = intervals[n].terms(1.0)
            x = move(a * x, (b, denoise(n, x)), (drawn, noise(each * n)))
            # δ times the score, δ = 2 r² σ²: the variance cancels, so that no noise at the end is no division by zero.
            pull, alpha, sigma = 2 * self.ratio**2, intervals[n].alpha_s, intervals[n].sigma_s
            for k in range(1, each):
                toward = move(-x, (alpha, denoise(n + 1, x)))
                x = move(x, (pull, toward), (2 * self.ratio * sigma, noise(each * n + k)))
            return x, memory

        return advance
