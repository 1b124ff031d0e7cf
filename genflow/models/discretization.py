"""On which grids the equation of a model is solved: arguments that many models have."""

from __future__ import annotations

from dataclasses import dataclass

from genflow.groups import Group
from genflow.interfaces import DivergenceEstimator
from genflow.schedulers import Warped

__all__ = ["Discretization"]


@dataclass(frozen=True)
class Discretization(Group):
    r"""How the equation is solved: with fewer steps while it is trained than afterwards.

    Args:
        steps: Integrator steps afterwards, and in validation; in a block, of a chain.
        train_steps: Integrator steps in training.
        warp: Both grids shrink towards the data by this power.
        disagreement: Weight of the penalty on the solver's own disagreement; see `genflow.models.StageDisagreement`.
        compile: Whether to compile the likelihood; see `genflow.divergences.Compiled`.
        train_divergence: From Python, the estimator of the divergence in training; by default that of the flow.

    Example:
        >>> from genflow.models import Discretization
        >>> Discretization(steps=8, warp=1.0).grid.times(0.0, 1.0)[:3]
        tensor([0.0000, 0.1250, 0.2500])
    """

    steps: int = 16
    train_steps: int = 4
    warp: float = 1.5
    disagreement: float = 1.0
    compile: bool = False
    train_divergence: DivergenceEstimator | None = None

    @property
    def grid(self) -> Warped:
        """The grid of a trained model."""
        return Warped(self.steps, self.warp)

    @property
    def train_grid(self) -> Warped:
        """The grid of a training."""
        return Warped(self.train_steps, self.warp)
