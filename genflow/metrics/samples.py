"""What every metric asks of samples: points in rows, finite, of one dimension, no more than can be paid for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError

__all__ = ["points", "subsample", "two_samples"]


def points(x: Tensor, name: str = "x", least: int = 1) -> Float[Tensor, "n d"]:
    """Samples as rows in double precision: an event of any rank is flattened, a vector is a sample of numbers.

    Args:
        x: Samples, `(n, *event)`.
        name: What the error calls them.
        least: The smallest number of rows that will do.

    Raises:
        InputError: For too few rows, or a value that is not finite.
    """
    if x.ndim == 0 or x.numel() == 0 or len(x) < least:
        raise InputError(f"{name}: a sample of shape {tuple(x.shape)} came, at least {least} rows are needed")
    rows = x.detach().double().reshape(len(x), -1)
    bad = ~rows.isfinite()
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        raise InputError(f"{name}: row {row}, column {column} is {rows[row, column].item()}, all values must be finite")
    return rows


def subsample(
    x: Float[Tensor, "n d"], size: int | None, generator: torch.Generator | None = None
) -> Float[Tensor, "m d"]:
    """At most `size` rows, drawn without replacement; all of them, in their order, where there are no more."""
    if size is None or len(x) <= size:
        return x
    return x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]


def two_samples(
    x: Tensor, y: Tensor, max_points: int | None = None, generator: torch.Generator | None = None, least: int = 1
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Both samples as rows in double precision, cut to `max_points` each.

    Raises:
        InputError: As `points`, and where the dimensions differ or the cap leaves too few rows.
    """
    if max_points is not None and max_points < least:
        raise InputError(f"max_points: {max_points} came, at least {least} is needed")
    a, b = points(x, "x", least), points(y, "y", least)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"x and y: points of dimension {a.shape[1]} and {b.shape[1]} came, they must be equal")
    return subsample(a, max_points, generator), subsample(b, max_points, generator)
