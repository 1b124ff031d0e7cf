r"""JKO-iFlow: a chain of invertible blocks, each one step of the Jordan–Kinderlehrer–Otto scheme.

The scheme is the implicit Euler method of the gradient flow of :math:`KL(\rho \| p_Z)` in Wasserstein space,

.. math::
    \rho_k = \arg\min_\rho \; KL(\rho \| p_Z) + \frac{1}{2 h_k} W_2^2(\rho_{k-1}, \rho) .

Block k carries :math:`\rho_{k-1}` to :math:`\rho_k` by an ordinary differential equation on
:math:`[t_{k-1}, t_k]`, :math:`t_k - t_{k-1} = h_k`. With :math:`V(x) = |x|^2 / 2` its objective is

.. math::
    L_k = E_{x \sim \rho_{k-1}} \Bigl[ V(T_k x) - \int_{t_{k-1}}^{t_k} \nabla \cdot v \, dt
    + \frac{|T_k x - x|^2}{2 h_k} \Bigr] .

Blocks are trained one after another on samples that are pushed forward once, so memory stays that of one block. In
front of that, each block may learn by local flow matching between two states of the Ornstein–Uhlenbeck flow, which the
scheme discretizes; behind it, the assembled chain may be trained on by maximum likelihood.

| C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
| C. Xu, X. Cheng, Y. Xie, Local flow matching generative models, 2024, https://arxiv.org/abs/2410.02548
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.flow import Flow, StandardNormal
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.likelihood import kinetic_energy, validation_probes
from genflow.models.stages import CoarseFlow, likelihood_stage, matching_stage
from genflow.schedulers import JKOSteps, Warped
from genflow.training import Stage, TrainingData
from genflow.velocities import Chain, Shallow

__all__ = ["JKOiFlow"]

_PUSHED_ROWS = 4096  # rows pushed at once, so that memory does not grow with the table
_LOCAL, _PROXIMAL, _JOINT = "local matching", "block", "joint likelihood"


class JKOiFlow(Flow, GenerativeModel):
    r"""A chain of blocks, each trained as one proximal step. See the formulas above.

    A block is warm-started from the one before it, with its output scaled by :math:`h_{k-1} / h_k`: the displacement
    is what carries over. The chain ends when a block moves its samples by less than `tolerance`, when it no longer
    lowers the negative log-likelihood of the validation rows (it is then dropped), or at `blocks`.

    Args:
        dim: Dimension :math:`d` of a point.
        blocks: The largest number of blocks.
        first: First step :math:`h_1`.
        growth: Ratio of one step to the step before.
        maximum: Largest step.
        width: Width of the two hidden layers of a block.
        activation: Their activation; see `genflow.velocities.Shallow`.
        transport: The proximal term: `dynamic`, :math:`\frac{1}{2} \int |v|^2 dt`, or `endpoint`,
            :math:`|T_k x - x|^2 / 2 h_k`. They have one minimizer, the straight one of the first.
        disagreement: Weight of the penalty on the solver's own disagreement; see `genflow.models.StageDisagreement`.
        tolerance: Relative movement :math:`E|T_k x - x|^2 / E|T_k x|^2` at which the chain ends.
        free_block: Whether a last block is trained without the proximal term.
        matching: Share of the budget for local flow matching, before the proximal steps; 0 for none.
        joint: Share of the budget for the likelihood of the assembled chain, at the end; 0 for none.
        whiten: Whether to train on rows without correlation.
        train_steps: Integrator steps in a block while it is trained.
        steps: Integrator steps in a block afterwards, and in validation.
        warp: The grids of a block shrink towards the data by this power.
        frequencies: Range of the first layer's scales; see `genflow.velocities.Shallow`.
        batch_size: Rows in a batch.
        optimizer: `soap` or `adam`, for everything but the matching; see `genflow.training.Stage`.
        learning_rate: Peak learning rate of a proximal step.
        matching_rate: Peak learning rate of local flow matching.
        joint_rate: Peak learning rate of the joint training.
        weight_decay: Decoupled weight decay.
        compile: Whether to compile the likelihood; see `genflow.divergences.Compiled`.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    Example:
        >>> import genflow as gf
        >>> model = gf.models.JKOiFlow(2, blocks=2, width=16).fit("two-moons", iterations=8)
        >>> model.log_prob([[0.0, 0.5]]).shape
        torch.Size([1])
    """

    velocity: Chain

    def __init__(
        self,
        dim: int,
        blocks: int = 2,
        first: float = 0.4,
        growth: float = 4.0,
        maximum: float = 3.0,
        width: int = 128,
        activation: str = "silu",
        transport: str = "dynamic",
        disagreement: float = 1.0,
        tolerance: float = 1e-4,
        free_block: bool = False,
        matching: float = 0.1,
        joint: float = 0.75,
        whiten: bool = True,
        train_steps: int = 2,
        steps: int = 12,
        warp: float = 1.0,
        frequencies: tuple[float, float] = (1.0, 3.0),
        batch_size: int = 512,
        optimizer: str = "soap",
        learning_rate: float = 1e-2,
        matching_rate: float = 3e-3,
        joint_rate: float = 1.2e-2,
        weight_decay: float = 0.0,
        compile: bool = False,
        **parts: Any,
    ):
        if blocks < 1:
            raise InputError(f"blocks: {blocks} came; at least 1 would do")
        if not (matching >= 0 and joint >= 0 and matching + joint < 1):
            raise InputError(
                f"matching, joint: {matching}, {joint} came; shares of the budget that leave some for blocks"
            )
        if transport not in ("dynamic", "endpoint"):
            raise InputError(f"transport: {transport!r} came; dynamic or endpoint would do")
        parts = {"velocity": Chain(), "scheduler": Warped(steps, warp), "base": StandardNormal(dim), **parts}
        super().__init__(**parts)
        self.dim, self.blocks, self.width, self.activation = dim, blocks, width, activation
        self.proximal_steps = JKOSteps(first, growth, maximum, steps=blocks)
        self.transport, self.disagreement = transport, disagreement
        self.tolerance, self.free_block = tolerance, free_block
        self.matching, self.joint, self.whiten = matching, joint, whiten
        self.train_grid = Warped(train_steps, warp)
        self.frequencies, self.optimizer = frequencies, optimizer
        self.batch_size, self.weight_decay, self.compiled = batch_size, weight_decay, compile
        self.learning_rate, self.matching_rate, self.joint_rate = learning_rate, matching_rate, joint_rate

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        kinds = [entry["kind"] for entry in history]
        proximal = [entry for entry in history if entry["kind"] == _PROXIMAL]
        if self.matching and kinds.count(_LOCAL) < self.blocks:
            return self._local_stage(data, kinds.count(_LOCAL))
        if len(proximal) < self.blocks and not (proximal and proximal[-1]["ended"]):
            return self._proximal_stage(data, len(proximal))
        if self.joint and _JOINT not in kinds and len(self.velocity):
            return self._joint_stage(data)
        return None

    def _local_stage(self, data: TrainingData, k: int) -> Stage:
        r"""Block k by flow matching from one state of the Ornstein–Uhlenbeck flow to another.

        They lie :math:`\log(1 + h_k)` apart in its time, so that the mean contracts as in the proximal step.
        """
        gammas = [math.log1p(self.proximal_steps.step(j)) for j in range(k + 1)]

        def path(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            left = _diffused(x, sum(gammas[:k]), generator)
            return left, _diffused(left, gammas[k], generator)

        block = self._block(k, data.train)
        later = (1 - self.matching) * self.blocks / self.matching  # the rest, in units of one of these stages
        return matching_stage(
            block,
            data,
            path,
            name=f"{_LOCAL} {k + 1}",
            share=1 / (self.blocks - k + later),
            finish=lambda entry: entry.update(kind=_LOCAL),
            batch_size=self.batch_size,
            learning_rate=self.matching_rate,
            average=0.99,
        )

    def _proximal_stage(self, data: TrainingData, k: int) -> Stage:
        """Block k, counted from 0: one proximal step from the samples that the blocks before it have pushed."""
        x_train, x_validation = self._pushed(data, k)
        h = self.proximal_steps.step(k)
        free = self.free_block and k == self.blocks - 1
        block = self._block(k, x_train)
        fine = Flow(block, self.scheduler, self.integrator, self.divergence, self.base)
        coarse = CoarseFlow(fine, self.train_grid, self.disagreement, self.compiled)

        def terms(flow: Flow, x: Tensor, generator: torch.Generator, watch: Any = None) -> tuple[Tensor, ...]:
            """Of each row: V(T x) - log det, the proximal term, and the squared movement."""
            costs = [kinetic_energy] + ([watch] if watch else [])
            moved = flow.integrate(x, costs=costs, generator=generator)
            movement = (moved.x - x).square().flatten(1).sum(-1)
            proximal = moved.costs[0] / 2 if self.transport == "dynamic" else movement / (2 * h)
            return -self.base.log_prob(moved.x) - moved.log_det, 0 * proximal if free else proximal, movement

        def loss(batch: Tensor, generator: torch.Generator) -> Tensor:
            watch = coarse.watch()
            nll, proximal, _ = terms(coarse.flow, batch, generator, watch)
            value = nll + proximal
            return (value + coarse.disagreement * watch.total() if watch else value).mean()

        def validate() -> Tensor:
            nll, proximal, _ = terms(fine, x_validation, validation_probes(x_validation))
            return nll + proximal

        @torch.no_grad()
        def finish(entry: dict[str, Any]) -> None:
            nll, _, movement = terms(fine, x_validation, validation_probes(x_validation))
            change = (nll + self.base.log_prob(x_validation)).double()
            dissipation = change if free else change + movement.double() / (2 * h)
            relative = (movement.mean() / fine.encode(x_validation).square().flatten(1).sum(-1).mean()).item()
            entry.update(
                kind=_PROXIMAL,
                h=h,
                movement=movement.mean().sqrt().item(),
                relative_movement=relative,
                kl_change=change.mean().item(),
                dissipation=dissipation.mean().item(),
                dissipation_se=(dissipation.std() / math.sqrt(len(dissipation))).item(),
                kept=bool(change.mean() < 0),
            )
            entry["ended"] = not entry["kept"] or relative < self.tolerance or k == self.blocks - 1
            if entry["ended"]:
                self.velocity.truncate(k + entry["kept"])

        ahead = 1 - self.matching - self.joint
        return Stage(
            name=f"{_PROXIMAL} {k + 1}",
            parameters=list(block.parameters()),
            train=x_train,
            loss=loss,
            validate=validate,
            solver_error=lambda: coarse.error(x_validation),
            refine=coarse.refine,
            share=ahead / self.blocks / (ahead * (self.blocks - k) / self.blocks + self.joint),
            finish=finish,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            average=0.99,
        )

    def _joint_stage(self, data: TrainingData) -> Stage:
        """The assembled chain, by maximum likelihood."""
        return likelihood_stage(
            self,
            data,
            self.train_grid,
            disagreement=self.disagreement,
            compile=self.compiled,
            name=_JOINT,
            finish=lambda entry: entry.update(kind=_JOINT),
            batch_size=self.batch_size,
            learning_rate=self.joint_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            average=0.99,
        )

    def _block(self, k: int, like: Tensor) -> Velocity:
        """Block k: the one that is there, or a new one, warm-started from its predecessor."""
        if k < len(self.velocity):
            return self.velocity[k]
        start, h = self.velocity.interval[1] if k else 0.0, self.proximal_steps.step(k)
        block = Shallow(
            self.dim,
            self.width,
            activation=self.activation,
            interval=(start, start + h),
            frequencies=self.frequencies,
        ).to(like)
        if k:
            last = self.velocity[k - 1]
            block.load_state_dict(last.state_dict())
            block.scale_output((last.interval[1] - last.interval[0]) / h)
        self.velocity.append(block)
        return block

    @torch.no_grad()
    def _pushed(self, data: TrainingData, k: int) -> tuple[Tensor, Tensor]:
        """Training and validation rows behind the first k blocks: each block pushes them once."""
        blocks = list(self.velocity)[:k]
        behind, x_train, x_validation = data.cache.get("pushed", ([], data.train, data.validation))
        if behind != blocks[: len(behind)]:  # those of another model, or of an earlier pass
            behind, x_train, x_validation = [], data.train, data.validation
        for block in blocks[len(behind) :]:
            flow = Flow(block, self.scheduler, self.integrator, self.divergence, self.base)
            x_train, x_validation = (
                torch.cat([flow.encode(rows) for rows in x.split(_PUSHED_ROWS)]) for x in (x_train, x_validation)
            )
        data.cache["pushed"] = (blocks, x_train, x_validation)
        return x_train, x_validation


def _diffused(x: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
    r"""The Ornstein–Uhlenbeck flow's state after a time, :math:`e^{-\gamma} x + \sqrt{1 - e^{-2\gamma}} z`."""
    if gamma == 0:
        return x
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return math.exp(-gamma) * x + math.sqrt(-math.expm1(-2 * gamma)) * z
