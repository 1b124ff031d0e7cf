r"""Random directions with :math:`E[\varepsilon \varepsilon^\top] = I`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genflow.errors import InputError

__all__ = ["DISTRIBUTIONS", "checked_distribution", "draw_probes"]


def rademacher(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Signs, +1 or -1 with equal probability: the least variance of all."""
    source = like.device if generator is None else generator.device
    return torch.randint(0, 2, shape, generator=generator, device=source).to(like).mul_(2).sub_(1)


def gaussian(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers."""
    source = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=source).to(like.device)


Draw = Callable[[tuple[int, ...], Tensor, torch.Generator | None], Tensor]
DISTRIBUTIONS: dict[str, Draw] = {"rademacher": rademacher, "gaussian": gaussian}


def checked_distribution(n: int, distribution: str) -> None:
    """Refuses a number of probes below one and an unknown distribution.

    Raises:
        InputError: Either.
    """
    if n < 1:
        raise InputError(f"n: {n} probes asked for; at least 1 would do")
    if distribution not in DISTRIBUTIONS:
        raise InputError(f"distribution: no {distribution!r}; one of {', '.join(DISTRIBUTIONS)}")


def draw_probes(n: int, distribution: str, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Probes `(n, *x.shape)`, drawn where the generator lives."""
    return DISTRIBUTIONS[distribution]((n, *x.shape), x, generator)
