"""What every model of a comparison can do: densities, samples, and a training in stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.interfaces import Component
from genflow.training import Budget, Progress, Stage, TrainingData, parse_seconds, train

if TYPE_CHECKING:
    from genflow.data import Dataset, Preprocessor

__all__ = ["GenerativeModel"]

_VALIDATION_ROWS = 2048  # of the validation part, for every model alike: its cost counts against the budget
_SETTLING_ROWS = 64  # enough to see how fine a grid has to be


class GenerativeModel(Component, nn.Module, ABC):
    """A density with samples, which says in stages how it is trained.

    Continuous models inherit the first two from `Flow`; a discrete flow writes its own.

    Attributes:
        whiten: Whether `fit` hands it rows without correlation, on top of the data set's own preprocessing.
        has_log_prob: Whether rows have a density under it; where they have none, `log_prob` raises an `InputError`.
        condition_dim: Dimension of the condition that it was built for, 0 for none.
    """

    whiten: bool = False
    has_log_prob: bool = True
    condition_dim: int = 0

    @abstractmethod
    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row, in nats."""

    @abstractmethod
    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, *event)`."""

    @abstractmethod
    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        """The next stage of training, or `None` at the end.

        A function of the model's state, the data and the history alone, so that a resumed training takes the same road.
        """

    def preprocessing(self, data: Dataset) -> Preprocessor:
        """The units that `fit` trains it in: the data set's own, whitened if `whiten` is set and rows support it."""
        from genflow.data import Compose, Whiten
        from genflow.data.shrinkage import shrinkage

        if not self.whiten:
            return data.preprocessor
        rows = data.preprocessor(data.train)[0]
        share = shrinkage(rows)
        return data.preprocessor if share == 1 else Compose([data.preprocessor, Whiten.fit(rows, share)])

    def settle(self, x: Float[Tensor, "*shape"], condition: Any = None) -> None:
        """After training: makes sure, on validation rows, that log p is what it says. A flow chooses its grid."""

    def fit(
        self,
        data: Any,
        *,
        budget: str | float | Budget | None = None,
        iterations: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Transformed:
        """Trains on a data set and returns the model in the data's own units.

        Args:
            data: A `Dataset`, or anything that `genflow.data.load` takes: a name, a path, an array.
            budget: Wall time of the training, such as `"60s"`, `"2min"` or a number of seconds; or a `Budget`.
            iterations: Optimizer steps instead of a time.
            seed: Seed of everything random in the training.
            progress: Called now and then with where it stands; see `genflow.training.Progress`.
            checkpoint: A folder that the state is kept in; a training that was cut off goes on from there.

        Raises:
            InputError: Neither or both of budget and iterations; data that can't be read.

        Example:
            >>> import genflow as gf
            >>> model = gf.models.FlowMatching(2).fit("two-moons", iterations=20)
            >>> model.sample(3).shape
            torch.Size([3, 2])
        """
        from genflow.data import load

        if budget is None and iterations is None:
            budget = "60s"
        if isinstance(budget, Budget) and iterations is None:
            limit = budget
        else:
            limit = Budget(None if budget is None else parse_seconds(str(budget)), iterations)
        dataset = load(data)
        dim = getattr(self, "dim", None)
        if dim is not None and dim != dataset.dim:
            raise InputError(f"data: {dataset.name} has {dataset.dim} columns, the model was built for {dim}")
        if dataset.condition_dim != self.condition_dim:
            raise InputError(
                f"condition: that of {dataset.name} has dimension {dataset.condition_dim}, the model was built with "
                f"condition_dim={self.condition_dim}; build it with condition_dim={dataset.condition_dim}"
            )
        like = next(self.parameters(), torch.empty(0))

        preprocessor = self.preprocessing(dataset)

        def prepared(x: Tensor) -> Tensor:
            return preprocessor(x)[0].to(like.device, like.dtype)

        rows = TrainingData(prepared(dataset.train), prepared(dataset.validation[:_VALIDATION_ROWS]))
        encoding = None
        if (given := dataset.condition) is not None:
            encoding = given.encoding
            vectors = (given.vectors(part) for part in (given.train, given.validation[:_VALIDATION_ROWS]))
            first, second = (part.to(like.device, like.dtype) for part in vectors)
            rows = TrainingData(rows.train, rows.validation, first, second)
        history = train(self, rows, limit, seed=seed, progress=progress, checkpoint=checkpoint)
        self.eval()
        few = rows.validation_condition
        self.settle(rows.validation[:_SETTLING_ROWS], None if few is None else few[:_SETTLING_ROWS])
        return Transformed(self, preprocessor, dataset.columns, history, encoding)
