r"""Fixed-step Runge–Kutta methods: one step from each time of the grid to the next.

.. math::
    y_{n+1} = y_n + h \sum_i b_i k_i, \qquad k_i = f\Bigl(t_n + c_i h, \; y_n + h \sum_{j < i} a_{ij} k_j\Bigr),
    \qquad h = t_{n+1} - t_n

The step :math:`h` has the sign of the direction. A method is its table of coefficients.

E. Hairer, S. Nørsett, G. Wanner, Solving Ordinary Differential Equations I, https://doi.org/10.1007/978-3-540-78862-1
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.interfaces import Dynamics, State
from genflow.solvers import tableaus
from genflow.solvers.grid import Advance, OnGrid
from genflow.solvers.states import move
from genflow.solvers.tableaus import Tableau

__all__ = ["RK4", "RK438", "RK4Simpson", "Euler", "FixedStep", "Heun", "Midpoint", "Ralston", "RungeKutta", "stages"]


class FixedStep(OnGrid):
    r"""A one-step method on a given grid; a subclass writes its formula in `step`.

    Args:
        gradient: How gradients are computed: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Attributes:
        order: Order of convergence.
        evaluations: Evaluations of the dynamics in one step.
    """

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

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        t_all = times.unbind()
        return lambda n, y, memory: (self.step(dynamics, t_all[n], t_all[n + 1], h_all[n], y), memory)


def stages(
    tableau: Tableau, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: Any, first: Any = None
) -> tuple[list[Any], Any]:
    r"""The rates :math:`k_i` of one step, and the point at which the last of them stands.

    Args:
        tableau: The method.
        f: The dynamics.
        t: Time :math:`t_n`, a scalar or one for each row.
        t_next: Time :math:`t_{n+1}`.
        h: Their difference, a number or a tensor.
        y: The state :math:`y_n`.
        first: The rate :math:`k_1`, where it is known.
    """
    k: list[Any] = [] if first is None else [first]
    point, node, time = y, 0.0, t
    for c, row in tableau.rows[len(k) :]:
        if c != node:
            node, time = c, t_next if c == 1 else t + c * h
        if row:
            point = move(y, *((h * a, k[j]) for j, a in row))
        k.append(f(time, point))
    return k, point


class RungeKutta(FixedStep):
    r"""The explicit Runge–Kutta method of a table of coefficients; see the formulas above.

    Attributes:
        tableau: The coefficients :math:`a, b, c`.
    """

    tableau: Tableau
    carries_density = True

    def step(self, f: Callable[[Tensor, Any], Any], t: Tensor, t_next: Tensor, h: Any, y: State) -> State:
        k, _ = stages(self.tableau, f, t, t_next, h, y)
        return move(y, *((h * b, k[i]) for i, b in self.tableau.weights))


class Euler(RungeKutta):
    r"""Euler's method, of order 1.

    .. math:: y_{n+1} = y_n + h f(t_n, y_n)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Euler().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 3)).state
        tensor([2.2500])
    """

    order = 1
    evaluations = 1
    tableau = tableaus.EULER


class Midpoint(RungeKutta):
    r"""The explicit midpoint method, of order 2.

    .. math:: y_{n+1} = y_n + h f\bigl(t_n + h/2, \; y_n + (h/2) f(t_n, y_n)\bigr)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Midpoint().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state
        tensor([2.5000])
    """

    order = 2
    evaluations = 2
    tableau = tableaus.MIDPOINT


class Heun(RungeKutta):
    r"""Heun's method, the explicit trapezoidal rule, of order 2.

    .. math:: y_{n+1} = y_n + (h/2) (k_1 + k_2), \quad k_1 = f(t_n, y_n), \quad k_2 = f(t_{n+1}, y_n + h k_1)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Heun().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state
        tensor([2.5000])
    """

    order = 2
    evaluations = 2
    tableau = tableaus.HEUN


class Ralston(RungeKutta):
    r"""Ralston's method, of order 2 with the least bound on its error.

    .. math::
        y_{n+1} = y_n + h \bigl(\tfrac14 k_1 + \tfrac34 k_2\bigr), \quad k_1 = f(t_n, y_n), \quad
        k_2 = f\bigl(t_n + \tfrac23 h, \; y_n + \tfrac23 h k_1\bigr)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    References:
        Ralston 1962, https://doi.org/10.1090/S0025-5718-1962-0150954-0

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.Ralston().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state
        tensor([2.5000])
    """

    order = 2
    evaluations = 2
    tableau = tableaus.RALSTON


class RK4(RungeKutta):
    r"""The classical Runge–Kutta method, of order 4.

    .. math::
        k_1 &= f(t_n, y_n), & k_2 &= f(t_n + h/2, \; y_n + (h/2) k_1), \\
        k_3 &= f(t_n + h/2, \; y_n + (h/2) k_2), & k_4 &= f(t_{n+1}, \; y_n + h k_3), \\
        y_{n+1} &= y_n + (h/6) (k_1 + 2 k_2 + 2 k_3 + k_4)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.RK4().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state  # 65/24
        tensor([2.7083])
    """

    order = 4
    evaluations = 4
    tableau = tableaus.RK4


class RK4Simpson(RungeKutta):
    r"""The classical Runge–Kutta method, with Simpson's rule for what is integrated along the path, of order 4.

    A log-determinant, or a cost, is an integral along the path, and need not be taken at the four stages of each step:
    it is taken where the path is known to the order of the method, at the ends of the step, of which each is the next
    step's beginning, and in the middle between them,

    .. math::
        \ell_{n+1} = \ell_n + \tfrac h6 \bigl(r(t_n, x_n) + 4 r(t_{n+1/2}, \bar x) + r(t_{n+1}, x_{n+1})\bigr), \qquad
        \bar x = \tfrac12 (x_n + x_{n+1}) + \tfrac h8 (v_n - v_{n+1}),

    where the cubic through both ends with their rates is right to :math:`O(h^4)`. Half of the divergences of `RK4`, for
    five velocities in the place of four: for an exact divergence in many dimensions that is half of the work.

    Where the dynamics do not say what moves the path alone, `genflow.Dynamics.path`, it is `RK4`.

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`. The adjoint equation is solved
            by `RK4`.

    Example:
        >>> import torch, genflow as gf
        >>> flow = gf.Flow(gf.velocities.Shallow(3), integrator=gf.solvers.RK4Simpson())
        >>> flow.log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    order = 4
    evaluations = 4
    tableau = tableaus.RK4

    def nfe_of(self, dynamics: Dynamics, state: State, steps: int) -> int:
        return 5 * steps + 1 if _along(dynamics, state) and steps else self.nfe(steps)

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        if not _along(dynamics, state):
            return super().advancing(dynamics, state, times, h_all, generator)
        t_all = times.unbind()

        def advance(n: int, y: Any, rates: Any) -> tuple[Any, Any]:
            t, t_next, h = t_all[n], t_all[n + 1], h_all[n]
            x, *integrals = y
            rates = rates or dynamics(t, y)
            k, _ = stages(self.tableau, dynamics.path, t, t_next, h, x, rates[0])
            x_next = move(x, *((h * b, k[i]) for i, b in self.tableau.weights))
            after = dynamics(t_next, (x_next, *integrals))
            middle = move(torch.lerp(x, x_next, 0.5), (h / 8, rates[0]), (-h / 8, after[0]))
            between = dynamics(t + h / 2, (middle, *integrals))
            along = zip(integrals, rates[1:], between[1:], after[1:], strict=True)
            moved = tuple(move(part, (h / 6, a), (2 * h / 3, b), (h / 6, c)) for part, a, b, c in along)
            return (x_next, *moved), after

        return advance


def _along(dynamics: Dynamics, state: State) -> bool:
    """Whether there is something to be integrated along a path."""
    return dynamics.path is not None and not isinstance(state, Tensor)


class RK438(RungeKutta):
    r"""Kutta's 3/8 rule, of order 4, with a smaller error constant than the classical method.

    .. math::
        k_1 &= f(t_n, y_n), & k_2 &= f(t_n + h/3, \; y_n + (h/3) k_1), \\
        k_3 &= f(t_n + 2h/3, \; y_n + h (k_2 - k_1/3)), & k_4 &= f(t_{n+1}, \; y_n + h (k_1 - k_2 + k_3)), \\
        y_{n+1} &= y_n + (h/8) (k_1 + 3 k_2 + 3 k_3 + k_4)

    Args:
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Example:
        >>> import torch, genflow as gf
        >>> gf.solvers.RK438().solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 2)).state  # 65/24
        tensor([2.7083])
    """

    order = 4
    evaluations = 4
    tableau = tableaus.RK4_38
