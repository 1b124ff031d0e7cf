"""Karras's sampler: Heun's method in the noise itself, with noise that is added and taken away again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import State
from genflow.solvers.exponential import OfDenoiser
from genflow.solvers.grid import Advance, drawing, one_tensor

__all__ = ["EDMSampler"]

_MOST = math.sqrt(2) - 1  # of a noise, added in one step


class EDMSampler(OfDenoiser):
    r"""Heun's method for the probability flow in :math:`\hat x = x / \alpha` and the noise :math:`r = \sigma / \alpha`.

    Each step first adds noise, up to :math:`\hat r = (1 + \gamma) r`, and then solves

    .. math::
        \frac{d \hat x}{d r} = \frac{\hat x - D}{r}, \qquad
        \gamma = \min\Bigl(\frac{S_{churn}}{N}, \sqrt 2 - 1\Bigr) \text{ where } r \in [S_{min}, S_{max}]

    from :math:`\hat r` to the next noise. The step to no noise at all is Euler's: it returns the denoiser. So is that
    from no signal at all, where :math:`r` is infinite: :math:`x_{t'} = (\sigma_{t'} / \sigma_t) x_t + \alpha_{t'} D`.

    Args:
        churn: :math:`S_{churn}`, how much noise is added in all; 0 solves the probability flow, in both directions.
        s_min: The least noise to which some is added.
        s_max: The most.
        s_noise: The deviation of what is added, against that of what is taken away.
        gradient: `backprop` or `checkpoint`.

    Raises:
        InputError: A negative churn; noises that are not in order.

    References:
        Karras et al. 2022, algorithms 1 and 2, https://arxiv.org/abs/2206.00364

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).replace(integrator=gf.solvers.EDMSampler(churn=10))
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    order = 2
    evaluations = 2

    def __init__(
        self,
        churn: float = 0.0,
        s_min: float = 0.0,
        s_max: float = math.inf,
        s_noise: float = 1.0,
        gradient: str = "backprop",
    ):
        if not 0 <= churn < math.inf:
            raise InputError(f"churn: {churn} came; a number from 0 on would do")
        if not 0 <= s_min <= s_max or not s_noise > 0:
            raise InputError(f"s_min, s_max, s_noise: {s_min}, {s_max}, {s_noise} came; 0 <= s_min <= s_max would do")
        super().__init__(gradient)
        self.churn, self.s_min, self.s_max, self.s_noise = churn, s_min, s_max, s_noise
        self.random = self.downwards_only = churn > 0

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        x = one_tensor(type(self).__name__, state)
        denoise, path, ends = self.offer(dynamics, times)
        noise = drawing(x, generator, self.gradient)
        share = min(self.churn / max(len(h_all), 1), _MOST)
        t_all = times.unbind()

        def slope(t: Tensor, alpha: float, r: float, y: Tensor) -> Tensor:
            return (y - denoise(t, alpha * y)) / r

        def advance(n: int, x: Any, memory: Any) -> tuple[Any, Any]:
            (alpha, sigma), (alpha_next, sigma_next) = ends[n], ends[n + 1]
            t = t_all[n]
            if not alpha > 0:  # r is infinite where there is no signal; Euler's step has a limit, Heun's has none
                return sigma_next / sigma * x + alpha_next * denoise(t, x), memory
            r, y = sigma / alpha, x / alpha
            if share and self.s_min <= r <= self.s_max:
                more = (1 + share) * r
                y = y + math.sqrt(more**2 - r**2) * self.s_noise * noise(n)
                exact = path.time_of(torch.tensor(-2 * math.log(more), dtype=torch.float64)).clamp(max=path.t_max)
                r, alpha = more, path.alpha(exact).item()
                t = exact.to(t)
            first, rise = slope(t, alpha, r, y), sigma_next - alpha_next * r  # that of r, times the signal
            ahead = alpha_next * y + rise * first
            if sigma_next > 0 and alpha_next > 0:
                second = slope(t_all[n + 1], alpha_next, sigma_next / alpha_next, ahead / alpha_next)
                ahead = alpha_next * y + rise * 0.5 * (first + second)
            return ahead, memory

        return advance
