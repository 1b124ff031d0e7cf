r"""At which times a regression looks: a distribution of times, by its quantiles.

The times of a batch are the quantiles of numbers that are spread evenly over [0, 1), which takes away most of the
loss's variance over them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Component, GaussianPath, Path

__all__ = ["LogNormal", "LogitNormal", "PowerLaw", "Steps", "Times", "UniformLogSNR", "UniformTime"]


class Times(Component, ABC):
    """A distribution of times on a path. Two lines make one; its density is needed by the likelihood's weighting."""

    @abstractmethod
    def quantile(self, u: Tensor, path: Path) -> Tensor:
        r"""The times of which shares u are earlier, or later: :math:`(0, 1) \to [t_{min}, t_{max}]`, monotone."""

    @abstractmethod
    def density(self, t: Tensor, path: Path) -> Tensor:
        """Its density at these times."""


class UniformTime(Times):
    """All times alike.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.UniformTime().quantile(torch.tensor(0.25), gf.paths.Linear())
        tensor(0.2500)
    """

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        return path.t_min + (path.t_max - path.t_min) * u

    def density(self, t: Tensor, path: Path) -> Tensor:
        return torch.full_like(t, 1 / (path.t_max - path.t_min))


class UniformLogSNR(Times):
    r"""All log signal-to-noise ratios alike: the loss then bounds the negative log-likelihood, unweighted.

    Kingma et al. 2021, Variational diffusion models, https://arxiv.org/abs/2107.00630

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.UniformLogSNR().quantile(torch.tensor(0.5), gf.paths.EDM(0.01, 100.0))
        tensor(1.)
    """

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        low, high = log_snr_range(path)
        return gaussian_of(path).time_of(low + (high - low) * u).clamp(path.t_min, path.t_max)

    def density(self, t: Tensor, path: Path) -> Tensor:
        low, high = log_snr_range(path)
        return -torch.func.jvp(gaussian_of(path).log_snr, (t,), (torch.ones_like(t),))[1] / (high - low)


class LogNormal(Times):
    r"""The logarithm of the noise :math:`\sigma / \alpha` is normal, cut off at the path's ends.

    Args:
        mean: Its mean.
        std: Its standard deviation.

    Raises:
        InputError: A deviation that is not positive.

    References:
        Karras et al. 2022, table 1, https://arxiv.org/abs/2206.00364

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.LogNormal(0.0, 1.0).quantile(torch.tensor(0.5), gf.paths.EDM())
        tensor(1.0000)
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        self.mean, self.std = mean, _positive("std", std)

    def _ends(self, path: Path) -> tuple[float, float]:
        ends = gaussian_of(path).log_snr(torch.tensor([path.t_min, path.t_max], dtype=torch.float64))
        low, high = (-0.5 * ends).tolist()  # may be infinite: the law is cut off nowhere then
        return _normal(low, self.mean, self.std), _normal(high, self.mean, self.std)

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        low, high = self._ends(path)
        z = torch.special.ndtri((low + (high - low) * u.double()).clamp(1e-12, 1 - 1e-12)).to(u.dtype)
        return gaussian_of(path).time_of(-2 * (self.mean + self.std * z)).clamp(path.t_min, path.t_max)

    def density(self, t: Tensor, path: Path) -> Tensor:
        log_snr, rate = torch.func.jvp(gaussian_of(path).log_snr, (t,), (torch.ones_like(t),))  # type: ignore[misc]
        low, high = self._ends(path)
        z = (-0.5 * log_snr - self.mean) / self.std
        return torch.exp(-0.5 * z**2) / (math.sqrt(2 * math.pi) * self.std) * (-0.5 * rate) / (high - low)


class LogitNormal(Times):
    r"""The logit of the time is normal: most are half way, where the field is hardest to learn.

    Args:
        mean: Its mean; below 0 the times come to lie nearer to the data.
        std: Its standard deviation.

    Raises:
        InputError: A deviation that is not positive.

    References:
        Esser et al. 2024, Scaling rectified flow transformers, section 3.1, https://arxiv.org/abs/2403.03206

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.LogitNormal().quantile(torch.tensor(0.5), gf.paths.Linear())
        tensor(0.5000)
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        self.mean, self.std = mean, _positive("std", std)

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        z = torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))
        return path.t_min + (path.t_max - path.t_min) * torch.sigmoid(self.mean + self.std * z)

    def density(self, t: Tensor, path: Path) -> Tensor:
        share = (t - path.t_min) / (path.t_max - path.t_min)
        z = (torch.logit(share) - self.mean) / self.std
        normal = torch.exp(-0.5 * z**2) / (math.sqrt(2 * math.pi) * self.std)
        return normal / (share * (1 - share)) / (path.t_max - path.t_min)


class PowerLaw(Times):
    r"""The power of a uniform number, :math:`t = u^p`: above 1 nearer to the data, below 1 nearer to the noise.

    Args:
        power: The power :math:`p`.

    Raises:
        InputError: A power that is not positive.

    References:
        Flow matching with power-law times: Dao et al. 2023, https://arxiv.org/abs/2307.08698

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.PowerLaw(2.0).quantile(torch.tensor(0.5), gf.paths.Linear())
        tensor(0.2500)
    """

    def __init__(self, power: float = 2.0):
        self.power = _positive("power", power)

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        return path.t_min + (path.t_max - path.t_min) * u**self.power

    def density(self, t: Tensor, path: Path) -> Tensor:
        share = (t - path.t_min) / (path.t_max - path.t_min)
        return share ** (1 / self.power - 1) / self.power / (path.t_max - path.t_min)


class Steps(Times):
    r"""One of the times n / N up to the path's latest, all alike: what a diffusion of N steps is trained on.

    Args:
        count: The number N of times.

    Raises:
        InputError: Fewer than one.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Steps(4).quantile(torch.tensor([0.0, 0.3, 0.99]), gf.paths.DiscreteSteps("cosine", 4))
        tensor([0.2500, 0.5000, 1.0000])
    """

    def __init__(self, count: int = 1000):
        if count < 1:
            raise InputError(f"count: {count} came; at least 1 would do")
        self.count = count

    def quantile(self, u: Tensor, path: Path) -> Tensor:
        last = max(1, round(path.t_max * self.count))
        return ((u * last).floor() + 1).clamp_max(last) / self.count

    def density(self, t: Tensor, path: Path) -> Tensor:
        return torch.ones_like(t)


def gaussian_of(path: Path) -> GaussianPath:
    """The path with all its noise as one.

    Raises:
        InputError: It has none.
    """
    merged = path.gaussian()
    if merged is None:
        raise InputError(f"path: a {type(path).__name__} came, which has no signal-to-noise ratio; Linear would do")
    return merged


def log_snr_range(path: Path) -> tuple[float, float]:
    r"""The log signal-to-noise ratio :math:`\lambda` at the latest and at the earliest time.

    Raises:
        InputError: One of them is infinite.
    """
    ends = torch.tensor([path.t_max, path.t_min], dtype=torch.float64)
    low, high = gaussian_of(path).log_snr(ends).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(
            f"times: the log-SNR of this {type(path).__name__} is infinite at an end of "
            f"[{path.t_min:g}, {path.t_max:g}]; UniformTime, or times within, would do"
        )
    return low, high


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{name}: {value} came; a positive number would do")
    return value


def _normal(x: float, mean: float, std: float) -> float:
    return 0.5 * math.erfc((mean - x) / (std * math.sqrt(2)))
