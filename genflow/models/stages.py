"""Stages of training that several models share: maximum likelihood, and the matching of straight paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genflow.answers import check_field
from genflow.divergences import Compiled
from genflow.flow import Cost, Flow
from genflow.interfaces import Velocity
from genflow.models.costs import RunningCost
from genflow.models.discretization import Discretization
from genflow.models.likelihood import StageDisagreement
from genflow.solvers import RK4, RK4Simpson
from genflow.training import Refinement, Regime, Rows, Stage, TrainingData, pair, unpair
from genflow.wrappers import alike

__all__ = [
    "CoarseFlow", "MatchingPath", "OnPath", "beside", "initial_frequencies", "likelihood_stage", "matching_stage",
    "straight",
]  # fmt: skip


_LONG = 4  # of a longer chain, all blocks but the last are computed again in the backward pass
_SCARCE = 100  # rows for each dimension, below which fine detail is noise


class OnPath(NamedTuple):
    """Where a path is.

    Attributes:
        point: Its points, `(n, *event)`.
        rate: Their rate of change over the whole of the path, `(n, *event)`.
        tau: Which share of the path's time is over, `(n,)`.
    """

    point: Tensor
    rate: Tensor
    tau: Tensor


MatchingPath = Callable[[Tensor, Tensor, torch.Generator], OnPath]
"""`(rows, u, generator)`: the paths of rows, at times made of numbers u that lie evenly over (0, 1)."""


def likelihood_stage(
    flow: Flow,
    data: TrainingData,
    discretization: Discretization,
    *,
    costs: Sequence[RunningCost] = (),
    regime: Regime | None = None,
    **settings: Any,
) -> Stage:
    r"""Maximum likelihood of a whole flow, with running costs :math:`c_i` as regularizers.

    .. math:: E\Bigl[-\log p(x) + \sum_i \lambda_i \int c_i \, dt\Bigr]

    Args:
        flow: The flow; its own grid is the one that validates, unless it has to be finer.
        data: Rows.
        discretization: How it is solved in training.
        costs: The running costs, with their weights :math:`\lambda_i`.
        regime: What it wants otherwise; whether it is lean is for the length of the chain to say.
        settings: Further arguments of the `Stage`.
    """
    coarse = CoarseFlow(flow, discretization)
    long = len(flow.velocity.pieces()) > _LONG

    def loss(batch: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpair(batch)
        running: list[Cost] = [cost.of(flow, x, generator, condition) for cost in costs]
        watch = coarse.watch()
        running += [watch] if watch else []
        held = 1 if long else None
        transport = coarse.flow.integrate(x, costs=running, condition=condition, generator=generator, held_pieces=held)
        value = -flow.base.log_prob(transport.x) - transport.log_det
        for cost, integral in zip(costs, transport.costs, strict=False):
            value = value + cost.weight * integral
        return (value + coarse.disagreement * watch.total() if watch else value).mean()

    refinement = Refinement(lambda rows, g: -coarse.judged.log_prob(*unpair(rows), g), coarse.refine)
    return Stage(
        parameters=list(flow.velocity.parameters()),
        train=data.batched,
        validation=pair(data.validation, data.validation_condition),
        loss=loss,
        validate=lambda rows, generator: -coarse.fine.log_prob(*unpair(rows), generator),
        refinement=refinement if coarse.differs else None,
        regime=(regime or Regime()).rebuilt(lean=long),
        **settings,
    )


class CoarseFlow:
    """A flow on the grid that it is trained on, which becomes finer when the training lives on the solver's error.

    Args:
        flow: The flow on its own grid.
        discretization: The coarse grid, and what else is another in training.

    Attributes:
        flow: The flow on the coarse grid.
        fine: The flow on the grid that validates: its own, or, once the coarse one has been refined, at least twice as
            fine as that. Of two alike, neither could tell that the training lives on the error of both.
        differs: Whether its grid is another than that of the fine one; where not, there is nothing to refine.
    """

    def __init__(self, flow: Flow, discretization: Discretization):
        self.own, self.grid, self.base_weight = flow, discretization.train_grid, discretization.disagreement
        self.alike = discretization.train_divergence is None
        divergence = discretization.train_divergence or flow.divergence
        self.divergence = Compiled(divergence) if discretization.compile else divergence
        self.differs = not alike(flow.scheduler, self.grid)
        self.refine(0)

    def refine(self, level: int) -> None:
        """Half as many steps more for each level, and three times the weight of the disagreement."""
        steps = math.ceil(self.grid.steps * (1 + level / 2))
        integrator, own = self.own.integrator, self.own.scheduler
        if isinstance(integrator, RK4Simpson):  # its four stages tell of the solver's error, which Simpson's rule can't
            integrator = RK4(integrator.gradient)
        finer = level and own.steps < 2 * steps
        self.fine = self.own.replace(scheduler=own.with_steps(2 * steps)) if finer else self.own
        self.flow = self.own.replace(
            scheduler=self.grid.with_steps(steps), divergence=self.divergence, integrator=integrator
        )
        self.disagreement = self.base_weight * 3**level

    @property
    def judged(self) -> Flow:
        """The flow on the coarse grid, with the divergence that the fine one has, to tell the grids apart."""
        return self.flow if self.alike else self.flow.replace(divergence=self.own.divergence)

    def watch(self) -> StageDisagreement | None:
        """The watch over one solve, where the integrator has two stages to compare."""
        watched = self.disagreement and isinstance(self.flow.integrator, RK4)
        return StageDisagreement(self.flow.velocity, self.flow.scheduler) if watched else None


def initial_frequencies(dim: int, rows: float = math.inf) -> tuple[float, float]:
    """The scales at which a network's first layer begins, by default.

    In the plane many more details can be learned; few rows in many dimensions show none.
    """
    if dim <= 2:
        return 1.0, 20.0
    return (0.5, 0.5) if rows < _SCARCE * dim else (1.0, 3.0)


def matching_stage(
    velocity: Velocity,
    data: TrainingData,
    path: MatchingPath,
    **settings: Any,
) -> Stage:
    r"""Flow matching along a path :math:`x_\tau` over the velocity's interval of length h.

    .. math:: E_\tau \bigl| h \, v(x_\tau, t_0 + \tau h) - \dot x_\tau \bigr|^2, \qquad \tau \in [0, 1]

    A warm-up: an evaluation costs a tenth of a likelihood step's, and finds the coarse shape of the field.

    Args:
        velocity: The field to train.
        data: Rows.
        path: The path, a `MatchingPath`.
        settings: Further arguments of the `Stage`.
    """
    start, stop = velocity.interval

    def error(x: Tensor, condition: Tensor | None, offset: float, generator: torch.Generator) -> Tensor:
        strata = torch.arange(len(x), dtype=x.dtype, device=x.device)
        point, rate, tau = path(x, (strata + offset) / len(x), generator)
        found = check_field(velocity(point, start + tau * (stop - start), condition), point, velocity)
        difference = (stop - start) * found - rate
        return difference.square().flatten(1).sum(-1)

    def loss(batch: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpair(batch)
        offset = torch.rand((), generator=generator, device=generator.device).item()
        return error(x, condition, offset, generator).mean()

    def validate(rows: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpair(rows)
        order = torch.randperm(len(x), generator=generator, device=generator.device)
        return error(x[order], None if condition is None else condition[order], 0.5, generator)

    return Stage(
        parameters=list(velocity.parameters()),
        train=data.batched,
        validation=pair(data.validation, data.validation_condition),
        loss=loss,
        validate=validate,
        **settings,
    )


def straight(ends: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]) -> MatchingPath:
    """Straight paths, of which all times are looked at alike.

    Args:
        ends: `(rows, generator)`, the beginning and the end of each row's path.
    """

    def path(x: Tensor, u: Tensor, generator: torch.Generator) -> OnPath:
        left, right = ends(x, generator)
        return OnPath(torch.lerp(left, right, beside(u, x)), right - left, u)

    return path


def beside(values: Tensor, x: Tensor) -> Tensor:
    """A number for each row, with axes of length 1 for those of the rows."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))
