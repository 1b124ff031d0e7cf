"""The law of the user's rows: their density, samples of it, and the noise that a row stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.draws import batch_shape, check_generator
from genflow.fitted.density import DensityOfRows
from genflow.fitted.portions import graph
from genflow.numerics.memory import check_room

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LawOfRows"]


class LawOfRows(DensityOfRows):
    """Samples in the units of the user's table, alone or with their density; rows as noise and back."""

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        differentiable: bool = False,
        **options: Any,
    ) -> Float[Tensor, "*shape"]:
        """Samples in the units of the file, `(*shape, d)`, in float64.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            differentiable: Whether to record a graph; see `log_prob`.
            options: Passed on to the model's own `sample`.

        Raises:
            InputError: A number that is none, another kind of generator, a condition that does not fit.
        """
        return self._draw(self.model.sample, shape, condition, generator, differentiable, options)[0]

    def sample_with_log_prob(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        differentiable: bool = False,
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density in the units of the file, in float64; see `sample`."""
        if self.preprocessor.random:  # the place that a row was drawn at is one of many
            x = self.sample(shape, condition, generator, differentiable=differentiable)
            return x, self.log_prob(x, condition, generator, differentiable=differentiable)
        x, log_p = self._draw(self.model.sample_with_log_prob, shape, condition, generator, differentiable, {})
        with graph(differentiable, x, log_p):
            return x, log_p.to(x) + self.preprocessor(x)[1]

    def sample_frame(
        self, number: int, condition: Any = None, generator: torch.Generator | None = None, **options: Any
    ) -> pd.DataFrame:
        """Samples as a pandas frame that looks like the table: its columns, dtypes, classes, dates and gaps.

        Where the table is not known, the columns of the condition come behind the others.

        Args:
            number: How many.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            options: Passed on to `sample`.

        Example:
            >>> import genflow as gf
            >>> gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5).sample_frame(3).columns.tolist()
            ['x', 'y']
        """
        (count,) = batch_shape((number,))
        rows = self.sample(count, condition, generator, **options)
        return self.frame_of(rows, self.condition_columns(condition, count))

    def encode(self, x: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        """The noise of each row, which is taken in the forms that `log_prob` takes."""
        x, condition = self.take_rows(x, condition)
        with graph(differentiable, x, condition) as recorded:
            z, given = self.standardize(x)[0], self.encode_condition(condition, x.shape[:-1])
            return self.by_portions.map(("encode", recorded), self.model.encode, z, given)

    def decode(self, z: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        """The row of each noise, in the units of the file, in float64."""
        z = torch.as_tensor(z)
        with graph(differentiable, z, condition) as recorded:
            given = self.encode_condition(condition, z.shape[:-1])
            x = self.by_portions.map(("decode", recorded), self.model.decode, self.for_model(z), given)
            return self.original(x)

    def _draw(
        self, draw: Callable[..., Any], shape: Any, condition: Any, generator: Any, differentiable: bool, options: Any
    ) -> tuple[Tensor, ...]:
        """What a model draws, a portion at a time, the samples in the units of the file."""
        batch = batch_shape(shape)
        check_generator(generator)
        check_room(math.prod(batch), self.dim)
        with graph(differentiable, condition) as recorded:
            given = self.encode_condition(condition, batch)
            operation = (draw.__name__, recorded, str(sorted(options.items())), self.like.dtype)

            def drawn(count: int, c: Any) -> tuple[Tensor, ...]:
                found = draw(count, c, generator, **options)
                return found if isinstance(found, tuple) else (found,)

            if not math.prod(batch):
                return torch.zeros(*batch, self.dim, dtype=torch.float64), torch.zeros(batch, dtype=torch.float64)
            z, *rest = self.by_portions.draw(operation, drawn, batch, self.dim, given)
            x = self.original(z).reshape(*batch, z.shape[-1])
            return x, *(part.reshape(batch) for part in rest)
