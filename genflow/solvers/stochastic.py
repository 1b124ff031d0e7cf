r"""Stochastic differential equations with plain Gaussian increments.

.. math:: dx = f(x, t) \, dt + g(x, t) \, dW
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Integrator, Solution, State
from genflow.solvers.states import grid_of, moved, raise_unless_finite, stacked

__all__ = ["EulerMaruyama"]


class EulerMaruyama(Integrator):
    r"""The Euler–Maruyama method, of weak order 1 and strong order 1/2.

    .. math:: x_{n+1} = x_n + h f(x_n, t_n) + g(x_n, t_n) \sqrt{|h|} \, \xi_n, \qquad \xi_n \sim N(0, I)

    In falling times :math:`h < 0`, and the noise is that of a Brownian motion that runs with the falling times: the
    dynamics are then those of the reverse equation, :math:`f - g^2 \nabla \log p` for the forward drift :math:`f`.

    References:
        | Kloeden, Platen 1992, https://doi.org/10.1007/978-3-662-12616-5
        | Anderson 1982, Reverse-time diffusion equation models, https://doi.org/10.1016/0304-4149(82)90051-5

    Example:
        >>> import torch, genflow as gf
        >>> ou = gf.Dynamics(lambda t, x: -x, diffusion=lambda t, x: 2**0.5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = gf.solvers.EulerMaruyama().solve(ou, torch.zeros(4), torch.linspace(0, 1, 9), generator=generator).state
        >>> x.shape
        torch.Size([4])
    """

    order = 1

    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`, one step from each time to the next.

        Args:
            dynamics: The drift :math:`f(t, x)`, with a `diffusion(t, x)` that is a number or broadcasts against `x`.
            state: One tensor: a density does not ride along a stochastic path.
            times: Times, monotone in either direction.
            generator: Source of the noise, drawn where it lives.
            save: Whether to keep all states.

        Raises:
            InputError: Dynamics without a diffusion; a tuple of states; times that are not monotone.
            SolverError: A state that is not finite at the end.
        """
        diffusion = getattr(dynamics, "diffusion", None)
        if diffusion is None:
            raise InputError("dynamics: EulerMaruyama needs a diffusion(t, x), these have none; an ODE solver would do")
        if not isinstance(state, Tensor):
            raise InputError("state: EulerMaruyama moves one tensor, a tuple came; log p needs an ODE solver")
        x: Tensor = state
        h_all = grid_of(times.detach())
        source = x.device if generator is None else generator.device
        kept: list[State] = [x]
        for t, h in zip(times.unbind(), h_all):
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=source).to(x.device)
            x = moved(x, (h, dynamics(t, x)), (math.sqrt(abs(h)), diffusion(t, x) * noise))
            if save == "all":
                kept.append(x)
        if not torch.is_grad_enabled():
            raise_unless_finite("EulerMaruyama", times, x, kept)
        return Solution(x, states=stacked(kept) if save == "all" else None, nfe=len(h_all), steps=len(h_all))
