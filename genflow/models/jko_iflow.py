r"""JKO-iFlow: a chain of invertible blocks, each one step of the Jordan–Kinderlehrer–Otto scheme.

The scheme is the implicit Euler method of the gradient flow of :math:`KL(\rho \| p_Z)` in Wasserstein space,

.. math::
    \rho_k = \arg\min_\rho \; KL(\rho \| p_Z) + \frac{1}{2 h_k} W_2^2(\rho_{k-1}, \rho) .

Block k carries :math:`\rho_{k-1}` to :math:`\rho_k` by an ordinary differential equation on
:math:`[t_{k-1}, t_k]`, :math:`t_k - t_{k-1} = h_k`. With :math:`V(x) = |x|^2 / 2` its objective is

.. math::
    L_k = E_{x \sim \rho_{k-1}} \Bigl[ V(T_k x) - \int_{t_{k-1}}^{t_k} \nabla \cdot v \, dt
    + \frac{|T_k x - x|^2}{2 h_k} \Bigr] .

Blocks are trained one after another on samples that are pushed forward once, so memory stays that of one block.

C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.flow import Flow, StandardNormal
from genflow.model import GenerativeModel
from genflow.models.likelihood import negative_log_likelihood, validation_probes
from genflow.schedulers import JKOSteps, Uniform
from genflow.training import Stage, TrainingData
from genflow.velocities import Chain, Shallow

__all__ = ["JKOiFlow"]



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
        tolerance: Relative movement :math:`E|T_k x - x|^2 / E|T_k x|^2` at which the chain ends.
        free_block: Whether a last block is trained without the proximal term.
        joint: Share of the budget in which the assembled chain is trained on by maximum likelihood; 0 for none.
        train_steps: Integrator steps in a block while it is trained.
        steps: Integrator steps in a block afterwards, and in validation.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate of a block.
        joint_learning_rate: Peak learning rate of the joint training.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    Example:
        >>> import genflow as gf
        >>> model = gf.models.JKOiFlow(2, blocks=2, width=16).fit("two-moons", iterations=6)
        >>> model.log_prob([[0.0, 0.5]]).shape
        torch.Size([1])
    """

    velocity: Chain

    def __init__(
        self,
        dim: int,
        blocks: int = 8,
        first: float = 0.4,
        growth: float = 1.4,
        maximum: float = 3.0,
        width: int = 128,
        activation: str = "silu",
        tolerance: float = 1e-3,
        free_block: bool = False,
        joint: float = 0.4,
        train_steps: int = 2,
        steps: int = 4,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        joint_learning_rate: float = 2e-3,
        **parts: Any,
    ):
        if blocks < 1:
            raise InputError(f"blocks: {blocks} came; at least 1 would do")
        if not 0 <= joint < 1:
            raise InputError(f"joint: {joint} came; a share of the budget, at least 0 and below 1, would do")
        parts = {"velocity": Chain(), "scheduler": Uniform(steps), "base": StandardNormal(dim), **parts}
        super().__init__(**parts)
        self.dim, self.blocks, self.width, self.activation = dim, blocks, width, activation
        self.proximal_steps = JKOSteps(first, growth, maximum, steps=blocks)
        self.tolerance, self.free_block, self.joint = tolerance, free_block, joint
        self.train_steps = train_steps
        self.batch_size = batch_size
        self.learning_rate, self.joint_learning_rate = learning_rate, joint_learning_rate

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if any(entry["stage"] == "joint likelihood" for entry in history):
            return None
        built = len(self.velocity.blocks)
        if built < self.blocks and not (history and history[-1]["ended"]):
            return self._block_stage(data, built)
        return self._joint_stage(data) if self.joint and built else None

    def _block_stage(self, data: TrainingData, k: int) -> Stage:
        """Block k, counted from 0: one proximal step from the samples that the blocks before it have pushed."""
        x_train, x_validation = self._pushed(data, k)
        h = self.proximal_steps.step(k)
        proximal = not (self.free_block and k == self.blocks - 1)
        block = self._new_block(k, h).to(x_train)
        self.velocity.append(block)
        fine = Flow(block, self.scheduler, self.integrator, self.divergence, self.base)
        coarse = fine.replace(scheduler=Uniform(self.train_steps))

        def objective(flow: Flow, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            """Of each row: the loss L_k, the change of the negative log-likelihood, and the squared movement."""
            transport = flow.integrate(x, generator=generator)
            nll = -self.base.log_prob(transport.x) - transport.log_det
            movement = (transport.x - x).square().flatten(1).sum(-1)
            return nll + movement / (2 * h) if proximal else nll, nll + self.base.log_prob(x), movement

        def validate() -> Tensor:
            return objective(fine, x_validation, validation_probes(x_validation))[0]

        @torch.no_grad()
        def finish(entry: dict[str, Any]) -> None:
            loss, change, movement = objective(fine, x_validation, validation_probes(x_validation))
            dissipation = (loss + self.base.log_prob(x_validation)).double()
            pushed_norm = fine.encode(x_validation).square().flatten(1).sum(-1).mean()
            relative = (movement.mean() / pushed_norm).item()
            entry.update(
                block=k,
                h=h,
                movement=movement.mean().sqrt().item(),
                relative_movement=relative,
                nll_change=change.double().mean().item(),
                dissipation=dissipation.mean().item(),
                dissipation_se=(dissipation.std() / math.sqrt(len(dissipation))).item(),
                kept=bool(change.double().mean() < 0),
            )
            entry["ended"] = not entry["kept"] or relative < self.tolerance or k == self.blocks - 1
            if not entry["kept"]:
                self.velocity.pop()

        # What is left to come: this block and those behind it, and the joint training.
        left = (1 - self.joint) * (self.blocks - k) / self.blocks + self.joint
        return Stage(
            name=f"block {k + 1}",
            parameters=list(block.parameters()),
            train=x_train,
            loss=lambda batch, generator: objective(coarse, batch, generator)[0].mean(),
            validate=validate,
            share=(1 - self.joint) / self.blocks / left,
            finish=finish,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            average=0.98,
        )

    def _new_block(self, k: int, h: float) -> Shallow:
        start = self.velocity.interval[1] if k else 0.0
        block = Shallow(self.dim, self.width, activation=self.activation, interval=(start, start + h))
        if k:
            last = self.velocity.blocks[k - 1]
            block.load_state_dict(last.state_dict())
            block.scale_output((last.interval[1] - last.interval[0]) / h)
        return block

    def _joint_stage(self, data: TrainingData) -> Stage:
        """The assembled chain, by maximum likelihood; the graph of one block at a time is held."""
        coarse = self.replace(scheduler=Uniform(self.train_steps))

        def loss(batch: Tensor, generator: torch.Generator) -> Tensor:
            return negative_log_likelihood(coarse, batch, generator).mean()

        return Stage(
            name="joint likelihood",
            parameters=list(self.velocity.parameters()),
            train=data.train,
            loss=loss,
            validate=lambda: negative_log_likelihood(self, data.validation, validation_probes(data.validation)),
            batch_size=self.batch_size,
            learning_rate=self.joint_learning_rate,
            average=0.99,
        )

    @torch.no_grad()
    def _pushed(self, data: TrainingData, k: int) -> tuple[Tensor, Tensor]:
        """Training and validation rows behind the first k blocks: each block pushes them once."""
        done, x_train, x_validation = data.cache.get("pushed", (0, data.train, data.validation))
        for block in self.velocity.blocks[done:k]:
            flow = Flow(block, self.scheduler, self.integrator, self.divergence, self.base)
            x_train, x_validation = (
                torch.cat([flow.encode(rows) for rows in x.split(_PUSHED_ROWS)]) for x in (x_train, x_validation)
            )
        data.cache["pushed"] = (k, x_train, x_validation)
        return x_train, x_validation


_PUSHED_ROWS = 4096  # rows pushed at once, so that memory does not grow with the table
