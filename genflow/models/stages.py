"""Stages of training that several models share: maximum likelihood, and the matching of straight paths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.divergences import Compiled
from genflow.flow import Cost, Flow
from genflow.interfaces import Scheduler, Velocity
from genflow.models.likelihood import StageDisagreement, jacobian_norm, kinetic_energy
from genflow.solvers import RK4
from genflow.training import Rows, Stage, TrainingData, paired, unpaired

__all__ = ["CoarseFlow", "initial_frequencies", "likelihood_stage", "matching_stage"]

_LONG = 4  # of a longer chain, all blocks but the last are computed again in the backward pass
_SCARCE = 100  # rows for each dimension, below which fine detail is noise
_SLICES = 8  # times in one batch of the matching stage: one time for all rows of a slice is cheaper than one for each


def likelihood_stage(
    flow: Flow,
    data: TrainingData,
    train_grid: Scheduler,
    *,
    kinetic: float = 0.0,
    jacobian: float = 0.0,
    disagreement: float = 0.0,
    compile: bool = False,
    **settings: Any,
) -> Stage:
    r"""Maximum likelihood of a whole flow, with running costs as regularizers.

    .. math:: E\Bigl[-\log p(x) + \lambda_K \int |v|^2 dt + \lambda_J \int |\nabla v|_F^2 dt\Bigr]

    Args:
        flow: The flow; its own grid is the one that validates.
        data: Rows.
        train_grid: The coarser grid that is trained on.
        kinetic: Weight :math:`\lambda_K`.
        jacobian: Weight :math:`\lambda_J`.
        disagreement: Weight of `StageDisagreement`; of no effect for an integrator other than RK4.
        compile: Whether to compile what is trained; see `genflow.divergences.Compiled`.
        settings: Further attributes of the `Stage`.
    """
    coarse = CoarseFlow(flow, train_grid, disagreement, compile)
    long = len(flow.velocity.pieces()) > _LONG

    def loss(batch: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpaired(batch)
        costs: list[Cost] = []
        weights = []
        if kinetic:
            costs.append(kinetic_energy)
            weights.append(kinetic)
        if jacobian:
            costs.append(jacobian_norm(flow, x, generator, condition))
            weights.append(jacobian)
        watch = coarse.watch()
        costs += [watch] if watch else []
        held = 1 if long else None
        transport = coarse.flow.integrate(x, costs=costs, condition=condition, generator=generator, held_pieces=held)
        value = -flow.base.log_prob(transport.x) - transport.log_det
        for weight, cost in zip(weights, transport.costs, strict=False):
            value = value + weight * cost
        return (value + coarse.disagreement * watch.total() if watch else value).mean()

    return Stage(
        parameters=list(flow.velocity.parameters()),
        train=paired(data.train, data.train_condition),
        validation=paired(data.validation, data.validation_condition),
        loss=loss,
        validate=lambda rows, generator: -flow.log_prob(*unpaired(rows), generator),
        coarse=lambda rows, generator: -coarse.flow.log_prob(*unpaired(rows), generator),
        refine=coarse.refine,
        lean=long,
        **settings,
    )


class CoarseFlow:
    """A flow on the grid that it is trained on, which becomes finer when the training lives on the solver's error.

    Args:
        flow: The flow on its own, fine grid.
        grid: The coarse grid.
        disagreement: Weight of `StageDisagreement`; of no effect for an integrator other than RK4.
        compile: Whether to compile its evaluations; see `genflow.divergences.Compiled`.

    Attributes:
        flow: The flow on the coarse grid.
    """

    def __init__(self, flow: Flow, grid: Scheduler, disagreement: float, compile: bool = False):
        self.fine, self.grid, self.base_weight = flow, grid, disagreement
        self.divergence = Compiled(flow.divergence) if compile else flow.divergence
        self.refine(0)

    def refine(self, level: int) -> None:
        """Half as many steps more for each level, and three times the weight of the disagreement."""
        steps = math.ceil(self.grid.steps * (1 + level / 2))
        self.flow = self.fine.replace(scheduler=self.grid.with_steps(steps), divergence=self.divergence)
        self.disagreement = self.base_weight * 3**level

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
    path: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]],
    **settings: Any,
) -> Stage:
    r"""Flow matching along straight paths :math:`x_l \to x_r` over the velocity's interval of length h.

    .. math:: E_\tau \bigl| h \, v(x_l + \tau (x_r - x_l), t_0 + \tau h) - (x_r - x_l) \bigr|^2

    A warm-up: an evaluation costs a tenth of a likelihood step's, and finds the coarse shape of the field.

    Args:
        velocity: The field to train.
        data: Rows.
        path: `(rows, generator) -> (x_l, x_r)`.
        settings: Further attributes of the `Stage`.
    """
    start, stop = velocity.interval

    def error(left: Tensor, right: Tensor, condition: Tensor | None, offset: float) -> Tensor:
        slices = min(_SLICES, len(left))
        parts = [rows.chunk(slices) for rows in (left, right)]
        conditions = [None] * len(parts[0]) if condition is None else condition.chunk(slices)
        errors = []
        for i, (a, b, c) in enumerate(zip(*parts, conditions, strict=True)):
            tau = (i + offset) / slices
            t = torch.tensor(start + tau * (stop - start), dtype=a.dtype, device=a.device)
            difference = (stop - start) * velocity(torch.lerp(a, b, tau), t, c) - (b - a)
            errors.append(difference.square().flatten(1).sum(-1))
        return torch.cat(errors)

    def loss(batch: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpaired(batch)
        left, right = path(x, generator)
        offset = torch.rand((), generator=generator, device=generator.device).item()
        return error(left, right, condition, offset).mean()

    def validate(rows: Rows, generator: torch.Generator) -> Tensor:
        x, condition = unpaired(rows)
        order = torch.randperm(len(x), generator=generator, device=generator.device)
        return error(*path(x[order], generator), None if condition is None else condition[order], 0.5)

    return Stage(
        parameters=list(velocity.parameters()),
        train=paired(data.train, data.train_condition),
        validation=paired(data.validation, data.validation_condition),
        loss=loss,
        validate=validate,
        **settings,
    )
