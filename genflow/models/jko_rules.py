"""What JKO-iFlow does where nothing was typed: rules that were found by trying, which see dimension, rows and cells.

What each of them is worth stands in docs/experiments.md.
"""

from __future__ import annotations

import math

from genflow.interfaces import Velocity
from genflow.models.jko_settings import Rounds

__all__ = [
    "CELLED", "LAYERS", "MATCHED_SHARES", "MEMBERS", "PARTLY", "WIDTH", "favours_matching", "is_matched",
    "is_worth_a_base", "may_think_again", "most_components", "shares", "usual_blocks", "usual_growth",
    "usual_sharpness", "usual_step", "worth_telling",
]  # fmt: skip

# Shares of matching and of the joint likelihood above the plane, below so many rows.
_SHARES = ((3000, (0.2, 0.65)), (math.inf, (0.1, 0.75)))
MATCHED_SHARES = (0.95, 0.0)
"""The same shares where matching leads."""
_SCARCE, _NARROW = 3000, 20  # rows that are scarce; dimensions that are not many
_FEW, _SHARPNESS = 10_000, 0.1  # rows that a flow overfits within minutes, and the radius that is against it
WIDTH = 128
"""Of the hidden layers of a block."""
LAYERS, MEMBERS = 3, 8
"""Residual layers of a deep block, and the most networks that it is the mean of: each makes log p dearer."""
CELLED = 0.5
"""Share of the values from which on what is known of their cells says most of a row."""
# What is told of edges: with fewer rows for each it is learned by heart, and beside more numbers it is in their way.
_ROWS_AN_EDGE, _NEARLY_ALL = 5, 0.7
PARTLY = 0.5
"""How far rows are whitened where matching leads: wholly, what is narrow and noise is as wide as what has a shape."""
# Rows of which a mixture says something, those in many dimensions, and of how many components at most.
_MANY, _FEWER, _COMPONENTS = 5000, 1000, 64
_CLUSTERED, _GROUPS = 0.25, 4  # nats a dimension that a mixture is to gain, unless it has so few components


def is_matched(block: Velocity | None) -> bool:
    """Whether matching leads a chain of such blocks by default, and not the likelihood.

    So it is where places have to be known and a divergence is a random estimate, as with a U-Net on pictures: a step of
    the likelihood takes as long as some thirty of matching. See docs/experiments.md.

    Args:
        block: The block, `None` for the usual one.
    """
    return block is not None and block.spatial and not block.closed_form


def favours_matching(dim: int, rows: int, celled: float = 0.0) -> bool:
    """Whether matching leads by default, of one deep block all the way, and not the likelihood.

    So it is where rows are scarce: a likelihood learns them by heart before it has seen their law, while deep blocks
    see more in few rows. And in many dimensions, where a step of the likelihood takes as long as some thirty of
    matching, unless a mixture is the base. And where most values have a probability: the edges of their cells are known
    to a field, and a likelihood has to learn them. See docs/experiments.md.

    Args:
        dim: Dimension of a point.
        rows: Rows to train on.
        celled: Share of the values that have cells of their own.
    """
    return dim > _NARROW or (dim > 2 and rows < _SCARCE) or celled >= CELLED


def may_think_again(dim: int) -> bool:
    """Whether deep networks that are matched are tried by default where the likelihood has learned its rows by heart.

    In many dimensions they have not been the better ones. See docs/experiments.md.

    Args:
        dim: Dimension of a point.
    """
    return 2 < dim <= _NARROW


def usual_blocks(dim: int, rounds: Rounds, alone: bool = False, pilot: bool = False) -> int:
    """The largest number of blocks by default.

    One block has all that short budgets suffice for, in the plane, of the usual network and stages, and on pictures;
    what rounds move and halve, and a pilot divides, is a chain. See docs/experiments.md.

    Args:
        dim: Dimension of a point.
        rounds: The rounds that follow.
        alone: Whether one block does above the plane, too.
        pilot: Whether a pilot divides the way among them.
    """
    if pilot:
        return 4
    if dim <= 2:
        return 4 if rounds.any else 1
    return 1 if alone and not rounds.any else 2


def usual_step(dim: int, blocks: int, mixture: bool = False) -> float:
    """The first step by default: above the plane, a block that is alone is led further towards a normal law.

    Args:
        dim: Dimension of a point.
        blocks: The largest number of blocks.
        mixture: Whether the base is a mixture.
    """
    if dim <= 2:
        return 0.2
    return 1.0 if blocks == 1 and not mixture else 0.4


def worth_telling(rows: int, edges: int, celled: float) -> bool:
    """Whether blocks that know the cells of a table are told by default on which side of each edge a column is.

    See docs/experiments.md.

    Args:
        rows: Rows to train on.
        edges: The edges of all columns.
        celled: Share of the values that have cells of their own.
    """
    return rows >= _ROWS_AN_EDGE * edges and celled >= _NEARLY_ALL


def usual_growth(dim: int) -> float:
    """The ratio of one step to the one before by default.

    Args:
        dim: Dimension of a point.
    """
    return 2.0 if dim <= 2 else 4.0


def usual_sharpness(rows: int) -> float:
    """The radius of sharpness-aware minimization in the joint stage by default.

    Args:
        rows: Rows to train on.
    """
    return _SHARPNESS if rows < _FEW else 0.0


def most_components(dim: int, rows: int) -> int:
    """The most components of the base by default: what they can be told from takes rows.

    In many dimensions a mixture that is `worth a base <is_worth_a_base>` gains so much that fewer will do.

    Args:
        dim: Dimension of a point.
        rows: Rows to train on.
    """
    return _COMPONENTS if rows >= (_MANY if dim <= _NARROW else _FEWER) else 1


def is_worth_a_base(dim: int, components: int, gain: float) -> bool:
    """Whether a mixture is the base by default: of rows in groups, not where it tiles a law of one piece.

    Many components that gain little have seams that a flow is longer to mend than it would have been to bend one
    normal law; in many dimensions the flow of a normal one is matched, and few that gain little are in its way, too.
    See docs/experiments.md.

    Args:
        dim: Dimension of a point.
        components: The number of its components.
        gain: What it gains over one normal law, in nats per validation row.
    """
    return dim <= 2 or (components <= _GROUPS and dim <= _NARROW) or gain >= _CLUSTERED * dim


def shares(dim: int, rows: int, blocks: int, mixture: bool = False) -> tuple[float, float | None]:
    """The shares of the budget that local matching and the joint likelihood have, by default where the latter leads.

    Several blocks in the plane are led further by proximal steps alone: the likelihood has what they leave, `None`. See
    docs/experiments.md.

    Args:
        dim: Dimension of a point.
        rows: Rows to train on.
        blocks: The largest number of blocks.
        mixture: Whether the base is a mixture. That is near the rows from the beginning, and what is left is the
            likelihood's.
    """
    if mixture:
        return 0.0, 0.9 if dim <= 2 else 0.8
    if dim <= 2:
        return (0.2, 0.7) if blocks == 1 else (0.0, None)
    return next(found for most, found in _SHARES if rows < most)
