r"""Members of a block: networks that are matched one after another, and whose mean is the block's field.

A network that has seen its rows some hundred times knows them by heart; another one, from other weights, errs
elsewhere. What they regress is one field, so the error of their mean is that of one of them less their spread
(`genflow.velocities.Mean`), and the mean is the field of an invertible block like any other.

What a member was given and what came of it stands in the history, and what comes next follows from that alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Turn", "first_steps", "is_welcome", "members_left", "next_turn"]

_PASSES = 200  # over the rows, after which the first member ends: the deep networks' best weights come sooner
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


def next_turn(entries: Sequence[dict[str, Any]]) -> Turn:
    """The next turn, behind these entries of the history.

    Args:
        entries: Those of the matching, in their order. One that does not say how many `members_left` there are in its
            block was the last of it.

    Example:
        >>> next_turn([])
        Turn(block=0, member=0, left=None, share=None)
        >>> next_turn([{"span": [0.0, 0.2, 0.8], "members_left": 3}])
        Turn(block=0, member=1, left=2, share=0.25)
        >>> next_turn([{"span": [0.0, 0.2, 0.8], "members_left": 0}])
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


def first_steps(rows: int, batch: int) -> int:
    """The most steps of a first member.

    Args:
        rows: Distinct rows to train on.
        batch: Rows in a batch.
    """
    return math.ceil(_PASSES * rows / min(rows, batch))


def is_welcome(before: Tensor, joined: Tensor) -> bool:
    """Whether a member joins the others: unless the mean with it is clearly the worse, as with one that was cut off.

    Another one like those before it makes the mean better, and of few validation rows chance says otherwise half of the
    time.

    Args:
        before: The loss of each validation row under the mean without it.
        joined: The same with it.
    """
    loss = joined - before
    error = loss.std().item() / math.sqrt(len(loss)) if len(loss) > 1 else math.inf
    return loss.mean().item() <= _CLEARLY * error
