"""A data set: three parts in the user's units, and what was noticed about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.choice import cells_for
from genflow.data.conditions import Conditions, Encoding, label
from genflow.data.dependencies import Dependencies
from genflow.data.functional import dependencies_among
from genflow.data.kinds import Schema
from genflow.data.preprocessing import Compose, Preprocessor, Standardize
from genflow.errors import InputError

__all__ = ["Dataset", "pixel_columns", "preprocessor_for", "split"]

FEWEST_ROWS = 10  # the least that gives every part of the split a row
_COLOURS = ("red", "green", "blue")


@dataclass(repr=False)
class Dataset:
    """Rows to train on, to stop by and to be judged by.

    Attributes:
        name: What tables and plots call it.
        train: Training rows, `(n, dim)`, float64, in the units of the user's file.
        validation: Validation rows.
        test: Test rows.
        columns: Names of the columns.
        preprocessor: The invertible map to standardized units, fitted on the training part.
        remarks: What a reader of a likelihood on these rows should know, one line each.
        true_log_prob: The true log density, `(*batch, dim) -> (*batch,)`, in nats and the user's units, where known;
            minus its mean over the test part is the best NLL that a model can reach, up to the standard error.
        seed: Seed of the generator, of the noise that was added, and so on.
        image_shape: Height and width of the picture that a row is, where it is one. A picture in colours stands in its
            row channel by channel.
        condition: What each row is conditioned on, where there is a condition; see `genflow.data.Conditions`.
        schema: The columns of the table that the rows come of, those that are left out among them; `columns` are the
            names of those that are modelled. `None` of what is generated.
        stream: Where training rows are read while a model trains, of which `train` is a sample then; see
            `genflow.data.stream`.

    Example:
        >>> from genflow.data import load
        >>> load("two-moons")
        Dataset('two-moons', dim=2, train=16000, validation=2000, test=2000)
    """

    name: str
    train: Float[Tensor, "n dim"]
    validation: Float[Tensor, "m dim"]
    test: Float[Tensor, "k dim"]
    columns: list[str]
    preprocessor: Preprocessor
    remarks: list[str] = field(default_factory=list)
    true_log_prob: Callable[[Tensor], Tensor] | None = None
    seed: int = 0
    image_shape: tuple[int, int] | None = None
    condition: Conditions | None = None
    schema: Schema | None = None
    stream: Any = field(default=None, init=False)

    @property
    def condition_dim(self) -> int:
        """Dimension of the vector that a model takes as the condition, 0 where there is none."""
        return 0 if self.condition is None else self.condition.dim

    def parts(self) -> dict[str, Tensor]:
        """The rows of the three parts, by their names."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def dim(self) -> int:
        """The number of columns."""
        return self.train.shape[-1]

    @property
    def event_shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the picture that a row holds, as `Velocity.event_shape` has them.

        `None` of a table, and of pictures whose rows leave a pixel out.

        Example:
            >>> from genflow.data import load
            >>> load("digits").event_shape, load("two-moons").event_shape
            ((1, 8, 8), None)
        """
        pixels = math.prod(self.image_shape or ())
        return None if self.image_shape is None or self.dim % pixels else (self.dim // pixels, *self.image_shape)

    def trained_also_on(self, part: str) -> Dataset:
        """The same data set with the rows of another part, and their conditions, among those that are trained on.

        Args:
            part: `validation` or `test`.

        Example:
            >>> from genflow.data import load
            >>> len(load("gaussian-mixture-3", rows=100).trained_also_on("validation").train)
            90
        """
        given = self.condition
        if given is not None:
            join = np.concatenate if isinstance(given.train, np.ndarray) else torch.cat
            given = replace(given, train=join([given.train, given.parts()[part]]))
        return replace(self, train=torch.cat([self.train, self.parts()[part]]), condition=given)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows of the three parts, with their conditions: 64 hexadecimal digits.

        Of numbers it sees twenty binary digits behind the largest of their column, since processors differ in the last
        digits of what is generated.
        """
        parts = {name: rows.numpy() for name, rows in self.parts().items()}
        if self.condition is not None:
            parts |= {f"condition {name}": array for name, array in self.condition.arrays().items()}
        digest = hashlib.sha256()
        for name, array in parts.items():
            digest.update(f"{name} {array.shape}".encode())
            if array.dtype.kind == "f":
                gone = np.isnan(array)
                array = np.where(gone, 0.0, array) if gone.any() else array
                _, exponent = np.frexp(np.abs(array).max(0, initial=0.0))
                digest.update(np.where(gone, -(2**31), np.rint(np.ldexp(array, 20 - exponent))).astype("<i4").tobytes())
                digest.update(np.asarray(exponent).astype("<i4").tobytes())
            else:
                digest.update("\0".join(map(str, array.ravel().tolist())).encode())
        return digest.hexdigest()

    def images(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*pictures"]:
        """Rows as pictures, `(*batch, height, width)`, of several channels `(*batch, channels, height, width)`.

        A pixel that was dropped because the mean is zero comes back as minus the sum of the rest.

        Raises:
            InputError: The rows are no pictures.
        """
        if self.image_shape is None:
            raise InputError(f"{self.name}: its rows are no pictures")
        height, width = self.image_shape
        if x.shape[-1] == height * width - 1:
            x = torch.cat([x, -x.sum(-1, keepdim=True)], -1)
        channels = x.shape[-1] // (height * width)
        return x.reshape(*x.shape[:-1], *((channels,) if channels > 1 else ()), height, width)

    def __repr__(self) -> str:
        parts = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        given = "" if self.condition is None else f"condition={self.condition.columns}, "
        return f"Dataset({self.name!r}, dim={self.dim}, {given}{parts})"


def split(rows: np.ndarray, test: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test part: rows permuted by `numpy.random.default_rng(0)`, then 80, 10 and 10 per cent.

    Args:
        rows: Rows, `(n, dim)`.
        test: Whether a test part is wanted; without one, training and validation share all rows as 8 to 1.

    Example:
        >>> import numpy as np
        >>> [len(part) for part in split(np.zeros((9527, 4)))]
        [7621, 953, 953]
    """
    n = len(rows)
    rows = rows[np.random.default_rng(0).permutation(n)]
    first, second = (n * 8 // 10, n * 9 // 10) if test else (n * 8 // 9, n)
    return rows[:first], rows[first:second], rows[second:]


def assemble(
    name: str,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: Sequence[str] = (),
    *,
    remarks: Sequence[str] = (),
    true_log_prob: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
    schema: Schema | None = None,
    cells: bool = True,
) -> Dataset:
    """A data set of three parts, with the preprocessor fitted on the first: cells by the schema, if they are wanted."""
    train, validation, test = (torch.from_numpy(np.array(part, dtype=np.float64)) for part in parts)
    names = list(columns) or default_columns(train.shape[-1])
    try:
        known = schema if cells else None
        preprocessor = preprocessor_for(train, known, validation, names, among_columns=image_shape is None)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    remarks = [*remarks, *_in_words(preprocessor, name, names)]
    return Dataset(
        name, train, validation, test, names, preprocessor, remarks, true_log_prob, seed, image_shape, schema=schema
    )


def _in_words(preprocessor: Preprocessor, name: str, columns: Sequence[str]) -> list[str]:
    links = [part for part in preprocessor.modules() if isinstance(part, Dependencies)]
    return [f"{name}: {part.in_words(columns)}" for part in links]


def preprocessor_for(
    train: Float[Tensor, "n dim"],
    schema: Schema | None,
    validation: Float[Tensor, "m dim"],
    names: Sequence[str] = (),
    among_columns: bool = True,
) -> Preprocessor:
    """The map to standardized units of rows of these kinds: cells, or a scale where no column has any.

    Columns that follow from others are mapped by their law given those; see `genflow.data.dependencies`.

    Args:
        train: Training rows, NaN where a value is missing.
        schema: What the columns hold, `None` for numbers.
        validation: Validation rows.
        names: Names of the columns, for an error.
        among_columns: Whether columns may follow from others; what pixels have to do with each other is for a network.

    Raises:
        InputError: A column that does not vary.
    """
    if schema is None:
        return Standardize.fit(train, names)
    cells = cells_for(train.numpy(), schema.modelled, validation.numpy())
    if cells.plain:
        return Standardize.fit(train, names)
    links = dependencies_among(cells, train.numpy(), schema.modelled) if among_columns else None
    return cells if links is None else Compose([cells, links])


def default_columns(dim: int) -> list[str]:
    """Names for columns that have none: x1, x2, …"""
    return [f"x{j + 1}" for j in range(dim)]


def pixel_columns(height: int, width: int, channels: int = 1) -> list[str]:
    """Names for the pixels of a picture: pixel_0_0, pixel_0_1, …; of one in colours red_0_0, …, green_0_0, …"""
    names = _COLOURS if channels > 1 else ("pixel",)
    return [f"{name}_{i}_{j}" for name in names[:channels] for i in range(height) for j in range(width)]


def conditions(
    parts: tuple[np.ndarray, np.ndarray, np.ndarray], columns: Sequence[str], classes: Sequence[Sequence[str]]
) -> Conditions:
    """The conditions of three parts, with the encoding fitted on the first.

    Args:
        parts: Numbers, and places of classes, `(n, columns)` each.
        columns: Names of the columns.
        classes: The names of each column's classes, none for numbers.
    """
    encoding = Encoding.fit(parts[0], columns, classes)
    train, validation, test = (label(part, classes) for part in parts)
    return Conditions(train, validation, test, encoding)
