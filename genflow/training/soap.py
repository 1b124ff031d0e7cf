r"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

For a matrix with gradient G, the second moments of its two sides and their eigenvectors,

.. math::
    L \leftarrow \beta L + (1 - \beta) G G^\top, \quad R \leftarrow \beta R + (1 - \beta) G^\top G, \qquad
    L = Q_L \Lambda_L Q_L^\top, \quad R = Q_R \Lambda_R Q_R^\top,

Adam runs on :math:`Q_L^\top G Q_R` and its step is turned back. A likelihood step costs dozens of evaluations of a
small network, so that a few products of its weights' size more are hardly seen, and it needs about half as many steps.

Vyas et al. 2024, SOAP: improving and stabilizing Shampoo using Adam, https://arxiv.org/abs/2409.11321
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SOAP"]

_EPSILON = 1e-8


class SOAP(torch.optim.Optimizer):
    r"""See the formulas above.

    Args:
        parameters: Vectors get plain Adam, matrices both sides or, where one is longer than `longest`, the other.
        lr: Learning rate.
        beta: Decay :math:`\beta` of all moments.
        weight_decay: Decoupled weight decay.
        every: Steps between two updates of the eigenvectors, each by one step of orthogonal iteration.
        longest: Longest side that is turned.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(3, 2))
        >>> optimizer = SOAP([weight], lr=0.1)
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     weight.square().sum().backward()
        ...     optimizer.step()
        >>> bool(weight.abs().max() < 0.1)
        True
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-2,
        beta: float = 0.95,
        weight_decay: float = 0.0,
        every: int = 5,
        longest: int = 256,
    ):
        settings = {"lr": lr, "beta": beta, "weight_decay": weight_decay, "every": every, "longest": longest}
        super().__init__(parameters, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step from the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, beta = self.state[parameter], group["beta"]
        sides = [i for i, size in enumerate(gradient.shape) if gradient.ndim == 2 and size <= group["longest"]]
        if not state:
            # The first gradient only makes the bases: its own would give a step of the sign's size in a foreign one.
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            for i in sides:
                state[f"moment{i}"] = (1 - beta) * _square(gradient, i)
                state[f"basis{i}"] = torch.linalg.eigh(state[f"moment{i}"])[1].contiguous()
            return
        for i in sides:
            state[f"moment{i}"].lerp_(_square(gradient, i), 1 - beta)
        state["step"] += 1
        count = int(state["step"])
        turned = _rotate(gradient, state)
        state["exp_avg"].lerp_(gradient, 1 - beta)
        state["exp_avg_sq"].mul_(beta).addcmul_(turned, turned, value=1 - beta)
        correction = 1 - beta**count
        scale = (state["exp_avg_sq"] / correction).sqrt_().add_(_EPSILON)
        update = _rotate(_rotate(state["exp_avg"], state) / scale, state, back=True)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] / correction)
        if count % group["every"] == 0:
            for i in sides:
                self._refresh(state, i)

    def _refresh(self, state: dict[str, Tensor], side: int) -> None:
        """One orthogonal iteration: multiply by the moment, make orthonormal again, the largest directions first."""
        moment, basis = state[f"moment{side}"], state[f"basis{side}"]
        pushed = moment @ basis
        order = (basis * pushed).sum(0).argsort(descending=True)
        # Copied: what stays keeps its memory, and does not come to lie where larger things were.
        state["exp_avg_sq"].copy_(state["exp_avg_sq"].index_select(side, order))
        basis.copy_(torch.linalg.qr(pushed[:, order])[0])


def _square(gradient: Tensor, side: int) -> Tensor:
    return gradient @ gradient.mT if side == 0 else gradient.mT @ gradient


def _rotate(matrix: Tensor, state: dict[str, Tensor], back: bool = False) -> Tensor:
    """The matrix in the eigenbases of its sides, or back from there."""
    if "basis0" in state:
        matrix = (state["basis0"] if back else state["basis0"].mT) @ matrix
    if "basis1" in state:
        matrix = matrix @ (state["basis1"].mT if back else state["basis1"])
    return matrix
