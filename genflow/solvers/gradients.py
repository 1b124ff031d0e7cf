r"""Three ways to the gradient of a solve.

==============  ===============================================================  =========================
`gradient`      what the backward pass does                                      memory grows with
==============  ===============================================================  =========================
`backprop`      goes back through the steps                                      evaluations
`checkpoint`    the same, computing each step again: the same numbers            steps, one state each
`adjoint`       solves the adjoint equation backwards in time                    nothing
==============  ===============================================================  =========================

The adjoint :math:`a = \partial L / \partial y` of a loss :math:`L` of the last state obeys

.. math::
    \dot a = -a^\top \frac{\partial f}{\partial y}, \qquad
    \frac{\partial L}{\partial \theta} = \int_{t_0}^{t_1} a^\top \frac{\partial f}{\partial \theta} \, dt .

State and adjoint are solved for together, from :math:`t_1` to :math:`t_0`; what comes back is the gradient up to the
error of both solves.

| Chen et al. 2018, Neural ordinary differential equations, https://arxiv.org/abs/1806.07366
| Kidger, Chen, Lyons 2021, "Hey, that's not an ODE", https://arxiv.org/abs/2009.09457
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from genflow.errors import InputError
from genflow.interfaces import Dynamics, Solution, State, Work
from genflow.solvers.states import stack

__all__ = ["GRADIENTS", "check_gradient", "solved_by_adjoint", "tensors_of"]

GRADIENTS = ("backprop", "checkpoint", "adjoint")
"""The values of the option `gradient`."""


def check_gradient(gradient: str, solver: str, known: Sequence[str] = GRADIENTS) -> str:
    """The option, if the solver has it.

    Raises:
        InputError: It has not.
    """
    if gradient not in known:
        raise InputError(f"gradient: {gradient!r} came; {solver} has {' and '.join(known)}")
    return gradient


def tensors_of(dynamics: Dynamics) -> tuple[Tensor, ...]:
    """What the adjoint needs gradients for: the tensors listed, and the parameters of a module; each once."""
    found = list(dynamics.tensors)
    for module in (dynamics, dynamics.function):
        if isinstance(module, nn.Module):
            found += module.parameters()
    return tuple({id(tensor): tensor for tensor in found if tensor.requires_grad}.values())


def solved_by_adjoint(
    solve: Callable[[Any, State, Tensor], Solution],
    dynamics: Dynamics,
    state: State,
    times: Tensor,
    save: Literal["last", "all"],
) -> Solution:
    """A solve whose backward pass is another one, of the adjoint equation.

    Args:
        solve: Integrates dynamics from a state along times; called without gradients.
        dynamics: The dynamics.
        state: The state at `times[0]`.
        times: Times of the solve. They get no gradient.
        save: Whether to keep all states. Each interval is then a solve of its own.
    """
    times, tensors = times.detach(), tensors_of(dynamics)
    total, kept = Solution(state), [state]
    for grid in [times] if save == "last" else [torch.stack(pair) for pair in pairwise(times)]:
        parts = (total.state,) if isinstance(state, Tensor) else total.state
        parts = _Adjoint.apply(solve, dynamics, grid, total, isinstance(state, Tensor), len(parts), *parts, *tensors)
        total.state = parts[0] if isinstance(state, Tensor) else tuple(parts)
        kept.append(total.state)
    total.states = stack(kept) if save == "all" else None
    return total


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, solve: Any, dynamics: Any, times: Tensor, work: Work, single: bool, count: int,
                *inputs: Tensor) -> Any:  # fmt: skip
        parts, tensors = inputs[:count], inputs[count:]
        result = solve(dynamics, parts[0] if single else parts, times)
        work.count(result)
        end = (result.state,) if single else result.state
        ctx.solve, ctx.dynamics, ctx.times, ctx.single, ctx.count = solve, dynamics, times, single, count
        ctx.save_for_backward(*end, *tensors)
        return tuple(end)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor) -> Any:
        count = ctx.count
        end, tensors = ctx.saved_tensors[:count], ctx.saved_tensors[count:]

        def augmented(t: Tensor, state: Any) -> Any:
            with torch.enable_grad():
                parts = tuple(part.detach().requires_grad_() for part in state[:count])
                rates = ctx.dynamics(t, parts[0] if ctx.single else parts)
                rates = (rates,) if ctx.single else rates
                inputs = (*parts, *tensors)
                # The rate of a part may be a constant, that of another may not.
                pulls = [(rate, a.to(rate.dtype)) for rate, a in zip(rates, state[count:]) if rate.requires_grad]
                pulled: Any = [None] * len(inputs)
                if pulls:
                    outputs, cotangents = zip(*pulls, strict=True)
                    pulled = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)
            negative = [torch.zeros_like(x) if g is None else -g for x, g in zip(inputs, pulled, strict=True)]
            return (*(rate.detach() for rate in rates), *negative)

        backwards = Dynamics(augmented)
        # Integrals along the path say nothing about how to go it: their error is not controlled (Kidger et al.).
        backwards.controlled = 2 * count
        backwards.batch_ndim = None
        start = (*end, *adjoints, *(torch.zeros_like(tensor) for tensor in tensors))
        with torch.no_grad():
            solved = ctx.solve(backwards, start, ctx.times.flip(0)).state
        return (None,) * 6 + tuple(solved[count:])
