r"""Stochastic equations with diagonal noise through torchsde: methods of higher strong order.

.. math:: dx = f(x, t) \, dt + g(x, t) \, dW, \qquad g_i \text{ acts on } x_i \text{ alone}

torchsde draws one Brownian motion for the whole solve and looks up increments (and their areas) in it, which costs more
than a Gaussian number for each step. They pay where a path matters, not only its law. In falling times :math:`t` the
equation is solved in the rising time :math:`-t`.

Li et al. 2020, Scalable gradients for stochastic differential equations, https://arxiv.org/abs/2001.01328
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.extras import extra
from genflow.interfaces import State
from genflow.solvers.grid import Advance, OnGrid, one_tensor
from genflow.solvers.stochastic import Field, equation_of

__all__ = ["SRK", "Milstein"]


class _ThroughTorchsde(OnGrid):
    """One step of a method of torchsde's from each time of the grid to the next.

    Args:
        gradient: `backprop` or `checkpoint`.
    """

    method: str
    options: dict[str, Any] = {}
    levy_area: str
    strong_order: float
    gradients = ("backprop", "checkpoint")
    random = True
    carries_density = False

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        name = type(self).__name__
        x = one_tensor(name, state)
        equation = _Equation(*equation_of(name, dynamics, times), x.shape, falling=bool(times[-1] < times[0]))
        clock = equation.sign * times.detach().to(x.dtype)
        if not any(h_all) or not x.numel():
            return lambda n, y, memory: (y, memory)
        with extra("sde"):
            from torchsde import BrownianInterval, sdeint

        source = times.device if generator is None else generator.device
        entropy = int(torch.randint(2**31 - 1, (), generator=generator, device=source))
        motion = BrownianInterval(
            clock[0], clock[-1], size=equation.flat, dtype=x.dtype, device=x.device, entropy=entropy,
            levy_area_approximation=self.levy_area,
        )  # fmt: skip

        def advance(n: int, y: Any, memory: Any) -> tuple[Any, Any]:
            ends = clock[n : n + 2]
            if not h_all[n]:
                return y, memory
            # A step wider than the interval: torchsde cuts it to end there exactly.
            width = 2 * (ends[1] - ends[0])
            rows = y.reshape(equation.flat)
            walked = sdeint(equation, rows, ends, motion, self.method, width, options=dict(self.options))
            return walked[-1].reshape(y.shape), memory

        return advance


class _Equation:
    """An equation as torchsde wants it: rows of vectors, rising times."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, drift: Field, diffusion: Field, shape: torch.Size, falling: bool):
        self.drift, self.diffusion, self.shape = drift, diffusion, shape
        self.flat = (shape[0], shape[1:].numel()) if len(shape) else (1, 1)
        self.sign = -1 if falling else 1

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        return self.sign * self.drift(self.sign * s, y.reshape(self.shape)).reshape(self.flat)

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(self.shape)
        return (self.diffusion(self.sign * s, x) * torch.ones_like(x)).reshape(self.flat)


class Milstein(_ThroughTorchsde):
    r"""Milstein's method, of strong order 1, with a difference in place of the derivative of :math:`g`.

    .. math::
        x_{n+1} = x_n + h f + g \, \Delta W + \frac{g(\hat x) - g}{2 \sqrt h} (\Delta W^2 - h), \qquad
        \hat x = x_n + h f + \sqrt h \, g

    Where the noise is additive, it is the Euler–Maruyama method. Of the two evaluations in a step, torchsde spends one
    on a check of shapes.

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        Kloeden, Platen 1992, chapter 11.1, https://doi.org/10.1007/978-3-662-12616-5

    Example:
        >>> import torch, genflow as gf
        >>> stock = gf.Dynamics(lambda t, x: 0.1 * x, diffusion=lambda t, x: 0.2 * x)
        >>> gf.solvers.Milstein().solve(stock, torch.ones(4, 1), torch.linspace(0, 1, 5)).state.shape
        torch.Size([4, 1])
    """

    order = 1
    strong_order = 1.0
    evaluations = 2
    method = "milstein"
    options = {"grad_free": True}
    levy_area = "none"


class SRK(_ThroughTorchsde):
    r"""Rößler's stochastic Runge–Kutta method SRI2, of strong order 3/2.

    Of the eleven evaluations in a step, torchsde spends one on a check of shapes, and six on stages that it computes
    again.

    Args:
        gradient: `backprop` or `checkpoint`.

    References:
        Rößler 2010, Runge–Kutta methods for the strong approximation of solutions of stochastic differential equations,
        https://doi.org/10.1137/09076636X

    Example:
        >>> import torch, genflow as gf
        >>> stock = gf.Dynamics(lambda t, x: 0.1 * x, diffusion=lambda t, x: 0.2 * x)
        >>> gf.solvers.SRK().solve(stock, torch.ones(4, 1), torch.linspace(0, 1, 5)).nfe
        44
    """

    order = 1
    strong_order = 1.5
    evaluations = 11
    method = "srk"
    levy_area = "space-time"
