"""A continuous normalizing flow, trained by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genflow.base import StandardNormal, check_base
from genflow.errors import InputError
from genflow.flow import Flow
from genflow.groups import Group, flatten_groups
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.costs import JacobianNorm, Kinetic, RunningCost
from genflow.models.discretization import Discretization
from genflow.models.stages import initial_frequencies, likelihood_stage, matching_stage, straight
from genflow.naming.search import Between, OneOf
from genflow.training import Optimization, Stage, TrainingData
from genflow.velocities import Shallow

__all__ = ["CNF", "WarmUp"]


@dataclass(frozen=True)
class WarmUp(Group):
    """Flow matching, before the likelihood.

    Args:
        matching: Share of the budget for flow matching, before the likelihood; 0 for none.
        matching_rate: Peak learning rate of the matching.
    """

    matching: float = 0.15
    matching_rate: float = 3e-3


class CNF(Flow, GenerativeModel):
    r"""One velocity on :math:`[0, 1]`, trained end to end by maximum likelihood.

    .. math::
        \min_v \; E\Bigl[-\log p(x) + \lambda_K \int_0^1 |v|^2 dt + \lambda_J \int_0^1 |\nabla v|_F^2 dt
        + \sum_i \lambda_i \int_0^1 c_i \, dt\Bigr]

    Backpropagation goes through the solver's steps. The grid that is trained on is coarser than the one that validates
    and reports, so that exploiting the solver's error does not pay. The first part of the budget goes to flow matching,
    which finds the coarse shape of the field at a fraction of the cost.

    The fields of the groups `warm_up`, `discretization` and `optimization` may be typed by themselves:
    `CNF(2, learning_rate=1e-3)`.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the two hidden layers of the default velocity.
        kinetic: Weight :math:`\lambda_K` of the kinetic energy.
        jacobian: Weight :math:`\lambda_J` of the Jacobian's squared norm.
        costs: From Python, further running costs :math:`c_i`; see `genflow.models.costs`.
        whiten: Whether to train on rows without correlation; by default, where the velocity is not `spatial`.
        frequencies: Range of the first layer's scales; see `genflow.velocities.Shallow`. By default (1, 20) in the
            plane, where pictures live, and (1, 3) above.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        warm_up: The flow matching at the beginning: `matching`, `matching_rate`.
        discretization: How the equation is solved: `steps`, `train_steps`, `warp`, `disagreement`, …
        optimization: The optimizer of the likelihood: `optimizer`, `learning_rate`, `batch_size`, …
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    Raises:
        InputError: A cost that the velocity does not have, or something else than a cost.

    References:
        | Chen et al. 2018, Neural ordinary differential equations, https://arxiv.org/abs/1806.07366
        | Grathwohl et al. 2019, FFJORD, https://arxiv.org/abs/1810.01367
        | Finlay et al. 2020, How to train your neural ODE, https://arxiv.org/abs/2002.02798

    Example:
        >>> import genflow as gf
        >>> model = gf.models.CNF(2, width=16).fit("two-moons", iterations=5)
        >>> model.log_prob([[0.0, 0.5]]).shape
        torch.Size([1])
    """

    search = {
        "learning_rate": Between(3e-3, 3e-2, log=True),
        "width": OneOf((64, 128, 256)),
        "matching": Between(0.0, 0.8),
        "kinetic": OneOf((0.0, 0.01, 0.1)),
    }

    @flatten_groups
    def __init__(
        self,
        dim: int,
        width: int = 128,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        costs: Sequence[RunningCost] = (),
        whiten: bool | None = None,
        frequencies: tuple[float, float] | None = None,
        condition_dim: int = 0,
        *,
        warm_up: WarmUp = WarmUp(),
        discretization: Discretization = Discretization(),
        optimization: Optimization = Optimization(),
        **parts: Any,
    ):
        frequencies = frequencies or initial_frequencies(dim)
        velocity: Velocity = parts.pop("velocity", None) or Shallow(dim, width, condition_dim, frequencies=frequencies)
        super().__init__(velocity, **{"scheduler": discretization.grid, "base": StandardNormal(dim), **parts})
        check_base(self.base, velocity.event() or (dim,))
        self.dim, self.condition_dim = dim, condition_dim
        self.whiten = not velocity.spatial if whiten is None else whiten
        self.choose(frequencies=frequencies, sharpness=optimization.sharpness or 0.0, whiten=self.whiten)
        self.costs = [*_check_costs(costs, velocity)]
        self.costs += [Kinetic(kinetic)] if kinetic else []
        self.costs += [JacobianNorm(jacobian)] if jacobian else []
        self.warm_up, self.discretization, self.optimization = warm_up, discretization, optimization

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        self.check_density()  # before the matching, which needs none
        if len(history) < 1 and self.warm_up.matching:
            return matching_stage(
                self.velocity,
                data,
                straight(lambda x, generator: (x, self.noise_like(x, generator))),
                name="matching",
                share=self.warm_up.matching,
                optimization=Optimization("adam", self.warm_up.matching_rate, self.optimization.batch_size),
            )
        if len(history) < 1 + bool(self.warm_up.matching):
            return likelihood_stage(
                self,
                data,
                self.discretization,
                costs=self.costs,
                name="likelihood",
                optimization=self.optimization,
            )
        return None


def _check_costs(costs: Any, velocity: Velocity) -> Sequence[RunningCost]:
    """The costs, where all of them are some that the velocity has."""
    for cost in costs if isinstance(costs, list | tuple) else (costs,):
        if not isinstance(cost, RunningCost):
            raise InputError(f"costs: {cost!r} came; a list of running costs such as [Kinetic(0.1)] would do")
        cost.check(velocity)
    return costs
