r"""JKO-iFlow: a chain of invertible blocks, each one step of the Jordan–Kinderlehrer–Otto scheme.

The scheme is the implicit Euler method of the gradient flow of :math:`KL(\rho \| p_Z)` in Wasserstein space,

.. math::
    \rho_k = \arg\min_\rho \; KL(\rho \| p_Z) + \frac{1}{2 h_k} W_2^2(\rho_{k-1}, \rho) .

Block k carries :math:`\rho_{k-1}` to :math:`\rho_k` by an ordinary differential equation on
:math:`[t_{k-1}, t_k]`, :math:`t_k - t_{k-1} = h_k`. With :math:`V(x) = -\log p_Z(x)`, of the standard normal base
:math:`|x|^2 / 2` up to a constant, its objective is

.. math::
    L_k = E_{x \sim \rho_{k-1}} \Bigl[ V(T_k x) - \int_{t_{k-1}}^{t_k} \nabla \cdot v \, dt
    + \frac{|T_k x - x|^2}{2 h_k} \Bigr] .

Blocks are trained one after another on samples that are pushed forward once, so memory stays that of one block. When
all have been trained, a round is over, and another may follow: the boundaries move towards equal movement of the
blocks (re-parameterization), or every interval is halved (refinement), and the blocks go on from where they were.

In front of that, each block may learn by local flow matching between two states of the Ornstein–Uhlenbeck flow, which
the scheme discretizes (of straight paths to draws from the base, where that is not normal); behind it, the assembled
chain may be trained on by maximum likelihood.

| C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
| C. Xu, X. Cheng, Y. Xie, Local flow matching generative models, 2024, https://arxiv.org/abs/2410.02548
"""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.base import StandardNormal, check_base
from genflow.errors import InputError
from genflow.flow import Flow
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.proximal import TRANSPORTS, proximal_stage
from genflow.models.stages import initial_frequencies, likelihood_stage, matching_stage
from genflow.schedulers import JKOSteps, Warped, refined, reparameterized
from genflow.training import Stage, TrainingData, paired
from genflow.velocities import Chain, Shallow

__all__ = ["JKOiFlow", "diffused"]

_GAIN = 2.0  # what a round spends, in units of the one before
_FEW = 10_000  # rows that a flow overfits within minutes
_SPARE = 2  # rows pushed for a block, in units of those that it is expected to see
_PUSHED_ROWS = 1024  # rows pushed at once, so that memory does not grow with the table
_LOCAL, _PROXIMAL, _JOINT = "local matching", "block", "joint likelihood"
_OBJECTIVES = ("warmed", "proximal", "matching")


class JKOiFlow(Flow, GenerativeModel):
    r"""A chain of blocks, each trained as one proximal step. See the formulas above.

    A block is warm-started from the one before it, with its output scaled by :math:`h_{k-1} / h_k`: the displacement
    is what carries over. The chain ends when a block moves its samples by less than `tolerance`, when it no longer
    lowers the negative log-likelihood of the validation rows (it is then dropped), or at `blocks`.

    Args:
        dim: Dimension :math:`d` of a point.
        blocks: The largest number of blocks. By default 4 in the plane, 2 above.
        first: First step :math:`h_1`. By default 0.2 in the plane, 0.4 above.
        growth: Ratio of one step to the step before. By default 2 in the plane, 4 above.
        maximum: Largest step.
        width: Width of the two hidden layers of a block. By default 128, and 256 where the rows to train on are few: a
            wide network varies less from one training to another, a narrow one takes more steps.
        activation: Their activation; see `genflow.velocities.Shallow`.
        transport: The proximal term: `dynamic`, :math:`\frac{1}{2} \int |v|^2 dt`, or `endpoint`,
            :math:`|T_k x - x|^2 / 2 h_k`. They have one minimizer, the straight one of the first.
        kinetic: Weight of the kinetic energy :math:`\int |v|^2 dt` in the joint stage: straight paths need few steps.
        disagreement: Weight of the penalty on the solver's own disagreement; see `genflow.models.StageDisagreement`.
        tolerance: Relative movement :math:`E|T_k x - x|^2 / E|T_k x|^2` at which the chain ends.
        objective: Of a block: `proximal`; `matching`, local flow matching alone; or `warmed`, matching and then the
            proximal step.
        free_block: Whether the last block goes all the way: without the proximal term, or matched to the noise.
        reparameterize: The largest number of rounds after the first that move the boundaries towards equal movement.
        equal: The relative spread of the movements (deviation / mean) at which those rounds end.
        damping: Share :math:`\eta` of the way that the boundaries move in such a round.
        refine: The number of rounds, after those, that halve every interval.
        matching: Share of the budget for local flow matching before the proximal steps, where the objective is
            `warmed`; 0 for none, the default in the plane; 0.1 above.
        joint: Share of the budget for the likelihood of the assembled chain, at the end; 0 for none, the default in the
            plane, where the proximal steps alone lead further; 0.75 above.
        whiten: Whether to train on rows without correlation.
        train_steps: Integrator steps in a block while it is trained.
        steps: Integrator steps in a block afterwards, and in validation.
        warp: The grids of a block shrink towards the data by this power.
        frequencies: Range of the first layer's scales; see `genflow.velocities.Shallow`. By default (1, 20) in the
            plane, where pictures live, and (1, 3) above; (0.5, 0.5) where there are fewer than 100 rows for each of
            more than two dimensions.
        block: A velocity that the blocks are built like, with its arguments and intervals of their own, in place of
            `Shallow`; its weights are not used. A velocity on a graph makes this a model of node features, `dim` in
            all. Blocks without a method `scale_output` are not warm-started.
        batch_size: Rows in a batch.
        optimizer: `soap` or `adam`, for everything but the matching; see `genflow.training.Stage`.
        learning_rate: Peak learning rate of a proximal step.
        matching_rate: Peak learning rate of local flow matching.
        joint_rate: Peak learning rate of the joint training.
        weight_decay: Decoupled weight decay.
        sharpness: Radius of sharpness-aware minimization in the joint stage; see `genflow.training.Stage`. By default
            0.1 where the rows are few, and 0 elsewhere.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
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
        blocks: int | None = None,
        first: float | None = None,
        growth: float | None = None,
        maximum: float = 3.0,
        width: int | None = None,
        activation: str = "silu",
        transport: str = "dynamic",
        kinetic: float = 0.1,
        disagreement: float = 1.0,
        tolerance: float = 1e-4,
        objective: str = "warmed",
        free_block: bool = False,
        reparameterize: int = 0,
        equal: float = 0.1,
        damping: float = 0.5,
        refine: int = 0,
        matching: float | None = None,
        joint: float | None = None,
        whiten: bool = True,
        train_steps: int = 3,
        steps: int = 8,
        warp: float = 1.5,
        frequencies: tuple[float, float] | None = None,
        block: Velocity | None = None,
        batch_size: int = 256,
        optimizer: str = "soap",
        learning_rate: float = 1e-2,
        matching_rate: float = 3e-3,
        joint_rate: float = 1.2e-2,
        weight_decay: float = 0.0,
        sharpness: float | None = None,
        condition_dim: int = 0,
        compile: bool = False,
        **parts: Any,
    ):
        # What was found by trying: a density in the plane has more to it than a few blocks can hold, and more rows.
        plane = dim <= 2
        blocks = (4 if plane else 2) if blocks is None else blocks
        first = (0.2 if plane else 0.4) if first is None else first
        growth = (2.0 if plane else 4.0) if growth is None else growth
        matching = (0.0 if plane else 0.1) if matching is None else matching
        joint = (0.0 if plane else 0.75) if joint is None else joint
        self.choose(blocks=blocks, first=first, growth=growth, matching=matching, joint=joint)
        if blocks < 1:
            raise InputError(f"blocks: {blocks} came; at least 1 would do")
        if not (matching >= 0 and joint >= 0 and matching + joint < 1):
            raise InputError(
                f"matching, joint: {matching}, {joint} came; shares of the budget that leave some for blocks"
            )
        if transport not in TRANSPORTS:
            raise InputError(f"transport: {transport!r} came; {' or '.join(TRANSPORTS)} would do")
        if objective not in _OBJECTIVES:
            raise InputError(f"objective: {objective!r} came; {' or '.join(_OBJECTIVES)} would do")
        if min(reparameterize, refine) < 0:
            raise InputError(f"reparameterize, refine: {reparameterize}, {refine} came; numbers of rounds from 0 up")
        if objective == "matching" and (reparameterize or refine):
            raise InputError(
                f"reparameterize, refine: {reparameterize}, {refine} came; objective='matching' has no rounds"
            )
        shape = (dim,) if block is None else _event_shape(block, dim)
        parts = {"velocity": Chain(), "scheduler": Warped(steps, warp), "base": StandardNormal(shape), **parts}
        super().__init__(**parts)
        check_base(self.base, shape)
        self.condition_dim = condition_dim
        self.dim, self.blocks, self.width, self.activation = dim, blocks, width or 0, activation
        self.proximal_steps = JKOSteps(first, growth, maximum, steps=blocks)
        self.transport, self.kinetic, self.disagreement = transport, kinetic, disagreement
        self.tolerance, self.objective, self.free_block = tolerance, objective, free_block
        self.reparameterize, self.equal, self.damping, self.refine = reparameterize, equal, damping, refine
        self.matching = {"warmed": matching, "proximal": 0.0, "matching": 1 - joint}[objective]
        self.joint, self.whiten = joint, whiten
        self.train_grid = Warped(train_steps, warp)
        self.frequencies, self.optimizer = frequencies, optimizer
        # Class and arguments, not the module: its weights are not those of the model.
        self.prototype = None if block is None else (type(block), block.config())
        self.batch_size, self.weight_decay, self.compiled = batch_size, weight_decay, compile
        self.sharpness = sharpness
        self.learning_rate, self.matching_rate, self.joint_rate = learning_rate, matching_rate, joint_rate

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        rows = len(data.train)
        self.width = self.width or (256 if rows < _FEW else 128)
        self.frequencies = self.frequencies or initial_frequencies(self.dim, rows)
        self.sharpness = (0.1 if rows < _FEW else 0.0) if self.sharpness is None else self.sharpness
        self.choose(width=self.width, frequencies=self.frequencies, sharpness=self.sharpness)
        kinds = [entry["kind"] for entry in history]
        if self.matching and kinds.count(_LOCAL) < self.blocks:
            return self._local_stage(data, kinds.count(_LOCAL))
        if self.objective != "matching":
            entries = [entry for entry in history if entry["kind"] == _PROXIMAL]
            if not entries:
                return self._proximal_stage(data, 0, 0, 0)
            last = entries[-1]
            if not last["ended"]:
                return self._proximal_stage(data, last["moves"], last["halvings"], last["block"] + 1, entries)
            following = self._next_round(entries)
            if following is not None:
                return self._proximal_stage(data, *following, 0)
        if self.joint and _JOINT not in kinds and len(self.velocity):
            return self._joint_stage(data)
        return None

    def stages_behind(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        behind = super().stages_behind(history)
        if any(entry.get("moves") or entry.get("halvings") for entry in history[len(behind) :]):
            raise InputError("fit: a chain that ends with rounds can't go on from its weights; joint=0.75 would do")
        return behind

    def _next_round(self, entries: list[dict[str, Any]]) -> tuple[int, int] | None:
        """The round after the one that is over, with the boundaries moved or halved for it; `None` after the last.

        A round goes by how often the boundaries have been moved and how often halved.
        """
        moves, halvings = entries[-1]["moves"], entries[-1]["halvings"]
        movements = [e["movement"] for e in entries if (e["moves"], e["halvings"]) == (moves, halvings)]
        movements = movements[: len(self.velocity)]  # in the first round, the last block may have been dropped
        if not movements:
            return None
        movable = not halvings and moves < self.reparameterize and len(movements) > 1
        if movable and statistics.pstdev(movements) > self.equal * statistics.mean(movements):
            boundaries = reparameterized(self.velocity.boundaries(), movements, self.damping)
            self.velocity = self.velocity.recut(boundaries)
            return moves + 1, halvings
        if halvings < self.refine:
            self.velocity = self.velocity.recut(refined(self.velocity.boundaries()))
            return moves, halvings + 1
        return None

    def _share(self, moves: int, halvings: int, k: int) -> float:
        """The share that block k of a round has in the budget that is left, if all rounds take place.

        A round gets `_GAIN` times what the one before it got: an early one only has to find boundaries and a warm
        start, and what it leaves unfinished is lost with the next cut.
        """
        this, last = moves + halvings, self.refine + (moves if halvings else self.reparameterize)
        spent = [_GAIN**i for i in range(self.reparameterize + self.refine + 1)]
        joint = sum(spent) * self.joint / (1 - self.matching - self.joint)
        block = spent[this] / (len(self.velocity) if this else self.blocks)
        return block / (spent[this] - k * block + sum(spent[this + 1 : last + 1]) + joint)

    def _local_stage(self, data: TrainingData, k: int) -> Stage:
        r"""Block k by flow matching from one state of the Ornstein–Uhlenbeck flow to another.

        The mean contracts by :math:`e^{-\gamma_k} = 1 / (1 + h_k / \sigma^2)`, as in the proximal step towards the base
        :math:`N(0, \sigma^2 I)`. The free block goes to the noise itself. Another base has no such flow in closed form:
        its draws are then approached on straight paths, by the same shares of the way.
        """
        base = self.base
        normal = type(base) is StandardNormal  # a law derived from it may be another
        variance = base.scale**2 if normal else 1.0
        gammas = [math.log1p(self.proximal_steps.step(j) / variance) for j in range(k + 1)]
        if self.free_block and k == self.blocks - 1:
            gammas[k] = math.inf

        def path(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            if normal:
                left = diffused(x, sum(gammas[:k]), generator, base.scale)
                return left, diffused(left, gammas[k], generator, base.scale)
            z = self.noise_like(x, generator)
            left, right = (torch.lerp(z, x, math.exp(-sum(gammas[:j]))) for j in (k, k + 1))
            return left, right

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

    def _proximal_stage(
        self, data: TrainingData, moves: int, halvings: int, k: int, entries: Sequence[dict[str, Any]] = ()
    ) -> Stage:
        """Block k of a round, counted from 0: one proximal step from what the blocks before it have pushed.

        `entries` are those of the proximal steps so far; the last k are of this round.
        """
        x_train, x_validation, condition = self._pushed(data, k, self._rows(data, entries[len(entries) - k :]))
        before = entries[-1]["nll"] if k else -self.base.log_prob(x_validation).double().mean().item()
        block = self._block(k, x_train)
        rounds = moves + halvings
        count = len(self.velocity) if rounds else self.blocks

        def finish(entry: dict[str, Any]) -> None:
            entry.update(kind=_PROXIMAL, moves=moves, halvings=halvings, block=k, interval=list(block.interval))
            entry["nll"] = before + entry["kl_change"]
            entry["ended"] = k == count - 1
            if not rounds:  # the first round finds out how many blocks it takes
                entry["ended"] |= not entry["kept"] or entry["relative_movement"] < self.tolerance
                if entry["ended"]:  # with what is left of the budget, the joint stage makes something of a first block
                    self.velocity.truncate(max(k + entry["kept"], 1 if self.joint else 0))

        return proximal_stage(
            Flow(block, self.scheduler, self.integrator, self.divergence, self.base),
            paired(x_train, condition),
            paired(x_validation, data.validation_condition),
            self.train_grid,
            h=self._weight(block, k),
            transport=self.transport,
            free=self.free_block and k == count - 1,
            disagreement=self.disagreement,
            compile=self.compiled,
            finish=finish,
            name=f"{_PROXIMAL} {k + 1}" + (f", round {rounds + 1}" if rounds else ""),
            share=self._share(moves, halvings, k),
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
            kinetic=self.kinetic,
            disagreement=self.disagreement,
            compile=self.compiled,
            name=_JOINT,
            finish=lambda entry: entry.update(kind=_JOINT),
            batch_size=self.batch_size,
            learning_rate=self.joint_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            sharpness=self.sharpness or 0.0,
            average=0.99,
        )

    def _interval(self, k: int) -> tuple[float, float]:
        """Where block k lives in the first round."""
        start = self.velocity.interval[1] if k else 0.0
        return start, start + self.proximal_steps.step(k)

    def _weight(self, block: Velocity, k: int) -> float:
        """The step h of the proximal term: the length of the block's interval."""
        return block.interval[1] - block.interval[0]

    def _new_block(self, interval: tuple[float, float]) -> Velocity:
        shallow = {name: getattr(self, name) for name in ("dim", "width", "condition_dim", "activation", "frequencies")}
        build, arguments = self.prototype or (Shallow, shallow)
        return build(**{**arguments, "interval": interval})

    def _block(self, k: int, like: Tensor) -> Velocity:
        """Block k: the one that is there, or a new one, warm-started from its predecessor."""
        if k < len(self.velocity):
            return self.velocity[k]
        interval = self._interval(k)
        block = self._new_block(interval).to(like)
        if k:
            before = self.velocity[k - 1]
            shrunk = (before.interval[1] - before.interval[0]) / (interval[1] - interval[0])
            if shrunk == 1:
                block.load_state_dict(before.state_dict())
            elif block.scale_output is not None:
                block.load_state_dict(before.state_dict())
                block.scale_output(shrunk)
        self.velocity.append(block)
        return block

    def _rows(self, data: TrainingData, entries: Sequence[dict[str, Any]]) -> int:
        """How many training rows to push for a block, from the entries of those before it.

        It takes about as many steps as the block before it, and to push many more rows than it will see costs more than
        it gains. Only where the rows that there are would be far too few, all blocks push them anew.
        """
        count = len(data.train)
        for entry in entries:
            steps = max(entry["steps"], 1)  # none, where the time was up
            seen = -(-steps * self.batch_size // _PUSHED_ROWS) * _PUSHED_ROWS
            count = min(_SPARE * seen, len(data.train)) if seen > count or _SPARE * seen < count else count
        return count

    @torch.no_grad()
    def _pushed(self, data: TrainingData, k: int, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Training rows, that many, and validation rows behind the first k blocks, and the condition of the former.

        Each block pushes them once.
        """
        blocks = list(self.velocity)[:k]
        behind, x_train, x_validation = data.cache.get("pushed", ([], data.train, data.validation))
        # Not those of another model, nor of an earlier pass, nor fewer than are wanted.
        if behind != blocks[: len(behind)] or len(x_train) < rows:
            behind, x_train, x_validation = [], data.train, data.validation
        x_train, condition = x_train[:rows], None if data.train_condition is None else data.train_condition[:rows]
        for block in blocks[len(behind) :]:
            flow = Flow(block, self.scheduler, self.integrator, self.divergence, self.base)
            x_train = _encoded(flow, x_train, condition)
            x_validation = _encoded(flow, x_validation, data.validation_condition)
        data.cache["pushed"] = (blocks, x_train, x_validation)
        return x_train, x_validation, condition


def _event_shape(block: Velocity, dim: int) -> tuple[int, ...]:
    """The shape of a block's events, where it can serve as a block."""
    if "interval" not in inspect.signature(type(block).__init__).parameters:
        name = type(block).__name__
        raise InputError(f"block: {name} came, which takes no interval; a velocity with that argument would do")
    shape = block.event() or (dim,)
    if math.prod(shape) != dim:
        raise InputError(f"dim: {dim} came with a block for events of shape {shape}; {math.prod(shape)} would do")
    return shape


def _encoded(flow: Flow, x: Tensor, condition: Tensor | None) -> Tensor:
    parts = x.split(_PUSHED_ROWS)
    conditions = [None] * len(parts) if condition is None else condition.split(_PUSHED_ROWS)
    return torch.cat([flow.encode(rows, c) for rows, c in zip(parts, conditions, strict=True)])


def diffused(x: Tensor, gamma: float, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    r"""The state of the Ornstein–Uhlenbeck flow to :math:`N(0, \sigma^2 I)` after a time.

    .. math:: e^{-\gamma} x + \sigma \sqrt{1 - e^{-2\gamma}} \, z, \qquad z \sim N(0, I)

    Args:
        x: Points.
        gamma: The time :math:`\gamma`, in units of the flow's own, :math:`\sigma^2`.
        generator: Source of randomness.
        scale: The deviation :math:`\sigma`.
    """
    if gamma == 0:
        return x
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return math.exp(-gamma) * x + scale * math.sqrt(-math.expm1(-2 * gamma)) * z
