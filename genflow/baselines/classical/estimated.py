"""A density that is estimated from rows at once, not trained step by step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.base import StandardNormal
from genflow.deadline import check_time
from genflow.draws import batch_shape, check_generator
from genflow.errors import InputError
from genflow.model import GenerativeModel
from genflow.training import Rows, TrainingData, pair, unpair
from genflow.training.selection import Selection, Trial

__all__ = ["Estimated", "by_rows", "frozen_parameter", "log_sum_exp", "refuse_condition", "some_of", "next_untried"]

_NUMBERS = 1 << 18  # computed for a few rows at a time: 2 MB in float64, which the cache holds


class Estimated(GenerativeModel):
    """A model without a gradient: it is estimated in one go, and what it leaves open is chosen on validation rows.

    A subclass says how it is estimated and which candidates there are. What is fitted are parameters that need no
    gradient, so that they are counted, saved and moved like the weights of a network.
    """

    stepped = False
    settles = False
    _name: str
    _draft_rows: int | None = None
    """By how many rows candidates are chosen where no clock bounds what they cost; `None` for all of them."""

    def __init__(self, dim: int, condition_dim: int = 0):
        super().__init__()
        if dim < 1:
            raise InputError(f"dim: {dim} came; at least 1 would do")
        self.dim, self.condition_dim = dim, condition_dim

    @abstractmethod
    def propose(self, trials: Sequence[Trial], rows: int) -> dict[str, Any] | None:
        """The options of the next candidate, `None` at the end.

        Args:
            trials: The candidates before, and their mean negative log-likelihoods of validation rows.
            rows: Training rows.
        """

    @abstractmethod
    def estimate(self, data: TrainingData, generator: torch.Generator) -> None:
        """Estimates this model, in place. On a clock it looks at the deadline now and then.

        Args:
            data: Standardized rows.
            generator: Source of whatever is drawn for it.

        Raises:
            ValueError: These options can't be estimated on these rows.
        """

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Any:
        """One stage, the choice among the candidates."""
        if history:
            return None

        def validate(model: Self, rows: Rows) -> Tensor:
            x, condition = unpair(rows)
            return -model.log_prob(x, condition)

        most = self._draft_rows
        draft = None
        if most is not None and most < len(data.train):

            def draft(model: Self, generator: torch.Generator) -> None:
                model.estimate(some_of(data, most, generator), generator)

        return Selection(
            name="estimate",
            train=pair(data.train, data.train_condition),
            validation=pair(data.validation, data.validation_condition),
            propose=lambda trials: self.propose(trials, len(data.train)),
            build=self._candidate,
            estimate=lambda model, generator: model.estimate(data, generator),
            validate=validate,
            keep=self._take_over,
            draft=draft,
        )

    def _candidate(self, options: dict[str, Any]) -> Self:
        like = next(self.parameters())
        return type(self)(**{**self.config(), **options}).to(like.device, like.dtype)

    def _take_over(self, best: Self) -> None:
        """Becomes another, and says of the arguments that were left open what they are."""
        given = self._arguments
        self.__dict__.update(best.__dict__)
        object.__setattr__(self, "_arguments", given)
        self.choose(**{name: best._arguments.get(name) for name in best._arguments if given.get(name) is None})

    def _batch(self, shape: Any, generator: torch.Generator | None) -> tuple[int, ...]:
        check_generator(generator)
        return batch_shape(shape)

    def _noise(self, batch: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Standard normal noise, `(*batch, d)`."""
        like = next(self.parameters())
        return StandardNormal(self.dim).sample(batch, generator, dtype=like.dtype, device=like.device)

    def _refuse_condition(self, condition: Any) -> None:
        if condition is not None:
            raise InputError(f"condition: one came, but {self._name} has none; leave it out")


def frozen_parameter(tensor: Tensor) -> nn.Parameter:
    """What was estimated, as a parameter without a gradient."""
    return nn.Parameter(tensor, requires_grad=False)


def refuse_condition(name: str, condition_dim: int) -> None:
    """Says that a model has no conditions, and which have.

    Raises:
        InputError: A `condition_dim` above 0.
    """
    if condition_dim:
        raise InputError(f"condition_dim: {name} has no conditions; gaussian, nsf or flow-matching would do")


def some_of(data: TrainingData, most: int, generator: torch.Generator) -> TrainingData:
    """The data with so many of their training rows, drawn without replacement.

    By the seed of the generator, not by its state: the same rows for every candidate, or chance would choose.
    """
    drawn = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(generator.initial_seed()))[:most]
    drawn = drawn.to(data.train.device)
    condition = data.train_condition
    return replace(
        data,
        train=data.train[drawn],
        train_condition=None if condition is None else condition[drawn],
        cache={},
    )


def next_untried(name: str, values: Sequence[Any], trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The next of some values of one option."""
    return {name: values[len(trials)]} if len(trials) < len(values) else None


def by_rows(function: Callable[..., Tensor], x: Tensor, numbers: int) -> Tensor:
    """A function of rows `(*batch, d)`, computed for a few of them at a time, and given up at a deadline.

    Args:
        function: `(m, d) -> (m, …)`.
        x: The rows.
        numbers: How many numbers are computed for one of them.
    """

    def timely(part: Tensor) -> Tensor:
        check_time()
        return function(part)

    rows = x.reshape(-1, x.shape[-1])
    found = torch.cat([timely(part) for part in rows.split(max(1, _NUMBERS // numbers))])
    return found.reshape(*x.shape[:-1], *found.shape[1:])


def log_sum_exp(exponent: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape"]:
    """`torch.logsumexp` of the last axis, without terms so small that a processor takes ten times as long for them."""
    least = math.log(torch.finfo(exponent.dtype).tiny) + 1  # beside the largest term, that is nothing
    most = exponent.detach().amax(-1, keepdim=True)
    return most[..., 0] + (exponent - most).clamp(min=least).exp().sum(-1).log()
