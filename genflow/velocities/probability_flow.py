r"""The probability flow of a diffusion: a network that predicts noise, data or a mixture of both, as a velocity.

.. math::
    \dot x = \frac{\dot\sigma}{\sigma} (x - \alpha D) + \dot\alpha D, \qquad D = E[x_0 \mid x_t = x],
    \qquad x_t = \alpha x_0 + \sigma \varepsilon

Whatever the network :math:`F` predicts, both the denoiser and the velocity are linear in it and in the point,

.. math:: D = c(t) \, x + e(t) \, F(x, t), \qquad v = a(t) \, x + b(t) \, F(x, t),

so that the divergence is :math:`a d + b \nabla \cdot F`, in closed form where the network's is. With
:math:`N = \alpha^2 + \sigma^2`:

===========  ==============================  ===================================  =============================
prediction   :math:`F`                       :math:`c, \; e`                      :math:`a, \; b`
===========  ==============================  ===================================  =============================
`epsilon`    :math:`\varepsilon`             :math:`1/\alpha, -\sigma/\alpha`     :math:`\dot\alpha/\alpha,
                                                                                  \dot\sigma - \sigma\dot\alpha/\alpha`
`x`          :math:`x_0`                     :math:`0, 1`                         :math:`\dot\sigma/\sigma,
                                                                                  \dot\alpha - \alpha\dot\sigma/\sigma`
`v`          :math:`\alpha\varepsilon        :math:`\alpha/N, -\sigma/N`          :math:`(\alpha\dot\alpha +
             - \sigma x_0`                                                        \sigma\dot\sigma)/N,
                                                                                  (\alpha\dot\sigma -
                                                                                  \sigma\dot\alpha)/N`
===========  ==============================  ===================================  =============================

Song et al. 2021, https://arxiv.org/abs/2011.13456; Salimans, Ho 2022, https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import NoiseSchedule, Velocity
from genflow.velocities.function import as_velocity
from genflow.wrappers import Question, Wrapper

__all__ = ["ProbabilityFlow"]


class ProbabilityFlow(Wrapper):
    r"""A diffusion's network as a velocity on :math:`[t_{min}, t_{max}]`. See the formulas above.

    Args:
        network: The network :math:`F(x, t, c)`, a `Velocity` or any callable of that signature.
        noise: The noise schedule :math:`\alpha, \sigma`.
        prediction: What the network predicts: `epsilon`, `x` or `v`.
        clock: What the network is told of the time: `time`, or `log_snr`, the share of the log signal-to-noise ratio's
            range that is behind, from 0 at `t_min` to 1 at `t_max`.

    Raises:
        InputError: An unknown prediction or clock.

    Example:
        >>> import torch, genflow as gf
        >>> noise = gf.schedulers.VariancePreserving()
        >>> flow = gf.velocities.ProbabilityFlow(gf.velocities.Shallow(dim=2), noise)
        >>> flow.closed_form, flow.interval
        (True, (1e-05, 1.0))
        >>> flow.denoise(torch.tensor(0.5), torch.randn(4, 2)).shape
        torch.Size([4, 2])
    """

    inside = "network"
    own = frozenset({"interval", "noise", "denoise", "diffusion", "scale_output"})
    diffusion = scale_output = None
    noise: NoiseSchedule

    def __init__(
        self,
        network: Any,
        noise: NoiseSchedule,
        prediction: str = "epsilon",
        clock: str = "time",
    ):
        super().__init__()
        if prediction not in ("epsilon", "x", "v"):
            raise InputError(f"prediction: {prediction!r} came; epsilon, x or v would do")
        if clock not in ("time", "log_snr"):
            raise InputError(f"clock: {clock!r} came; time or log_snr would do")
        self.network = as_velocity(network)
        self.noise, self.prediction, self.clock = noise, prediction, clock
        self.interval = (noise.t_min, noise.t_max)

    def predict(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        """The network's prediction."""
        return self.network(x, self._clock(t), condition)

    def target(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        r"""What the network should predict where :math:`x_t = \alpha x_0 + \sigma \varepsilon`.

        Args:
            x_0: Data, `(*batch, *event)`.
            epsilon: Noise, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
        """
        if self.prediction == "epsilon":
            return epsilon
        if self.prediction == "x":
            return x_0
        return self._over(self.noise.alpha(t)) * epsilon - self._over(self.noise.sigma(t)) * x_0

    def denoise(self, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:  # type: ignore[override]
        r"""The denoised point :math:`E[x_0 \mid x_t = x]`."""
        alpha, sigma = self.noise.alpha(t), self.noise.sigma(t)
        prediction = self.predict(x, t, condition)
        if self.prediction == "x":
            return prediction
        if self.prediction == "epsilon":
            c, e = 1 / alpha, -sigma / alpha
        else:
            norm = alpha**2 + sigma**2
            c, e = alpha / norm, -sigma / norm
        return self._over(c) * x + self._over(e) * prediction

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        """Those of the network, on the times that its clock shows at their ends."""
        inner = self.network.pieces()
        if len(inner) == 1:
            return [(self, *self.interval)]
        found: list[tuple[Velocity, float, float]] = []
        for i, (piece, start, stop) in enumerate(inner):
            low = self.interval[0] if i == 0 else max(self.interval[0], self._time_of(start))
            high = self.interval[1] if i == len(inner) - 1 else min(self.interval[1], self._time_of(stop))
            if low < high:
                part = self.around(piece)
                part.interval = (low, high)
                found.append((part, low, high))
        return found

    def on(self, interval: tuple[float, float]) -> Velocity:
        return Velocity.on(self, interval)

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        a, b = self.coefficients(t)
        answer = super().ask(question, x, self._clock(t), condition, *vectors)
        if isinstance(answer, Tensor):
            return self._over(a) * x + self._over(b) * answer
        prediction, second = answer
        v = self._over(a) * x + self._over(b) * prediction
        if vectors:
            return v, self._over(a) * vectors[0] + self._over(b) * second
        dim = math.prod(x.shape[x.ndim - self.event_ndim :])
        return v, a * dim + b * second

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients a and b of the velocity, of the shape of the times."""
        alpha, sigma = self.noise.alpha(t), self.noise.sigma(t)
        alpha_dot, sigma_dot = self.noise.alpha_dot(t), self.noise.sigma_dot(t)
        if self.prediction == "epsilon":
            return alpha_dot / alpha, sigma_dot - sigma * alpha_dot / alpha
        if self.prediction == "x":
            return sigma_dot / sigma, alpha_dot - alpha * sigma_dot / sigma
        norm = alpha**2 + sigma**2
        return (alpha * alpha_dot + sigma * sigma_dot) / norm, (alpha * sigma_dot - sigma * alpha_dot) / norm

    def _clock(self, t: Tensor) -> Tensor:
        if self.clock == "time":
            return t
        first, last = (self.noise.log_snr(t.new_tensor(end)) for end in self.interval)
        start, stop = self.network.interval
        return start + (stop - start) * (first - self.noise.log_snr(t)) / (first - last)

    def _time_of(self, shown: float) -> float:
        """The time at which the network's clock shows a number."""
        if self.clock == "time":
            return shown
        first, last = self.noise.log_snr(torch.tensor(self.interval, dtype=torch.float64))
        start, stop = self.network.interval
        return self.noise.time_of(first - (first - last) * (shown - start) / (stop - start)).item()

    def _over(self, coefficient: Tensor) -> Tensor:
        """A coefficient for each time, to be multiplied with points."""
        return coefficient.reshape(*coefficient.shape, *(1,) * self.event_ndim) if coefficient.ndim else coefficient
