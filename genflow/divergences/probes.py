r"""Random directions with :math:`E[\varepsilon \varepsilon^\top] = I`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError

__all__ = [
    "DISTRIBUTIONS",
    "check_distribution",
    "check_mode",
    "draw_probes",
    "orthonormal",
    "population",
    "spread",
]


def rademacher(shape: tuple[int, ...], event_ndim: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Signs, +1 or -1 with equal probability: the least variance of all that are independent of each other."""
    source = like.device if generator is None else generator.device
    return torch.randint(0, 2, shape, generator=generator, device=source).to(like).mul_(2).sub_(1)


def gaussian(shape: tuple[int, ...], event_ndim: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers."""
    source = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=source).to(like.device)


def orthogonal(shape: tuple[int, ...], event_ndim: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""The first columns of a random rotation (Haar), times :math:`\sqrt d`: all d of them give the trace exactly.

    Raises:
        InputError: More of them than dimensions.
    """
    size = math.prod(like.shape[like.ndim - event_ndim :])
    if shape[0] > size:
        raise InputError(f"n: {shape[0]} orthogonal probes asked for in {size} dimensions; at most {size} would do")
    return orthonormal(gaussian(shape, event_ndim, like, generator), event_ndim) * math.sqrt(size)


def hadamard(shape: tuple[int, ...], event_ndim: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Signs that are orthogonal: rows of a Hadamard matrix of the size :math:`m = 2^k \ge d`, cut to d, signs flipped.

    Each row :math:`H_{ji} = (-1)^{|i \wedge j|}`, with the number :math:`|i \wedge j|` of bits that i and j share,
    under flips :math:`s_i` that all rows of a point have in common: one probe alone is Rademacher; all m of them give
    the trace exactly.

    Raises:
        InputError: More of them than rows.
    """
    n, batch, event = shape[0], like.shape[: like.ndim - event_ndim], like.shape[like.ndim - event_ndim :]
    size, rows = event.numel(), population("hadamard", event.numel()) or 1
    if n > rows:
        raise InputError(f"n: {n} hadamard probes asked for in {size} dimensions; at most {rows} would do")
    source = like.device if generator is None else generator.device
    chosen = torch.rand(*batch, rows, generator=generator, device=source).topk(n, -1).indices.movedim(-1, 0)
    shared = chosen.unsqueeze(-1) & torch.arange(size, device=source)
    for shift in (32, 16, 8, 4, 2, 1):  # the parity of the bits, folded into the last one
        shared = shared ^ (shared >> shift)
    flips = rademacher((*batch, size), 1, like, generator)
    return (flips * (1 - 2 * (shared & 1)).to(flips)).reshape(shape)


Draw = Callable[[tuple[int, ...], int, Tensor, torch.Generator | None], Tensor]
DISTRIBUTIONS: dict[str, Draw] = {
    "rademacher": rademacher,
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "hadamard": hadamard,
}


def population(distribution: str, size: int) -> int | None:
    """How many probes there are that give the trace of `size` dimensions exactly; none for independent ones."""
    return {"orthogonal": size, "hadamard": 1 << (size - 1).bit_length()}.get(distribution)


def check_distribution(n: int, distribution: str) -> None:
    """Refuses a number of probes below one and an unknown distribution.

    Raises:
        InputError: Either.
    """
    if n < 1:
        raise InputError(f"n: {n} probes asked for; at least 1 would do")
    if distribution not in DISTRIBUTIONS:
        raise InputError(f"distribution: no {distribution!r}; one of {', '.join(DISTRIBUTIONS)}")


def check_mode(mode: str) -> None:
    """Refuses a direction of differentiation that there is not.

    Raises:
        InputError: Neither `push` nor `pull`.
    """
    if mode not in ("push", "pull"):
        raise InputError(f"mode: {mode!r} came; push or pull would do")


def draw_probes(
    n: int, distribution: str, x: Tensor, event_ndim: int, generator: torch.Generator | None = None
) -> Tensor:
    """Probes `(n, *x.shape)`, drawn where the generator lives."""
    return DISTRIBUTIONS[distribution]((n, *x.shape), event_ndim, x, generator)


def orthonormal(directions: Float[Tensor, "n *shape"], event_ndim: int) -> Float[Tensor, "n *shape"]:
    r"""Each point's directions, made orthonormal in turn: the factor Q of :math:`QR`, the diagonal of R positive.

    Directions that depend on those before them are replaced by others; none is left out.

    Args:
        directions: `(n, *batch, *event)`, n at most the size of an event.
        event_ndim: Rank of the event.
    """
    columns = directions.flatten(directions.ndim - event_ndim).movedim(0, -1)
    exact = columns if columns.dtype.itemsize >= 4 else columns.float()  # there is no QR of half precision
    q, r = torch.linalg.qr(exact)
    q = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2)
    return q.to(directions.dtype).movedim(-1, 0).reshape(directions.shape)


def spread(estimates: Float[Tensor, "n *batch"], population: int | None) -> Float[Tensor, "n *batch"]:
    r"""Estimates of single probes with their spread made that of independent ones; their mean stays.

    Where all :math:`N` probes there are add up to the trace exactly, any two have the correlation :math:`-1/(N - 1)`,
    and the mean of :math:`n` has the variance :math:`(1 - n / N) \, E[s^2] / n`, with the variance :math:`s^2` of the
    sample: that of a sample drawn without replacement. Shrunk by :math:`\sqrt{1 - n / N}`, the deviations have the
    standard error :math:`s / \sqrt n` of independent ones.

    Args:
        estimates: One for each probe.
        population: The number :math:`N`; `None` for independent probes, whose estimates stay as they are.
    """
    if population is None:
        return estimates
    mean = estimates.mean(0)
    return mean + (estimates - mean) * math.sqrt(1 - len(estimates) / population)
