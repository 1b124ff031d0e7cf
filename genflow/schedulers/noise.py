r"""Noise schedules: Gaussian paths from data to noise.

.. math::
    x_t = \alpha(t) x_0 + \sigma(t) \varepsilon, \qquad \varepsilon \sim N(0, I), \qquad
    \lambda(t) = \log(\alpha^2 / \sigma^2)

Each is the law of a forward equation :math:`dx = (\dot\alpha / \alpha) x \, dt + g \, dW`, and of the probability flow
:math:`\dot x = (\dot\sigma / \sigma)(x - \alpha D) + \dot\alpha D`, :math:`D = E[x_0 \mid x_t]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import NoiseSchedule

__all__ = ["LinearInterpolant", "VariancePreserving"]


class VariancePreserving(NoiseSchedule):
    r"""The variance-preserving schedule with a rate that grows linearly in time.

    .. math::
        \alpha = e^{-B/2}, \quad \sigma^2 = 1 - e^{-B}, \qquad
        B(t) = \beta_{min} t + \tfrac12 (\beta_{max} - \beta_{min}) t^2

    Here :math:`\alpha^2 + \sigma^2 = 1`, :math:`g^2 = \dot B = \beta(t)` and :math:`\lambda = -\log(e^B - 1)`. Data of
    unit covariance keep it at all times; the law at :math:`t_{max}` is within :math:`\alpha(t_{max})` of N(0, I).

    Args:
        beta_min: Rate :math:`\beta_{min}` at time 0.
        beta_max: Rate :math:`\beta_{max}` at time 1.
        t_min: Time of the least noise, where the likelihood is defined.
        t_max: Time of the most noise.

    Raises:
        InputError: Rates that are not positive and rising; times that are not.

    References:
        Song et al. 2021, Score-based generative modeling through SDEs, https://arxiv.org/abs/2011.13456

    Example:
        >>> import torch, genflow as gf
        >>> noise = gf.schedulers.VariancePreserving()
        >>> alpha, sigma = (rate(torch.tensor(1.0)).item() for rate in (noise.alpha, noise.sigma))
        >>> round(alpha**2 + sigma**2, 4)
        1.0
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-5, t_max: float = 1.0):
        if not 0 < beta_min <= beta_max:
            raise InputError(f"beta_min, beta_max: {beta_min}, {beta_max} came; 0 < beta_min <= beta_max would do")
        if not 0 < t_min < t_max:
            raise InputError(f"t_min, t_max: {t_min}, {t_max} came; 0 < t_min < t_max would do")
        self.beta_min, self.beta_max = beta_min, beta_max
        self.t_min, self.t_max = t_min, t_max

    def beta(self, t: Tensor) -> Tensor:
        r"""The rate :math:`\beta(t) = \beta_{min} + (\beta_{max} - \beta_{min}) t`."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def integral(self, t: Tensor) -> Tensor:
        r"""Its integral :math:`B(t)`."""
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self.integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -0.5 * self.beta(t) * self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return 0.5 * self.beta(t) * self.alpha(t) ** 2 / self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -torch.log(torch.expm1(self.integral(t)))

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.sqrt(self.beta(t))

    def time_of(self, log_snr: Tensor) -> Tensor:
        integral = torch.nn.functional.softplus(-log_snr, threshold=50.0)
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))


class LinearInterpolant(NoiseSchedule):
    r"""The straight path from data to noise, :math:`\alpha = 1 - t, \; \sigma = t`.

    Its forward equation has an infinite drift and diffusion at t = 1, and the noise can't be told from :math:`x_0` at
    t = 0; between `t_min` and `t_max` all is finite. The law at :math:`t_{max}` is N(0, I) up to a share
    :math:`1 - t_{max}` of the data.

    Args:
        t_min: Time of the least noise, where the likelihood is defined.
        t_max: Time of the most noise.

    Raises:
        InputError: Times that do not keep away from 0 and 1.

    References:
        | Lipman et al. 2023, https://arxiv.org/abs/2210.02747
        | Albergo, Vanden-Eijnden 2023, https://arxiv.org/abs/2209.15571

    Example:
        >>> import torch, genflow as gf
        >>> gf.schedulers.LinearInterpolant().time_of(torch.tensor(0.0))
        tensor(0.5000)
    """

    def __init__(self, t_min: float = 1e-3, t_max: float = 1 - 1e-3):
        if not 0 < t_min < t_max < 1:
            raise InputError(f"t_min, t_max: {t_min}, {t_max} came; 0 < t_min < t_max < 1 would do")
        self.t_min, self.t_max = t_min, t_max

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.logit(t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * log_snr)
