"""Velocities side by side: their sum, and their mean."""

from __future__ import annotations

import copy
import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.wrappers import Composed, Question

__all__ = ["Mean", "Parallel"]


class _SideBySide(Composed):
    """Branches on one interval, each of which is asked; what is made of their answers is said by a sub-class."""

    def __init__(self, branches: list[Velocity]):
        super().__init__()
        if not branches:
            raise InputError("branches: an empty list came; give at least one velocity")
        if len({(branch.interval, branch.event_ndim) for branch in branches}) > 1:
            raise InputError("branches: they differ in interval or event rank; all must agree")
        self.branches = nn.ModuleList(branches)

    @abstractmethod
    def combine(self, answers: Tensor) -> Tensor:
        """What the whole says where its branches say this, `(branches, ...)`; linear, so that derivatives agree."""

    @property
    def all(self) -> list[Velocity]:
        """The branches, whether they are asked or not."""
        return [cast(Velocity, branch) for branch in self.branches]

    def parts(self) -> list[Velocity]:
        return self.all

    def on(self, interval: tuple[float, float]) -> Velocity:
        return type(self)(**{**self.config(), "branches": [branch.on(interval) for branch in self.all]})

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        """A piece from each time at which a branch jumps to the next such time."""
        inner = [branch.pieces() for branch in self.all]
        cuts = sorted({time for pieces in inner for _, *ends in pieces for time in ends})
        if len(cuts) <= 2:
            return [(self, *self.interval)]
        found: list[tuple[Velocity, float, float]] = []
        for start, stop in itertools.pairwise(cuts):
            middle = (start + stop) / 2
            chosen = [next(field for field, low, high in pieces if low <= middle <= high) for pieces in inner]
            part = copy.copy(self)
            object.__setattr__(part, "_modules", {"branches": nn.ModuleList(chosen)})
            object.__setattr__(part, "_arguments", {**self._arguments, "branches": chosen})
            part.interval = (start, stop)
            found.append((part, start, stop))
        return found

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        answers = [question(branch, x, t, *vectors, condition) for branch in self.parts()]
        if isinstance(answers[0], Tensor):
            return self.combine(torch.stack(answers))
        first, second = zip(*answers, strict=True)
        return self.combine(torch.stack(first)), self.combine(torch.stack(second))


class Parallel(_SideBySide):
    r"""Branches side by side, :math:`v = \sum_b v_b`; their divergences and pushed tangents add up as well.

    Args:
        branches: Velocities on one and the same interval and event shape.

    Example:
        >>> import torch, genflow as gf
        >>> wide = gf.velocities.Parallel([gf.velocities.Shallow(2, width) for width in (32, 64)])
        >>> wide(torch.randn(4, 2), torch.tensor(0.0)).shape
        torch.Size([4, 2])
    """

    own = frozenset({"noise", "denoise", "diffusion"})
    noise = denoise = diffusion = None  # a sum of probability flows is none

    def combine(self, answers: Tensor) -> Tensor:
        return answers.sum(0)


class Mean(_SideBySide):
    r"""The mean of several fields, such as an ensemble's members: :math:`v = \sum_b w_b v_b`, :math:`\sum_b w_b = 1`.

    Of fields that regress one target, it has the error of one less their spread about it:

    .. math:: E|v - u|^2 = \sum_b w_b \, E|v_b - u|^2 - \sum_b w_b \, E|v_b - v|^2 .

    It is a field like any other: its flow is invertible, its divergence the mean of theirs. A mean of probability flows
    of one noise is that of the mean score.

    Args:
        branches: Velocities on one and the same interval and event shape.
        weights: Their weights :math:`w_b`, equal by default. A branch of no weight is not asked.

    Raises:
        InputError: Weights that are fewer or more, negative, or do not add up to 1.

    Example:
        >>> import torch, genflow as gf
        >>> still, expanding = (gf.as_velocity(lambda x, t, condition, a=a: a * x) for a in (0.0, 2.0))
        >>> gf.velocities.Mean([still, expanding])(torch.ones(1, 2), torch.tensor(0.0))
        tensor([[1., 1.]])
    """

    def __init__(self, branches: list[Velocity], weights: Sequence[float] | None = None):
        super().__init__(branches)
        self.weights = [1 / len(branches)] * len(branches) if weights is None else list(weights)
        fits = len(self.weights) == len(branches) and min(self.weights) >= 0
        if not (fits and math.isclose(sum(self.weights), 1, rel_tol=1e-6)):
            raise InputError(f"weights: {weights} came; {len(branches)} from 0 up that add up to 1 would do")

    def parts(self) -> list[Velocity]:
        return [part for part, weight in zip(self.all, self.weights, strict=True) if weight]

    def combine(self, answers: Tensor) -> Tensor:
        weights = [weight for weight in self.weights if weight]
        if len(set(weights)) == 1:
            return answers.mean(0)
        return torch.tensordot(answers.new_tensor(weights), answers, 1)
