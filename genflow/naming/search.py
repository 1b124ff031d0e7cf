"""What a model declares of its settings for a search: the few that matter, each with its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from genflow.errors import InputError
from genflow.naming.options import class_behind, option_names

__all__ = ["Between", "OneOf", "Range", "Space", "searched", "space_of"]

Preset = TypeVar("Preset", bound=Callable[..., Any])


@dataclass(frozen=True)
class Between:
    """A number in a range.

    Args:
        low: The least.
        high: The largest.
        log: Whether what counts is its logarithm, as of a learning rate.

    Raises:
        InputError: A range that is none.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"low, high: {self.low}, {self.high} came; two finite numbers in order would do")
        if self.log and self.low <= 0:
            raise InputError(f"low: {self.low} came; of a logarithmic range it is above 0")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", logarithmic" if self.log else "")


@dataclass(frozen=True)
class OneOf:
    """One of a few values.

    Args:
        values: The values.

    Raises:
        InputError: Fewer than two.
    """

    values: Sequence[bool | int | float | str]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise InputError(f"values: {list(self.values)} came; two or more would do")

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Range = Between | OneOf
"""The range of one setting."""

Space = Mapping[str, Range]
"""The settings that are searched, by the names of the model's arguments."""


def searched(**ranges: Range) -> Callable[[Preset], Preset]:
    """Declares what is searched of a function that returns a model, where that is not what its class declares.

    Args:
        ranges: The settings, by the names of the function's arguments.

    Example:
        >>> import genflow as gf
        >>> from genflow.naming.search import Between, searched
        >>> @searched(learning_rate=Between(1e-4, 1e-2, log=True))
        ... def slow(dim: int, **options) -> gf.models.CNF:
        ...     return gf.models.CNF(dim, steps=64, **options)
    """

    def declare(preset: Preset) -> Preset:
        vars(preset)["search"] = ranges
        return preset

    return declare


def space_of(cls: Any) -> dict[str, Range]:
    """What is searched for a model: the attribute `search` of its class, as far as it takes these arguments.

    Args:
        cls: The model's class, or a function that returns a model. Such a preset may have an attribute of its own.

    Example:
        >>> import genflow as gf
        >>> from genflow.naming.search import space_of
        >>> {name: str(values) for name, values in space_of(gf.baselines.MAF).items()}
        {'learning_rate': '0.001 to 0.02, logarithmic', 'width': '64, 128, 256', 'transforms': '3, 5, 8'}
    """
    declared: Space = getattr(cls, "search", None) or getattr(class_behind(cls), "search", None) or {}
    known = option_names(cls)
    return {name: values for name, values in declared.items() if known is None or name in known}
