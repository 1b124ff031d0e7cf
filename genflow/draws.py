"""What people give for how many to draw, and for where the randomness comes from."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genflow.errors import InputError

__all__ = [
    "batch_shape", "check_count", "check_generator", "check_seed", "choose_components", "draw_seed", "stratified_draws",
]  # fmt: skip

_SEEDS = 2**63
_GOLDEN = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)


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


def check_count(count: Any, name: str) -> None:
    """Refuses what is no number of things.

    Args:
        count: A whole number from 1 on, of any kind of integers.
        name: What the argument goes by.

    Raises:
        InputError: Something else.
    """
    try:
        fits = _integer(count) >= 1
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise InputError(f"{name}: {count!r} came; a whole number from 1 on would do")


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


def draw_seed(generator: torch.Generator) -> int:
    """A seed for a generator of another device, or of another purpose, drawn from this one."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _integer(size: Any) -> int:
    if isinstance(size, bool):
        raise TypeError
    return operator.index(size)


def choose_components(weights: Float[Tensor, "k"], count: int, generator: torch.Generator | None) -> Int[Tensor, " n"]:
    """A component for each of so many draws, by the weights; drawn where the generator lives."""
    source = weights.device if generator is None else generator.device
    if not count:
        return torch.zeros(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.to(source), count, replacement=True, generator=generator).to(weights.device)


def stratified_draws(values: Float[Tensor, "*shape"], count: int, seed: int = 0) -> Iterator[Float[Tensor, "*shape"]]:
    """Draws of shares, of which each number has one in every stratum of the width 1 / count.

    Each draw alone is uniform, so that a mean over all of them is that of independent draws, with less variance. They
    are a function of the row, so that what is estimated by them does not depend on the rows beside it.

    Args:
        values: What tells rows apart, `(*batch, d)`.
        count: The number of draws.
        seed: Another one brings other draws.

    References:
        | Latin hypercube sampling (McKay, Beckman and Conover, 1979), https://doi.org/10.2307/1268522
        | Fast splittable pseudorandom number generators (Steele, Lea and Flood, 2014),
          https://doi.org/10.1145/2660193.2660195

    Example:
        >>> import torch
        >>> first, second = stratified_draws(torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), 2)
        >>> bool((((first < 0.5) ^ (second < 0.5))).all()), bool((first[0] == first[2]).all())
        (True, True)
    """
    numbers = values.detach().to("cpu", torch.float64)
    numbers = torch.where(numbers.isnan(), math.inf, numbers) + 0.0  # of two zeros, the one without a sign
    columns = np.arange(1, numbers.shape[-1] + 1, dtype=np.uint64)
    row = _mix(np.ascontiguousarray(numbers.numpy()).view(np.uint64) ^ _mix(columns)).sum(-1, keepdims=True)
    state = _mix(_mix(row ^ _mix(np.array([seed], dtype=np.uint64))) + columns)

    def shares(k: int) -> np.ndarray:
        return (_mix(state + np.array([k + 1], dtype=np.uint64) * _GOLDEN) >> np.uint64(11)) * 2.0**-53

    order = np.stack([shares(k) for k in range(count)]).argsort(0)
    for k in range(count):
        yield torch.from_numpy((order[k] + shares(count + k)) / count)


def _mix(state: np.ndarray) -> np.ndarray:
    """64 bits each, all of which depend on all of those that came."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
