"""What a training takes its batches from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

__all__ = ["Rows", "TrainingData", "pair", "pick", "unpair"]

Rows = Tensor | tuple[Tensor, ...]
"""Points, or several tensors that share their leading axis: points and the condition of each."""


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on: rows in standardized units.

    Attributes:
        train: Training rows, `(n, *event)`.
        validation: Validation rows, `(m, *event)`.
        train_condition: The condition of each training row, `(n, k)`, where there is one.
        validation_condition: That of each validation row, `(m, k)`.
        copies: How often each training row stands there, at other places or under other masks.
        cache: What a model wants to keep from one stage to the next and can make again, such as pushed samples.
    """

    train: Float[Tensor, "n *event"]
    validation: Float[Tensor, "m *event"]
    train_condition: Float[Tensor, "n k"] | None = None
    validation_condition: Float[Tensor, "m k"] | None = None
    copies: int = 1
    cache: dict[str, Any] = field(default_factory=dict)


def pair(x: Tensor, condition: Tensor | None) -> Rows:
    """Points and the condition of each as a stage takes them: one tensor where there is no condition."""
    return x if condition is None else (x, condition)


def pick(rows: Rows, index: Tensor | slice) -> Rows:
    """Some of the rows."""
    return rows[index] if isinstance(rows, Tensor) else tuple(part[index] for part in rows)


def unpair(rows: Rows) -> tuple[Tensor, Tensor | None]:
    """The points and their condition; the inverse of `pair`."""
    return (rows, None) if isinstance(rows, Tensor) else (rows[0], rows[1])
