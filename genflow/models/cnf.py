"""A continuous normalizing flow, trained by maximum likelihood."""

from __future__ import annotations

from typing import Any

from genflow.base import StandardNormal, check_base
from genflow.flow import Flow
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.stages import initial_frequencies, likelihood_stage, matching_stage
from genflow.schedulers import Warped
from genflow.training import Stage, TrainingData
from genflow.velocities import Shallow

__all__ = ["CNF"]


class CNF(Flow, GenerativeModel):
    r"""One velocity on :math:`[0, 1]`, trained end to end by maximum likelihood.

    .. math::
        \min_v \; E\Bigl[-\log p(x) + \lambda_K \int_0^1 |v|^2 dt + \lambda_J \int_0^1 |\nabla v|_F^2 dt\Bigr]

    Backpropagation goes through the solver's steps. The grid that is trained on is coarser than the one that validates
    and reports, so that exploiting the solver's error does not pay. The first part of the budget goes to flow matching,
    which finds the coarse shape of the field at a fraction of the cost.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the two hidden layers of the default velocity.
        kinetic: Weight :math:`\lambda_K` of the kinetic energy.
        jacobian: Weight :math:`\lambda_J` of the Jacobian's squared norm.
        disagreement: Weight of the penalty on the solver's own disagreement; see `genflow.models.StageDisagreement`.
        matching: Share of the budget for flow matching, before the likelihood.
        whiten: Whether to train on rows without correlation.
        train_steps: Integrator steps in training.
        steps: Integrator steps afterwards.
        warp: Both grids shrink towards the data by this power.
        frequencies: Range of the first layer's scales; see `genflow.velocities.Shallow`. By default (1, 20) in the
            plane, where pictures live, and (1, 3) above.
        batch_size: Rows in a batch.
        optimizer: `soap` or `adam`, for everything but the matching; see `genflow.training.Stage`.
        learning_rate: Peak learning rate of the likelihood.
        matching_rate: Peak learning rate of the matching.
        weight_decay: Decoupled weight decay.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        compile: Whether to compile the likelihood; see `genflow.divergences.Compiled`.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    References:
        | Chen et al. 2018, Neural ordinary differential equations, https://arxiv.org/abs/1806.07366
        | Grathwohl et al. 2019, FFJORD, https://arxiv.org/abs/1810.01367
        | Finlay et al. 2020, How to train your neural ODE, https://arxiv.org/abs/2002.02798

    Example:
        >>> import genflow as gf
        >>> model = gf.models.CNF(2, width=16).fit("two-moons", iterations=5)
        >>> model.log_prob([[0.0, 0.5]]).shape
        torch.Size([1])
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        disagreement: float = 1.0,
        matching: float = 0.15,
        whiten: bool = True,
        train_steps: int = 4,
        steps: int = 16,
        warp: float = 1.5,
        frequencies: tuple[float, float] | None = None,
        batch_size: int = 512,
        optimizer: str = "soap",
        learning_rate: float = 1e-2,
        matching_rate: float = 3e-3,
        weight_decay: float = 0.0,
        condition_dim: int = 0,
        compile: bool = False,
        **parts: Any,
    ):
        frequencies = frequencies or initial_frequencies(dim)
        self.choose(frequencies=frequencies)
        velocity: Velocity = parts.pop("velocity", None) or Shallow(dim, width, condition_dim, frequencies=frequencies)
        parts = {"scheduler": Warped(steps, warp), "base": StandardNormal(dim), **parts}
        super().__init__(velocity, **parts)
        check_base(self.base, velocity.event() or (dim,))
        self.dim, self.condition_dim, self.whiten = dim, condition_dim, whiten
        self.kinetic, self.jacobian, self.disagreement = kinetic, jacobian, disagreement
        self.matching, self.optimizer = matching, optimizer
        self.train_grid = Warped(train_steps, warp)
        self.batch_size, self.learning_rate, self.matching_rate = batch_size, learning_rate, matching_rate
        self.weight_decay, self.compiled = weight_decay, compile

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if len(history) < 1 and self.matching:
            return matching_stage(
                self.velocity,
                data,
                lambda x, generator: (x, self.noise_like(x, generator)),
                name="matching",
                share=self.matching,
                batch_size=self.batch_size,
                learning_rate=self.matching_rate,
                average=0.99,
            )
        if len(history) < 1 + bool(self.matching):
            return likelihood_stage(
                self,
                data,
                self.train_grid,
                kinetic=self.kinetic,
                jacobian=self.jacobian,
                disagreement=self.disagreement,
                compile=self.compiled,
                name="likelihood",
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                optimizer=self.optimizer,
                weight_decay=self.weight_decay,
                average=0.99,
            )
        return None
