r"""What a density is conditioned on: columns of numbers and classes, and the vector that a model takes of them.

.. math::
    c = \bigl( (u_1 - \mu_1) / s_1, \; \dots, \; e_{k_1}, \; \dots \bigr)

A number :math:`u_j` is standardized, a class becomes the unit vector of its place among the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.scales import moments, refuse_flat, standardize
from genflow.errors import InputError
from genflow.interfaces import Component

__all__ = ["Conditions", "Encoding", "class_name", "label"]

_FAR = 20.0  # standard deviations: farther out than tails of tables reach


class Encoding(Component):
    """The user's own conditions, numbers and class names, as the vectors that a model takes. See the formula above.

    Args:
        columns: Names of the condition's columns.
        classes: For each of them the names of its classes, none for a column of numbers.
        mean: For each of them the mean :math:`\\mu`; of no meaning for classes.
        std: Likewise the standard deviation :math:`s`.

    Example:
        >>> encoding = Encoding(["age", "city"], [[], ["Graz", "Oslo"]], [40.0, 0.0], [10.0, 1.0])
        >>> encoding([[50, "Oslo"], [40, "Graz"]], (2,))
        tensor([[1., 0., 1.],
                [0., 1., 0.]], dtype=torch.float64)
        >>> encoding({"age": 50, "city": "Oslo"}, (2,))  # one for all rows
        tensor([1., 0., 1.], dtype=torch.float64)
    """

    def __init__(
        self,
        columns: Sequence[str],
        classes: Sequence[Sequence[str]],
        mean: Sequence[float],
        std: Sequence[float],
    ):
        self.columns = list(columns)
        self.classes = [list(names) for names in classes]
        self.mean, self.std = list(mean), list(std)

    @classmethod
    def fit(cls, values: np.ndarray, columns: Sequence[str], classes: Sequence[Sequence[str]]) -> Encoding:
        """An encoding of training rows.

        Args:
            values: Numbers, and places of classes, `(n, columns)`.
            columns: Names of the columns.
            classes: The names of each column's classes, none for numbers.

        Raises:
            InputError: A column of numbers that does not vary, or by rounding alone.
        """
        mean, std = np.zeros(len(columns)), np.ones(len(columns))
        numbers = [j for j, names in enumerate(classes) if not names]
        if numbers:
            given = torch.from_numpy(np.asarray(values[:, numbers], dtype=np.float64))
            center, deviation = moments(given)
            refuse_flat(given, deviation, [f"condition: column {columns[j]!r}" for j in numbers])
            mean[numbers], std[numbers] = center.numpy(), deviation.numpy()
        return cls(columns, classes, mean.tolist(), std.tolist())

    @property
    def dim(self) -> int:
        """The number of entries of a vector."""
        return sum(len(names) or 1 for names in self.classes)

    @property
    def class_columns(self) -> list[str]:
        """The columns that hold classes."""
        return [column for column, names in zip(self.columns, self.classes) if names]

    @property
    def wanted(self) -> str:
        """What a condition consists of, for people."""
        kinds = [
            f"{column} ({_some_names(names)})" if names else column for column, names in zip(self.columns, self.classes)
        ]
        return f"{', '.join(kinds)}, one row for all or one for each"

    def example(self) -> list[float | str]:
        """Some condition: a number at its mean, a class by its first name."""
        return [names[0] if names else mean for names, mean in zip(self.classes, self.mean)]

    def __call__(self, condition: Any, batch: Sequence[int]) -> Float[Tensor, "*rows dim"]:
        """The vectors of conditions, float64: `(*batch, dim)`, or `(dim,)` of one that all rows share.

        Args:
            condition: One row, or one for each row of the batch: a tensor, an array, a list, a frame, a dictionary of
                columns; of a single column also a number or a class name.
            batch: The shape of the batch that it is for.

        Raises:
            InputError: It is missing, has other columns or another number of rows, names an unknown class, is not
                finite.
        """
        parts = [self._encode_column(j, values) for j, values in enumerate(self._values(condition))]
        rows = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        vectors = torch.cat([part.expand(*rows, -1) for part in parts], -1)
        if rows.numel() == 1:
            return vectors.reshape(-1)
        try:
            fits = torch.broadcast_shapes(rows, tuple(batch)) == torch.Size(batch)
        except RuntimeError:
            fits = False
        if not fits:
            came, wanted = ("x".join(map(str, shape)) for shape in (rows, batch))
            raise InputError(f"condition: {came} rows came for {wanted or 1}; one for all, or one for each would do")
        return vectors

    def remark_on(self, vectors: Float[Tensor, "*rows dim"]) -> str | None:
        """What a user of these conditions should know, in one line: of numbers far from all that was trained on.

        Args:
            vectors: Conditions as a model takes them.

        Example:
            >>> import numpy as np
            >>> encoding = Encoding.fit(np.array([[1.0], [2.0], [3.0]]), ["carat"], [()])
            >>> encoding.remark_on(encoding([500.0], ()))
            'condition: carat=500 is 610 deviations from the mean of the training rows, where nothing is learned'
        """
        place = 0
        for column, names, mean, std in zip(self.columns, self.classes, self.mean, self.std, strict=True):
            if not names and vectors.numel():
                z = vectors[..., place].detach().double().flatten()
                farthest = z[z.abs().argmax()].item()
                if abs(farthest) > _FAR:
                    value, far = mean + std * farthest, f"{abs(farthest):.0f} deviations from the mean"
                    return f"condition: {column}={value:g} is {far} of the training rows, where nothing is learned"
            place += len(names) or 1
        return None

    def rows(self, condition: Any) -> tuple[int, ...]:
        """The shape of a condition's rows: none of a single one.

        Args:
            condition: As in a call.

        Example:
            >>> encoding = Encoding(["city"], [["Graz", "Oslo"]], [0.0], [1.0])
            >>> encoding.rows("Oslo"), encoding.rows(["Oslo", "Graz", "Oslo"])
            ((), (3,))
        """
        return tuple(torch.broadcast_shapes(*(values.shape for values in self._values(condition))))

    def table(self, condition: Any, count: int) -> dict[str, list[Any]]:
        """A condition as columns of `count` rows each, in the user's own numbers and class names.

        Args:
            condition: As in a call.
            count: The number of rows.
        """
        self(condition, (count,))  # so that what does not fit is refused
        columns = {}
        for name, values in zip(self.columns, self._values(condition)):
            listed = values.reshape(-1).tolist()
            columns[name] = listed * count if len(listed) == 1 else listed
        return columns

    def _values(self, condition: Any) -> list[Any]:
        """The values of each column: a tensor or an array, of one shape for all columns."""
        count = len(self.columns)
        if condition is None:
            raise InputError(f"condition: none came; {self.wanted} would do")
        if isinstance(condition, Mapping) or hasattr(condition, "columns"):
            missing = [column for column in self.columns if column not in condition]
            if missing:
                raise InputError(f"condition: no column {missing[0]!r} came; {self.wanted} would do")
            return [_array(condition[column]) for column in self.columns]
        array = _array(condition)
        if count == 1 and (array.ndim == 0 or (array.ndim == 1 and len(array) != 1)):
            array = array[..., None]
        if array.ndim == 0 or array.shape[-1] != count:
            columns = "1 column" if array.ndim == 0 or array.shape[-1] == 1 else f"{array.shape[-1]} columns"
            raise InputError(f"condition: {columns} came; {self.wanted} would do")
        return [array[..., j] for j in range(count)]

    def _encode_column(self, j: int, values: Any) -> Tensor:
        if self.classes[j]:
            places = _places(values, self.classes[j], self.columns[j])
            return torch.nn.functional.one_hot(places, len(self.classes[j])).double()
        if not isinstance(values, Tensor):
            values = torch.from_numpy(_numbers(values, self.columns[j]))
        finite = values.detach().isfinite()
        if not finite.all():
            row = _row(finite.cpu().numpy())
            value = values.detach()[~finite][0].item()
            raise InputError(f"condition: {value} came in column {self.columns[j]!r}{row}; a finite number would do")
        values = values.double().unsqueeze(-1)
        return standardize(values, values.new_tensor([self.mean[j]]), values.new_tensor([self.std[j]]))


@dataclass(repr=False)
class Conditions:
    """The conditions of a data set's three parts, in the units and names of the user's file.

    Attributes:
        train: Conditions of the training rows, `(n, columns)`: float64, or an array of objects where some are classes.
        validation: Those of the validation rows.
        test: Those of the test rows.
        encoding: What makes vectors of them, fitted on the training part.
    """

    train: Any
    validation: Any
    test: Any
    encoding: Encoding

    @property
    def columns(self) -> list[str]:
        """Names of the condition's columns."""
        return self.encoding.columns

    @property
    def dim(self) -> int:
        """The number of entries of the vector that a model takes."""
        return self.encoding.dim

    def vectors(self, rows: Any) -> Float[Tensor, "n dim"]:
        """The vectors that a model takes of rows of a part, float64.

        Args:
            rows: Rows of `train`, `validation` or `test`.
        """
        return self.encoding(rows, (len(rows),)).expand(len(rows), -1)

    def parts(self) -> dict[str, Any]:
        """The conditions of the three parts, by their names."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns of all parts, as arrays of numbers or of words, by `part.position`."""
        return {
            f"{part}.{j}": np.array(rows[:, j].tolist())
            for part, rows in self.parts().items()
            for j in range(len(self.columns))
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], encoding: Encoding) -> Conditions:
        """The inverse of `arrays`."""

        def rows(part: str) -> Any:
            columns = [arrays[f"{part}.{j}"] for j in range(len(encoding.columns))]
            if not encoding.class_columns:
                return torch.from_numpy(np.stack(columns, -1))
            return np.stack([column.astype(object) for column in columns], -1)

        return cls(rows("train"), rows("validation"), rows("test"), encoding)


def label(values: np.ndarray, classes: Sequence[Sequence[str]]) -> Any:
    """Rows as a user gives them: float64, or, where some columns hold classes, an array with their names.

    Args:
        values: Numbers, and places of classes, `(n, columns)`.
        classes: The names of each column's classes, none for numbers.
    """
    if not any(classes):
        return torch.from_numpy(np.array(values, dtype=np.float64))
    rows = np.array(values, dtype=object)
    for j, names in enumerate(classes):
        if names:
            rows[:, j] = np.array(names, dtype=object)[values[:, j].astype(int)]
    return rows


def class_name(value: Any) -> str:
    """The name of a class: 3 and 3.0 are the class '3', and blanks around a word do not count."""
    if isinstance(value, bool | np.bool_ | str):
        return str(value).strip()
    try:
        return str(int(value)) if float(value).is_integer() else str(value)
    except (TypeError, ValueError):
        return str(value)


def _places(values: Any, names: Sequence[str], column: str) -> Tensor:
    known = {name: place for place, name in enumerate(names)}
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    places = np.array([known.get(class_name(value), -1) for value in array.ravel()], dtype=np.int64)
    places = places.reshape(array.shape)
    if (places < 0).any():
        value = class_name(array[places < 0][0])
        raise InputError(
            f"condition: {value!r} came in column {column!r}{_row(places >= 0)}; {_some_names(names)} would do"
        )
    return torch.from_numpy(places).to(values.device if isinstance(values, Tensor) else "cpu")


def _numbers(values: np.ndarray, column: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        wrong = next(value for value in values.ravel() if not _is_number(value))
        raise InputError(f"condition: {wrong!r} came in column {column!r}; a number would do") from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _array(values: Any) -> Any:
    """A tensor as it is, anything else as an array of its own kind."""
    if isinstance(values, Tensor):
        return values
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiub":  # what a mask hides is missing
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else object)
    except ValueError:
        raise InputError("condition: rows of different length came; the same columns in each would do") from None
    return array


def _row(right: np.ndarray) -> str:
    """Where the first wrong value stands, if there is more than one."""
    return f", row {int(np.argmin(right.ravel())) + 1}" if right.size > 1 else ""


def _some_names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:8])}, … ({len(names)} in all)"
