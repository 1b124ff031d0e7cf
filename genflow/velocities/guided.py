r"""Guidance: a conditional field exaggerated by what the condition changes in it.

.. math::
    v_w(x, t, c) = (1 + w) \, v(x, t, c) - w \, v(x, t, \varnothing), \qquad
    \nabla \cdot v_w = (1 + w) \, \nabla \cdot v(\cdot \mid c) - w \, \nabla \cdot v(\cdot \mid \varnothing)

Everything about it is linear in the two branches. The empty condition is learned beside the others: in training, a
share of the conditions is struck out.

Ho, Salimans 2022, Classifier-free diffusion guidance, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.residual import ResidualMLP
from genflow.velocities.time import check_condition

__all__ = ["Guided", "OptionalCondition", "conditional", "struck_out"]


class OptionalCondition(Velocity):
    r"""A conditional network that can do without its condition, for all rows or for some of them.

    One more entry of the network's condition says whether there is none: it sees :math:`(c, 0)`, or :math:`(0, 1)` for
    the empty condition. That is `None` for all rows, and a row of NaN for one of them.

    Args:
        network: A velocity whose `condition_dim` is one more than that of the conditions.

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.OptionalCondition(gf.velocities.Shallow(2, condition_dim=3 + 1))
        >>> x, t = torch.randn(5, 2), torch.tensor(0.0)
        >>> velocity(x, t, torch.randn(5, 3)).shape, velocity(x, t).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, network: Velocity):
        super().__init__()
        inputs = getattr(network, "condition_dim", 0)
        if inputs < 2:
            raise InputError(f"network: its condition_dim is {inputs}; one more than that of the conditions would do")
        self.network, self.condition_dim = network, inputs - 1
        self.event_ndim, self.interval, self.closed_form = network.event_ndim, network.interval, network.closed_form
        _take_dim(self, network)

    def marked(self, x: Tensor, condition: Any) -> Tensor:
        """The network's condition: `(c, 0)` or `(0, 1)`."""
        if condition is None:
            return torch.nn.functional.one_hot(torch.tensor(self.condition_dim), self.condition_dim + 1).to(x)
        check_condition(condition, self.condition_dim, "the velocity")
        empty = condition.isnan().any(-1, keepdim=True)
        return torch.cat([condition.masked_fill(empty, 0.0), empty.to(condition.dtype)], -1)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self.network(x, t, self.marked(x, condition))

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        return self.network.divergence(x, t, self.marked(x, condition))

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return self.network.pushforward(x, t, tangents, self.marked(x, condition))

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return self.network.pullback(x, t, cotangents, self.marked(x, condition))


class Guided(Velocity):
    r"""Classifier-free guidance of a velocity; see the formulas above.

    Args:
        velocity: A field that takes a condition and also `None` in its place, such as that of a model trained with
            `condition_dropout`.
        weight: The weight :math:`w`: 0 is the conditional field, -1 the unconditional one; larger ones sharpen.

    Example:
        >>> import torch, genflow as gf
        >>> model = gf.models.FlowMatching(2, condition_dim=3, condition_dropout=0.1, width=16)
        >>> guided = model.replace(velocity=gf.velocities.Guided(model.velocity, weight=2.0))
        >>> guided.sample(4, condition=torch.tensor([1.0, 0.0, 0.0])).shape
        torch.Size([4, 2])
    """

    def __init__(self, velocity: Velocity, weight: float):
        super().__init__()
        if not math.isfinite(weight):
            raise InputError(f"weight: {weight} came; a finite number would do")
        self.velocity, self.weight = velocity, float(weight)
        self.event_ndim, self.interval, self.closed_form = velocity.event_ndim, velocity.interval, velocity.closed_form
        _take_dim(self, velocity)
        # What a diffusion's samplers ask for; its score is linear in the branches, too.
        for name in ("noise", "condition_dim"):
            if hasattr(velocity, name):
                setattr(self, name, getattr(velocity, name))

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        pieces = self.velocity.pieces()
        if len(pieces) == 1:
            return [(self, *self.interval)]
        return [(Guided(piece, self.weight), start, stop) for piece, start, stop in pieces]

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._blend(self.velocity(x, t, condition), self.velocity(x, t, None))

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        return self._both(self.velocity.divergence(x, t, condition), self.velocity.divergence(x, t, None))

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        push = self.velocity.pushforward
        return self._both(push(x, t, tangents, condition), push(x, t, tangents, None))

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        pull = self.velocity.pullback
        return self._both(pull(x, t, cotangents, condition), pull(x, t, cotangents, None))

    def _blend(self, conditional: Tensor, empty: Tensor) -> Tensor:
        return (1 + self.weight) * conditional - self.weight * empty

    def _both(self, conditional: tuple[Tensor, Tensor], empty: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self._blend(conditional[0], empty[0]), self._blend(conditional[1], empty[1])


def conditional(dim: int, width: int, depth: int, condition_dim: int, dropout: float) -> Velocity:
    """The residual network of a model that is trained by regression, with the empty condition where it is trained.

    Args:
        dim: Dimension of a point.
        width: Width of the network.
        depth: Its residual layers.
        condition_dim: Dimension of a condition, 0 for none.
        dropout: Share of the rows that are trained on without their condition.

    Raises:
        InputError: A share that is none, or one without a condition.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"condition_dropout: {dropout} came; a share from 0 to less than 1 would do")
    if not dropout:
        return ResidualMLP(dim, width, depth, condition_dim)
    if not condition_dim:
        raise InputError(f"condition_dropout: {dropout} came without a condition; give condition_dim, or leave it out")
    return OptionalCondition(ResidualMLP(dim, width, depth, condition_dim + 1))


def struck_out(condition: Tensor | None, share: float, generator: torch.Generator) -> Tensor | None:
    """Conditions of which a random share of the rows is replaced by the empty one.

    Args:
        condition: Conditions, `(n, k)`.
        share: The probability of each row.
        generator: Source of randomness.
    """
    if condition is None or not share:
        return condition
    drawn = torch.rand(len(condition), 1, generator=generator, dtype=condition.dtype, device=condition.device)
    return condition.masked_fill(drawn < share, math.nan)


def _take_dim(velocity: Velocity, other: Velocity) -> None:
    if hasattr(other, "dim"):
        velocity.dim = other.dim
