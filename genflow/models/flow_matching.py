"""Flow matching: a velocity learned by regression, without simulation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genflow.base import StandardNormal, check_base
from genflow.flow import Flow
from genflow.model import GenerativeModel
from genflow.models.coupling import coupling as coupling_named
from genflow.schedulers import Uniform
from genflow.training import Rows, Stage, TrainingData, paired, unpaired
from genflow.velocities import conditional, optional, struck_out

__all__ = ["FlowMatching", "matching_loss"]


def matching_loss(velocity: Any, x: Tensor, z: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    r"""The squared error of each row, :math:`|v((1 - t) x + t z, t) - (z - x)|^2`.

    Args:
        velocity: The field.
        x: Data, `(n, *event)`.
        z: Noise, `(n, *event)`.
        t: Times in [0, 1], `(n,)`.
        condition: What each row is conditioned on, `(n, k)`.
    """
    tau = t.view(-1, *(1,) * (x.ndim - 1))
    given = () if condition is None else (condition,)  # a plain field of two arguments serves as well
    error = velocity(torch.lerp(x, z, tau), t, *given) - (z - x)
    return error.square().flatten(1).sum(-1)


class FlowMatching(Flow, GenerativeModel):
    r"""The velocity that carries data to noise along straight conditional paths.

    .. math::
        \min_v \; E_{t, (x, z)} \bigl|v((1 - t) x + t z, t) - (z - x)\bigr|^2

    with :math:`z` drawn from the base, :math:`t` uniform on [0, 1] and the pairs :math:`(x, z)` independent, or
    coupled by optimal transport within the batch.

    Args:
        dim: Dimension :math:`d` of a point.
        coupling: `independent` or `ot`.
        width: Width of the default velocity, a residual network.
        depth: Its residual layers.
        steps: Integrator steps of likelihood and sampling.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        condition_dropout: Share of the rows of a batch that are trained on without their condition, so that the model
            can do without one, and be guided; see `genflow.velocities.Guided`.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    References:
        | Lipman et al. 2023, Flow matching for generative modeling, https://arxiv.org/abs/2210.02747
        | Albergo, Vanden-Eijnden 2023, https://arxiv.org/abs/2209.15571
        | Tong et al. 2023, minibatch optimal transport, https://arxiv.org/abs/2302.00482

    Example:
        >>> import genflow as gf
        >>> model = gf.models.FlowMatching(2, coupling="ot", width=16).fit("two-moons", iterations=5)
        >>> model.sample(4).shape
        torch.Size([4, 2])
    """

    autocasts = True

    def __init__(
        self,
        dim: int,
        coupling: str = "independent",
        width: int = 128,
        depth: int = 3,
        steps: int = 32,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dim: int = 0,
        condition_dropout: float = 0.0,
        **parts: Any,
    ):
        velocity = parts.pop("velocity", None)
        if velocity is None:
            velocity = conditional(dim, width, depth, condition_dim, condition_dropout)
        velocity = optional(velocity, condition_dim, condition_dropout)
        parts = {"scheduler": Uniform(steps), "base": StandardNormal(dim), **parts}
        super().__init__(velocity, **parts)
        check_base(self.base, velocity.event() or (dim,))
        self.dim, self.condition_dim, self.condition_dropout = dim, condition_dim, condition_dropout
        self.coupling = coupling_named(coupling)
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if history:
            return None

        def loss(batch: Rows, generator: torch.Generator) -> Tensor:
            x, condition = unpaired(batch)
            z = self.noise_like(x, generator)
            rows, partners = self.coupling(x, z, generator, condition)
            t = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
            x, z, condition = x[rows], z[partners], None if condition is None else condition[rows]
            if condition is None or not self.condition_dropout:
                return matching_loss(self.velocity, x, z, t, condition).mean()
            without = struck_out(len(x), self.condition_dropout, generator)
            parts = [(x[chosen], z[chosen], t[chosen]) for chosen in (~without, without)]
            losses = [matching_loss(self.velocity, *parts[0], condition[~without])]
            losses += [matching_loss(self.velocity, *parts[1])] if len(parts[1][0]) else []
            return torch.cat(losses).mean()

        def validate(rows: Rows, generator: torch.Generator) -> Tensor:
            # Four draws for each row, spread evenly over time.
            x, condition = (
                None if part is None else part.repeat(4, *(1,) * (part.ndim - 1)) for part in unpaired(rows)
            )
            assert x is not None
            z = self.noise_like(x, generator)
            t = (torch.randperm(len(x), generator=generator, device=x.device).to(x.dtype) + 0.5) / len(x)
            return matching_loss(self.velocity, x, z, t, condition)

        return Stage(
            name="matching",
            parameters=list(self.velocity.parameters()),
            train=paired(data.train, data.train_condition),
            validation=paired(data.validation, data.validation_condition),
            loss=loss,
            validate=validate,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            average=0.999,
        )
