"""How a model is optimized, and on which grids its equation is solved: arguments that many models have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from genflow.groups import Group
from genflow.interfaces import DivergenceEstimator
from genflow.schedulers import Warped

__all__ = ["Discretization", "Optimization", "Settings"]


class Settings(TypedDict):
    """What a `Stage` is told of its optimization."""

    optimizer: str
    learning_rate: float
    batch_size: int
    weight_decay: float
    sharpness: float
    annealed: bool
    clip: float
    average: float


@dataclass(frozen=True)
class Optimization(Group):
    r"""The optimizer of a stage of training. See `genflow.training.Stage`.

    Args:
        optimizer: `adam`, or `soap`, which pays where a step costs many evaluations of a small network.
        learning_rate: Peak learning rate.
        batch_size: Rows in a batch.
        weight_decay: Decoupled weight decay.
        sharpness: Radius of sharpness-aware minimization; 0 for none, `None` for the model's own choice.
        annealed: Whether the rate rises at first and falls to zero like a cosine, or stays.
        clip: Largest norm of the gradient.
        average: Decay per step of the moving average of the weights that is validated and kept; 0 for none.

    Example:
        >>> import genflow as gf
        >>> from genflow.models.optimization import Optimization
        >>> model = gf.models.CNF(2, optimization=Optimization("adam", learning_rate=1e-3))
        >>> model.optimization.batch_size, gf.models.CNF(2, optimizer="adam").optimization.optimizer
        (512, 'adam')
    """

    optimizer: str = "soap"
    learning_rate: float = 1e-2
    batch_size: int = 512
    weight_decay: float = 0.0
    sharpness: float | None = None
    annealed: bool = True
    clip: float = 10.0
    average: float = 0.99

    def settings(self) -> Settings:
        """The attributes of a `Stage` that is optimized in this way."""
        return Settings(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            sharpness=self.sharpness or 0.0,
            annealed=self.annealed,
            clip=self.clip,
            average=self.average,
        )


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
        >>> from genflow.models.optimization import Discretization
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
