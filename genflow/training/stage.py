"""One stage of a training: what is trained, on what, by which loss, and what happens at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genflow.groups import FieldOf, flatten_groups
from genflow.training.optimization import Optimization, Regime
from genflow.training.rows import Rows, Stream

__all__ = ["Refinement", "Stage", "StageState", "TrainingError"]

_PER_ERROR = 15  # how far two grids are apart, in units of the finer one's error

StageState = tuple[dict[str, Tensor], dict[str, Any]]
"""Where a stage that runs is: tensors, and facts for JSON."""


class TrainingError(RuntimeError):
    """A training that could not go on: the loss stayed non-finite."""


@dataclass(frozen=True)
class Refinement:
    r"""The loss on a coarser grid, which becomes finer when the training lives on the solver's error.

    After each validation the two means are compared. Where they differ by more than the tolerance, the grid is refined
    and the stage goes back to its best weights. Weights of which even the finer mean is not to be trusted are never the
    best ones; where the grid is as fine as it may become, the stage goes back from them with a smaller learning rate.

    Attributes:
        coarse: `(rows, generator) -> (m,)`, the same as `Stage.validate` on the grid that is trained on.
        refine: `(level) -> None`, makes that grid finer. Called with 1, 2, … each time.
        tolerance: The largest difference that is let pass, in nats.

    Example:
        >>> from genflow.training import Refinement
        >>> grid = Refinement(lambda rows, generator: rows[:, 0], refine=print, tolerance=0.5)
        >>> grid.wanted(coarse=1.0, fine=1.4), grid.wanted(coarse=1.0, fine=1.6), grid.wanted(float("nan"), fine=1.0)
        (False, True, True)
    """

    coarse: Callable[[Any, torch.Generator], Tensor]
    refine: Callable[[int], None]
    tolerance: float = 0.02

    def wanted(self, coarse: float, fine: float) -> bool:
        """Whether these two means differ by more than the tolerance, or are no numbers."""
        return not abs(coarse - fine) <= self.tolerance

    def trusted(self, coarse: float, fine: float) -> bool:
        """Whether the finer grid's own error can be taken for no more than the tolerance.

        With twice the steps, a solver of order four has a sixteenth of the error: they differ by fifteen times that.
        """
        return abs(coarse - fine) <= _PER_ERROR * self.tolerance


class Stage:
    """One stage of a training.

    Its attributes have the names of its arguments, and may be set until it runs.

    Args:
        name: What the progress display calls it.
        parameters: What is trained.
        train: Training rows, one tensor or several that share their leading axis; a batch is drawn from them. Or a
            `Stream` of batches.
        validation: Validation rows in the form of `train`. On a clock, the first of them that it can afford are used.
        loss: `(batch, generator) -> scalar`, the mean loss of a batch, which has the form of `train`.
        validate: `(rows, generator) -> (m,)`, the loss of each of these validation rows; the weights that are best on
            average are kept. The generator starts anew every time, so that two validations can be compared.
        share: Its share of the budget that is left when it begins.
        finish: Called at the end with the stage's entry of the history; may change the model, and adds to the entry.
            On a clock within the time that is left: a solve in it may raise `OutOfTime`.
            The entry says how many rows were affordable in a validation, `rows`: it should look at no more of them.
        closing: What `finish` takes, in validations; on a clock its time is left for it.
        refinement: The grid of the loss, where it is coarser than that of `validate` and may be refined.
        optimization: The optimizer, an `Optimization`: `optimizer`, `learning_rate`, `batch_size`, … By default Adam
            with a rate of 3e-3 and no average, while a bare `Optimization()` is SOAP at 1e-2, as the models have it.
        regime: What few stages want otherwise, a `Regime`: `warmup`, `validations`, …
        fields: Fields of the last two, each by itself: `learning_rate=1e-3`.

    Raises:
        TypeError: An argument that is none of these.

    Example:
        >>> import torch
        >>> from genflow.training import Budget, Stage, TrainingData, train
        >>> class Mean(torch.nn.Linear):
        ...     def next_stage(self, data, history):
        ...         def losses(rows, generator):
        ...             return (rows - self.bias).square().mean(1)
        ...
        ...         def loss(batch, generator):
        ...             return losses(batch, generator).mean()
        ...
        ...         parts = [self.bias], data.train, data.validation
        ...         return None if history else Stage("mean", *parts, loss, losses, learning_rate=0.1)
        >>> model, rows = Mean(1, 1), torch.full((64, 1), 3.0)
        >>> history = train(model, TrainingData(rows, rows[:16]), Budget(iterations=300))
        >>> abs(model.bias.item() - 3) < 0.1
        True
    """

    learning_rate = FieldOf("optimization")
    batch_size = FieldOf("optimization")
    sharpness = FieldOf("optimization")
    annealed = FieldOf("optimization")
    clip = FieldOf("optimization")
    average = FieldOf("optimization")
    sharp_after = FieldOf("regime")

    @flatten_groups
    def __init__(
        self,
        name: str,
        parameters: list[nn.Parameter],
        train: Rows | Stream,
        validation: Rows,
        loss: Callable[[Any, torch.Generator], Tensor],
        validate: Callable[[Any, torch.Generator], Tensor],
        share: float = 1.0,
        finish: Callable[[dict[str, Any]], None] = lambda entry: None,
        closing: float = 0.0,
        refinement: Refinement | None = None,
        *,
        optimization: Optimization = Optimization("adam", learning_rate=3e-3, sharpness=0.0, average=0.0),
        regime: Regime = Regime(),
        **fields: Any,
    ):
        if fields:
            raise TypeError(f"Stage: no argument {', '.join(map(repr, fields))}")
        self.name, self.parameters = name, parameters
        self.train, self.validation = train, validation
        self.loss, self.validate = loss, validate
        self.share, self.finish, self.closing = share, finish, closing
        self.refinement, self.optimization, self.regime = refinement, optimization, regime

    @property
    def count(self) -> int:
        """How many training rows there are, as far as is known."""
        return (isinstance(self.train, Stream) and self.train.count) or len(self.points)

    @property
    def points(self) -> Tensor:
        """The first of the tensors that `train`, or the sample of a stream, consists of."""
        rows = self.train.sample if isinstance(self.train, Stream) else self.train
        return rows if isinstance(rows, Tensor) else rows[0]
