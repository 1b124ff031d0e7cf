"""Flow matching: a velocity learned by regression, without simulation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genflow.base import StandardNormal
from genflow.models.matching import Matching, regression_errors
from genflow.models.networks import network
from genflow.paths import Coupling, Linear
from genflow.schedulers import Uniform

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
    return regression_errors(velocity, Linear(), x, z, t, condition, None)


class FlowMatching(Matching):
    r"""The velocity that carries data to noise along straight conditional paths.

    .. math::
        \min_v \; E_{t, (x, z)} \bigl|v((1 - t) x + t z, t) - (z - x)\bigr|^2

    with :math:`z` drawn from the base, :math:`t` uniform on [0, 1] and the pairs :math:`(x, z)` independent, or
    coupled by optimal transport within the batch.

    Args:
        dim: Dimension :math:`d` of a point.
        coupling: `independent`, `ot`, `entropic`, or a `Coupling`.
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
        coupling: Coupling | str = "independent",
        width: int = 128,
        depth: int = 3,
        steps: int = 32,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dim: int = 0,
        condition_dropout: float = 0.0,
        **parts: Any,
    ):
        velocity = network(dim, width, depth, condition_dim, condition_dropout, parts)
        super().__init__(
            velocity,
            coupling=coupling,
            batch_size=batch_size,
            learning_rate=learning_rate,
            condition_dropout=condition_dropout,
            name="flow-matching",
            **{"scheduler": Uniform(steps), "base": StandardNormal(velocity.event() or (dim,)), **parts},
        )
        self.dim, self.condition_dim = dim, condition_dim
