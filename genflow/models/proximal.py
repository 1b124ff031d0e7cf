r"""One proximal step of the Jordan–Kinderlehrer–Otto scheme, as a stage of training.

.. math::
    L_k = E_{x \sim \rho_{k-1}} \Bigl[ V(T_k x) - \int_{t_{k-1}}^{t_k} \nabla \cdot v \, dt
    + \frac{|T_k x - x|^2}{2 h_k} \Bigr], \qquad V(x) = -\log p_Z(x)

Up to a constant, the first two terms are :math:`KL(T_k \# \rho_{k-1} \| p_Z)`. A step that lowers :math:`L_k` below its
value at the identity dissipates: :math:`\Delta KL + E|\Delta x|^2 / 2h_k \le 0`.

C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.deadline import OutOfTime
from genflow.flow import Flow
from genflow.models.discretization import Discretization
from genflow.models.likelihood import kinetic_energy
from genflow.models.stages import CoarseFlow
from genflow.training import Refinement, Rows, Stage, Stream, pick, unpair

__all__ = ["TRANSPORTS", "proximal_stage"]

TRANSPORTS = ("dynamic", "endpoint")
_FEWEST_ROWS = 16  # that say whether a block is kept
_FIGURES = ("movement", "relative_movement", "kl_change", "dissipation", "dissipation_se")


def proximal_stage(
    flow: Flow,
    train: Rows | Stream,
    validation: Rows,
    discretization: Discretization,
    *,
    h: float,
    transport: str = "dynamic",
    free: bool = False,
    finish: Callable[[dict[str, Any]], None],
    **settings: Any,
) -> Stage:
    r"""The stage that trains one block; its entry of the history says what the block did to the validation rows.

    That is its step `h`, the `movement` :math:`(E|T_k x - x|^2)^{1/2}`, also relative to :math:`E|T_k x|^2`, the
    `kl_change` and the `dissipation` above with its standard error, and whether KL fell, `kept`.

    Args:
        flow: The block with its parts, on the grid that validates.
        train: Rows that the blocks before it have pushed, with their conditions where there are some.
        validation: The same of the validation part.
        discretization: How it is solved in training.
        h: Step :math:`h_k`.
        transport: The proximal term: `dynamic`, :math:`\frac{1}{2} \int |v|^2 dt`, or `endpoint`, the one above. They
            have one minimizer, the straight one, where the block's interval has the length h.
        free: Leaves the proximal term out.
        finish: Called with the entry.
        settings: Further arguments of the `Stage`.
    """
    coarse = CoarseFlow(flow, discretization)

    def terms(of: Flow, rows: Rows, generator: torch.Generator, watch: Any = None) -> tuple[Tensor, ...]:
        """Of each row: V(T x) - log det, the proximal term, the squared movement, and T x."""
        x, condition = unpair(rows)
        costs = [kinetic_energy] + ([watch] if watch else [])
        moved = of.integrate(x, costs=costs, condition=condition, generator=generator)
        movement = (moved.x - x).square().flatten(1).sum(-1)
        proximal = moved.costs[0] / 2 if transport == "dynamic" else movement / (2 * h)
        return -of.base.log_prob(moved.x) - moved.log_det, 0 * proximal if free else proximal, movement, moved.x

    def loss(batch: Rows, generator: torch.Generator) -> Tensor:
        watch = coarse.watch()
        nll, proximal, *_ = terms(coarse.flow, batch, generator, watch)
        value = nll + proximal
        return (value + coarse.disagreement * watch.total() if watch else value).mean()

    def losses(of: Flow, rows: Rows, generator: torch.Generator) -> Tensor:
        nll, proximal, *_ = terms(of, rows, generator)
        return nll + proximal

    @torch.no_grad()
    def remember(entry: dict[str, Any]) -> None:
        entry["h"] = h
        try:
            entry.update(figures(entry))
        except OutOfTime:  # nothing is known of what it did; one that has taken no step did nothing
            entry.update(dict.fromkeys(_FIGURES, math.nan), kept=entry["steps"] > 0)
        finish(entry)

    def figures(entry: dict[str, Any]) -> dict[str, Any]:
        rows = pick(validation, slice(max(_FEWEST_ROWS, entry["rows"])))
        x, _ = unpair(rows)
        nll, _, movement, moved = terms(coarse.fine, rows, torch.Generator(x.device).manual_seed(0))
        change = (nll + flow.base.log_prob(x)).double()
        dissipation = change if free else change + movement.double() / (2 * h)
        return {
            "movement": movement.mean().sqrt().item(),
            "relative_movement": (movement.mean() / moved.square().flatten(1).sum(-1).mean()).item(),
            "kl_change": change.mean().item(),
            "dissipation": dissipation.mean().item(),
            "dissipation_se": (dissipation.std() / math.sqrt(len(dissipation))).item(),
            "kept": bool(change.mean() < 0),
        }

    return Stage(
        parameters=list(flow.velocity.parameters()),
        train=train,
        validation=validation,
        loss=loss,
        validate=lambda rows, generator: losses(coarse.fine, rows, generator),
        finish=remember,
        closing=1.0,
        refinement=Refinement(lambda rows, generator: losses(coarse.flow, rows, generator), coarse.refine),
        **settings,
    )
