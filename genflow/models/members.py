r"""Members of a block: networks that are matched one after another, and whose mean is the block's field.

A network that has seen its rows some hundred times knows them by heart; another one, from other weights, errs
elsewhere. What they regress is one field, so the error of their mean is that of one of them less their spread
(`genflow.velocities.Mean`), and the mean is the field of an invertible block like any other.

What a member was given and what came of it stands in the history, and what comes next follows from that alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genflow.interfaces import Velocity
from genflow.metrics.likelihood import paired_difference
from genflow.models.stages import MatchingPath, matching_stage
from genflow.training import Optimization, Regime, Stage, TrainingData, pick
from genflow.velocities import Mean

__all__ = [
    "Turn", "beside_each_other", "first_regime", "is_welcome", "member_stage", "members_left", "members_of",
    "next_turn",
]  # fmt: skip

_PASSES, _STEPS = 200, 5000  # passes over the rows, and steps, with both of which a first member ends
_ENOUGH = 100  # passes with which it ends where its best weights are past
_CLEARLY = 2.0  # standard errors by which the mean with another member is to be worse for that to be left out
_WORTH = 0.25  # of the first member's length, below which another one is not begun


class Turn(NamedTuple):
    """What is to be matched next.

    Attributes:
        block: The block, counted from 0.
        member: The member of it, counted from 0.
        left: How many members follow in its block; `None` of a first member, which has to show it.
        share: Its share of the budget that is left; `None` of a first member, which has that of its block.
    """

    block: int
    member: int = 0
    left: int | None = None
    share: float | None = None


def members_of(block: Velocity) -> list[Velocity]:
    """The networks that a block is the mean of."""
    return block.parts() if isinstance(block, Mean) else [block]


def beside_each_other(before: Velocity, members: Sequence[Velocity], taken: bool) -> Mean:
    """A block that holds both what was trained before and the networks that may take its place.

    Args:
        before: What was trained before.
        members: Those networks.
        taken: Whether their mean is the field; the other has no weight.
    """
    return Mean(
        [before, *members], [0.0, *[1 / len(members)] * len(members)] if taken else [1.0, *[0.0] * len(members)]
    )


def member_stage(
    network: Velocity,
    others: Sequence[Velocity],
    data: TrainingData,
    path: MatchingPath,
    turn: Turn,
    most: int,
    join: Callable[[list[Velocity], dict[str, Any]], None],
    *,
    name: str,
    share: float,
    optimization: Optimization,
) -> Stage:
    """The stage that matches a member. Its entry of the history says how many follow, `members_left`.

    Args:
        network: The member.
        others: Those before it.
        data: Rows.
        path: What they match.
        turn: Whose turn it is.
        most: The most members.
        join: Called at the end with the members that there are then, and the entry: whether the new one has `joined`.
        name: Of the first member's stage.
        share: Of the first member's stage.
        optimization: The optimizer.
    """

    def finish(entry: dict[str, Any]) -> None:
        entry.update(block=turn.block, member=turn.member)
        if not entry.get("replayed"):
            entry["members_left"] = members_left(entry["span"], most) if turn.left is None else turn.left
            entry["joined"] = not others or bool(entry["steps"] and gains(entry["rows"]))
        join([*others, network] if entry.get("joined") else list(others) or [network], entry)

    @torch.no_grad()
    def losses(members: Sequence[Velocity], rows: int) -> Tensor:
        stage = matching_stage(Mean(list(members)), data, path, name=name)
        generator = torch.Generator(data.train.device).manual_seed(0)
        return stage.validate(pick(stage.validation, slice(rows)), generator)

    def gains(rows: int) -> bool:
        return is_welcome(losses(others, rows), losses([*others, network], rows))

    # Where there may be several, the first says how long one of them takes.
    regime = first_regime(data.distinct, optimization.batch_size) if most > 1 and not turn.member else Regime()
    return matching_stage(
        network,
        data,
        path,
        name=f"{name}, member {turn.member + 1}" if turn.member else name,
        share=share if turn.share is None else turn.share,
        finish=finish,
        optimization=optimization,
        regime=regime,
    )


def next_turn(entries: Sequence[dict[str, Any]]) -> Turn:
    """The next turn, behind these entries of the history.

    Args:
        entries: Those of the matching, in their order. One that does not say how many `members_left` there are in its
            block was the last of it.

    Example:
        >>> next_turn([])
        Turn(block=0, member=0, left=None, share=None)
        >>> next_turn([{"span": [0.0, 0.25, 0.75], "members_left": 2}])
        Turn(block=0, member=1, left=1, share=0.3333333333333333)
        >>> next_turn([{"span": [0.0, 0.25, 0.75], "members_left": 0}])
        Turn(block=1, member=0, left=None, share=None)
    """
    ends = [i for i, entry in enumerate(entries) if not entry.get("members_left")]
    current = entries[ends[-1] + 1 :] if ends else entries
    if not current:
        return Turn(len(ends))
    (_, used, _), (_, _, due), left = current[-1]["span"], current[0]["span"], current[-1]["members_left"]
    share = max(0.0, (due - used) / left / (1 - used)) if used < 1 else 0.0
    return Turn(len(ends), len(current), left - 1, share)


def members_left(span: Sequence[float], most: int) -> int:
    """How many members follow a first one, whose stage had this span of the budget.

    Args:
        span: Shares of the budget: what was spent when it began and when it ended, and what would be had it taken all.
        most: The most members of a block.

    Example:
        >>> [members_left([0.0, used, 0.8], most=8) for used in (0.05, 0.2, 0.6, 0.7, 0.8)]
        [7, 3, 1, 0, 0]
    """
    began, used, due = span
    if used <= began:
        return 0
    room = (due - used) / (used - began)
    return min(most - 1, max(1, round(room))) if room >= _WORTH else 0


def first_regime(rows: int, batch: int) -> Regime:
    """How long the first of several members is trained.

    The others take about as long. Where it learns its rows by heart, that is twice the steps of its best weights;
    where it does not, as many as make a good network.

    Args:
        rows: Distinct rows to train on.
        batch: Rows in a batch.
    """
    each = rows / min(rows, batch)  # steps of a pass
    return Regime(steps=max(_STEPS, math.ceil(_PASSES * each)), enough=math.ceil(_ENOUGH * each))


def is_welcome(before: Tensor, joined: Tensor) -> bool:
    """Whether a member joins the others: unless the mean with it is clearly the worse, as with one that was cut off.

    Another one like those before it makes the mean better, and of few validation rows chance says otherwise half of the
    time.

    Args:
        before: The loss of each validation row under the mean without it.
        joined: The same with it.
    """
    if not len(before):
        return False
    loss, error = paired_difference(joined, before)
    return loss <= 0 or loss <= _CLEARLY * error
