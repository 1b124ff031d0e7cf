r"""Stochastic differential equations, in the sense of Itô, with plain Gaussian increments.

.. math:: dx = f(x, t) \, dt + g(x, t) \, dW

In falling times the step :math:`h < 0`, and the noise is that of a Brownian motion that runs with the falling times:
the equation is then a reverse one. That of a diffusion, whose dynamics have a `denoise` and no `diffusion`, is made
here:

.. math::
    dx = \bigl(\dot\alpha D + (\dot\sigma + c) \, E[z \mid x_t]\bigr) dt + \sqrt{2 \sigma c} \, d\bar W, \qquad
    E[z \mid x_t] = \frac{x - \alpha D}{\sigma} = -\sigma \nabla \log p_t(x)

with the rate :math:`c` at which the path exchanges noise. That of the forward equation, :math:`g^2 = 2 \sigma c` with
:math:`c = \dot\sigma - \sigma \dot\alpha / \alpha`, makes it Anderson's,
:math:`(f - g^2 \nabla \log p_t) dt + g d\bar W`; every other :math:`c \ge 0` has the same laws.

| Kloeden, Platen 1992, Numerical solution of SDEs, https://doi.org/10.1007/978-3-662-12616-5
| Anderson 1982, Reverse-time diffusion equation models, https://doi.org/10.1016/0304-4149(82)90051-5
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Dynamics, GaussianPath, State
from genflow.solvers.grid import Advance, OnGrid, drawing, one_tensor
from genflow.solvers.states import move

__all__ = ["EulerMaruyama", "Stochastic", "StochasticHeun", "equation_of", "reverse_equation"]

Field = Callable[[Tensor, Any], Any]
"""A drift or a diffusion, `(t, x)`."""


def equation_of(solver: str, dynamics: Dynamics, times: Tensor) -> tuple[Field, Field]:
    """Drift and diffusion: those that the dynamics have, or those of the reverse equation that a denoiser makes.

    Raises:
        InputError: Neither a diffusion nor a denoiser; a denoiser and rising times.
    """
    if dynamics.diffusion is not None:
        return dynamics, dynamics.diffusion
    denoise, noise = dynamics.denoise, dynamics.noise
    if denoise is None or noise is None:
        raise InputError(
            f"dynamics: {solver} needs a diffusion(t, x), or a denoise(t, x) with its noise; these have none; "
            "an ODE solver would do"
        )
    if len(times) > 1 and times[-1] > times[0]:
        raise InputError(
            f"times: {solver} runs a diffusion from noise to data, in falling times; encode with an ODE solver"
        )

    return reverse_equation(denoise, noise)


def reverse_equation(denoise: Callable[[Tensor, Tensor], Tensor], noise: GaussianPath) -> tuple[Field, Field]:
    """Drift and diffusion of the reverse equation above, for falling times.

    Args:
        denoise: The denoiser D, `(t, x)`.
        noise: The path.
    """

    def drift(t: Tensor, x: Tensor) -> Tensor:
        denoised, sigma = denoise(t, x), noise.sigma(t)
        # E[z | x_t]. Without noise D is x, and nothing is known of z: its mean, 0.
        z = (x - noise.alpha(t) * denoised) / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)
        return noise.alpha_dot(t) * denoised + (noise.sigma_dot(t) + noise.exchange(t)) * z

    return drift, lambda t, x: (2 * noise.sigma(t) * noise.exchange(t)).sqrt()


class Stochastic(OnGrid):
    r"""A one-step method for a stochastic equation on a given grid; a subclass writes its formula in `step`.

    Args:
        gradient: `backprop` or `checkpoint`.

    Attributes:
        order: The weak order: how fast expectations converge.
        strong_order: How fast paths converge, under the same Brownian motion.
        evaluations: Evaluations of the drift in one step.
    """

    strong_order: float
    gradients = ("backprop", "checkpoint")
    random = True
    carries_density = False

    @abstractmethod
    def step(
        self, drift: Field, diffusion: Field, t: Tensor, t_next: Tensor, h: float, x: Tensor, noise: Tensor
    ) -> Tensor:
        r"""The state at `t_next`.

        Args:
            drift: :math:`f(t, x)`.
            diffusion: :math:`g(t, x)`, a number or a tensor that broadcasts against `x`.
            t: Time :math:`t_n`, a scalar tensor.
            t_next: Time :math:`t_{n+1}`.
            h: Their difference :math:`h`.
            x: The state :math:`x_n`.
            noise: Standard normal numbers :math:`\xi_n` of its shape.
        """

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        name = type(self).__name__
        noise = drawing(one_tensor(name, state), generator, self.gradient)
        drift, diffusion = equation_of(name, dynamics, times)
        t_all, steps = times.unbind(), times.detach().diff().tolist()

        def advance(n: int, x: Any, memory: Any) -> tuple[Any, Any]:
            return self.step(drift, diffusion, t_all[n], t_all[n + 1], steps[n], x, noise(n)), memory

        return advance


class EulerMaruyama(Stochastic):
    r"""The Euler–Maruyama method, of weak order 1 and strong order 1/2 (1, where the noise is additive).

    .. math:: x_{n+1} = x_n + h f(x_n, t_n) + g(x_n, t_n) \sqrt{|h|} \, \xi_n, \qquad \xi_n \sim N(0, I)

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        Kloeden, Platen 1992, chapters 10.2 and 14.1, https://doi.org/10.1007/978-3-662-12616-5

    Example:
        >>> import torch, genflow as gf
        >>> ou = gf.Dynamics(lambda t, x: -x, diffusion=lambda t, x: 2**0.5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = gf.solvers.EulerMaruyama().solve(ou, torch.zeros(4), torch.linspace(0, 1, 9), generator=generator).state
        >>> x.shape
        torch.Size([4])
    """

    order = 1
    strong_order = 0.5
    evaluations = 1

    def step(
        self, drift: Field, diffusion: Field, t: Tensor, t_next: Tensor, h: float, x: Tensor, noise: Tensor
    ) -> Tensor:
        return move(x, (h, drift(t, x)), (math.sqrt(abs(h)), diffusion(t, x) * noise))


class StochasticHeun(Stochastic):
    r"""Heun's method for the drift, with the noise of the step in its predictor.

    .. math::
        \tilde x &= x_n + h f(x_n, t_n) + g \sqrt{|h|} \, \xi_n, \qquad g = g(x_n, t_n + h/2), \\
        x_{n+1} &= x_n + \tfrac{h}{2} \bigl(f(x_n, t_n) + f(\tilde x, t_{n+1})\bigr) + g \sqrt{|h|} \, \xi_n

    Of weak order 2 and strong order 1 where the noise is additive, :math:`g = g(t)`, as in the reverse equation of a
    diffusion. Where it depends on :math:`x`, the equation is still meant in the sense of Itô (the noise is taken where
    the step begins), and the orders are those of Euler–Maruyama, 1 and 1/2.

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        | Kloeden, Platen 1992, chapter 15.1, https://doi.org/10.1007/978-3-662-12616-5
        | Karras et al. 2022, Elucidating the design space of diffusion-based generative models, which corrects the
          drift alike, https://arxiv.org/abs/2206.00364

    Example:
        >>> import torch, genflow as gf
        >>> ou = gf.Dynamics(lambda t, x: -x, diffusion=lambda t, x: 2**0.5)
        >>> gf.solvers.StochasticHeun().solve(ou, torch.zeros(4), torch.linspace(0, 1, 9)).nfe
        16
    """

    order = 2
    strong_order = 1.0
    evaluations = 2

    def step(
        self, drift: Field, diffusion: Field, t: Tensor, t_next: Tensor, h: float, x: Tensor, noise: Tensor
    ) -> Tensor:
        first = drift(t, x)
        kick = (math.sqrt(abs(h)), diffusion(t + h / 2, x) * noise)
        second = drift(t_next, move(x, (h, first), kick))
        return move(x, (h / 2, first), (h / 2, second), kick)
