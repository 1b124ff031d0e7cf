"""What a training of JKO-iFlow goes by: what was typed, and, once the rows are known, what rules make of the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from genflow.errors import InputError
from genflow.models.jko_rules import (
    LAYERS,
    MATCHED_SHARES,
    MEMBERS,
    WIDTH,
    favours_matching,
    is_matched,
    may_think_again,
    most_components,
    shares,
    usual_blocks,
    usual_growth,
    usual_sharpness,
    usual_step,
    worth_telling,
)
from genflow.models.jko_settings import BlockNetwork, ProximalStep, Rounds, Stages
from genflow.models.stages import initial_frequencies
from genflow.schedulers import JKOSteps
from genflow.training import Optimization

__all__ = ["Facts", "Plan"]


class Facts(NamedTuple):
    """What the rules see of the rows.

    Attributes:
        rows: All rows to train on, a row at its other places among them: what a network can learn from.
        distinct: Those of the table: what it can learn by heart.
        celled: The share of the values that have cells of their own, of which the blocks may know.
        edges: The edges of those cells.
        mixture: Whether a mixture of normal laws, estimated on them, is the base.
    """

    rows: int
    distinct: int
    celled: float = 0.0
    edges: int = 0
    mixture: bool = False


@dataclass(frozen=True)
class Plan:
    """All that a training goes by. What is `None` is open, until the rows `settle <Plan.settled>` it.

    Args:
        dim: Dimension of a point.
        blocks: The largest number of blocks.
        first: First step.
        growth: Ratio of one step to the step before.
        network: What a block is.
        proximal: How it steps.
        rounds: What follows when all have.
        stages: What comes before and after.
        optimization: The optimizer, for everything but the matching.

    Example:
        >>> plan = Plan(5).settled(Facts(rows=800, distinct=800))
        >>> plan.blocks, plan.stages.objective, plan.network.depth
        (1, 'matching', 3)
    """

    dim: int
    blocks: int | None = None
    first: float | None = None
    growth: float | None = None
    network: BlockNetwork = BlockNetwork()
    proximal: ProximalStep = ProximalStep()
    rounds: Rounds = Rounds()
    stages: Stages = Stages()
    optimization: Optimization = Optimization()

    def __post_init__(self) -> None:
        times = self.proximal.boundaries
        if times is not None and self.blocks not in (None, len(times) - 1):
            raise InputError(f"boundaries: {len(times) - 1} blocks' came with blocks={self.blocks}")
        if self.blocks is not None and self.blocks < 1:
            raise InputError(f"blocks: {self.blocks} came; at least 1 would do")
        if self.stages.objective == "matching" and self.rounds.any:
            raise InputError(
                f"reparameterize, refine: {self.rounds.reparameterize}, {self.rounds.refine} came; "
                "objective='matching' has no rounds"
            )

    @property
    def is_plain(self) -> bool:
        """Whether what was found by trying, of blocks of the usual network and all stages, says something of it."""
        return self.network.block is None and self.stages.objective in (None, "warmed")

    @property
    def by_matching(self) -> bool:
        """Whether matching leads because of what a block is."""
        return is_matched(self.network.block) and not self.rounds.any

    def by_rows(self, facts: Facts) -> bool:
        """Whether matching leads because of what the rows are, unless they have a mixture for a base."""
        stages = self.stages
        is_open = stages.objective is stages.matching is stages.joint is None and not self.rounds.any
        return self.is_plain and is_open and favours_matching(self.dim, facts.distinct, facts.celled)

    @property
    def may_know_cells(self) -> bool:
        """Whether nothing that was typed keeps the blocks from the form that cells give a field."""
        usual = self.network.cells and self.network.depth != 0 and self.network.block is None
        return usual and self.stages.matching_path in (None, "circular")

    @property
    def knows_cells(self) -> bool:
        """Whether the field of blocks is of that form, where rows have cells: along the circle to the normal law."""
        circular = self.stages.objective == "matching" and self.stages.matching_path == "circular"
        return circular and self.may_know_cells

    @property
    def may_think_again(self) -> bool:
        """Whether deep networks that are matched may take the place of a shallow one that the likelihood has led."""
        wanted = self.stages.fallback and may_think_again(self.dim) and not self.network.depth
        return wanted and self.blocks == 1 and not self.rounds.any and self.is_plain

    def most_components(self, rows: int) -> int:
        """The most components of a mixture that is sought for a base; 1 where none is.

        Args:
            rows: Rows to train on, each counted once.
        """
        if self.stages.components is not None:
            return self.stages.components
        return most_components(self.dim, rows) if self.is_plain and not self.proximal.pilot else 1

    def sketched(self) -> Self:
        """The same with what no row has a say in: of blocks that are not the usual ones, how many and how far."""
        rate, tails = self.stages.usual(self.by_matching).matching_rate, self.stages.tails
        tails = self.is_plain and not self.proximal.pilot if tails is None else tails
        plan = replace(self, growth=self._growth, stages=self.stages.rebuilt(matching_rate=rate, tails=tails))
        if self.is_plain:
            return plan
        cut, path = plan._cut(matched=False, mixture=False), self.stages.matching_path
        return cut if self.by_matching else replace(cut, stages=cut.stages.rebuilt(matching_path=path))

    def settled(self, facts: Facts) -> Self:
        """The same with nothing open but the components of a base and the boundaries that a pilot finds."""
        matched = self.by_rows(facts) and not facts.mixture
        plan = self._cut(matched, facts.mixture)
        assert plan.blocks is not None
        usual: tuple[float, float | None] = shares(self.dim, facts.distinct, plan.blocks, facts.mixture)
        if matched or self.by_matching:
            usual = MATCHED_SHARES if plan.stages.objective == "matching" else (MATCHED_SHARES[0], None)
        sharpness = self.optimization.sharpness
        return replace(
            plan,
            network=self._settled_network(facts, matched, plan.stages.objective == "matching"),
            stages=plan.stages.chosen(*usual),
            optimization=self.optimization.rebuilt(
                sharpness=usual_sharpness(facts.rows) if sharpness is None else sharpness
            ),
        )

    @property
    def _growth(self) -> float:
        return usual_growth(self.dim) if self.growth is None else self.growth

    def _cut(self, matched: bool, mixture: bool) -> Self:
        """The same with the way divided: what blocks learn by, how many there are, and how far they go.

        Args:
            matched: Whether matching leads because of the rows.
            mixture: Whether the base is a mixture.
        """
        blocks, free, times = self.blocks, self.proximal.free_block, self.proximal.boundaries
        if blocks is None and times is not None:
            blocks = len(times) - 1
        elif blocks is None:
            alone = self.is_plain or self.by_matching
            blocks = usual_blocks(self.dim, self.rounds, alone, self.proximal.pilot)
        if free is None:
            free = matched or self.by_matching or (self.proximal.pilot and times is None)
        stages = self.stages
        if matched:
            stages = stages.rebuilt(objective="matching", matching_path=stages.matching_path or "circular")
        return replace(
            self,
            blocks=blocks,
            first=usual_step(self.dim, blocks, mixture) if self.first is None else self.first,
            growth=self._growth,
            proximal=self.proximal.rebuilt(free_block=free),
            stages=stages.usual(self.by_matching),
        )

    def towards(self, components: int) -> Self:
        """The same towards a base of at most so many components."""
        return replace(self, stages=self.stages.rebuilt(components=components))

    def cut_at(self, boundaries: tuple[float, ...]) -> Self:
        """The same with the boundaries that a pilot has found."""
        return replace(self, proximal=self.proximal.rebuilt(boundaries=boundaries))

    def _settled_network(self, facts: Facts, by_rows: bool, matched: bool) -> BlockNetwork:
        network, depth = self.network, self.network.depth
        if depth is None:
            depth = LAYERS if matched and favours_matching(self.dim, facts.distinct, facts.celled) else 0
        return network.rebuilt(
            depth=depth,
            width=network.width or WIDTH,
            frequencies=network.frequencies or initial_frequencies(self.dim, facts.rows),
            members=network.members or (MEMBERS if by_rows else 1),
            sides=worth_telling(facts.distinct, facts.edges, facts.celled) if network.sides is None else network.sides,
        )

    def choices(self) -> dict[str, Any]:
        """What `settled` has an answer to, by the names of the constructor's arguments."""
        network, proximal, stages = self.network, self.proximal, self.stages
        return {
            "blocks": self.blocks, "first": self.first, "growth": self.growth,
            "depth": network.depth, "width": network.width, "frequencies": network.frequencies,
            "members": network.members, "sides": network.sides,
            "free_block": proximal.free_block, "boundaries": proximal.boundaries,
            "objective": stages.objective, "components": stages.components,
            "matching": stages.matching, "matching_rate": stages.matching_rate, "matching_path": stages.matching_path,
            "joint": stages.joint, "tails": stages.tails, "sharpness": self.optimization.sharpness,
        }  # fmt: skip

    @property
    def steps(self) -> JKOSteps:
        """The steps of a settled plan, where no boundaries say them."""
        assert self.blocks is not None
        assert self.first is not None
        assert self.growth is not None
        return JKOSteps(self.first, self.growth, self.proximal.maximum, steps=self.blocks)

    def step(self, k: int) -> float:
        """The step h of block k in the first round."""
        times = self.proximal.boundaries
        return self.steps.step(k) if times is None else times[k + 1] - times[k]

    def is_free(self, k: int) -> bool:
        """Whether block k goes all the way."""
        assert self.blocks is not None
        return bool(self.proximal.free_block) and k == self.blocks - 1
