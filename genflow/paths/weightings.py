r"""How much an error counts at each time.

The loss is :math:`E_t \, w(t) \, |F - F^*|^2`, the squared error of what the network predicts. An error of F is one of
:math:`e \, (F - F^*)` in the data and of :math:`e' (F - F^*)` in the noise, with the coefficients of the prediction;
see `genflow.paths.predictions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Component, Path
from genflow.paths.predictions import Prediction
from genflow.paths.times import Times, gaussian_of, log_snr_range

__all__ = ["WEIGHTINGS", "EDMWeighting", "Likelihood", "MinSNR", "Simple", "Unweighted", "Weighting", "weighting_of"]


class Weighting(Component, ABC):
    """The weight of a squared error of the network at each time."""

    @abstractmethod
    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        """The weights of these times, of their shape.

        Args:
            path: The path.
            prediction: What the network predicts.
            times: The distribution that the times are drawn from.
            t: The times.
        """


class Unweighted(Weighting):
    """The error of the prediction as it is: flow matching.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Unweighted()(gf.paths.Linear(), gf.paths.Rate(), gf.paths.UniformTime(), torch.tensor(0.5))
        tensor(1.)
    """

    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        return torch.ones_like(t)


class Simple(Weighting):
    """The error of the noise: the simple loss of DDPM. Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239"""

    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        return _square_of(prediction.noised(gaussian_of(path), t)[1], t)


class Likelihood(Weighting):
    r"""The weight under which the loss bounds the negative log-likelihood, up to a constant and a factor.

    .. math:: -\log p(x) \le \tfrac12 E_{t, z} \Bigl[\frac{-\dot\lambda(t)}{p(t)} |\hat z - z|^2\Bigr] + \text{const}

    with the density p of the times; it is divided by half of the range of :math:`\lambda`, so that for times that are
    uniform in :math:`\lambda` it is the error of the noise.

    References:
        | Song, Durkan, Murray, Ermon 2021, https://arxiv.org/abs/2101.09258
        | Kingma et al. 2021, https://arxiv.org/abs/2107.00630
    """

    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        merged = gaussian_of(path)
        low, high = log_snr_range(path)
        rate = -torch.func.jvp(merged.log_snr, (t,), (torch.ones_like(t),))[1]
        return rate / ((high - low) * times.density(t, path)) * _square_of(prediction.noised(merged, t)[1], t)


class EDMWeighting(Weighting):
    r"""Karras's weight of an error of the data, :math:`(r^2 + s_d^2) / (r s_d)^2`, with :math:`r = \sigma / \alpha`.

    For his preconditioning it is 1 for the error of the network.

    Args:
        sigma_data: The deviation :math:`s_d` of the data.

    References:
        Karras et al. 2022, table 1, https://arxiv.org/abs/2206.00364
    """

    def __init__(self, sigma_data: float = 1.0):
        if not sigma_data > 0:
            raise InputError(f"sigma_data: {sigma_data} came; a positive number would do")
        self.sigma_data = sigma_data

    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        merged = gaussian_of(path)
        noise = merged.sigma(t) / merged.alpha(t)
        # An error of the data is r times one of the noise: (r² + s²) / (r s)² r² e'² = (1 + r² / s²) e'².
        return (1 + (noise / self.sigma_data) ** 2) * _square_of(prediction.noised(merged, t)[1], t)


class MinSNR(Weighting):
    r"""The error of the data times :math:`\min(\alpha^2 / \sigma^2, \gamma)`: the least noise does not take over.

    Args:
        gamma: The largest weight :math:`\gamma`.

    References:
        Hang et al. 2023, Efficient diffusion training via min-SNR weighting, https://arxiv.org/abs/2303.09556
    """

    def __init__(self, gamma: float = 5.0):
        if not gamma > 0:
            raise InputError(f"gamma: {gamma} came; a positive number would do")
        self.gamma = gamma

    def __call__(self, path: Path, prediction: Prediction, times: Times, t: Tensor) -> Tensor:
        merged = gaussian_of(path)
        capped = (self.gamma * torch.exp(-merged.log_snr(t))).clamp_max(1.0)  # min(SNR, γ) / SNR of the noise's error
        return capped * _square_of(prediction.noised(merged, t)[1], t)


def _square_of(coefficient: Tensor | float, t: Tensor) -> Tensor:
    return torch.as_tensor(coefficient, dtype=t.dtype, device=t.device).expand_as(t) ** 2


WEIGHTINGS: dict[str, type[Weighting]] = {
    "unweighted": Unweighted, "simple": Simple, "likelihood": Likelihood, "edm": EDMWeighting, "min-snr": MinSNR,
}  # fmt: skip
"""The names that people type."""


def weighting_of(given: Weighting | str) -> Weighting:
    """The weighting of that name; one that is given is returned as it is.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(given, Weighting):
        return given
    if not isinstance(given, str) or given not in WEIGHTINGS:
        raise InputError(f"weighting: {given!r} came; one of {', '.join(WEIGHTINGS)} would do")
    return WEIGHTINGS[given]()
