r"""Scores of rows that a model was not trained on: what the log densities of other rows are compared with.

The percentile of a log density s among n scores is

.. math:: 100 \cdot \frac1n \sum_i \bigl( [s_i < s] + \tfrac12 [s_i = s] \bigr)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.deadline import OutOfTime, deadline
from genflow.errors import SolverError
from genflow.training import Budget

__all__ = ["REFERENCE", "HeldOut", "percentile", "reference"]

_PORTION = 64  # rows that are scored at once, between two looks at the clock
_LOWEST = -1e300

REFERENCE = 2048
"""Scores that are kept."""


@dataclass(frozen=True)
class HeldOut:
    """Rows that a model was not trained on, to be scored when their scores are asked for.

    Attributes:
        rows: The rows.
        condition: Their conditions.
    """

    rows: Tensor
    condition: Any = None

    @torch.no_grad()
    def log_prob(self, log_prob: Callable[[Tensor, Any], Tensor], seconds: float = math.inf) -> Float[Tensor, "n"]:
        """Their log densities, of as many as there is time for.

        Args:
            log_prob: The model's, of rows and their conditions.
            seconds: How long it may take.
        """
        limit = Budget(seconds)
        limit.start()
        parts: list[Tensor] = []
        for start in range(0, len(self.rows), _PORTION):
            part = slice(start, start + _PORTION)
            try:
                with deadline(limit.left, limit.clock):
                    parts.append(log_prob(self.rows[part], None if self.condition is None else self.condition[part]))
            except (OutOfTime, SolverError):
                break
            if not limit.left > 0:
                break
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def reference(log_p: Float[Tensor, "n"]) -> tuple[float, ...]:
    """The scores that are kept of log densities: in rising order, quantiles of them where there are many.

    Args:
        log_p: Log densities; what is not finite is below all others.

    Example:
        >>> import torch
        >>> reference(torch.tensor([1.0, -1.0, 0.0]))
        (-1.0, 0.0, 1.0)
    """
    found = log_p.detach().double().nan_to_num(nan=_LOWEST, neginf=_LOWEST, posinf=-_LOWEST).sort().values
    if len(found) > REFERENCE:
        found = found[torch.linspace(0, len(found) - 1, REFERENCE).round().long()]
    return tuple(found.tolist())


def percentile(log_p: Float[Tensor, "*batch"], scores: Float[Tensor, "n"]) -> Float[Tensor, "*batch"]:
    """The percentile of each log density among scores.

    Args:
        log_p: Log densities.
        scores: Those to compare with, in rising order.

    Example:
        >>> import torch
        >>> percentile(torch.tensor([0.0, 0.5]), torch.tensor([-1.0, 0.0, 1.0, 2.0]).double()).tolist()
        [37.5, 50.0]
    """
    value, scores = log_p.detach().double(), scores.to(log_p.device)
    below = [torch.searchsorted(scores, value.contiguous(), right=right).double() for right in (False, True)]
    return torch.where(value.isnan(), math.nan, 50.0 * (below[0] + below[1]) / len(scores))
