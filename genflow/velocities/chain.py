"""Velocities one after another in time: the blocks of JKO-iFlow."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.function import as_velocity
from genflow.wrappers import Composed, Question

__all__ = ["Chain"]


_STILL = as_velocity(lambda x, t, condition: torch.zeros_like(x))


class Chain(Composed):
    r"""Velocities on adjoining intervals :math:`[t_0, t_1], [t_1, t_2], \dots`, in the order of time.

    The field jumps where one block ends and the next begins. A solver's step across such a time loses its order, so an
    integration goes piece by piece, over `pieces()`; calling the chain itself picks the block of each row's time.

    Args:
        blocks: Velocities whose intervals adjoin.

    Example:
        >>> import genflow as gf
        >>> chain = gf.velocities.Chain([gf.velocities.Shallow(2, interval=i) for i in [(0.0, 0.4), (0.4, 1.0)]])
        >>> [(start, stop) for _, start, stop in chain.pieces()]
        [(0.0, 0.4), (0.4, 1.0)]
    """

    own = frozenset({"interval"})

    def __init__(self, blocks: list[Velocity] | None = None):
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in blocks or []:
            self.append(block)

    def append(self, block: Velocity) -> None:
        """Adds a block behind the last."""
        if len(self):
            if block.interval[0] != self.interval[1]:
                raise InputError(
                    f"block: it starts at {block.interval[0]:g}, the chain ends at {self.interval[1]:g}; "
                    "they must adjoin"
                )
            if block.event_ndim != self.event_ndim:
                raise InputError(f"block: its events have rank {block.event_ndim}, the chain's {self.event_ndim}")
        self.blocks.append(block)
        self.interval = (self[0].interval[0], block.interval[1])

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Velocity]:
        return (cast(Velocity, block) for block in self.blocks)

    def __getitem__(self, k: int) -> Velocity:
        return cast(Velocity, self.blocks[k])

    def truncate(self, count: int) -> None:
        """Keeps the first `count` blocks."""
        self.blocks = self.blocks[:count]
        self.interval = (self.interval[0], self[-1].interval[1] if count else self.interval[0])

    def boundaries(self) -> list[float]:
        """The times between which the blocks live."""
        return [self.interval[0], *(block.interval[1] for block in self)]

    def recut(self, boundaries: Sequence[float]) -> Chain:
        """A chain with other boundaries: a new block is a copy of the one that lives at the middle of its interval.

        As blocks live in real time, the field hardly changes; not at all where every new interval lies in an old one.
        """
        stops = self.boundaries()[1:-1]
        cut = itertools.pairwise(boundaries)
        return Chain([self[bisect.bisect_right(stops, (a + b) / 2)].on((a, b)) for a, b in cut])

    def config(self) -> dict[str, Any]:
        return {"blocks": list(self)}

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        return list(itertools.chain.from_iterable(block.pieces() for block in self))

    def parts(self) -> list[Velocity]:
        return list(self)

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        if not len(self):
            return question(_STILL, x, t, *vectors, condition)
        # A time on a boundary belongs to the block that starts there; times outside go to the nearest block.
        stops = torch.tensor([block.interval[1] for block in list(self)[:-1]], dtype=t.dtype, device=t.device)
        index = torch.bucketize(t.contiguous(), stops, right=True)
        if t.ndim == 0:
            return question(self[int(index)], x, t, *vectors, condition)
        if isinstance(condition, Tensor):
            condition = condition.expand(*t.shape, *condition.shape[condition.ndim - self.condition_ndim :])
        found: list[tuple[Tensor, Any]] = []
        for k in index.unique().tolist():
            rows = index == k
            given = condition[rows] if isinstance(condition, Tensor) else condition
            found.append((rows, question(self[k], x[rows], t[rows], *(v[:, rows] for v in vectors), given)))
        if isinstance(found[0][1], Tensor):
            return _place(found, torch.empty_like(x))
        firsts, seconds = ([(rows, answer[i]) for rows, answer in found] for i in (0, 1))
        second = torch.empty_like(vectors[0]) if vectors else x.new_empty(t.shape)
        return _place(firsts, torch.empty_like(x)), _place(seconds, second, t.ndim)


def _place(found: list[tuple[Tensor, Tensor]], where: Tensor, ndim: int = 0) -> Tensor:
    """Answers for some of the rows each, put where these rows are."""
    for rows, answer in found:
        if ndim and where.ndim > ndim:
            where[:, rows] = answer
        else:
            where[rows] = answer
    return where
