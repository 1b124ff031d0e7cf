"""A divergence estimator, and what came of it in the study."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genflow.interfaces import DivergenceEstimator

__all__ = ["Trial"]


@dataclass
class Trial:
    """An estimator, and what came of it.

    Attributes:
        label: Its name.
        n: Number of probes, 0 where it has no such argument.
        estimator: The estimator.
        deterministic: Whether it draws no probes: one draw says all.
        log_p: Log density of each row in each draw.
        seconds: Wall time of each draw.
        nfe: Evaluations of the velocity.
        pushes: Tangents or cotangents pushed through it; NaN where the estimator does not count them.
        reported: The standard error that the solves themselves reported, root mean square; NaN where they did not.
        along: Of the divergence at some times on the way: bias, standard deviation, and the bias's standard error,
            `(3, times)`.
        status: `ok`, or why it failed.
    """

    label: str
    n: int
    estimator: DivergenceEstimator
    deterministic: bool = False
    log_p: list[Tensor] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    nfe: int = 0
    pushes: float = math.nan
    reported: float = math.nan
    along: Tensor | None = None
    status: str = "ok"

    @property
    def name(self) -> str:
        """Its label with the number of probes."""
        return f"{self.label}, n = {self.n}" if self.n else self.label

    def figures(self, exact: Tensor) -> dict[str, float]:
        """Bias and standard error against the exact log density, `(n,)`, and the cost."""
        error = torch.stack(self.log_p).double() - exact
        draws = len(error)
        # Rows may share their probes, so the standard error of the bias is taken over draws.
        means = error.mean(1)
        return {
            "bias": means.mean().item(),
            "bias_se": means.std().item() / math.sqrt(draws) if draws > 1 else 0.0,
            "standard_error": error.var(0).mean().sqrt().item() if draws > 1 else 0.0,
            "largest_error": error.abs().max().item(),
            "reported": self.reported,
            "nfe": self.nfe,
            "pushes": self.pushes,
            "seconds": statistics.median(self.seconds),
            "draws": draws,
        }
