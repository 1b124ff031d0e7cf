r"""Block boundaries of the Jordan–Kinderlehrer–Otto scheme.

.. math:: t_k = t_{k-1} + h_k, \qquad h_k = \min(h_1 \rho^{k-1}, h_{max})

Chosen by hand, they let the first blocks do most of the transport, since the scheme converges exponentially. What the
blocks have moved, :math:`S_k = (E|x(t_k) - x(t_{k-1})|^2)^{1/2}`, tells how to move the boundaries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Scheduler
from genflow.schedulers.grids import check_steps

__all__ = ["JKOSteps", "refine", "reparameterize"]


class JKOSteps(Scheduler):
    r"""Times with geometrically growing steps, :math:`h_k = \min(h_1 \rho^{k-1}, h_{max})`.

    Args:
        first: First step :math:`h_1`.
        growth: Ratio :math:`\rho` of one step to the step before.
        maximum: Largest step :math:`h_{max}`.
        steps: Number of steps.

    References:
        Xu, Cheng, Xie 2023, Normalizing flow neural networks by JKO scheme, https://arxiv.org/abs/2212.14424

    Example:
        >>> import genflow as gf
        >>> jko = gf.schedulers.JKOSteps(first=0.5, growth=2.0, maximum=1.5, steps=3)
        >>> jko.step(1), jko.boundaries()
        (1.0, [0.0, 0.5, 1.5, 3.0])
        >>> jko.times(0.0, 6.0).round(decimals=4)
        tensor([0., 1., 3., 6.])
    """

    def __init__(self, first: float = 0.25, growth: float = 1.4, maximum: float = 3.0, steps: int = 8):
        for name, value in (("first", first), ("growth", growth), ("maximum", maximum)):
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name}: {value} came; a positive number would do")
        self.first, self.growth, self.maximum = first, growth, maximum
        self.steps = check_steps(steps, 8)

    def step(self, k: int) -> float:
        r"""The step :math:`h_{k+1}` of block `k`, counted from 0."""
        log_h = math.log(self.first) + k * math.log(self.growth)  # a power alone overflows for many blocks
        return self.maximum if log_h >= math.log(self.maximum) else self.first * self.growth**k

    def boundaries(self, start: float = 0.0, steps: int | None = None) -> list[float]:
        """The boundaries of all blocks from `start` on, of their natural length."""
        return list(accumulate(map(self.step, range(check_steps(steps, self.steps))), initial=start))

    def times(
        self,
        start: float,
        stop: float | None = None,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        """The boundaries as a grid: of their natural length from `start` on, or scaled to end at `stop`.

        Args:
            start: First time.
            stop: Last time, or `None` for the natural one. An earlier one than `start` gives the same grid, backwards.
            steps: Number of steps.
            dtype: Of the times.
            device: Of the times.
        """
        if stop is None:
            return torch.tensor(self.boundaries(start, steps), dtype=dtype, device=device)
        low, high = min(start, stop), max(start, stop)
        natural = torch.tensor(self.boundaries(0.0, steps), dtype=torch.float64)
        rising = low + natural * ((high - low) / natural[-1])
        times = rising if start <= stop else rising.flip(0)
        times[0], times[-1] = start, stop
        return times.to(device, dtype)


def reparameterize(boundaries: Sequence[float], movements: Sequence[float], damping: float = 0.5) -> list[float]:
    r"""Boundaries between which the blocks move more alike.

    .. math:: t_k \leftarrow t_k + \eta (\tilde t_k - t_k), \qquad C(\tilde t_k) = \frac{k}{K} C(t_K),

    with the cumulative movement :math:`C(t_k) = \sum_{j \le k} S_j`, linear between the boundaries. The ends stay.

    Args:
        boundaries: :math:`t_0 < \dots < t_K`.
        movements: :math:`S_1, \dots, S_K` of the blocks between them.
        damping: :math:`\eta`; 1 goes all the way.

    Raises:
        InputError: Numbers of blocks that differ, or movements that are negative or all zero.

    References:
        Xu, Cheng, Xie 2023, Normalizing flow neural networks by JKO scheme, https://arxiv.org/abs/2212.14424

    Example:
        >>> from genflow.schedulers import reparameterize
        >>> moved = reparameterize([0.0, 1.0, 2.0], [3.0, 1.0], damping=1.0)
        >>> [round(t, 4) for t in moved]  # the first block moves three times as far
        [0.0, 0.6667, 2.0]
    """
    count = len(movements)
    if len(boundaries) != count + 1:
        raise InputError(f"movements: {count} came for {len(boundaries) - 1} blocks; one for each would do")
    if not (min(movements) >= 0 and 0 < sum(movements) < math.inf):
        raise InputError("movements: distances are wanted, not all of them zero")
    travelled = list(accumulate(movements, initial=0.0))
    equal = np.interp([k / count * travelled[-1] for k in range(count + 1)], travelled, boundaries).tolist()
    inner = [t + damping * (aim - t) for t, aim in zip(boundaries, equal, strict=True)][1:-1]
    return [boundaries[0], *inner, boundaries[-1]]


def refine(boundaries: Sequence[float]) -> list[float]:
    """Boundaries of twice as many blocks: every interval in halves.

    Args:
        boundaries: Increasing times.

    Example:
        >>> from genflow.schedulers import refine
        >>> refine([0.0, 1.0, 3.0])
        [0.0, 0.5, 1.0, 2.0, 3.0]
    """
    halves = [[start, (start + stop) / 2] for start, stop in pairwise(boundaries)]
    return [*(t for pair in halves for t in pair), boundaries[-1]]
