r"""What a network predicts, and what follows from it.

On a path :math:`x_t = \alpha x + \sigma z` the network F sees a scaled point, and is linear in both ends:

.. math::
    D = E[x \mid x_t] = c \, x_t + e \, F(s \, x_t), \qquad
    E[z \mid x_t] = c' x_t + e' F, \qquad
    v = \dot\alpha D + \dot\sigma E[z \mid x_t],

so that whatever it predicts, the denoiser, the noise, the score :math:`-E[z \mid x_t] / \sigma`, the velocity and its
divergence follow in closed form. With :math:`N = \alpha^2 + \sigma^2`, the Wronskian
:math:`W = \alpha \dot\sigma - \dot\alpha \sigma` and :math:`r = \sigma / \alpha`:

================  ==========================================  ==============================  ====================
prediction        target                                      :math:`c, \; e`                 :math:`c', \; e'`
================  ==========================================  ==============================  ====================
`Noise`           :math:`z`                                   :math:`1/\alpha,                :math:`0, 1`
                                                              -\sigma/\alpha`
`Data`            :math:`x`                                   :math:`0, 1`                    :math:`1/\sigma,
                                                                                              -\alpha/\sigma`
`Angle`           :math:`\alpha z - \sigma x`                 :math:`\alpha/N, -\sigma/N`     :math:`\sigma/N,
                                                                                              \alpha/N`
`Rate`            :math:`\dot\alpha x + \dot\sigma z`         :math:`\dot\sigma/W,            :math:`-\dot\alpha/W,
                                                              -\sigma/W`                      \alpha/W`
`Preconditioned`  :math:`(x - c \, x_t) / e`                  see there
================  ==========================================  ==============================  ====================
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Component, GaussianPath, Path

__all__ = ["PREDICTIONS", "Angle", "Data", "Noise", "Prediction", "Preconditioned", "Rate", "prediction_of"]

Coefficient = Tensor | float
Pair = tuple[Coefficient, Coefficient]
"""Two coefficients, each a number or of the shape of the times."""


class Prediction(Component, ABC):
    r"""What a network predicts: the coefficients that lead from it to both ends of a path."""

    def scale(self, path: GaussianPath, t: Tensor) -> Coefficient:
        """The factor s of the point that the network sees."""
        return 1.0

    @abstractmethod
    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        r"""The coefficients of :math:`x_t` and F in the denoiser :math:`E[x \mid x_t]`."""

    @abstractmethod
    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        r"""Those in the noise :math:`E[z \mid x_t]`."""

    @abstractmethod
    def target(self, path: Path, t: Tensor) -> Pair:
        """The coefficients of x and z in what the network should predict of them."""

    def velocity(self, path: GaussianPath, t: Tensor) -> Pair:
        r"""Those of :math:`x_t` and F in the velocity :math:`\dot\alpha E[x \mid x_t] + \dot\sigma E[z \mid x_t]`."""
        (c, e), (c_z, e_z) = self.denoised(path, t), self.noised(path, t)
        alpha_dot, sigma_dot = path.alpha_dot(t), path.sigma_dot(t)
        return alpha_dot * c + sigma_dot * c_z, alpha_dot * e + sigma_dot * e_z


class Noise(Prediction):
    r"""The noise :math:`\varepsilon`. Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239

    Example:
        >>> import torch, genflow as gf
        >>> path, t = gf.paths.Trigonometric(), torch.tensor(0.5)
        >>> gf.paths.Noise().target(path, t)
        (0.0, 1.0)
    """

    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        return 1 / path.alpha(t), -path.sigma(t) / path.alpha(t)

    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        return 0.0, 1.0

    def target(self, path: Path, t: Tensor) -> Pair:
        return 0.0, 1.0


class Data(Prediction):
    """The point itself, denoised.

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Data().denoised(gf.paths.Trigonometric(), torch.tensor(0.5))
        (0.0, 1.0)
    """

    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        return 0.0, 1.0

    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        return 1 / path.sigma(t), -path.alpha(t) / path.sigma(t)

    def target(self, path: Path, t: Tensor) -> Pair:
        return 1.0, 0.0


class Angle(Prediction):
    r"""The direction in which the angle :math:`\arctan(\sigma / \alpha)` grows, known as v.

    Salimans, Ho 2022, Progressive distillation, https://arxiv.org/abs/2202.00512

    Example:
        >>> import torch, genflow as gf
        >>> to_x, to_z = gf.paths.Angle().target(gf.paths.Trigonometric(), torch.tensor(1 / 3))
        >>> round(to_x.item(), 4), round(to_z.item(), 4)
        (-0.5, 0.866)
    """

    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        alpha, sigma = path.alpha(t), path.sigma(t)
        norm = alpha**2 + sigma**2
        return alpha / norm, -sigma / norm

    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        alpha, sigma = path.alpha(t), path.sigma(t)
        norm = alpha**2 + sigma**2
        return sigma / norm, alpha / norm

    def target(self, path: Path, t: Tensor) -> Pair:
        return -path.sigma(t), path.alpha(t)


class Rate(Prediction):
    r"""The velocity of the path, :math:`\dot x_t`: the network is the field itself.

    Lipman et al. 2023, Flow matching, https://arxiv.org/abs/2210.02747

    Example:
        >>> import torch, genflow as gf
        >>> gf.paths.Rate().velocity(gf.paths.Linear(), torch.tensor(0.5))
        (0.0, 1.0)
    """

    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        wronskian = _wronskian(path, t)
        return path.sigma_dot(t) / wronskian, -path.sigma(t) / wronskian

    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        wronskian = _wronskian(path, t)
        return -path.alpha_dot(t) / wronskian, path.alpha(t) / wronskian

    def target(self, path: Path, t: Tensor) -> Pair:
        return path.alpha_dot(t), path.sigma_dot(t)

    def velocity(self, path: GaussianPath, t: Tensor) -> Pair:
        return 0.0, 1.0  # as given: in the sum of the others two infinities would cancel at the data


class Preconditioned(Prediction):
    r"""Karras's preconditioning: inputs and targets of the network have unit variance at all times.

    With :math:`r = \sigma / \alpha` the noise and :math:`s_d` the data's deviation,

    .. math::
        D = \frac{s_d^2}{r^2 + s_d^2} \frac{x_t}{\alpha}
            + \frac{r \, s_d}{\sqrt{r^2 + s_d^2}} F\Bigl(\frac{x_t / \alpha}{\sqrt{r^2 + s_d^2}}\Bigr),
        \qquad F^* = \frac{r \, x / s_d - s_d z}{\sqrt{r^2 + s_d^2}}

    Args:
        sigma_data: The deviation :math:`s_d` of the data: 1 for standardized rows.

    Raises:
        InputError: A deviation that is not positive.

    References:
        Karras et al. 2022, Elucidating the design space of diffusion-based generative models, table 1,
        https://arxiv.org/abs/2206.00364

    Example:
        >>> import torch, genflow as gf
        >>> c, e = gf.paths.Preconditioned().denoised(gf.paths.EDM(), torch.tensor(1.0))
        >>> round(c.item(), 4), round(e.item(), 4)
        (0.5, 0.7071)
    """

    def __init__(self, sigma_data: float = 1.0):
        if not sigma_data > 0:
            raise InputError(f"sigma_data: {sigma_data} came; a positive number would do")
        self.sigma_data = sigma_data

    def _noise(self, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
        noise = path.sigma(t) / path.alpha(t)
        return noise, torch.hypot(noise, noise.new_tensor(self.sigma_data))

    def scale(self, path: GaussianPath, t: Tensor) -> Coefficient:
        return 1 / (path.alpha(t) * self._noise(path, t)[1])

    def denoised(self, path: GaussianPath, t: Tensor) -> Pair:
        noise, norm = self._noise(path, t)
        return (self.sigma_data / norm) ** 2 / path.alpha(t), noise * self.sigma_data / norm

    def noised(self, path: GaussianPath, t: Tensor) -> Pair:
        noise, norm = self._noise(path, t)
        return noise / (path.alpha(t) * norm**2), -self.sigma_data / norm

    def target(self, path: Path, t: Tensor) -> Pair:
        noise, norm = self._noise(path, t)
        return noise / (self.sigma_data * norm), -self.sigma_data / norm


def _wronskian(path: Path, t: Tensor) -> Tensor:
    return path.alpha(t) * path.sigma_dot(t) - path.alpha_dot(t) * path.sigma(t)


PREDICTIONS: dict[str, type[Prediction]] = {
    "epsilon": Noise, "x": Data, "v": Angle, "rate": Rate, "karras": Preconditioned,
}  # fmt: skip
"""The names that people type."""


def prediction_of(given: Prediction | str) -> Prediction:
    """The prediction of that name; one that is given is returned as it is.

    Args:
        given: A `Prediction`, or one of the names of `PREDICTIONS`.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(given, Prediction):
        return given
    if not isinstance(given, str) or given not in PREDICTIONS:
        raise InputError(f"prediction: {given!r} came; one of {', '.join(PREDICTIONS)} would do")
    return PREDICTIONS[given]()
