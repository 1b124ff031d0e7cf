r"""The probability flow of a path: a network that predicts noise, data or a mixture of both, as a velocity.

.. math::
    v = \dot\alpha \, E[x \mid x_t] + \dot\sigma \, E[z \mid x_t], \qquad x_t = \alpha x + \sigma z

Whatever the network :math:`F` predicts, both expectations and the velocity are linear in it and in the point,

.. math:: v = a(t) \, x_t + b(t) \, F(s(t) \, x_t, t), \qquad \nabla \cdot v = a d + b s \, \nabla \cdot F,

in closed form where the network's divergence is. The coefficients are those of `genflow.paths.predictions`.

Song et al. 2021, https://arxiv.org/abs/2011.13456; Salimans, Ho 2022, https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import NoiseSchedule, Path, Velocity
from genflow.paths.predictions import Coefficient, Pair, Prediction, Rate, prediction_of
from genflow.velocities.function import as_velocity
from genflow.wrappers import Question, Wrapper

__all__ = ["ProbabilityFlow"]


class ProbabilityFlow(Wrapper):
    r"""A network along a path as a velocity on :math:`[t_{min}, t_{max}]`. See the formulas above.

    Args:
        network: The network :math:`F(x, t, c)`, a `Velocity` or any callable of that signature.
        noise: The path :math:`\alpha, \sigma`: a diffusion's noise schedule.
        prediction: What the network predicts: `epsilon`, `x`, `v`, `rate`, `karras`, or a `Prediction`.
        clock: What the network is told of the time: `time`, or `log_snr`, the share of the log signal-to-noise ratio's
            range that is behind, from 0 at `t_min` to 1 at `t_max`; or `karras`, :math:`\frac14 \log(\sigma / \alpha)`.

    Raises:
        InputError: An unknown prediction or clock; a path with a noise of its own, and another prediction than `rate`.

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

    def __init__(
        self,
        network: Velocity | Callable[..., Tensor],
        noise: Path,
        prediction: Prediction | str = "epsilon",
        clock: Literal["time", "log_snr", "karras"] = "time",
    ):
        super().__init__()
        if clock not in _CLOCKS:
            raise InputError(f"clock: {clock!r} came; one of {', '.join(_CLOCKS)} would do")
        self.network = as_velocity(network)
        self.path, self.prediction, self.clock = noise, prediction_of(prediction), clock
        if noise.latent and type(self.prediction) is not Rate:
            raise InputError(
                f"prediction: {prediction!r} came for a {type(noise).__name__}, which has a noise of its own; "
                "'rate' would do"
            )
        self.interval = (noise.t_min, noise.t_max)

    @property
    def noise(self) -> NoiseSchedule | None:  # type: ignore[override]
        return self.path.gaussian()

    @property
    def denoise(self) -> Callable[..., Tensor] | None:  # type: ignore[override]
        return None if self.noise is None else self._denoise

    def predict(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        """The network's prediction."""
        return self.network(self._times(self._scale(t), x), self._clock(t), condition)

    def target(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        r"""What the network should predict where :math:`x_t = \alpha x_0 + \sigma \varepsilon`.

        Args:
            x_0: Data, `(*batch, *event)`.
            epsilon: Noise, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
        """
        return self._combine(self.prediction.target(self.path, t), x_0, epsilon)

    def _denoise(self, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        r"""The denoised point :math:`E[x_0 \mid x_t = x]`."""
        assert self.noise is not None
        return self._combine(self.prediction.denoised(self.noise, t), x, self.predict(x, t, condition))

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
        scale = self._scale(t)
        answer = super().ask(question, self._times(scale, x), self._clock(t), condition, *vectors)
        if isinstance(answer, Tensor):
            return self._combine((a, b), x, answer)
        prediction, second = answer
        v, slope = self._combine((a, b), x, prediction), _product(b, scale)
        if vectors:
            return v, self._combine((a, slope), vectors[0], second)
        dim = math.prod(x.shape[x.ndim - self.event_ndim :])
        return v, _sum(_product(a, float(dim)), _product(slope, second))

    def coefficients(self, t: Tensor) -> Pair:
        """The coefficients a and b of the velocity, numbers or of the shape of the times."""
        path = self.noise
        return self.prediction.velocity(path, t) if path is not None else (0.0, 1.0)  # a rate

    def _scale(self, t: Tensor) -> Coefficient:
        return self.prediction.scale(self.noise, t) if self.noise is not None else 1.0

    def _clock(self, t: Tensor) -> Tensor:
        if self.clock == "time":
            return t
        assert self.noise is not None
        if self.clock == "karras":
            return -0.125 * self.noise.log_snr(t)
        first, last = (self.noise.log_snr(t.new_tensor(end)) for end in self.interval)
        start, stop = self.network.interval
        return start + (stop - start) * (first - self.noise.log_snr(t)) / (first - last)

    def _time_of(self, shown: float) -> float:
        """The time at which the network's clock shows a number."""
        if self.clock == "time":
            return shown
        assert self.noise is not None
        if self.clock == "karras":
            return self.noise.time_of(torch.tensor(-8.0 * shown, dtype=torch.float64)).item()
        first, last = self.noise.log_snr(torch.tensor(self.interval, dtype=torch.float64))
        start, stop = self.network.interval
        return self.noise.time_of(first - (first - last) * (shown - start) / (stop - start)).item()

    def _combine(self, pair: Pair, first: Tensor, second: Tensor) -> Tensor:
        """A sum of points, or of what is shaped like them, with coefficients for each time."""
        return _sum(self._times(pair[0], first), self._times(pair[1], second))

    def _times(self, coefficient: Coefficient, points: Tensor) -> Any:
        if isinstance(coefficient, Tensor) and coefficient.ndim:
            coefficient = coefficient.reshape(*coefficient.shape, *(1,) * self.event_ndim)
        return _product(coefficient, points)


_CLOCKS = ("time", "log_snr", "karras")


def _product(a: Any, b: Any) -> Any:
    """A product; the factors 0 and 1 that are no tensors cost nothing."""
    if isinstance(a, float) and a in (0.0, 1.0):
        return b if a else 0.0
    if isinstance(b, float) and b == 1.0:
        return a
    return a * b


def _sum(a: Any, b: Any) -> Any:
    return b if isinstance(a, float) and not a else a if isinstance(b, float) and not b else a + b
