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

Where the rows are many, :math:`p_Z` is a mixture of normal laws that is estimated on them first
(`genflow.normal_mixture`): the blocks begin at its likelihood. Towards a normal law, each block may learn before its
step by local flow matching between two states of the Ornstein–Uhlenbeck flow, which the scheme discretizes (of straight
paths to draws from the base, where that is not normal). Behind the steps, the assembled chain may be trained on by
maximum likelihood.

| C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
| C. Xu, X. Cheng, Y. Xie, Local flow matching generative models, 2024, https://arxiv.org/abs/2410.02548
"""

from __future__ import annotations

import contextlib
import inspect
import math
import statistics
from collections.abc import Sequence
from typing import Any, Self

import torch
from jaxtyping import Bool
from torch import Tensor

from genflow.base import StandardNormal, check_base
from genflow.data import Whiten
from genflow.data.laws import CelledLine
from genflow.errors import InputError, SolverError
from genflow.flow import Flow
from genflow.groups import flatten_groups
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.costs import Kinetic
from genflow.models.discretization import Discretization
from genflow.models.jko_plan import Facts, Plan
from genflow.models.jko_rules import CELLED, LAYERS, MEMBERS, PARTLY, is_worth_a_base
from genflow.models.jko_settings import BlockNetwork, ProximalStep, Rounds, Stages
from genflow.models.local_matching import arc, contractions, diffuse, is_normal, local_path
from genflow.models.members import Turn, beside_each_other, member_stage, members_of, next_turn
from genflow.models.pilot import pilot_boundaries
from genflow.models.proximal import proximal_stage
from genflow.models.pushing import PushedStream, push, rows_to_push
from genflow.models.stages import likelihood_stage
from genflow.naming.search import Between, OneOf
from genflow.normal_mixture import NormalMixture, fit_mixture
from genflow.scale_mixture import ScaleMixture
from genflow.schedulers import Warped, refine, reparameterize
from genflow.training import Optimization, Regime, Stage, TrainingData, pair, pick, unpair
from genflow.velocities import CellPosterior, Chain, Mean, ResidualMLP, Shallow

__all__ = ["JKOiFlow", "diffuse"]

_LONG_AVERAGE = 0.999  # decay of the weights' average where matching leads, as diffusions have it
_AT_ONCE = 1024  # rows looked at at once, so that memory does not grow with the table
_SHARE, _PLANE_SHARE = 0.1, 0.2  # of the time, for a mixture: in the plane it may see more than any flow does
_THIN_TIMES = 4  # as many components, for thin things in the plane
_LOOKED_AT, _GLANCE = 2500, 4  # rows, and components, that say whether a mixture may be worth it
_FROM_REST = 3  # by which the joint training's rate is divided where a mixture is all that there is
_MOST_OF_IT, _COMPARED = 0.95, 512  # of what is left, for deep networks; validation rows, to compare them by
_SHARP = Warped(16, power=2.5)  # the grid of fields with edges: they are sharp near the data; see docs/experiments.md
_LOCAL, _PROXIMAL, _JOINT, _DEEP = "local matching", "block", "joint likelihood", "deep matching"


class JKOiFlow(Flow, GenerativeModel):
    r"""A chain of blocks, each trained as one proximal step. See the formulas above.

    A block is warm-started from the one before it, with its output scaled by :math:`h_{k-1} / h_k`: the displacement
    is what carries over. The chain ends when a block moves its samples by less than `tolerance`, when it no longer
    lowers the negative log-likelihood of the validation rows (it is then dropped), or at `blocks`.

    Most arguments come in groups, whose fields may be typed by themselves: `JKOiFlow(2, width=64, refine=1)` is
    `JKOiFlow(2, network=BlockNetwork(width=64), rounds=Rounds(refine=1))`; see `genflow.groups`.

    Args:
        dim: Dimension :math:`d` of a point.
        blocks: The largest number of blocks. By default 1; 2, in the plane 4, where rounds follow; above the plane 2
            with another objective, and of a block of one's own, but 1 of one on pictures.
        first: First step :math:`h_1`. By default 0.2 in the plane, 0.4 above, and 1 of a single block towards a normal
            law there.
        growth: Ratio of one step to the step before. By default 2 in the plane, 4 above.
        whiten: How far correlations are taken out of the rows, from 0, not at all, to 1, wholly; see
            `genflow.data.Whiten`. By default wholly, by half where matching leads, without the columns whose cells the
            blocks know, and not of `spatial` blocks.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        network: What a block is, a `BlockNetwork`: `width`, `activation`, `frequencies`, `depth`, `members`, `cells`,
            `sides`, `block`.
        proximal: How it steps, a `ProximalStep`: `maximum`, `transport`, `tolerance`, `free_block`, `pilot`, …
        rounds: What follows when all have, `Rounds`: `reparameterize`, `equal`, `damping`, `refine`.
        stages: What comes before and after, `Stages`: `objective`, `components`, `matching`, `joint`, `kinetic`, …
        discretization: The grids of a block, a `Discretization`: `steps`, `train_steps`, `warp`, `disagreement`, …
        optimization: The optimizer, for everything but the matching, an `Optimization`: `optimizer`, `learning_rate`
            (of a proximal step), `batch_size`, `weight_decay`, … By default `sharpness`, which is that of the joint
            stage, is 0.1 where the rows are few, and 0 elsewhere.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    Example:
        >>> import genflow as gf
        >>> model = gf.models.JKOiFlow(2, blocks=2, width=16).fit("two-moons", iterations=8)
        >>> model.log_prob([[0.0, 0.5]]).shape
        torch.Size([1])
    """

    velocity: Chain
    search = {
        "width": OneOf((64, 128, 256)),
        "depth": OneOf((0, 2, 3)),
        "components": OneOf((1, 8, 64)),
        "joint": Between(0.0, 0.8),
        "joint_rate": Between(4e-3, 4e-2, log=True),
    }

    @flatten_groups
    def __init__(
        self,
        dim: int,
        blocks: int | None = None,
        first: float | None = None,
        growth: float | None = None,
        whiten: bool | float | None = None,
        condition_dim: int = 0,
        *,
        network: BlockNetwork = BlockNetwork(),
        proximal: ProximalStep = ProximalStep(),
        rounds: Rounds = Rounds(),
        stages: Stages = Stages(),
        discretization: Discretization = Discretization(steps=8, train_steps=3),
        optimization: Optimization = Optimization(batch_size=256),
        **parts: Any,
    ):
        base, chain = parts.get("base"), parts.get("velocity")
        if chain is not None and not isinstance(chain, Chain):
            raise InputError(f"velocity: a {type(chain).__name__} came; as a block of the chain, block=…, it would do")
        if stages.tails and base is not None and is_normal(base) and base.scale != 1:
            raise InputError(f"tails: True came beside a base of scale {base.scale:g}; one of them would do")
        if stages.tails is None and not _is_usual(base):
            stages = stages.rebuilt(tails=False)
        plan = Plan(dim, blocks, first, growth, network, proximal, rounds, stages, optimization).sketched()
        if whiten is None:
            whiten = network.block is None or not network.block.spatial
        if not 0 <= whiten <= 1:
            raise InputError(f"whiten: {whiten} came; a number from 0, not at all, to 1, wholly, would do")
        shape = (dim,) if network.block is None else _event_shape(network.block, dim)
        super().__init__(
            **{"velocity": Chain(), "scheduler": discretization.grid, "base": StandardNormal(shape), **parts}
        )
        check_base(self.base, shape)
        self.dim, self.whiten, self.condition_dim = dim, whiten, condition_dim
        self.plan, self.discretization = plan, discretization
        self.choose(whiten=whiten, **plan.choices())
        self._lines: Sequence[CelledLine] | None = None  # of the columns that it is trained on

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        self.check_density()  # before the matching, which needs none
        self._lines = data.lines
        if self.plan.stages.tails and isinstance(self.base, ScaleMixture):  # a training that goes on has it ahead
            self.base = StandardNormal(self.base.shape)
        self._settle(data, first=not history and not len(self.velocity))
        stages, kinds = self.plan.stages, [entry["kind"] for entry in history]
        if stages.matched:
            turn = next_turn([entry for entry in history if entry["kind"] == _LOCAL])
            if turn.block < self._blocks:
                return self._local_stage(data, turn)
        if stages.objective != "matching":
            entries = [entry for entry in history if entry["kind"] == _PROXIMAL]
            if not entries:
                return self._proximal_stage(data, 0, 0, 0)
            last = entries[-1]
            if not last["ended"]:
                return self._proximal_stage(data, last["moves"], last["halvings"], last["block"] + 1, entries)
            following = self._next_round(entries)
            if following is not None:
                return self._proximal_stage(data, *following, 0)
        if _JOINT in kinds:
            likelihood = history[kinds.index(_JOINT)]
            deep = [entry for entry in history if entry["kind"] == _DEEP]
            return self._deep_stage(data, deep, likelihood["rows"]) if likelihood.get("abandoned") else None
        if len(self.velocity) and (stages.joint or (stages.may_end_jointly and self._ended_early(history))):
            return self._joint_stage(data, rests=not any(entry.get("kept") for entry in history))
        return None

    def _settle(self, data: TrainingData, first: bool) -> None:
        """Settles by the rows what was left open.

        Args:
            data: Rows.
            first: Whether nothing has been trained so far. Then there may be a mixture, and a pilot.
        """
        if first:
            self._estimate_base(data)
        edges = sum(len(line.edges) for line in self._lines or ())
        facts = Facts(data.count, data.distinct, self._celled, edges, self._leads_to_a_mixture)
        self.plan = self.plan.settled(facts)
        if first:
            self._ask_the_pilot(data)
        if self._knows_cells and not (len(self.velocity) or {"steps", "warp", "scheduler"} & self.given().keys()):
            self.scheduler = _SHARP
        self.choose(**self.plan.choices())

    def _estimate_base(self, data: TrainingData) -> None:
        """Where the rows are many, the scheme leads to a mixture that is estimated on them; a typed base stays."""
        if "base" in self.given():
            return
        typed, most = self.plan.stages.components, self._most_components(data.distinct)
        thin = _THIN_TIMES * most if typed is None else most
        share = _PLANE_SHARE if self.dim <= 2 else _SHARE
        mixture = fit_mixture(data.train, data.validation, most, share, thin) if most > 1 else None
        if mixture is not None and mixture.parts > 1 and (typed or self._is_worth(mixture, data.validation)):
            self.base = mixture
        if typed is None:
            self.plan = self.plan.towards(most if self.base is mixture else 1)

    def _most_components(self, rows: int) -> int:
        """The most components of a mixture; by default 1 where some rows have said that more aren't worth it."""
        said_no = self.given().get("whiten") is None and self.whiten == PARTLY
        if self.plan.stages.components is None and (self.condition_dim or "base" in self.given() or said_no):
            return 1
        return self.plan.most_components(rows)

    @torch.no_grad()
    def _is_worth(self, mixture: NormalMixture, x: Tensor) -> bool:
        """Whether a mixture is to be the base in the place of the one that there is, by what it gains on these rows."""
        gains = [mixture.log_prob(rows) - self.base.log_prob(rows) for rows in x.split(_AT_ONCE)]
        return is_worth_a_base(self.dim, mixture.components, torch.cat(gains).mean().item())

    @property
    def _leads_to_a_mixture(self) -> bool:
        return isinstance(self.base, NormalMixture)

    def _whitening(
        self, rows: Tensor, share: float, lines: Sequence[CelledLine] | None
    ) -> tuple[float, Bool[Tensor, " d"]]:
        self._lines = lines
        power, columns = super()._whitening(rows, share, lines)
        by_rows = self.plan.by_rows(Facts(len(rows), len(rows), self._celled))
        if self.given().get("whiten") is None and by_rows and not self._is_made_of_groups(rows, share):
            power = self.whiten = PARTLY
            self.choose(whiten=PARTLY)
            if lines is not None and self._may_know_cells:  # what is mixed with others has no edges any more
                columns = torch.tensor([not line.edges and not line.noise for line in lines])
        return power, columns

    @property
    def _celled(self) -> float:
        """The share of the values that follow from others, or have cells of their own of which the blocks may know."""
        masses = [1.0 if line.noise else line.mass for line in self._lines or ()]
        return statistics.fmean(masses) if masses and self._may_know_cells else 0.0

    @property
    def _may_know_cells(self) -> bool:
        return self.plan.may_know_cells and _is_usual(self.base)

    @property
    def _knows_cells(self) -> bool:
        return self._lines is not None and self.plan.knows_cells and _is_usual(self.base)

    def _is_made_of_groups(self, rows: Tensor, share: float) -> bool:
        """Whether some of the rows, whitened, say that a mixture will be worth it, before it is estimated on all."""
        if self.plan.stages.components is not None:
            return self.plan.stages.components > 1
        if self._most_components(len(rows)) == 1 or self._celled >= CELLED:
            return False
        some = rows[:: max(1, len(rows) // _LOOKED_AT)]
        z = Whiten.fit(rows, share)(some)[0].float()
        others, held_out = z[len(z) // 5 :], z[: len(z) // 5]
        return self._is_worth(fit_mixture(others, held_out, _GLANCE, most_thin=_GLANCE), held_out)

    def _ask_the_pilot(self, data: TrainingData) -> None:
        """Settles where the boundaries are to be, where a pilot is to say so."""
        if not (self.plan.proximal.pilot and self.plan.proximal.boundaries is None):
            return
        if not is_normal(self.base):
            name = type(self.base).__name__
            raise InputError(f"pilot: True came with a {name} as base; a normal one would do, as with components=1")
        rows, held_out = data.train.flatten(1), data.validation.flatten(1)
        self.plan = self.plan.cut_at(pilot_boundaries(rows, held_out, self._blocks, self.base.scale))

    @property
    def _blocks(self) -> int:
        """The largest number of blocks, once it is settled."""
        assert self.plan.blocks is not None
        return self.plan.blocks

    def _ended_early(self, history: list[dict[str, Any]]) -> bool:
        """Whether the chain has fewer blocks than the budget was divided among."""
        blocks = [entry["block"] for entry in history if entry["kind"] == _PROXIMAL]
        return bool(blocks) and not self.plan.rounds.any and blocks[-1] < self._blocks - 1

    @torch.no_grad()
    def calibrate(self, x: Tensor, condition: Any = None) -> None:
        """Estimates the law of the noise where these rows end: what was not learned from lies wider, some of it far."""
        if self.plan.stages.tails and is_normal(self.base):
            with contextlib.suppress(SolverError):
                self.base = ScaleMixture.of(self.encode(x, condition))

    def calibrate_like(self, other: Self) -> None:
        if self.plan.stages.tails and not (self._leads_to_a_mixture or other._leads_to_a_mixture):
            self.base = other.base

    def settle(self, x: Tensor, condition: Any = None, tolerance: float = 0.01, most: int = 128) -> Any:
        for k, block in enumerate(self.velocity):  # what was tried beside it and is not the better is let go
            if isinstance(block, Mean) and len(members := members_of(block)) < len(block.all):
                self.velocity.blocks[k] = members[0] if len(members) == 1 else Mean(members)
        return super().settle(x, condition, tolerance, most)

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
        if not halvings and moves < self.plan.rounds.reparameterize and self.plan.rounds.unequal(movements):
            boundaries = reparameterize(self.velocity.boundaries(), movements, self.plan.rounds.damping)
            self.velocity = self.velocity.recut(boundaries)
            return moves + 1, halvings
        if halvings < self.plan.rounds.refine:
            self.velocity = self.velocity.recut(refine(self.velocity.boundaries()))
            return moves, halvings + 1
        return None

    def _local_stage(self, data: TrainingData, turn: Turn) -> Stage:
        """A member of a block by flow matching from one state of the Ornstein–Uhlenbeck flow to another.

        The free block goes to the noise itself.
        """
        k = turn.block
        path = local_path(self, self._gammas(k), circular=self.plan.stages.matching_path == "circular")
        matching, blocks = self.plan.stages.matched, self._blocks
        later = (1 - matching) * blocks / matching  # the rest, in units of one of these stages
        block = self._block(k, data.train)
        others = members_of(block) if turn.member else []
        network = self._network(k, turn.member, data.train) if others else block

        def join(members: list[Velocity], entry: dict[str, Any]) -> None:
            entry["kind"] = _LOCAL
            if len(members) > len(others) > 0:
                self.velocity.blocks[k] = Mean(members)

        return member_stage(
            network,
            others,
            data,
            path,
            turn,
            max(1, (self.plan.network.members or 1) - len(members_of(block)) + 1),
            join,
            name=f"{_LOCAL} {k + 1}",
            share=1 / (blocks - k + later),
            optimization=self._matching_optimization,
        )

    def _gammas(self, k: int) -> list[float]:
        """The times of the Ornstein–Uhlenbeck flow that the first blocks stand for, up to this one."""
        gammas = contractions([self.plan.step(j) for j in range(k + 1)], self.base)
        if self.plan.is_free(k):
            gammas[k] = math.inf
        return gammas

    @torch.no_grad()
    def _nll(self, block: Velocity, data: TrainingData, rows: int) -> float:
        """The mean negative log-likelihood of the first validation rows, so many at most, under one block alone."""
        held_out = pick(pair(data.validation, data.validation_condition), slice(min(rows, _COMPARED)))
        return -self._alone(block).log_prob(*unpair(held_out)).double().mean().item()

    @property
    def _matching_optimization(self) -> Optimization:
        average = _LONG_AVERAGE if self.plan.by_matching else Optimization.average
        rate, batch_size = self.plan.stages.matching_rate or 0.0, self.plan.optimization.batch_size
        return Optimization("adam", rate, batch_size, average=average)

    def _deep_stage(self, data: TrainingData, entries: Sequence[dict[str, Any]], rows: int) -> Stage | None:
        """A deep network that follows the Ornstein–Uhlenbeck flow to the noise, where the likelihood was abandoned.

        The mean of those that there are takes the place of what was trained before if validation rows are more likely
        under it. Until that is known, both stand side by side in the block, and one of them has no weight.

        Args:
            data: Rows.
            entries: Of such stages.
            rows: How many validation rows decide.
        """
        turn = next_turn(entries)
        if turn.block:
            return None
        (block,) = self.velocity
        before, *others = block.all if turn.member and isinstance(block, Mean) else [block]
        network = ResidualMLP(self.dim, depth=LAYERS, **self._of_networks(block.interval)).to(data.train)

        def join(members: list[Velocity], entry: dict[str, Any]) -> None:
            entry["kind"] = _DEEP
            known = bool(entries and entries[-1].get("taken"))
            entry.setdefault("taken", known)  # should there be no time to compare
            self.velocity.blocks[0] = beside_each_other(before, members, entry["taken"])
            if not entry.get("replayed"):
                entry["taken"] = self._nll(Mean(members), data, rows) < self._nll(before, data, rows)
                self.velocity.blocks[0] = beside_each_other(before, members, entry["taken"])

        return member_stage(
            network,
            others,
            data,
            local_path(self, [math.inf], circular=True),
            turn,
            MEMBERS,
            join,
            name=_DEEP,
            share=_MOST_OF_IT,
            optimization=self._matching_optimization,
        )

    def _proximal_stage(
        self, data: TrainingData, moves: int, halvings: int, k: int, entries: Sequence[dict[str, Any]] = ()
    ) -> Stage:
        """Block k of a round, counted from 0: one proximal step from what the blocks before it have pushed.

        `entries` are those of the proximal steps so far; the last k are of this round.
        """
        flows = [self._alone(block) for block in list(self.velocity)[:k]]
        steps = [entry["steps"] for entry in entries[len(entries) - k :]]
        rows = rows_to_push(len(data.train), self.plan.optimization.batch_size, steps)
        x_train, x_validation, condition = push(flows, data, rows)
        pushed = pair(x_train, condition)
        before = entries[-1]["nll"] if k else -self.base.log_prob(x_validation).double().mean().item()
        block = self._block(k, x_train)
        rounds = moves + halvings
        count = len(self.velocity) if rounds else self._blocks

        def finish(entry: dict[str, Any]) -> None:
            entry.update(kind=_PROXIMAL, moves=moves, halvings=halvings, block=k, interval=list(block.interval))
            entry["nll"] = before + entry["kl_change"]
            entry["ended"] = k == count - 1
            if not rounds:  # the first round finds out how many blocks it takes
                entry["ended"] |= not entry["kept"] or entry["relative_movement"] < self.plan.proximal.tolerance
                if entry["ended"]:  # with what is left of the budget, the joint stage makes something of a first block
                    stages = self.plan.stages
                    self.velocity.truncate(max(k + entry["kept"], 1 if stages.may_end_jointly or stages.matched else 0))

        return proximal_stage(
            self._alone(block),
            pushed if data.stream is None else PushedStream(data.stream, flows, pushed),
            pair(x_validation, data.validation_condition),
            self.discretization,
            h=self._weight(block, k),
            transport=self.plan.proximal.transport,
            free=bool(self.plan.proximal.free_block) and k == count - 1,
            finish=finish,
            name=f"{_PROXIMAL} {k + 1}" + (f", round {rounds + 1}" if rounds else ""),
            share=self.plan.rounds.share(moves, halvings, k, count, self._joint_per_rounds),
            optimization=self.plan.optimization.rebuilt(sharpness=0.0),
            regime=Regime(settled=self._leads_to_a_mixture),
        )

    def _alone(self, block: Velocity) -> Flow:
        """One block, with the parts of the whole."""
        return Flow(block, self.scheduler, self.integrator, self.divergence, self.base)

    @property
    def _joint_per_rounds(self) -> float:
        """The budget of the joint stage, in units of that of all rounds."""
        joint = self.plan.stages.joint or 0.0
        return joint / (1 - self.plan.stages.matched - joint)

    def _joint_stage(self, data: TrainingData, rests: bool) -> Stage:
        """The assembled chain, by maximum likelihood.

        Args:
            data: Rows.
            rests: Whether no block has gained anything so far. Then a mixture has all that can be told from the rows,
                as far as is known, and stays as it was estimated unless it is clearly beaten.
        """
        settled = self._leads_to_a_mixture and rests
        rate = self.plan.stages.joint_rate / (_FROM_REST if settled else 1)
        # The same displacement takes the more energy, the shorter the time: no more of it than in a unit of time.
        start, stop = self.velocity.interval
        kinetic = self.plan.stages.kinetic * min(1.0, stop - start)
        stage = likelihood_stage(
            self,
            data,
            self.discretization,
            costs=[Kinetic(kinetic)] if kinetic else [],
            regime=Regime(settled=settled, abandons=self.plan.may_think_again and not self._leads_to_a_mixture),
            name=_JOINT,
            finish=lambda entry: entry.update(kind=_JOINT),
            optimization=self.plan.optimization.rebuilt(learning_rate=rate),
        )
        if self._leads_to_a_mixture:
            stage.parameters = [*stage.parameters, *self.base.parameters()]
        return stage

    def _interval(self, k: int) -> tuple[float, float]:
        """Where block k lives in the first round."""
        start = self.velocity.interval[1] if k else 0.0
        return start, start + self.plan.step(k)

    def _weight(self, block: Velocity, k: int) -> float:
        """The step h of the proximal term: the length of the block's interval."""
        return block.interval[1] - block.interval[0]

    def _new_block(self, k: int, interval: tuple[float, float]) -> Velocity:
        if (like := self.plan.network.block) is not None:
            return type(like)(**{**like.config(), "interval": interval})
        network, common = self.plan.network, self._of_networks(interval)
        if not network.depth:
            assert network.frequencies is not None
            return Shallow(self.dim, frequencies=network.frequencies, **common)
        if self._lines is not None and self._knows_cells:
            edges, smooth = [line.edges for line in self._lines], [line.smooth for line in self._lines]
            sides = bool(network.sides)
            return CellPosterior(edges, smooth, arc(self._gammas(k)), depth=network.depth, sides=sides, **common)
        return ResidualMLP(self.dim, depth=network.depth, **common)

    def _of_networks(self, interval: tuple[float, float]) -> dict[str, Any]:
        """The arguments that the networks of blocks have in common."""
        return {
            "width": self.plan.network.width, "activation": self.plan.network.activation,
            "condition_dim": self.condition_dim, "interval": interval,
        }  # fmt: skip

    def _block(self, k: int, like: Tensor) -> Velocity:
        """Block k: the one that is there, or a new one of one network."""
        if k == len(self.velocity):
            self.velocity.append(self._network(k, 0, like))
        return self.velocity[k]

    def _network(self, k: int, member: int, like: Tensor) -> Velocity:
        """A new network of block k, warm-started from its predecessor in the block before."""
        interval = self.velocity[k].interval if k < len(self.velocity) else self._interval(k)
        network = self._new_block(k, interval).to(like)
        if k:
            before = self.velocity[k - 1]
            before = members_of(before)[member % len(members_of(before))]
            shrunk = (before.interval[1] - before.interval[0]) / (interval[1] - interval[0])
            if shrunk == 1:
                network.load_state_dict(before.state_dict())
            elif network.scale_output is not None:
                network.load_state_dict(before.state_dict())
                network.scale_output(shrunk)
        return network


def _is_usual(base: Any) -> bool:
    """Whether a base is N(0, I), as it is where none is typed."""
    return base is None or (is_normal(base) and base.scale == 1)


def _event_shape(block: Velocity, dim: int) -> tuple[int, ...]:
    """The shape of a block's events, where it can serve as a block."""
    if "interval" not in inspect.signature(type(block).__init__).parameters:
        name = type(block).__name__
        raise InputError(f"block: {name} came, which takes no interval; a velocity with that argument would do")
    shape = block.event() or (dim,)
    if math.prod(shape) != dim:
        raise InputError(f"dim: {dim} came with a block for events of shape {shape}; {math.prod(shape)} would do")
    return shape
