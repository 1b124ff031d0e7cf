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

import inspect
import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from genflow.base import StandardNormal, check_base
from genflow.data import Whiten
from genflow.data.laws import CelledLine
from genflow.errors import InputError
from genflow.flow import Flow
from genflow.groups import flatten_groups
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.costs import Kinetic
from genflow.models.discretization import Discretization
from genflow.models.jko_rules import (
    CELLED,
    LAYERS,
    MATCHED_SHARES,
    MEMBERS,
    PARTLY,
    favours_matching,
    is_matched,
    is_worth_a_base,
    may_think_again,
    most_components,
    shares,
    usual_blocks,
    usual_step,
)
from genflow.models.jko_settings import BlockNetwork, ProximalStep, Rounds, Stages
from genflow.models.local_matching import arc, contractions, diffuse, is_normal, local_path
from genflow.models.members import Turn, beside_each_other, member_stage, members_of, next_turn
from genflow.models.pilot import pilot_boundaries
from genflow.models.proximal import proximal_stage
from genflow.models.pushing import PushedStream, push, rows_to_push
from genflow.models.stages import initial_frequencies, likelihood_stage
from genflow.naming.search import Between, OneOf
from genflow.normal_mixture import NormalMixture, fit_mixture
from genflow.schedulers import JKOSteps, Warped, refine, reparameterize
from genflow.training import Optimization, Regime, Stage, TrainingData, pair, pick, unpair
from genflow.velocities import CellPosterior, Chain, Mean, ResidualMLP, Shallow

__all__ = ["JKOiFlow", "diffuse"]

_WIDTH = 128  # of the blocks' hidden layers
_LONG_AVERAGE = 0.999  # decay of the weights' average where matching leads, as diffusions have it
_FEW = 10_000  # rows that a flow overfits within minutes
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
            `block`.
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
        # What was found by trying: a density in the plane has more to it than a few blocks can hold, and more rows.
        plane = dim <= 2
        self._by_matching = not rounds.any and is_matched(network.block)
        if (times := proximal.boundaries) is not None:
            blocks = len(times) - 1 if blocks is None else blocks
            if blocks != len(times) - 1:
                raise InputError(f"boundaries: {len(times) - 1} blocks' came with blocks={blocks}")
        elif blocks is None:
            blocks = usual_blocks(dim, rounds, self._by_matching, proximal.pilot)
        stages = stages.usual(self._by_matching)
        if proximal.free_block is None:
            proximal = proximal.rebuilt(free_block=self._by_matching)
        if whiten is None:
            whiten = network.block is None or not network.block.spatial
        if not 0 <= whiten <= 1:
            raise InputError(f"whiten: {whiten} came; a number from 0, not at all, to 1, wholly, would do")
        first = usual_step(dim, blocks) if first is None else first
        growth = (2.0 if plane else 4.0) if growth is None else growth
        self.choose(growth=growth, whiten=whiten, matching_rate=stages.matching_rate)
        if blocks < 1:
            raise InputError(f"blocks: {blocks} came; at least 1 would do")
        if stages.objective == "matching" and rounds.any:
            raise InputError(
                f"reparameterize, refine: {rounds.reparameterize}, {rounds.refine} came; objective='matching' has no "
                "rounds"
            )
        shape = (dim,) if network.block is None else _event_shape(network.block, dim)
        super().__init__(
            **{"velocity": Chain(), "scheduler": discretization.grid, "base": StandardNormal(shape), **parts}
        )
        check_base(self.base, shape)
        self.dim, self.blocks, self.whiten, self.condition_dim = dim, blocks, whiten, condition_dim
        self.proximal_steps = JKOSteps(first, growth, proximal.maximum, steps=blocks)  # the rows may settle it
        self.network, self.proximal, self.rounds, self.stages = network, proximal, rounds, stages
        self._lines: Sequence[CelledLine] | None = None  # of the columns that it is trained on
        self._takes_what_is_left = stages.joint is None  # asked here: a training settles it
        # Whether what was found by trying, of blocks of the usual network and all stages, says something of it.
        self._is_plain = network.block is None and stages.objective == "warmed"
        self.discretization, self.optimization = discretization, optimization
        if not self._is_plain:  # else the rows settle it, and until then it is open
            self._choose_chain()

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        self._lines = data.lines
        if not history and not len(self.velocity):
            self._estimate_base(data)
            self._settle_chain(data.distinct)
            self._ask_the_pilot(data)
        self._settle(data.count, data.distinct)
        kinds = [entry["kind"] for entry in history]
        if self.stages.matched:
            turn = next_turn([entry for entry in history if entry["kind"] == _LOCAL])
            if turn.block < self.blocks:
                return self._local_stage(data, turn)
        if self.stages.objective != "matching":
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
        joint = self.stages.joint or (self._takes_what_is_left and self._ended_early(history))
        if joint and len(self.velocity):
            return self._joint_stage(data, rests=not any(entry.get("kept") for entry in history))
        return None

    def _estimate_base(self, data: TrainingData) -> None:
        """Where the rows are many, the scheme leads to a mixture that is estimated on them; a typed base stays."""
        if "base" in self.given():
            return
        typed = self.stages.components
        usual = most_components(self.dim, data.distinct) if self._may_have_a_mixture(data.distinct) else 1
        most = usual if typed is None else typed
        thin = _THIN_TIMES * most if typed is None else most
        share = _PLANE_SHARE if self.dim <= 2 else _SHARE
        mixture = fit_mixture(data.train, data.validation, most, share, thin) if most > 1 else None
        if mixture is not None and mixture.parts > 1 and (typed or self._is_worth(mixture, data.validation)):
            self.base = mixture
        if typed is None:
            components = most if self.base is mixture else 1
            self.stages = self.stages.rebuilt(components=components)
            self.choose(components=components)

    def _may_have_a_mixture(self, rows: int) -> bool:
        """Whether one is sought by default: not where some rows have said, for their units, that it isn't worth it."""
        sought = self._is_plain and not (self.condition_dim or self.proximal.pilot or "base" in self.given())
        said_no = self.given().get("whiten") is None and self.whiten == PARTLY
        return sought and not said_no and most_components(self.dim, rows) > 1

    @torch.no_grad()
    def _is_worth(self, mixture: NormalMixture, x: Tensor) -> bool:
        """Whether a mixture is to be the base in the place of the one that there is, by what it gains on these rows."""
        gains = [mixture.log_prob(rows) - self.base.log_prob(rows) for rows in x.split(_AT_ONCE)]
        return is_worth_a_base(self.dim, mixture.components, torch.cat(gains).mean().item())

    @property
    def _leads_to_a_mixture(self) -> bool:
        return isinstance(self.base, NormalMixture)

    def _settle_chain(self, rows: int) -> None:
        """Settles, by the rows and the base, how many blocks there are and how far they go."""
        if not self._is_plain:
            return
        typed, mixture = self.given(), self._leads_to_a_mixture
        if typed.get("blocks") is None and self.proximal.boundaries is None:
            self.blocks = usual_blocks(self.dim, self.rounds, alone=True, pilot=self.proximal.pilot)
        first = typed.get("first")
        if first is None:
            first = usual_step(self.dim, self.blocks, mixture)
        self.proximal_steps = self.proximal_steps.rebuilt(first=first, steps=self.blocks)
        if self._favours_matching(rows) and not mixture:
            self.proximal = self.proximal.rebuilt(free_block=typed.get("free_block") is not False)
            path = typed.get("matching_path") or "circular"
            self.stages = self.stages.rebuilt(objective="matching", matching_path=path)
        self._choose_chain()

    def _favours_matching(self, rows: int) -> bool:
        """Whether matching leads by what the rows are, unless they have a mixture for a base."""
        typed = self.given()
        is_open = all(typed.get(name) is None for name in ("objective", "matching", "joint")) and not self.rounds.any
        return self._is_plain and is_open and favours_matching(self.dim, rows, self._celled)

    def _whitening(
        self, rows: Tensor, share: float, lines: Sequence[CelledLine] | None
    ) -> tuple[float, Bool[Tensor, " d"]]:
        self._lines = lines
        power, columns = super()._whitening(rows, share, lines)
        if self.given().get("whiten") is None and self._favours_matching(len(rows)):
            typed = self.stages.components
            mixed = typed > 1 if typed is not None else self._is_made_of_groups(rows, share)
            if not mixed:
                power = self.whiten = PARTLY
                self.choose(whiten=PARTLY)
                if lines is not None and self._may_know_cells:  # what is mixed with others has no edges any more
                    columns = torch.tensor([not line.edges for line in lines])
        return power, columns

    @property
    def _celled(self) -> float:
        """The share of the values that have cells of their own, of which the blocks may know."""
        return statistics.fmean(line.mass for line in self._lines) if self._lines and self._may_know_cells else 0.0

    @property
    def _may_know_cells(self) -> bool:
        """Whether nothing that was typed keeps the blocks from the form that cells give a field."""
        circular = self.given().get("matching_path") in (None, "circular")
        usual = is_normal(self.base) and self.base.scale == 1
        return self.network.cells and self.network.depth != 0 and circular and usual

    def _is_made_of_groups(self, rows: Tensor, share: float) -> bool:
        """Whether some of the rows, whitened, say that a mixture will be worth it, before it is estimated on all."""
        if not self._may_have_a_mixture(len(rows)) or self._celled >= CELLED:
            return False
        some = rows[:: max(1, len(rows) // _LOOKED_AT)]
        z = Whiten.fit(rows, share)(some)[0].float()
        others, held_out = z[len(z) // 5 :], z[: len(z) // 5]
        return self._is_worth(fit_mixture(others, held_out, _GLANCE, most_thin=_GLANCE), held_out)

    def _choose_chain(self) -> None:
        """Says how many blocks there are and how far they go, where that was settled by a rule."""
        self.choose(
            blocks=self.blocks,
            first=self.proximal_steps.first,
            free_block=self.proximal.free_block,
            objective=self.stages.objective,
            matching_path=self.stages.matching_path,
        )

    def _ask_the_pilot(self, data: TrainingData) -> None:
        """Settles where the boundaries are to be, where a pilot is to say so."""
        if not (self.proximal.pilot and self.proximal.boundaries is None):
            return
        if not is_normal(self.base):
            name = type(self.base).__name__
            raise InputError(f"pilot: True came with a {name} as base; a normal one would do, as with components=1")
        rows, held_out = data.train.flatten(1), data.validation.flatten(1)
        boundaries = pilot_boundaries(rows, held_out, self.blocks, self.base.scale)
        free = self.given().get("free_block") is not False
        self.proximal = self.proximal.rebuilt(boundaries=boundaries, free_block=free)
        self.choose(boundaries=boundaries, free_block=free)

    def _ended_early(self, history: list[dict[str, Any]]) -> bool:
        """Whether the chain has fewer blocks than the budget was divided among."""
        blocks = [entry["block"] for entry in history if entry["kind"] == _PROXIMAL]
        return bool(blocks) and not self.rounds.any and blocks[-1] < self.blocks - 1

    def _settle(self, rows: int, distinct: int) -> None:
        """Settles, by the number of rows to train on, what was left open about the blocks and their training.

        Args:
            rows: All rows, a row at its other places among them: what a network can learn from.
            distinct: Those of the table: what it can learn by heart.
        """
        few, depth = rows < _FEW, self.network.depth
        matched = self.stages.objective == "matching"
        by_rows = matched and self._is_plain
        if depth is None:
            depth = LAYERS if matched and favours_matching(self.dim, distinct, self._celled) else 0
        self.network = self.network.rebuilt(
            depth=depth,
            width=self.network.width or _WIDTH,
            frequencies=self.network.frequencies or initial_frequencies(self.dim, rows),
            members=self.network.members or (MEMBERS if by_rows else 1),
        )
        if self._knows_cells and not (len(self.velocity) or {"steps", "warp", "scheduler"} & self.given().keys()):
            self.scheduler = _SHARP
        if self.optimization.sharpness is None:
            self.optimization = self.optimization.rebuilt(sharpness=0.1 if few else 0.0)
        usual = shares(self.dim, distinct, self.blocks, self._leads_to_a_mixture)
        self.stages = self.stages.chosen(*(MATCHED_SHARES if by_rows or self._by_matching else usual))
        self.choose(
            depth=depth,
            width=self.network.width,
            frequencies=self.network.frequencies,
            members=self.network.members,
            sharpness=self.optimization.sharpness,
            matching=self.stages.matching,
            joint=self.stages.joint,
        )

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
        if not halvings and moves < self.rounds.reparameterize and self.rounds.unequal(movements):
            boundaries = reparameterize(self.velocity.boundaries(), movements, self.rounds.damping)
            self.velocity = self.velocity.recut(boundaries)
            return moves + 1, halvings
        if halvings < self.rounds.refine:
            self.velocity = self.velocity.recut(refine(self.velocity.boundaries()))
            return moves, halvings + 1
        return None

    def _local_stage(self, data: TrainingData, turn: Turn) -> Stage:
        """A member of a block by flow matching from one state of the Ornstein–Uhlenbeck flow to another.

        The free block goes to the noise itself.
        """
        k = turn.block
        path = local_path(self, self._gammas(k), circular=self.stages.matching_path == "circular")
        matching = self.stages.matched
        later = (1 - matching) * self.blocks / matching  # the rest, in units of one of these stages
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
            max(1, (self.network.members or 1) - len(members_of(block)) + 1),
            join,
            name=f"{_LOCAL} {k + 1}",
            share=1 / (self.blocks - k + later),
            optimization=self._matching_optimization,
        )

    def _gammas(self, k: int) -> list[float]:
        """The times of the Ornstein–Uhlenbeck flow that the first blocks stand for, up to this one."""
        gammas = contractions([self._step(j) for j in range(k + 1)], self.base)
        if self.proximal.free_block and k == self.blocks - 1:
            gammas[k] = math.inf
        return gammas

    @torch.no_grad()
    def _nll(self, block: Velocity, data: TrainingData, rows: int) -> float:
        """The mean negative log-likelihood of the first validation rows, so many at most, under one block alone."""
        held_out = pick(pair(data.validation, data.validation_condition), slice(min(rows, _COMPARED)))
        return -self._alone(block).log_prob(*unpair(held_out)).double().mean().item()

    @property
    def _matching_optimization(self) -> Optimization:
        average = _LONG_AVERAGE if self._by_matching else Optimization.average
        return Optimization("adam", self.stages.matching_rate or 0.0, self.optimization.batch_size, average=average)

    @property
    def _may_think_again(self) -> bool:
        """Whether deep networks that are matched may take the place of a shallow one that the likelihood has led."""
        wanted = self.stages.fallback and may_think_again(self.dim) and not self.network.depth
        alone = self.blocks == 1 and not self.rounds.any
        return wanted and alone and self._is_plain and not self._leads_to_a_mixture

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
        rows = rows_to_push(len(data.train), self.optimization.batch_size, steps)
        x_train, x_validation, condition = push(flows, data, rows)
        pushed = pair(x_train, condition)
        before = entries[-1]["nll"] if k else -self.base.log_prob(x_validation).double().mean().item()
        block = self._block(k, x_train)
        rounds = moves + halvings
        count = len(self.velocity) if rounds else self.blocks

        def finish(entry: dict[str, Any]) -> None:
            entry.update(kind=_PROXIMAL, moves=moves, halvings=halvings, block=k, interval=list(block.interval))
            entry["nll"] = before + entry["kl_change"]
            entry["ended"] = k == count - 1
            if not rounds:  # the first round finds out how many blocks it takes
                entry["ended"] |= not entry["kept"] or entry["relative_movement"] < self.proximal.tolerance
                if entry["ended"]:  # with what is left of the budget, the joint stage makes something of a first block
                    joint = self.stages.joint or self._takes_what_is_left
                    self.velocity.truncate(max(k + entry["kept"], 1 if joint or self.stages.matched else 0))

        return proximal_stage(
            self._alone(block),
            pushed if data.stream is None else PushedStream(data.stream, flows, pushed),
            pair(x_validation, data.validation_condition),
            self.discretization,
            h=self._weight(block, k),
            transport=self.proximal.transport,
            free=bool(self.proximal.free_block) and k == count - 1,
            finish=finish,
            name=f"{_PROXIMAL} {k + 1}" + (f", round {rounds + 1}" if rounds else ""),
            share=self.rounds.share(moves, halvings, k, count, self._joint_per_rounds),
            optimization=self.optimization.rebuilt(sharpness=0.0),
            regime=Regime(settled=self._leads_to_a_mixture),
        )

    def _alone(self, block: Velocity) -> Flow:
        """One block, with the parts of the whole."""
        return Flow(block, self.scheduler, self.integrator, self.divergence, self.base)

    @property
    def _joint_per_rounds(self) -> float:
        """The budget of the joint stage, in units of that of all rounds."""
        joint = self.stages.joint or 0.0
        return joint / (1 - self.stages.matched - joint)

    def _joint_stage(self, data: TrainingData, rests: bool) -> Stage:
        """The assembled chain, by maximum likelihood.

        Args:
            data: Rows.
            rests: Whether no block has gained anything so far. Then a mixture has all that can be told from the rows,
                as far as is known, and stays as it was estimated unless it is clearly beaten.
        """
        settled = self._leads_to_a_mixture and rests
        rate = self.stages.joint_rate / (_FROM_REST if settled else 1)
        # The same displacement takes the more energy, the shorter the time: no more of it than in a unit of time.
        start, stop = self.velocity.interval
        kinetic = self.stages.kinetic * min(1.0, stop - start)
        stage = likelihood_stage(
            self,
            data,
            self.discretization,
            costs=[Kinetic(kinetic)] if kinetic else [],
            regime=Regime(settled=settled, abandons=self._may_think_again),
            name=_JOINT,
            finish=lambda entry: entry.update(kind=_JOINT),
            optimization=self.optimization.rebuilt(learning_rate=rate),
        )
        if self._leads_to_a_mixture:
            stage.parameters = [*stage.parameters, *self.base.parameters()]
        return stage

    def _step(self, k: int) -> float:
        """The step h of block k in the first round."""
        times = self.proximal.boundaries
        return self.proximal_steps.step(k) if times is None else times[k + 1] - times[k]

    def _interval(self, k: int) -> tuple[float, float]:
        """Where block k lives in the first round."""
        start = self.velocity.interval[1] if k else 0.0
        return start, start + self._step(k)

    def _weight(self, block: Velocity, k: int) -> float:
        """The step h of the proximal term: the length of the block's interval."""
        return block.interval[1] - block.interval[0]

    def _new_block(self, k: int, interval: tuple[float, float]) -> Velocity:
        if (like := self.network.block) is not None:
            return type(like)(**{**like.config(), "interval": interval})
        frequencies, depth, common = self.network.frequencies, self.network.depth, self._of_networks(interval)
        if not depth:
            assert frequencies is not None
            return Shallow(self.dim, frequencies=frequencies, **common)
        if self._lines is not None and self._knows_cells:
            edges, smooth = [line.edges for line in self._lines], [line.smooth for line in self._lines]
            return CellPosterior(edges, smooth, arc(self._gammas(k)), depth=depth, **common)
        return ResidualMLP(self.dim, depth=depth, **common)

    def _of_networks(self, interval: tuple[float, float]) -> dict[str, Any]:
        """The arguments that the networks of blocks have in common."""
        return {
            "width": self.network.width, "condition_dim": self.condition_dim, "activation": self.network.activation,
            "interval": interval,
        }  # fmt: skip

    @property
    def _knows_cells(self) -> bool:
        """Whether the field of deep blocks is of the form that cells give it: along the circle to the normal law."""
        circular = self.stages.objective == "matching" and self.stages.matching_path == "circular"
        return self._lines is not None and self.network.block is None and circular and self._may_know_cells

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


def _event_shape(block: Velocity, dim: int) -> tuple[int, ...]:
    """The shape of a block's events, where it can serve as a block."""
    if "interval" not in inspect.signature(type(block).__init__).parameters:
        name = type(block).__name__
        raise InputError(f"block: {name} came, which takes no interval; a velocity with that argument would do")
    shape = block.event() or (dim,)
    if math.prod(shape) != dim:
        raise InputError(f"dim: {dim} came with a block for events of shape {shape}; {math.prod(shape)} would do")
    return shape
