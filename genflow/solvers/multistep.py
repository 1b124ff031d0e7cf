r"""Adams–Bashforth methods: the rates of the steps before serve once more.

.. math::
    y_{n+1} = y_n + h \sum_{j=0}^{k-1} w_j f_{n-j}, \qquad
    w_j = \frac{1}{h} \int_{t_n}^{t_{n+1}} \prod_{i \neq j} \frac{t - t_{n-i}}{t_{n-j} - t_{n-i}} \, dt

The weights integrate the polynomial through the last :math:`k` rates, wherever the grid put them: with
:math:`x_j = (t_{n-j} - t_n) / h`, they solve :math:`\sum_j w_j x_j^m = 1 / (m + 1)` for :math:`m < k`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import State
from genflow.solvers import tableaus
from genflow.solvers.fixed import stages
from genflow.solvers.grid import Advance, OnGrid
from genflow.solvers.states import move

__all__ = ["AdamsBashforth"]


class AdamsBashforth(OnGrid):
    r"""The explicit Adams method of :math:`k` steps, of order :math:`k`: one evaluation a step. See above.

    The first :math:`k - 1` steps are those of RK4, at four evaluations. Its region of stability is small, and shrinks
    with the order: it pays where the field is smooth and the grid fine. On an uneven grid, steps should not grow by
    much more than a factor of two.

    Args:
        order: The order :math:`k`: 2, 3 or 4.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`.

    Raises:
        InputError: Another order.

    References:
        Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, section III.1 and III.5,
        https://doi.org/10.1007/978-3-540-78862-1

    Example:
        >>> import torch, genflow as gf
        >>> solution = gf.solvers.AdamsBashforth(order=2).solve(lambda t, x: x, torch.ones(1), torch.linspace(0, 1, 11))
        >>> solution.nfe, round(solution.state.item(), 2)
        (13, 2.71)
    """

    evaluations = 1
    carries_density = True

    def __init__(self, order: int = 4, gradient: str = "backprop"):
        if order not in (2, 3, 4):
            raise InputError(f"order: {order} came; 2, 3 or 4 would do")
        super().__init__(gradient)
        self.order = order

    def nfe(self, steps: int) -> int:
        return steps + 3 * min(steps, self.order - 1)

    def advancing(
        self, dynamics: Any, state: State, times: Tensor, h_all: list[Any], generator: torch.Generator | None
    ) -> Advance:
        if len(set(times.tolist())) < len(times):
            raise InputError("times: two of them are the same; AdamsBashforth needs them strictly monotone")
        t_all, weights = times.unbind(), self._weights(times)

        def advance(n: int, y: Any, rates: Any) -> tuple[Any, Any]:
            """`rates`: those of the times before, the latest first."""
            if n < self.order - 1:
                k, _ = stages(tableaus.RK4, dynamics, t_all[n], t_all[n + 1], h_all[n], y)
                rates = (k[0], *rates)
                y = move(y, *((h_all[n] * b, k[i]) for i, b in tableaus.RK4.weights))
            else:
                rates = (dynamics(t_all[n], y), *rates)
                y = move(y, *((h_all[n] * w, rate) for w, rate in zip(weights[n - self.order + 1], rates)))
            return y, rates[: self.order - 1]

        return advance

    def _weights(self, times: Tensor) -> list[Any]:
        """The weights of each step from step k - 1 on, the latest rate's first; tensors if the times are in a graph."""
        if len(times) <= self.order:
            return []
        t = times if times.requires_grad else torch.tensor(times.tolist(), dtype=torch.float64)
        windows = t.unfold(0, self.order + 1, 1)  # t_{n-k+1}, …, t_n, t_{n+1}
        x = (windows[:, :-1].flip(1) - windows[:, -2:-1]) / (windows[:, -1:] - windows[:, -2:-1])
        powers = torch.arange(self.order, dtype=t.dtype, device=t.device)
        vandermonde = x.unsqueeze(1) ** powers[:, None]
        moments = (1 / (powers + 1)).expand(len(x), -1)
        weights = torch.linalg.solve(vandermonde, moments)
        return [row.unbind() for row in weights] if times.requires_grad else weights.tolist()
