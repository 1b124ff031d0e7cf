"""What a training of JKO-iFlow can be told, in groups: the blocks' network, their proximal steps, rounds, stages."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from genflow.errors import InputError
from genflow.groups import Group
from genflow.interfaces import Velocity
from genflow.models.proximal import TRANSPORTS

__all__ = ["BlockNetwork", "ProximalStep", "Rounds", "Stages"]

_GAIN = 2.0  # what a round spends, in units of the one before
_PATHS = ("straight", "circular")
_OBJECTIVES = ("warmed", "proximal", "matching")


@dataclass(frozen=True)
class BlockNetwork(Group):
    """The network of a block.

    Args:
        width: Width of the hidden layers of a block, by default 128: a wide network varies less from one training to
            another, a narrow one takes more steps.
        activation: Their activation; see `genflow.velocities.Shallow`.
        frequencies: Range of the scales of a shallow block's first layer; see `genflow.velocities.Shallow`. By default
            (1, 20) in the plane, where pictures live, and (1, 3) above; (0.5, 0.5) where there are fewer than 100 rows
            for each of more than two dimensions.
        depth: Residual layers of a block, which then is a `genflow.velocities.ResidualMLP` of that width; 0 for
            `Shallow`, whose divergence is in closed form. By default 3 where matching leads; see `favours_matching`.
        members: The most networks that a block is the mean of; they are matched one after another, as long as there is
            time for another; see `genflow.models.members`. By default 8 where matching leads on tables, else 1.
        cells: Whether deep blocks that are matched along the circle know the cells of values with a probability, and
            are `genflow.velocities.CellPosterior`.
        sides: Whether those are told on which side of each edge a column is likely to be. By default where there are
            five rows for each edge, and most values have cells; see `genflow.models.jko_rules.worth_telling`.
        block: A velocity that the blocks are built like, with its arguments and intervals of their own, in place of
            `Shallow`; its weights are not used. A velocity on a graph makes this a model of node features, `dim` in
            all. Blocks without a method `scale_output` are not warm-started.
    """

    width: int | None = None
    activation: str = "silu"
    frequencies: tuple[float, float] | None = None
    depth: int | None = None
    members: int | None = None
    cells: bool = True
    sides: bool | None = None
    block: Velocity | None = None

    def __post_init__(self) -> None:
        if self.members is not None and self.members < 1:
            raise InputError(f"members: {self.members} came; a number of networks, 1 or more, would do")
        if self.depth is not None and self.depth < 0:
            raise InputError(f"depth: {self.depth} came; a number of residual layers, or 0 for none, would do")


@dataclass(frozen=True)
class ProximalStep(Group):
    r"""The proximal step of a block.

    Args:
        maximum: Largest step.
        transport: The proximal term: `dynamic`, :math:`\frac{1}{2} \int |v|^2 dt`, or `endpoint`,
            :math:`|T_k x - x|^2 / 2 h_k`. They have one minimizer, the straight one of the first.
        tolerance: Relative movement :math:`E|T_k x - x|^2 / E|T_k x|^2` at which the chain ends.
        free_block: Whether the last block goes all the way: without the proximal term, or matched to the noise. By
            default where matching leads, see `is_matched` and `favours_matching`, and behind a pilot.
        pilot: Whether a small mixture, estimated first, says where the boundaries are, in the place of `first`,
            `growth` and `maximum`; see `genflow.models.pilot`. The scheme then leads to a normal law.
        boundaries: The boundaries themselves, 0 and the end of each block.
    """

    maximum: float = 3.0
    transport: str = "dynamic"
    tolerance: float = 1e-4
    free_block: bool | None = None
    pilot: bool = False
    boundaries: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise InputError(f"transport: {self.transport!r} came; {' or '.join(TRANSPORTS)} would do")
        if self.boundaries is not None:
            times = tuple(map(float, self.boundaries))
            if len(times) < 2 or times[0] != 0 or not all(a < b < math.inf for a, b in pairwise(times)):
                raise InputError(f"boundaries: {times} came; increasing times from 0 on, such as (0, 0.1, 1), would do")
            object.__setattr__(self, "boundaries", times)


@dataclass(frozen=True)
class Rounds(Group):
    r"""Rounds after the first, in which all blocks have another proximal step.

    Args:
        reparameterize: The largest number of rounds after the first that move the boundaries towards equal movement.
        equal: The relative spread of the movements (deviation / mean) at which those rounds end.
        damping: Share :math:`\eta` of the way that the boundaries move in such a round.
        refine: The number of rounds, after those, that halve every interval.
    """

    reparameterize: int = 0
    equal: float = 0.1
    damping: float = 0.5
    refine: int = 0

    def __post_init__(self) -> None:
        if min(self.reparameterize, self.refine) < 0:
            raise InputError(
                f"reparameterize, refine: {self.reparameterize}, {self.refine} came; numbers of rounds from 0 up"
            )

    @property
    def any(self) -> bool:
        """Whether there are rounds after the first."""
        return bool(self.reparameterize or self.refine)

    def unequal(self, movements: Sequence[float]) -> bool:
        """Whether the blocks move so differently that their boundaries should."""
        return len(movements) > 1 and statistics.pstdev(movements) > self.equal * statistics.mean(movements)

    def share(self, moves: int, halvings: int, k: int, blocks: int, behind: float) -> float:
        """The share that block k of a round has in the budget that is left, if all rounds take place.

        A round gets `_GAIN` times what the one before it got: an early one only has to find boundaries and a warm
        start, and what it leaves unfinished is lost with the next cut.

        Args:
            moves: How often the boundaries have been moved.
            halvings: How often halved.
            k: The block, counted from 0.
            blocks: Their number.
            behind: What comes after the rounds, in units of all of them.
        """
        this, last = moves + halvings, self.refine + (moves if halvings else self.reparameterize)
        spent = [_GAIN**i for i in range(self.reparameterize + self.refine + 1)]
        block = spent[this] / blocks
        return block / (spent[this] - k * block + sum(spent[this + 1 : last + 1]) + sum(spent) * behind)


@dataclass(frozen=True)
class Stages(Group):
    r"""What the budget is spent on: local matching, proximal steps, the joint likelihood.

    Args:
        objective: Of a block: `proximal`; `matching`, local flow matching alone; or `warmed`, matching and then the
            proximal step. By default `warmed`, and `matching` where that leads: of blocks on pictures, of scarce
            rows, in many dimensions and where most values have cells; see `is_matched`, `favours_matching`.
        matching: Share of the budget for local flow matching before the proximal steps, where the objective is
            `warmed`; 0 for none. By default that of `shares`.
        matching_rate: Peak learning rate of local flow matching, by default 3e-3, and 6e-3 of blocks on pictures.
        matching_path: The path that it follows between two states of the Ornstein–Uhlenbeck flow: `straight`, or
            `circular`, that flow itself, as a diffusion has it. By default straight, and circular where matching
            leads: of whitened rows of a normal law its field is zero, and a network has only the rest to learn.
        joint: Share of the budget for the likelihood of the assembled chain, at the end; 0 for none. By default that of
            `shares`, and what is left of the budget where the chain ends before its last block.
        joint_rate: Peak learning rate of the joint training; a third of it where a mixture is all that there is so far.
        kinetic: Weight of the kinetic energy :math:`\int |v|^2 dt` in the joint stage: straight paths need few steps.
            In a chain shorter than a unit of time it is less by that, or it would hold displacements back.
        fallback: Whether deep networks that are matched may take the place of a shallow block that has learned its rows
            by heart; see `may_think_again`.
        components: The most components of the base that the scheme leads to: a mixture of normal laws, which is
            estimated first and trained with the blocks in the joint stage; 1 for the standard normal law. By default
            64, or 256 narrow ones for thin things in the plane, for vectors without conditions of which there are 5000
            rows and more, in more than 20 dimensions 1000, where that is worth it (`is_worth_a_base`); see
            `genflow.normal_mixture`. A base that is typed stays.
        tails: Whether the law of the noise is estimated at the end, on validation rows; see `genflow.scale_mixture`.
            By default where all stages lead to the standard normal law; not of a `block` of one's own, another
            `objective`, behind a pilot, nor of a base that is typed.
    """

    objective: str | None = None
    matching: float | None = None
    matching_rate: float | None = None
    matching_path: str | None = None
    joint: float | None = None
    joint_rate: float = 1.2e-2
    kinetic: float = 0.1
    fallback: bool = True
    components: int | None = None
    tails: bool | None = None

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise InputError(f"components: {self.components} came; 1 for a standard normal base, or more, would do")
        if self.objective not in (None, *_OBJECTIVES):
            raise InputError(f"objective: {self.objective!r} came; {' or '.join(_OBJECTIVES)} would do")
        if self.matching_path not in (None, *_PATHS):
            raise InputError(f"matching_path: {self.matching_path!r} came; {' or '.join(_PATHS)} would do")
        matching, joint = self.matching or 0.0, self.joint or 0.0
        if not (matching >= 0 and joint >= 0 and matching + joint < 1):
            raise InputError(
                f"matching, joint: {matching}, {joint} came; shares of the budget that leave some for blocks"
            )

    def usual(self, matched: bool) -> Any:
        """The same with what was left open about the matching.

        Args:
            matched: Whether it leads; see `is_matched`.
        """
        return self.rebuilt(
            objective=self.objective or ("matching" if matched else "warmed"),
            matching_rate=self.matching_rate or (6e-3 if matched else 3e-3),
            matching_path=self.matching_path or ("circular" if matched else "straight"),
        )

    def chosen(self, matching: float, joint: float | None) -> Any:
        """The same with these shares where none were typed; of what a typed one leaves, the other has its part."""
        if self.matching is not None and self.joint is None:
            joint = joint and joint * (1 - self.matching) / (1 - matching)
        elif self.joint is not None and self.matching is None:
            matching *= (1 - self.joint) / (1 - (joint or 0.0))
        return self.rebuilt(
            matching=matching if self.matching is None else self.matching,
            joint=joint if self.joint is None else self.joint,
        )

    @property
    def matched(self) -> float:
        """The share of the budget that local matching has."""
        assert self.objective is not None
        assert self.matching is not None
        return {"warmed": self.matching, "proximal": 0.0, "matching": 1 - (self.joint or 0.0)}[self.objective]

    @property
    def may_end_jointly(self) -> bool:
        """Whether there may be a joint likelihood: where it has a share, or, left open, what a short chain leaves."""
        return self.joint != 0
