"""Samples behind the first blocks of a chain, each of which pushes them once: what the next block steps from."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from genflow.flow import Flow
from genflow.training import Rows, Stream, TrainingData, pair, unpair

__all__ = ["PushedStream", "push", "rows_to_push"]

_AT_ONCE = 1024  # rows, so that memory does not grow with the table
_SPARE = 2  # rows pushed for a block, in units of those that it is expected to see


def rows_to_push(count: int, batch_size: int, steps: Sequence[int]) -> int:
    """How many training rows to push for a block: to push many more than it will see costs more than it gains.

    It takes about as many steps as the block before it. Only where the rows that there are would be far too few, all
    blocks push them anew.

    Args:
        count: Training rows that there are.
        batch_size: Rows of a step.
        steps: Those that each block before it has taken.

    Example:
        >>> rows_to_push(100_000, 256, []), rows_to_push(100_000, 256, [40])
        (100000, 20480)
    """
    rows = count
    for taken in steps:  # none, where the time was up
        seen = -(-max(taken, 1) * batch_size // _AT_ONCE) * _AT_ONCE
        rows = min(_SPARE * seen, count) if seen > rows or _SPARE * seen < rows else rows
    return rows


@torch.no_grad()
def push(flows: Sequence[Flow], data: TrainingData, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Training rows, that many, and validation rows behind these blocks, and the condition of the former.

    Args:
        flows: The blocks, in their order.
        data: Rows. What has been pushed is kept there.
        rows: How many of the training rows.
    """
    blocks = [flow.velocity for flow in flows]
    behind, x_train, x_validation = data.cache.get("pushed", ([], data.train, data.validation))
    # Not those of another model, nor of an earlier pass, nor fewer than are wanted.
    if behind != blocks[: len(behind)] or len(x_train) < rows:
        behind, x_train, x_validation = [], data.train, data.validation
    x_train, condition = x_train[:rows], None if data.train_condition is None else data.train_condition[:rows]
    for flow in flows[len(behind) :]:
        x_train = _encode(flow, x_train, condition)
        x_validation = _encode(flow, x_validation, data.validation_condition)
    data.cache["pushed"] = (blocks, x_train, x_validation)
    return x_train, x_validation, condition


class PushedStream(Stream):
    """A stream behind the first blocks of a chain.

    Args:
        stream: The stream.
        flows: The blocks.
        sample: Some of the rows, pushed.
    """

    def __init__(self, stream: Stream, flows: Sequence[Flow], sample: Rows):
        self.stream, self.flows, self.sample, self.count = stream, flows, sample, stream.count

    def batches(self, size: int, seed: int, skip: int = 0) -> Generator[Rows]:
        for rows in self.stream.batches(size, seed, skip):
            x, condition = unpair(rows)
            with torch.no_grad():
                for flow in self.flows:
                    x = _encode(flow, x, condition)
            yield pair(x, condition)


def _encode(flow: Flow, x: Tensor, condition: Tensor | None) -> Tensor:
    parts = x.split(_AT_ONCE)
    conditions = [None] * len(parts) if condition is None else condition.split(_AT_ONCE)
    return torch.cat([flow.encode(rows, c) for rows, c in zip(parts, conditions, strict=True)])
