r"""Mean flows: a network that knows how far a whole interval leads, so that one step samples.

.. math::
    u(x_t, r, t) = \frac{1}{t - r} \int_r^t v(x_\tau, \tau) \, d\tau, \qquad
    u = v - (t - r) \Bigl(v \cdot \nabla_x u + \frac{\partial u}{\partial t}\Bigr), \qquad
    x_r = x_t - (t - r) \, u(x_t, r, t)

Geng, Deng, Bai, Kolter, He 2025, Mean flows for one-step generative modeling, https://arxiv.org/abs/2505.13447
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import StandardNormal, check_base
from genflow.draws import check_generator
from genflow.errors import InputError
from genflow.flow import Flow, check_given
from genflow.interfaces import Velocity
from genflow.model import GenerativeModel
from genflow.models.matching import Matching
from genflow.paths import LogitNormal, Times
from genflow.paths.interpolants import Linear
from genflow.schedulers import Uniform
from genflow.training import Optimization, Rows, Stage, TrainingData, pair, pick, unpair
from genflow.velocities import ResidualMLP
from genflow.wrappers import Question, Wrapper

__all__ = ["MeanFlow", "MeanVelocity"]

_DRAWS = 8  # of each row in a validation


class MeanVelocity(Wrapper):
    r"""A network that is told of a second time as the velocity :math:`v(x, t) = u(x, t, t)`.

    Args:
        network: A velocity whose condition has one more entry, the last: the length :math:`t - r`.

    Raises:
        InputError: A network without a condition.

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.baselines.MeanVelocity(gf.velocities.ResidualMLP(2, width=16, condition_dim=1))
        >>> x, t = torch.randn(5, 2), torch.tensor(1.0)
        >>> torch.equal(velocity(x, t), velocity.mean(x, t, t))
        True
    """

    inside = "network"
    own = frozenset({"condition_dim"})
    condition_dim: int

    def __init__(self, network: Velocity):
        super().__init__()
        if not network.condition_dim:
            raise InputError(f"network: a {type(network).__name__} without a condition came; condition_dim=1 would do")
        self.network = network
        self.condition_dim = network.condition_dim - 1

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        return super().ask(question, x, t, self._network_condition(x, condition, torch.zeros_like(t)), *vectors)

    def mean(self, x: Tensor, r: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """The mean velocity :math:`u(x, r, t)` from r to t.

        Args:
            x: Points at the time t, `(*batch, *event)`.
            r: The earlier times, a scalar or `(*batch,)`.
            t: The later ones.
            condition: What the density is conditioned on.
        """
        return self.network(x, t, self._network_condition(x, condition, t - r))

    def _network_condition(self, x: Tensor, condition: Any, length: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - self.event_ndim]
        last = length.expand(batch)[..., None].to(x)
        return last if condition is None else torch.cat([condition.expand(*batch, -1).to(x), last], -1)


class MeanFlow(Flow, GenerativeModel):
    r"""The mean velocity of every interval, learned from its own derivative. See the equations above.

    .. math::
        \min_u \; E \, \frac{|\Delta|^2}{\mathrm{sg}(|\Delta|^2 / d + c)^p}, \qquad
        \Delta = u(x_t, r, t) - \mathrm{sg}\Bigl(\dot x_t - (t - r) \frac{d}{dt} u(x_t, r, t)\Bigr)

    For a share of the rows r = t, which is flow matching: the field at one time has a likelihood, as every flow's.

    Args:
        dim: Dimension of a point.
        width: Width of the network.
        depth: Its residual layers.
        steps: Integrator steps of the likelihood.
        jumps: Steps of the sampler, by default one.
        instantaneous: The share of the rows with r = t.
        power: The power p: 0 for the plain squared error, 1 for one of almost constant gradients.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        parts: Parts of the flow; `velocity` is a `MeanVelocity`.

    Raises:
        InputError: A share or a power out of its range; another velocity; fewer than one jump.

    References:
        Geng et al. 2025, https://arxiv.org/abs/2505.13447

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.MeanFlow(2, width=16).fit("two-moons", iterations=5)
        >>> model.sample(4).shape, model.sample(4, steps=2).shape
        (torch.Size([4, 2]), torch.Size([4, 2]))
    """

    velocity: MeanVelocity
    search = Matching.search

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 3,
        steps: int = 32,
        jumps: int = 1,
        instantaneous: float = 0.75,
        power: float = 0.5,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dim: int = 0,
        **parts: Any,
    ):
        if not 0 < instantaneous <= 1 or not 0 <= power <= 1 or jumps < 1:
            raise InputError(
                f"instantaneous, power, jumps: {instantaneous}, {power}, {jumps} came; shares, and at least one jump"
                " would do"
            )
        velocity = parts.pop("velocity", None) or MeanVelocity(ResidualMLP(dim, width, depth, condition_dim + 1))
        if not isinstance(velocity, MeanVelocity):
            raise InputError(f"velocity: a {type(velocity).__name__} came; a MeanVelocity would do")
        event = velocity.event() or (dim,)
        super().__init__(velocity, **{"scheduler": Uniform(steps), "base": StandardNormal(event), **parts})
        check_base(self.base, event)
        self.dim, self.condition_dim = dim, condition_dim
        self.jumps, self.instantaneous, self.power = jumps, instantaneous, power
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def errors(self, x: Tensor, z: Tensor, r: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        r"""The differences :math:`\Delta` of each row, `(n, *event)`.

        Args:
            x: Data, `(n, *event)`.
            z: Noise, `(n, *event)`.
            r: Earlier times, `(n,)`.
            t: Later times, `(n,)`.
            condition: What each row is conditioned on.
        """
        tau = t.view(-1, *(1,) * (x.ndim - 1))
        rate = z - x
        x_t = torch.lerp(x, z, tau)
        u, slope = torch.func.jvp(  # type: ignore[misc]
            lambda y, s: self.velocity.mean(y, r, s, condition), (x_t, t), (rate, torch.ones_like(t))
        )
        length = (t - r).view_as(tau)
        return u - (rate - length * slope).detach()

    def losses(self, x: Tensor, z: Tensor, r: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The loss of each row; see `errors`."""
        square = self.errors(x, z, r, t, condition).square().flatten(1).sum(-1)
        return square / (square.detach() / x[0].numel() + 1e-3) ** self.power

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if history:
            return None
        times: Times = LogitNormal(0.4, 1.0)  # nearer to the noise, from which one step is to lead

        def drawn(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            z = self.noise_like(x, generator)
            u = torch.rand(2, len(x), generator=generator, dtype=x.dtype, device=x.device)
            r, t = times.quantile(u, Linear()).sort(0).values
            here = torch.arange(len(x), device=x.device) < self.instantaneous * len(x)
            return z, torch.where(here, t, r), t

        def loss(batch: Rows, generator: torch.Generator) -> Tensor:
            x, condition = unpair(batch)
            return self.losses(x, *drawn(x, generator), condition).mean()

        def validate(rows: Rows, generator: torch.Generator) -> Tensor:
            x = unpair(rows)[0]
            x, condition = unpair(pick(rows, torch.arange(len(x), device=x.device).repeat(_DRAWS)))
            return self.errors(x, *drawn(x, generator), condition).square().flatten(1).sum(-1)

        return Stage(
            name="mean flow",
            parameters=list(self.velocity.parameters()),
            train=data.batched,
            validation=pair(data.validation, data.validation_condition),
            loss=loss,
            validate=validate,
            optimization=Optimization("adam", self.learning_rate, self.batch_size, average=0.999),
        )

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Float[Tensor, "*shape"]:
        r"""Samples, `(*shape, *event)`, by steps :math:`x_r = x_t - (t - r) u(x_t, r, t)` of equal length.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            steps: How many steps, each one evaluation; `jumps` by default.
        """
        check_generator(generator)
        check_given(condition)
        x = self._noise(shape, generator)
        grid = Uniform(steps or self.jumps).times(1.0, 0.0, dtype=x.dtype, device=x.device)
        for t, r in pairwise(grid):
            x = x - (t - r) * self.velocity.mean(x, r, t, condition)
        return x
