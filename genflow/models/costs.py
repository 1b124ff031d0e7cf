r"""Running costs of a flow, which regularize its likelihood: :math:`E[-\log p(x) + \sum_i \lambda_i \int c_i \, dt]`.

=================  ============================================================  ===================================
cost               :math:`c(x, t)`                                               what it makes of the flow
=================  ============================================================  ===================================
`Kinetic`          :math:`|v|^2`                                                 short and straight paths
`JacobianNorm`     :math:`|\nabla v|_F^2`                                        a field that few steps solve
`HJB`              :math:`|\partial_t \Phi - \tfrac12 |\nabla \Phi|^2|`          straight paths at a constant speed
=================  ============================================================  ===================================

| C. Finlay, J.-H. Jacobsen, L. Nurbekyan, A. Oberman, How to train your neural ODE: the world of Jacobian and kinetic
  regularization, ICML 2020, https://arxiv.org/abs/2002.02798
| D. Onken, S. Wu Fung, X. Li, L. Ruthotto, OT-Flow, AAAI 2021, https://arxiv.org/abs/2006.00104
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.flow import Cost, Flow
from genflow.interfaces import Component, Estimate, Velocity
from genflow.models.likelihood import jacobian_norm, kinetic_energy
from genflow.velocities import PotentialGradient

__all__ = ["HJB", "JacobianNorm", "Kinetic", "RunningCost"]


class RunningCost(Component, ABC):
    r"""A running cost :math:`c` with its weight :math:`\lambda` in the loss.

    Args:
        weight: The weight :math:`\lambda`.

    Raises:
        InputError: A weight that is negative or not finite.

    Example:
        >>> import torch, genflow as gf
        >>> class Speed(gf.models.RunningCost):
        ...     def of(self, flow, x, generator=None, condition=None):
        ...         return lambda t, y, estimate: estimate.velocity.norm(dim=-1)
        >>> flow = gf.Flow(gf.as_velocity(lambda x, t, c: torch.ones_like(x)), base=gf.StandardNormal(4))
        >>> x = torch.zeros(1, 4)
        >>> [round(cost.item(), 4) for cost in flow.integrate(x, costs=[Speed(1.0).of(flow, x)]).costs]
        [2.0]
    """

    def __init__(self, weight: float):
        if not 0 <= weight < math.inf:
            raise InputError(f"weight: {weight} came; a number from 0 up would do")
        self.weight = weight

    @abstractmethod
    def of(
        self, flow: Flow, x: Tensor, generator: torch.Generator | None = None, condition: Tensor | None = None
    ) -> Cost:
        """The cost in one solve, a function `(t, y, estimate) -> (*batch,)`.

        Args:
            flow: The flow.
            x: Where the solve begins, `(*batch, *event)`.
            generator: Source of randomness, for what is drawn once in a solve.
            condition: What the density is conditioned on.
        """

    def check(self, velocity: Velocity) -> None:
        """Refuses a velocity that has no such cost.

        Raises:
            InputError: With what would do.
        """


class Kinetic(RunningCost):
    r"""The kinetic energy, :math:`\lambda \int |v|^2 dt`; its least value between two laws is their :math:`W_2^2`.

    Args:
        weight: The weight :math:`\lambda`.

    Example:
        >>> import math, torch, genflow as gf
        >>> growth = gf.Flow(gf.as_velocity(lambda x, t, c: x), base=gf.StandardNormal(1))  # x(t) = x e^t
        >>> x = torch.ones(1, 1)
        >>> energy = growth.integrate(x, costs=[gf.models.Kinetic(1.0).of(growth, x)]).costs[0]
        >>> round(energy.item(), 3), round((math.exp(2) - 1) / 2, 3)
        (3.195, 3.195)
    """

    def of(
        self, flow: Flow, x: Tensor, generator: torch.Generator | None = None, condition: Tensor | None = None
    ) -> Cost:
        return kinetic_energy


class JacobianNorm(RunningCost):
    r"""The squared norm of the Jacobian, :math:`\lambda \int |\nabla v|_F^2 dt`.

    It is estimated without bias by :math:`|\nabla v \, \varepsilon|^2`, with the probes of the divergence estimator, or
    one of its own for each solve where that has none.

    Args:
        weight: The weight :math:`\lambda`.
    """

    def of(
        self, flow: Flow, x: Tensor, generator: torch.Generator | None = None, condition: Tensor | None = None
    ) -> Cost:
        return jacobian_norm(flow, x, generator, condition)


class HJB(RunningCost):
    r"""The residual of the Hamilton–Jacobi–Bellman equation, for a velocity :math:`v = -\nabla \Phi`.

    .. math:: \lambda \int \bigl| \partial_t \Phi - \tfrac12 |\nabla \Phi|^2 \bigr| \, dt

    It vanishes along the paths of optimal transport, where :math:`\Phi` is what is left of the cost,
    :math:`\Phi(x, t) = \min \int_t^1 \tfrac12 |v|^2 ds + G(x(1))`.

    Args:
        weight: The weight :math:`\lambda`.

    References:
        Onken, Fung, Li, Ruthotto 2021, OT-Flow, https://arxiv.org/abs/2006.00104
    """

    def check(self, velocity: Velocity) -> None:
        if not isinstance(velocity, PotentialGradient):
            raise InputError(
                f"costs: HJB came for a {type(velocity).__name__}, which has no potential; "
                "velocity=gf.velocities.PotentialGradient(dim) would do"
            )

    def of(
        self, flow: Flow, x: Tensor, generator: torch.Generator | None = None, condition: Tensor | None = None
    ) -> Cost:
        self.check(flow.velocity)
        potential: Any = flow.velocity.potential

        def residual(t: Tensor, y: Tensor, estimate: Estimate) -> Tensor:
            rate = torch.func.jvp(lambda s: potential(y, s, condition), (t,), (torch.ones_like(t),))[1]
            return (rate - kinetic_energy(t, y, estimate) / 2).abs()

        return residual
