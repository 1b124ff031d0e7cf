r"""Between the user's units and the model's: rows, conditions and tables here, standardized tensors there.

The preprocessing runs in float64; points then take the model's dtype and device.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from genflow.errors import InputError, Remark
from genflow.extras import extra
from genflow.fitted.portions import ByPortions
from genflow.fitting import check_dtype, like_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Units"]


class Units(nn.Module):
    """A model, the map of the user's rows to its own, and what is known of the user's table.

    Args:
        model: A model of standardized rows.
        preprocessor: The map, `x -> (T(x), log-determinant)`, with `inverse`.
        columns: Names of the columns.
        encoding: What makes vectors of the user's conditions, where there are some.
        schema: The columns of the table, `None` of numbers alone.
    """

    def __init__(self, model: Any, preprocessor: Any, columns: Sequence[str], encoding: Any, schema: Any):
        super().__init__()
        self.model = model
        self.preprocessor = preprocessor
        self.columns = list(columns)
        self.encoding = encoding
        self.schema = schema
        self.by_portions = ByPortions()

    @property
    def dim(self) -> int:
        """The number of columns."""
        return int(self.model.dim)

    @property
    def has_log_prob(self) -> bool:
        """Whether rows have a density under the model."""
        return bool(self.model.has_log_prob)

    @property
    def like(self) -> Tensor:
        """A tensor of the model's dtype and on its device; a model in half precision is refused."""
        like = like_of(self.model)
        check_dtype(like)
        return like

    @property
    def preprocessing_device(self) -> torch.device:
        """Where the map of the user's rows computes."""
        return next(self.preprocessor.buffers(), self.like).device

    def take_rows(self, x: Any, condition: Any = None, gaps: bool = False) -> tuple[Tensor, Any]:
        """Rows as a tensor, and their condition: the one that was given, or that which came with them.

        Args:
            x: Rows in the forms that `log_prob` takes.
            condition: The condition that was given.
            gaps: Whether values may be missing also where the table misses none.
        """
        from genflow.data.rows import rows_of

        columns = self.columns or [str(j + 1) for j in range(self.dim)]
        encoding = self.encoding if condition is None else None
        rows, brought = rows_of(x, columns, encoding, schema=self.schema, gaps=gaps)
        return rows, brought if condition is None else condition

    def encode_condition(self, condition: Any, batch: Sequence[int]) -> Any:
        """The model's condition: one vector for each row of the batch, or one that all share.

        Args:
            condition: Rows of the user's own numbers and names, or one of them.
            batch: The shape of the batch.

        Raises:
            InputError: A condition that does not fit.

        Warns:
            Remark: Numbers far from all that the model was trained on.
        """
        optional = bool(self.model.condition_dropout)  # it was trained to do without, too
        if condition is None and optional:
            return None
        if self.encoding is None:
            if condition is not None and self.model.condition_dim == 0:
                raise InputError("condition: one came, but the model was trained without any; leave it out")
            return condition
        vectors = self.encoding(condition, batch)
        if (remark := self.encoding.remark_on(vectors)) is not None:
            warnings.warn(remark, Remark, stacklevel=3)
        return vectors.to(self.like.device, self.like.dtype)

    def standardize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows in the model's units, and the log-determinant of the map.

        Args:
            x: Rows in the user's units, `(*batch, d)`.
        """
        z, log_det = self.preprocessor(x.to(self.preprocessing_device, torch.float64))
        return self.for_model(z), log_det

    def spread(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same at one of a row's places, as a model meets it in its training.

        Args:
            x: Rows in the user's units, `(*batch, d)`.
        """
        z, log_det = self.preprocessor.spread(
            x.to(self.preprocessing_device, torch.float64), torch.Generator().manual_seed(0)
        )
        return self.for_model(z), log_det

    def for_model(self, z: Tensor) -> Tensor:
        """Standardized rows in the dtype and on the device of the model.

        Args:
            z: The rows.
        """
        return z.to(self.like.device, self.like.dtype)

    def original(self, z: Tensor) -> Tensor:
        """Rows in the user's units, in float64.

        Args:
            z: Rows in the model's.
        """
        return self.preprocessor.inverse(z.to(self.preprocessing_device, torch.float64))

    def condition_columns(self, condition: Any, count: int) -> dict[str, list[Any]]:
        """The columns of a condition in the user's own numbers and names; none where there is no condition.

        Args:
            condition: Rows of them, or one for all.
            count: The number of rows.
        """
        return {} if condition is None or self.encoding is None else self.encoding.table(condition, count)

    def frame_of(self, rows: Tensor, given: dict[str, list[Any]]) -> pd.DataFrame:
        """Rows as the table, with the columns of their condition.

        Args:
            rows: Rows in the user's units, `(n, d)`.
            given: The columns of the condition.
        """
        with extra("data"):
            import pandas as pd

        values = rows.detach().cpu().numpy()
        if self.schema is not None:
            return self.schema.frame(values, given or None)
        return pd.DataFrame(values, columns=self.columns).assign(**given)

    def are_rows(self, x: Float[Tensor, "*batch d"]) -> Bool[Tensor, "*batch"]:
        """Which rows are such as the table has: finite numbers, and gaps in columns that have some.

        Args:
            x: Rows in the units of the table, such as samples.

        Example:
            >>> import torch
            >>> import genflow as gf
            >>> fitted = gf.baselines.Gaussian(2).fit([[i % 5, i * i % 17] for i in range(40)], iterations=1)
            >>> fitted.are_rows(torch.tensor([[0.0, 1.0], [torch.nan, 1.0]])).tolist()
            [True, False]
        """
        columns = () if self.schema is None else self.schema.modelled
        gaps = torch.tensor([column.missing for column in columns] or [False], device=x.device)
        return (x.isfinite() | (x.isnan() & gaps)).all(-1)
