r"""Guidance: a conditional field exaggerated by what the condition changes in it.

.. math::
    v_w(x, t, c) = (1 + w) \, v(x, t, c) - w \, v(x, t, \varnothing), \qquad
    \nabla \cdot v_w = (1 + w) \, \nabla \cdot v(\cdot \mid c) - w \, \nabla \cdot v(\cdot \mid \varnothing)

Everything about it is linear in the two branches. The empty condition is learned beside the others: in training, a
share of the rows is trained on without.

Ho, Salimans 2022, Classifier-free diffusion guidance, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.residual import ResidualMLP
from genflow.velocities.time import check_condition
from genflow.wrappers import Question, Wrapper

__all__ = ["Guided", "NullCondition", "OptionalCondition", "conditional", "optional", "strike_out"]

_FAR = -3.0  # deviations of a standardized condition, and no entry of a one-hot one


class OptionalCondition(Wrapper):
    r"""A conditional network that can do without its condition.

    One more entry of the network's condition says whether there is none: it sees :math:`(c, 0)`, or :math:`(0, 1)` for
    the empty condition, `None`.

    Args:
        network: A velocity whose `condition_dim` is one more than that of the conditions.

    Raises:
        InputError: A network that takes no such condition.

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.OptionalCondition(gf.velocities.Shallow(2, condition_dim=3 + 1))
        >>> x, t = torch.randn(5, 2), torch.tensor(0.0)
        >>> velocity(x, t, torch.randn(5, 3)).shape, velocity(x, t).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    inside = "network"
    own = frozenset({"condition_dim", "condition_optional"})
    condition_optional = True
    condition_dim: int

    def __init__(self, network: Velocity):
        super().__init__()
        inputs = network.condition_dim or 0
        if inputs < 2 or network.condition_ndim != 1:
            raise InputError(f"network: its condition_dim is {inputs}; one more than that of the conditions would do")
        self.network, self.condition_dim = network, inputs - 1

    def marked(self, x: Tensor, condition: Any) -> Tensor:
        """The network's condition: `(c, 0)` or `(0, 1)`."""
        if condition is None:
            return nn.functional.one_hot(torch.tensor(self.condition_dim), self.condition_dim + 1).to(x)
        check_condition(condition, self.condition_dim, "the velocity")
        return nn.functional.pad(condition, (0, 1))

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        return super().ask(question, x, t, self.marked(x, condition), *vectors)


class NullCondition(Wrapper):
    r"""A conditional velocity that can do without its condition: a vector of its own, which it learns, stands for none.

    It makes a field of any kind fit for `condition_dropout` and for guidance. The vector begins where no condition is
    to be expected, three deviations below the mean in each entry.

    Args:
        velocity: A velocity that takes a condition.
        condition_dim: Dimension of a condition; that of the velocity by default.

    Raises:
        InputError: A velocity that takes no condition, or does not say of which dimension.

    Example:
        >>> import torch, genflow as gf
        >>> field = gf.velocities.NullCondition(gf.velocities.Shallow(2, condition_dim=3))
        >>> field(torch.randn(5, 2), torch.tensor(0.0), None).shape
        torch.Size([5, 2])
    """

    own = frozenset({"condition_dim", "condition_optional"})
    condition_optional = True
    condition_dim: int

    def __init__(self, velocity: Velocity, condition_dim: int | None = None):
        super().__init__()
        condition_dim = velocity.condition_dim if condition_dim is None else condition_dim
        self.choose(condition_dim=condition_dim)
        if not condition_dim or velocity.condition_ndim != 1:
            raise InputError(
                f"condition_dim: {condition_dim} came; the dimension of the condition vectors that the velocity takes "
                "would do"
            )
        self.velocity, self.condition_dim = velocity, condition_dim
        self.null = nn.Parameter(torch.full((condition_dim,), _FAR))

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        if condition is None:
            condition = self.null.to(x.dtype).expand(*x.shape[: x.ndim - self.event_ndim], -1)
        return super().ask(question, x, t, condition, *vectors)


class Guided(Wrapper):
    r"""Classifier-free guidance of a velocity; see the formulas above.

    The score and the denoiser of a diffusion are linear in the branches, too: all its samplers can be guided.

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

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        ask = super().ask
        conditional, empty = (ask(question, x, t, given, *vectors) for given in (condition, None))
        if isinstance(conditional, Tensor):
            return self._blend(conditional, empty)
        return tuple(map(self._blend, conditional, empty))

    def _blend(self, conditional: Tensor, empty: Tensor) -> Tensor:
        return (1 + self.weight) * conditional - self.weight * empty


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
    if not _check_dropout(dropout, condition_dim):
        return ResidualMLP(dim, width, depth, condition_dim)
    return OptionalCondition(ResidualMLP(dim, width, depth, condition_dim + 1))


def optional(velocity: Velocity, condition_dim: int, dropout: float) -> Velocity:
    """A velocity that came from outside, made to do without its condition where that is to be trained.

    Args:
        velocity: The velocity.
        condition_dim: Dimension of a condition, 0 for none.
        dropout: Share of the rows that are trained on without their condition.

    Raises:
        InputError: A share that is none, or one without a condition.
    """
    if not _check_dropout(dropout, condition_dim) or velocity.condition_optional:
        return velocity
    return NullCondition(velocity, condition_dim)


def _check_dropout(dropout: float, condition_dim: int) -> float:
    if not 0 <= dropout < 1:
        raise InputError(f"condition_dropout: {dropout} came; a share from 0 to less than 1 would do")
    if dropout and not condition_dim:
        raise InputError(f"condition_dropout: {dropout} came without a condition; give condition_dim, or leave it out")
    return dropout


def strike_out(count: int, share: float, generator: torch.Generator) -> Tensor:
    """A mask `(count,)` of the rows to be trained on without their condition, spread evenly over the rows.

    Args:
        count: How many rows there are.
        share: The probability of each row.
        generator: Source of randomness.

    Example:
        >>> import torch
        >>> from genflow.velocities import strike_out
        >>> int(strike_out(100, 0.25, torch.Generator().manual_seed(0)).sum())
        25
    """
    first = torch.rand((), generator=generator, device=generator.device)
    # A row is struck out where the multiples of the share, from a random start, pass a whole number.
    places = (first + share * torch.arange(count + 1, device=generator.device)).floor()
    return places.diff() > 0
