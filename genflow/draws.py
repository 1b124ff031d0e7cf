"""What people give for how many to draw, and for where the randomness comes from."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError

__all__ = ["batch_shape", "check_generator", "check_seed", "stratified"]

_SEEDS = 2**63


def batch_shape(shape: Any) -> tuple[int, ...]:
    """The shape of a batch: a number of rows, or a shape, of any kind of integers.

    Raises:
        InputError: Something that is no number of rows, or a negative one.

    Example:
        >>> batch_shape(5), batch_shape(torch.tensor(5)), batch_shape([2, 3])
        ((5,), (5,), (2, 3))
    """
    listed = isinstance(shape, Sequence) and not isinstance(shape, str)
    try:
        sizes = tuple(map(_integer, shape if listed else (shape,)))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"shape: {shape!r} came; a number of samples, or a shape such as (3, 5), would do") from None
    if any(size < 0 for size in sizes):
        raise InputError(f"shape: {shape!r} came; a number from 0 up, or a shape of such, would do")
    return sizes


def check_generator(generator: Any) -> None:
    """Refuses what is no `torch.Generator`.

    Raises:
        InputError: Another source of randomness, such as NumPy's.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        kind = type(generator)
        came = repr(generator) if isinstance(generator, int) else f"a {kind.__name__} of {kind.__module__}"
        raise InputError(f"generator: {came} came; torch.Generator().manual_seed(0) would do")


def check_seed(seed: Any, name: str = "seed") -> None:
    """Refuses what is no seed, before anything is drawn.

    Args:
        seed: A whole number from 0 on, of any kind of integers.
        name: What the argument goes by.

    Raises:
        InputError: Something else, or a number that no generator takes.
    """
    try:
        fits = 0 <= _integer(seed) < _SEEDS
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise InputError(f"{name}: {seed!r} came; a whole number from 0 to 2^63 - 1 would do")


def _integer(size: Any) -> int:
    if isinstance(size, bool):
        raise TypeError
    return operator.index(size)


def stratified(
    shape: Sequence[int], count: int, generator: torch.Generator | None = None
) -> Iterator[Float[Tensor, "*shape"]]:
    """Draws of shares, of which each number has one in every stratum of the width 1 / count.

    Each draw alone is uniform, so that a mean over all of them is that of independent draws, with less variance.

    Args:
        shape: The shape of a draw.
        count: The number of draws.
        generator: Source of randomness, of the CPU.

    References:
        Latin hypercube sampling (McKay, Beckman and Conover, 1979), https://doi.org/10.2307/1268522

    Example:
        >>> import torch
        >>> first, second = stratified((3,), 2, torch.Generator().manual_seed(0))
        >>> bool((((first < 0.5) ^ (second < 0.5))).all())
        True
    """
    order = torch.rand(count, *shape, generator=generator, dtype=torch.float64).argsort(0)
    for k in range(count):
        yield (order[k] + torch.rand(shape, generator=generator, dtype=torch.float64)) / count
