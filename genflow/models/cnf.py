"""A continuous normalizing flow, trained by maximum likelihood."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.flow import Flow, StandardNormal
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.likelihood import jacobian_norm, kinetic_energy, negative_log_likelihood, validation_probes
from genflow.schedulers import Uniform
from genflow.training import Stage, TrainingData
from genflow.velocities import Shallow

__all__ = ["CNF"]


class CNF(Flow, GenerativeModel):
    r"""One velocity on :math:`[0, 1]`, trained end to end by maximum likelihood.

    .. math::
        \min_v \; E\Bigl[-\log p(x) + \lambda_K \int_0^1 |v|^2 dt + \lambda_J \int_0^1 |\nabla v|_F^2 dt\Bigr]

    Backpropagation goes through the solver's steps. The grid that is trained on is coarser than the one that validates
    and reports, so that exploiting the solver's error does not pay.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the two hidden layers of the default velocity.
        kinetic: Weight :math:`\lambda_K` of the kinetic energy.
        jacobian: Weight :math:`\lambda_J` of the Jacobian's squared norm.
        train_steps: Integrator steps in training.
        steps: Integrator steps afterwards.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
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
        train_steps: int = 6,
        steps: int = 16,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        **parts: Any,
    ):
        velocity: Velocity = parts.pop("velocity", None) or Shallow(dim, width, time_features=8)
        parts = {"scheduler": Uniform(steps), "base": StandardNormal(dim), **parts}
        super().__init__(velocity, **parts)
        self.dim = dim
        self.kinetic, self.jacobian = kinetic, jacobian
        self.train_steps = train_steps
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if history:
            return None
        coarse = self.replace(scheduler=Uniform(self.train_steps))

        def loss(batch: Tensor, generator: torch.Generator) -> Tensor:
            costs, weights = [], []
            if self.kinetic:
                costs.append(kinetic_energy)
                weights.append(self.kinetic)
            if self.jacobian:
                costs.append(jacobian_norm(coarse, batch, generator))
                weights.append(self.jacobian)
            return negative_log_likelihood(coarse, batch, generator, tuple(costs), tuple(weights)).mean()

        return Stage(
            name="likelihood",
            parameters=list(self.velocity.parameters()),
            train=data.train,
            loss=loss,
            validate=lambda: negative_log_likelihood(self, data.validation, validation_probes(data.train)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            average=0.99,
        )
