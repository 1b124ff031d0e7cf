r"""Fixed-step Runge–Kutta methods: one step from each time of the grid to the next.

.. math::
    y_{n+1} = y_n + h \sum_i b_i k_i, \qquad k_i = f\Bigl(t_n + c_i h, \; y_n + h \sum_{j < i} a_{ij} k_j\Bigr),
    \qquad h = t_{n+1} - t_n

The step :math:`h` has the sign of the direction. Gradients go through the steps by ordinary backpropagation.

E. Hairer, S. Nørsett, G. Wanner, Solving Ordinary Differential Equations I, https://doi.org/10.1007/978-3-540-78862-1
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.interfaces import Integrator, Solution, State
from genflow.solvers.states import grid_of, moved, raise_unless_finite, stacked

__all__ = ["RK4", "Euler", "FixedStep", "Heun", "Midpoint"]


class FixedStep(Integrator):
    r"""A one-step method on a given grid; a subclass writes its formula in `step`.

    Attributes:
        order: Order of convergence.
        evaluations: Evaluations of the dynamics in one step.
    """

    evaluations: int

    @abstractmethod
    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        r"""The state at `t_next`.

        Args:
            f: The dynamics :math:`f(t, y)`.
            t: Time :math:`t_n`, a scalar tensor.
            t_next: Time :math:`t_{n+1}`.
            h: Their difference :math:`h`, a number; a tensor where the times require gradients.
            y: The state :math:`y_n`.
        """

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

        Raises:
            InputError: Times that are not monotone.
            SolverError: A state that is not finite at the end; looked for outside of grad mode, where it costs nothing
                to speak of. A training sees it in its loss.
        """
        h_all = grid_of(times)
        t_all = times.unbind()
        kept = [state]
        for t, t_next, h in zip(t_all, t_all[1:], h_all):
            state = self.step(dynamics, t, t_next, h, state)
            if save == "all":
                kept.append(state)
        if not torch.is_grad_enabled():
            raise_unless_finite(type(self).__name__, times, state, kept)
        return Solution(
            state,
            states=stacked(kept) if save == "all" else None,
            nfe=self.evaluations * len(h_all),
            steps=len(h_all),
        )


class Euler(FixedStep):
    r"""Euler's method, of order 1.

    .. math:: y_{n+1} = y_n + h f(t_n, y_n)

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Euler().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 3)).state
        tensor([2.2500])
    """

    order = 1
    evaluations = 1

    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        return moved(y, (h, f(t, y)))


class Midpoint(FixedStep):
    r"""The explicit midpoint method, of order 2.

    .. math:: y_{n+1} = y_n + h f\bigl(t_n + h/2, \; y_n + (h/2) f(t_n, y_n)\bigr)

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Midpoint().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state
        tensor([2.5000])
    """

    order = 2
    evaluations = 2

    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        k1 = f(t, y)
        return moved(y, (h, f(t + h / 2, moved(y, (h / 2, k1)))))


class Heun(FixedStep):
    r"""Heun's method, the explicit trapezoidal rule, of order 2.

    .. math:: y_{n+1} = y_n + (h/2) (k_1 + k_2), \quad k_1 = f(t_n, y_n), \quad k_2 = f(t_{n+1}, y_n + h k_1)

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Heun().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state
        tensor([2.5000])
    """

    order = 2
    evaluations = 2

    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        k1 = f(t, y)
        k2 = f(t_next, moved(y, (h, k1)))
        return moved(y, (h / 2, k1), (h / 2, k2))


class RK4(FixedStep):
    r"""The classical Runge–Kutta method, of order 4.

    .. math::
        k_1 &= f(t_n, y_n), & k_2 &= f(t_n + h/2, \; y_n + (h/2) k_1), \\
        k_3 &= f(t_n + h/2, \; y_n + (h/2) k_2), & k_4 &= f(t_{n+1}, \; y_n + h k_3), \\
        y_{n+1} &= y_n + (h/6) (k_1 + 2 k_2 + 2 k_3 + k_4)

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.RK4().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state  # 65/24
        tensor([2.7083])
    """

    order = 4
    evaluations = 4

    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        middle = t + h / 2
        k1 = f(t, y)
        k2 = f(middle, moved(y, (h / 2, k1)))
        k3 = f(middle, moved(y, (h / 2, k2)))
        k4 = f(t_next, moved(y, (h, k3)))
        return moved(y, (h / 6, k1), (h / 3, k2), (h / 3, k3), (h / 6, k4))
