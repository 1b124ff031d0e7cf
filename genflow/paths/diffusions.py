r"""The paths of diffusions: noise schedules in continuous time.

.. math::
    x_t = \alpha(t) x_0 + \sigma(t) \varepsilon, \qquad \varepsilon \sim N(0, I), \qquad
    \lambda(t) = \log(\alpha^2 / \sigma^2)

Each is the law of a forward equation :math:`dx = (\dot\alpha / \alpha) x \, dt + g \, dW`, and of the probability flow
:math:`\dot x = (\dot\sigma / \sigma)(x - \alpha D) + \dot\alpha D`, :math:`D = E[x_0 \mid x_t]`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import GaussianPath

__all__ = ["EDM", "Cosine", "SubVariancePreserving", "VarianceExploding", "VariancePreserving"]


def check_times(t_min: float, t_max: float, latest: float = math.inf, earliest: float = 0.0) -> None:
    """Refuses times that are not in order, or not within what a path allows.

    Args:
        t_min: The earlier time; above `earliest`.
        t_max: The later one; below `latest`, where that is finite.
        latest: The time that is not reached.
        earliest: The time that is not reached.

    Raises:
        InputError: They are not.
    """
    if not earliest < t_min < t_max < latest:
        bound = f" < {latest:g}" if latest < math.inf else ""
        raise InputError(f"t_min, t_max: {t_min}, {t_max} came; {earliest:g} < t_min < t_max{bound} would do")


class VariancePreserving(GaussianPath):
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
        >>> noise = gf.paths.VariancePreserving()
        >>> alpha, sigma = (rate(torch.tensor(1.0)).item() for rate in (noise.alpha, noise.sigma))
        >>> round(alpha**2 + sigma**2, 4)
        1.0
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-5, t_max: float = 1.0):
        if not 0 < beta_min <= beta_max:
            raise InputError(f"beta_min, beta_max: {beta_min}, {beta_max} came; 0 < beta_min <= beta_max would do")
        check_times(t_min, t_max)
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


class SubVariancePreserving(VariancePreserving):
    r"""The variance-preserving schedule whose noise has the square of its deviation, :math:`\sigma = 1 - e^{-B}`.

    Its variance is below one on the way, and :math:`g^2 = \beta (1 - e^{-2B})`. The noise is small for longer than the
    variance-preserving one's: :math:`\sigma \approx \beta_{min} t` at the data.

    Args:
        beta_min: Rate :math:`\beta_{min}` at time 0.
        beta_max: Rate :math:`\beta_{max}` at time 1.
        t_min: Time of the least noise, where the likelihood is defined.
        t_max: Time of the most noise.

    References:
        Song et al. 2021, Score-based generative modeling through SDEs, equation 13, https://arxiv.org/abs/2011.13456

    Example:
        >>> import torch, genflow as gf
        >>> round(gf.paths.SubVariancePreserving().sigma(torch.tensor(1.0)).item(), 3)
        1.0
    """

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self.integral(t))

    def sigma_dot(self, t: Tensor) -> Tensor:
        return self.beta(t) * torch.exp(-self.integral(t))

    def log_snr(self, t: Tensor) -> Tensor:
        return -self.integral(t) - 2 * self.sigma(t).log()

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.sqrt(self.beta(t) * -torch.expm1(-2 * self.integral(t)))

    def time_of(self, log_snr: Tensor) -> Tensor:
        # α / σ = r is α² + α / r = 1: with h = 1 / (2 r), α = √(h² + 1) - h = 1 / (√(h² + 1) + h), B = -2 log α.
        half = 0.5 * torch.exp(-0.5 * log_snr)
        integral = 2 * torch.asinh(half)
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))


class VarianceExploding(GaussianPath):
    r"""Noise that grows geometrically on data that stay as they are.

    .. math:: \alpha = 1, \qquad \sigma = \sigma_{min} (\sigma_{max} / \sigma_{min})^t

    The law at t = 1 is that of the data with a noise of :math:`\sigma_{max}`, :math:`N(0, 1 + \sigma_{max}^2)` as good
    as; it should exceed the largest distance between two points of the data.

    Args:
        sigma_min: The least noise, at time 0, where the likelihood is defined.
        sigma_max: The most noise, at time 1.

    Raises:
        InputError: Noises that are not positive and rising.

    References:
        | Song, Ermon 2020, Improved techniques for training score-based models, https://arxiv.org/abs/2006.09011
        | Song et al. 2021, https://arxiv.org/abs/2011.13456

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.VarianceExploding(0.01, 100.0).sigma(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000e-02, 1.0000e+00, 1.0000e+02])
    """

    def __init__(self, sigma_min: float = 0.001, sigma_max: float = 50.0):
        if not 0 < sigma_min < sigma_max < math.inf:
            raise InputError(f"sigma_min, sigma_max: {sigma_min}, {sigma_max} came; 0 < sigma_min < sigma_max would do")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self._range = math.log(sigma_max / sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(self._range * t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return self._range * self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * (math.log(self.sigma_min) + self._range * t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self._range


class EDM(GaussianPath):
    r"""Time that is the noise itself, :math:`\alpha = 1, \; \sigma = t`: the paths of its probability flow bend least.

    Args:
        t_min: The least noise, where the likelihood is defined.
        t_max: The most noise.

    Raises:
        InputError: Noises that are not positive and rising.

    References:
        Karras et al. 2022, Elucidating the design space of diffusion-based generative models,
        https://arxiv.org/abs/2206.00364

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.EDM().sigma(torch.tensor(3.0))
        tensor(3.)
    """

    def __init__(self, t_min: float = 0.002, t_max: float = 80.0):
        check_times(t_min, t_max)
        self.t_min, self.t_max = t_min, t_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * t.log()

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-0.5 * log_snr)


class Cosine(GaussianPath):
    r"""The cosine schedule, variance preserving, which keeps some of the signal for longer than the linear rate does.

    .. math::
        \alpha^2 = \frac{f(t)}{f(0)}, \quad f(t) = \cos^2\Bigl(\frac{t + s}{1 + s} \frac{\pi}{2}\Bigr), \qquad
        \sigma^2 = 1 - \alpha^2

    Args:
        offset: The offset :math:`s`, which keeps the noise of the first steps from being too small.
        t_min: Time of the least noise, where the likelihood is defined.
        t_max: Time of the most noise, below 1, where no signal is left.

    Raises:
        InputError: An offset below 0; times that are not in (0, 1) and rising.

    References:
        Nichol, Dhariwal 2021, Improved denoising diffusion probabilistic models, https://arxiv.org/abs/2102.09672

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Cosine(offset=0.0).alpha(torch.tensor(0.5))
        tensor(0.7071)
    """

    def __init__(self, offset: float = 0.008, t_min: float = 1e-4, t_max: float = 0.999):
        if not 0 <= offset < math.inf:
            raise InputError(f"offset: {offset} came; a small number from 0 on would do")
        check_times(t_min, t_max, 1.0)
        self.offset, self.t_min, self.t_max = offset, t_min, t_max
        self._first = 0.5 * math.pi * offset / (1 + offset)

    def _angle(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(self._angle(t)) / math.cos(self._first)

    def sigma(self, t: Tensor) -> Tensor:
        # 1 - cos² a / cos² b = sin(a + b) sin(a - b) / cos² b, which keeps its digits near the data.
        a, b = self._angle(t), self._first
        return (torch.sin(a + b) * torch.sin(a - b)).sqrt() / math.cos(b)

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -0.5 * math.pi / (1 + self.offset) * torch.sin(self._angle(t)) / math.cos(self._first)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -self.alpha(t) * self.alpha_dot(t) / self.sigma(t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        alpha = torch.sigmoid(log_snr).sqrt()
        sigma = torch.sigmoid(-log_snr).sqrt()
        # The angle by its sine and cosine, cos a = α cos b: sin² a = σ² cos² b + sin² b.
        sine = torch.sqrt((sigma * math.cos(self._first)) ** 2 + math.sin(self._first) ** 2)
        angle = torch.atan2(sine, alpha * math.cos(self._first))
        return angle * (2 / math.pi) * (1 + self.offset) - self.offset
