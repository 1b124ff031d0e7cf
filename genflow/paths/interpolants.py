r"""Paths between two samples: those of flow matching and of stochastic interpolants.

.. math:: x_t = \alpha(t) x + \sigma(t) z + \gamma(t) \varepsilon

Where :math:`\alpha(1) = 0, \sigma(1) = 1`, the noise z may have any law: it is the base.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import GaussianPath, Path
from genflow.paths.diffusions import check_times

__all__ = ["BrownianBridge", "ConditionalOT", "Interpolant", "Linear", "LinearInterpolant", "Trigonometric"]


class Linear(GaussianPath):
    r"""The straight path from data to noise, :math:`\alpha = 1 - t, \; \sigma = t`.

    Its velocity :math:`z - x` does not depend on time. The forward equation of the same laws has an infinite rate at
    t = 1; a stochastic sampler exchanges noise at the rate 1, :math:`g^2 = 2 t`.

    Args:
        t_min: Time of the least noise.
        t_max: Time of the most.

    Raises:
        InputError: Times that are not in [0, 1] and rising.

    References:
        | Lipman et al. 2023, https://arxiv.org/abs/2210.02747
        | Liu, Gong, Liu 2023, https://arxiv.org/abs/2209.03003
        | Albergo, Vanden-Eijnden 2023, https://arxiv.org/abs/2209.15571

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Linear().time_of(torch.tensor(0.0))
        tensor(0.5000)
    """

    def __init__(self, t_min: float = 0.0, t_max: float = 1.0):
        self.t_min, self.t_max = _within(t_min, t_max)

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def exchange(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.logit(t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * log_snr)


class LinearInterpolant(Linear):
    r"""The straight path as a diffusion's: between times at which its forward equation is finite.

    The noise can't be told from :math:`x_0` at t = 0, nor the signal from the noise at t = 1. The law at
    :math:`t_{max}` is N(0, I) up to a share :math:`1 - t_{max}` of the data.

    Args:
        t_min: Time of the least noise, where the likelihood is defined.
        t_max: Time of the most noise.

    Raises:
        InputError: Times that do not keep away from 0 and 1.

    Example:
        >>> import torch, genflow as gf
        >>> gf.schedulers.LinearInterpolant().time_of(torch.tensor(0.0))
        tensor(0.5000)
    """

    def __init__(self, t_min: float = 1e-3, t_max: float = 1 - 1e-3):
        check_times(t_min, t_max, 1.0)
        super().__init__(t_min, t_max)

    def exchange(self, t: Tensor) -> Tensor:
        return 1 / (1 - t)  # that of the forward equation


class Trigonometric(GaussianPath):
    r"""The variance-preserving path of flow matching, a quarter of a circle.

    .. math:: \alpha = \cos(\pi t / 2), \qquad \sigma = \sin(\pi t / 2)

    It is the cosine schedule without an offset, too. A stochastic sampler exchanges noise at the rate :math:`\pi / 2`.

    Args:
        t_min: Time of the least noise.
        t_max: Time of the most.

    Raises:
        InputError: Times that are not in [0, 1] and rising.

    References:
        | Albergo, Vanden-Eijnden 2023, Building normalizing flows with stochastic interpolants,
          https://arxiv.org/abs/2209.15571
        | Salimans, Ho 2022, https://arxiv.org/abs/2202.00512

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Trigonometric().alpha(torch.tensor(0.5))
        tensor(0.7071)
    """

    def __init__(self, t_min: float = 0.0, t_max: float = 1.0):
        self.t_min, self.t_max = _within(t_min, t_max)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * (1 - t))  # exactly 0 at 1

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -0.5 * math.pi * self.sigma(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * self.alpha(t)

    def exchange(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 0.5 * math.pi)

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-0.5 * log_snr)) * (2 / math.pi)


class ConditionalOT(GaussianPath):
    r"""The target path of Lipman et al.: straight, and a little noise stays on the data.

    .. math:: \alpha = 1 - t, \qquad \sigma = \sigma_{min} + (1 - \sigma_{min}) t

    The likelihood is that of the data under a noise of :math:`\sigma_{min}`.

    Args:
        sigma_min: The noise :math:`\sigma_{min}` that stays.
        t_max: Time of the most noise: 1, or below it for a prediction that is infinite where no signal is left.

    Raises:
        InputError: A noise or a time that is not between 0 and 1.

    References:
        Lipman et al. 2023, Flow matching for generative modeling, equation 20, https://arxiv.org/abs/2210.02747

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.ConditionalOT(0.1).sigma(torch.tensor([0.0, 1.0]))
        tensor([0.1000, 1.0000])
    """

    def __init__(self, sigma_min: float = 1e-3, t_max: float = 1.0):
        if not 0 < sigma_min < 1:
            raise InputError(f"sigma_min: {sigma_min} came; a number between 0 and 1 would do")
        if not 0 < t_max <= 1:
            raise InputError(f"t_max: {t_max} came; a number from 0 to 1 would do")
        self.sigma_min, self.t_max = sigma_min, t_max

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min + (1 - self.sigma_min) * t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.sigma_min)

    def exchange(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        # (1 - t) / σ = r
        ratio = torch.exp(0.5 * log_snr)
        return (1 - ratio * self.sigma_min) / (1 + ratio * (1 - self.sigma_min))


class BrownianBridge(Path):
    r"""A Brownian bridge of deviation :math:`s` between the data and the noise.

    .. math:: \alpha = 1 - t, \qquad \sigma = t, \qquad \gamma = s \sqrt{t (1 - t)}

    Between pairs of an entropic plan of weight :math:`2 s^2` its marginals are those of the Schrödinger bridge. The
    pairs depend on each other: there is no denoiser.

    Args:
        deviation: The deviation :math:`s`.
        margin: How far from both ends the times stay: :math:`\dot\gamma` is infinite there.

    Raises:
        InputError: A deviation that is not positive; a margin that is not in (0, 1/2).

    References:
        Tong et al. 2024, Improving and generalizing flow-based generative models, section 4,
        https://arxiv.org/abs/2302.00482

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.BrownianBridge(0.5).gamma(torch.tensor(0.5))
        tensor(0.2500)
    """

    latent = True

    def __init__(self, deviation: float = 0.5, margin: float = 1e-3):
        if not 0 < deviation < math.inf:
            raise InputError(f"deviation: {deviation} came; a positive number would do")
        if not 0 < margin < 0.5:
            raise InputError(f"margin: {margin} came; a number between 0 and 0.5 would do")
        self.deviation, self.margin = deviation, margin
        self.t_min, self.t_max = margin, 1 - margin

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def gamma(self, t: Tensor) -> Tensor:
        return self.deviation * (t * (1 - t)).sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def gamma_dot(self, t: Tensor) -> Tensor:
        return 0.5 * self.deviation**2 * (1 - 2 * t) / self.gamma(t)


class Interpolant(BrownianBridge):
    r"""A straight path that is blurred half way, the stochastic interpolant.

    .. math:: \alpha = 1 - t, \qquad \sigma = t, \qquad \gamma = a \sqrt{2 t (1 - t)}

    It is a Brownian bridge of the deviation :math:`\sqrt 2 a`. With a normal z that does not depend on x, all noise is
    one, :math:`\sqrt{t^2 + \gamma^2}`: such a model has a denoiser, and stochastic samplers.

    Args:
        blur: The factor :math:`a`.
        margin: How far from both ends the times stay: :math:`\dot\gamma` is infinite there.

    Raises:
        InputError: A factor that is not positive; a margin that is not in (0, 1/2).

    References:
        Albergo, Boffi, Vanden-Eijnden 2023, Stochastic interpolants, https://arxiv.org/abs/2303.08797

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Interpolant().gamma(torch.tensor(0.5))
        tensor(0.7071)
    """

    def __init__(self, blur: float = 1.0, margin: float = 1e-3):
        if not 0 < blur < math.inf:
            raise InputError(f"blur: {blur} came; a positive number would do")
        super().__init__(math.sqrt(2) * blur, margin)
        self.blur = blur

    def gaussian(self) -> GaussianPath | None:
        return _Merged(self)


class _Merged(GaussianPath):
    r"""A path whose two noises are one, :math:`\sqrt{\sigma^2 + \gamma^2}`."""

    def __init__(self, path: Path):
        self.path = path
        self.t_min, self.t_max = path.t_min, path.t_max

    def alpha(self, t: Tensor) -> Tensor:
        return self.path.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.hypot(self.path.sigma(t), self.path.gamma(t))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return self.path.alpha_dot(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        path = self.path
        return (path.sigma(t) * path.sigma_dot(t) + path.gamma(t) * path.gamma_dot(t)) / self.sigma(t)

    def exchange(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


def _within(t_min: float, t_max: float) -> tuple[float, float]:
    """Times in [0, 1], both ends included, in their order.

    Raises:
        InputError: They are not.
    """
    if not 0 <= t_min < t_max <= 1:
        raise InputError(f"t_min, t_max: {t_min}, {t_max} came; 0 <= t_min < t_max <= 1 would do")
    return t_min, t_max
