"""What a training takes its batches from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from genflow.data.laws import CelledLine

__all__ = ["Rows", "Stream", "TrainingData", "pair", "pick", "unpair"]

Rows = Tensor | tuple[Tensor, ...]
"""Points, or several tensors that share their leading axis: points and the condition of each."""


class Stream(ABC):
    """Training rows that do not lie in memory: batches of them, one after the other.

    Attributes:
        sample: Some of them, which do. What is asked of a stage's rows beside batches is asked of them.
        count: How many they are in a pass, where that is known.
    """

    sample: Rows
    count: int | None = None

    @abstractmethod
    def batches(self, size: int, seed: int, skip: int = 0) -> Generator[Rows]:
        """Batches without an end, in an order that the seed decides.

        Args:
            size: Rows in a batch.
            seed: The seed.
            skip: How many batches of that order are behind.
        """


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on: rows in standardized units.

    Attributes:
        train: Training rows, `(n, *event)`.
        validation: Validation rows, `(m, *event)`.
        train_condition: The condition of each training row, `(n, k)`, where there is one.
        validation_condition: That of each validation row, `(m, k)`.
        copies: How often each training row stands there, at other places or under other masks.
        lines: The cells of values with a probability on the line of each column; `None` where there are none.
        stream: Where training rows are read while the model trains; `train` is a sample of them then.
        cache: What a model wants to keep from one stage to the next and can make again, such as pushed samples.
    """

    train: Float[Tensor, "n *event"]
    validation: Float[Tensor, "m *event"]
    train_condition: Float[Tensor, "n k"] | None = None
    validation_condition: Float[Tensor, "m k"] | None = None
    copies: int = 1
    lines: Sequence[CelledLine] | None = None
    stream: Stream | None = None
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many training rows there are, as far as is known, each of its copies counted."""
        return (self.stream and self.stream.count) or len(self.train)

    @property
    def distinct(self) -> int:
        """The same without the copies."""
        return (self.stream and self.stream.count) or len(self.train) // self.copies

    @property
    def batched(self) -> Rows | Stream:
        """What a stage takes its batches from: the training rows with their conditions, or a stream."""
        return pair(self.train, self.train_condition) if self.stream is None else self.stream


def pair(x: Tensor, condition: Tensor | None) -> Rows:
    """Points and the condition of each as a stage takes them: one tensor where there is no condition."""
    return x if condition is None else (x, condition)


def pick(rows: Rows, index: Tensor | slice) -> Rows:
    """Some of the rows."""
    return rows[index] if isinstance(rows, Tensor) else tuple(part[index] for part in rows)


def unpair(rows: Rows) -> tuple[Tensor, Tensor | None]:
    """The points and their condition; the inverse of `pair`."""
    return (rows, None) if isinstance(rows, Tensor) else (rows[0], rows[1])
