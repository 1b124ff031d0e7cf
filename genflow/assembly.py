"""What the four parts make together: a density and what it declares, and what a solve along the parts returns."""

from __future__ import annotations

import functools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import (
    Component,
    DivergenceEstimator,
    Estimate,
    Integrator,
    Scheduler,
    Velocity,
    Work,
    hints_of,
    in_words,
)

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Assembly", "Cost", "Density", "Transport"]

Cost = Callable[[Tensor, Tensor, Estimate], Tensor]
"""A running cost `(t, x, estimate) -> (*batch,)`, integrated along the path."""


_OF_POINTS = {"audit", "decode", "encode", "latent_log_prob", "log_prob", "score", "trajectory"}


def _of_tensors(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which says in one line that points are tensors, before it begins."""

    @functools.wraps(method)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        points = next(iter((*arguments, *options.values())), None)
        if points is not None and not isinstance(points, Tensor):
            raise InputError(
                f"{method.__name__}: a {type(points).__name__} came, and this {type(self).__name__} is not fitted; a "
                "tensor would do, or what fit(…) returns, which takes tables and arrays"
            )
        return method(self, *arguments, **options)

    return checked


class Density(Component, nn.Module, ABC):
    """What every model declares of itself, with the defaults of one that offers no more.

    Attributes:
        dim: Dimension of a row; `None` where it does not say.
        condition_dim: Dimension of the condition that it was built for, 0 for none; `None` where it does not say.
        condition_dropout: The share of rows that it is trained on without their condition: above 0, it can do without.
        has_log_prob: Whether rows have a density under it; where they have none, `log_prob` raises an `InputError`.
        has_latent: Whether `latent_log_prob` says how likely the latent of a row is.
        has_parts: Whether it has a grid, `scheduler`, and `replace` gives it other parts, such as an integrator.
        integrates: Whether it solves a differential equation: `integrate`, `trajectory`, `audit` are there.
        invertible: Whether `encode` and `decode` are there; a class that defines both says so by that.
    """

    dim: int | None = None
    condition_dim: int | None = None
    condition_dropout: float = 0.0
    has_log_prob: bool = True
    has_latent: bool = False
    has_parts: bool = False
    integrates: bool = False
    invertible: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if {"encode", "decode"} <= vars(cls).keys():
            cls.invertible = True
        for name in _OF_POINTS & vars(cls).keys():
            setattr(cls, name, _of_tensors(vars(cls)[name]))

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        super().check_arguments(arguments)
        if "dim" in arguments and hints_of(cls).get("dim") is int:
            _check_dim(arguments["dim"], arguments)

    @abstractmethod
    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row, in nats."""

    @abstractmethod
    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, *event)`."""

    def cheaper(self, x: Tensor) -> Self | None:
        """The same model with a log p of rows like these that is random but right in the mean, for less time.

        Returns:
            The model; `None` where there is no such thing, or nothing to gain.
        """
        return None


def _check_dim(dim: Any, arguments: Mapping[str, Any]) -> None:
    """Refuses a dimension that is no number from 1 up, and velocities of events of another."""
    try:
        size = operator.index(dim)
    except TypeError:
        raise InputError(f"dim: {in_words(dim)} came; a whole number such as data.dim would do") from None
    if size < 1:
        raise InputError(f"dim: {size} came; at least 1 would do")
    for name in ("velocity", "block", "predictor"):
        velocity = arguments.get(name)
        event = velocity.event() if isinstance(velocity, Velocity) else None
        if event is not None and math.prod(event) != size:
            raise InputError(
                f"{name}: a {type(velocity).__name__} of events of the shape {event} came beside dim={size}; one of "
                f"{size} numbers, or dim={math.prod(event)}, would do"
            )


@dataclass
class Transport(Work):
    r"""What an integration along the flow returns.

    Attributes:
        x: The points where it ended, `(*batch, *event)`.
        log_det: :math:`\log |\det \partial x_{end} / \partial x_{begin}|`, `(*batch,)`; `None` if it was not asked for.
        costs: The running costs' integrals, `(*batch,)` each, counted positive in both directions.
        per_probe: The log-determinant of each probe alone, `(n, *batch)`, where the estimator has them.
        times: The times of `states`.
        states: The points at all times, `(steps + 1, *batch, *event)`, where they were asked for.
        pushes: Tangents or cotangents pushed through the velocity.
    """

    x: Tensor
    log_det: Tensor | None = None
    costs: tuple[Tensor, ...] = ()
    per_probe: Tensor | None = None
    times: Tensor | None = None
    states: Tensor | None = None
    pushes: int = 0

    @property
    def standard_error(self) -> Tensor | None:
        """The standard error of `log_det` that the estimator's probes leave, `(*batch,)`; `None` for fewer than two."""
        if self.per_probe is None or len(self.per_probe) < 2:
            return None
        return self.per_probe.std(0) / math.sqrt(len(self.per_probe))


class Assembly(Protocol):
    """The parts, put together to a density: what its audit and its settling work on. `Flow` is the one."""

    velocity: Velocity
    scheduler: Scheduler
    integrator: Integrator
    divergence: DivergenceEstimator
    base: Any

    def replace(self, **parts: Any) -> Self:
        """The same with other parts."""

    def cheaper(self, x: Tensor) -> Self | None:
        """The same with an estimator of the divergence that takes less time; `None` where there is none."""

    def integrate(
        self,
        x: Tensor,
        *,
        reverse: bool = False,
        log_det: bool = True,
        costs: Sequence[Cost] = (),
        condition: Any = None,
        generator: torch.Generator | None = None,
    ) -> Transport:
        """Moves points along the flow."""

    def log_prob(self, x: Tensor, condition: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """The log density, in nats."""

    def encode(self, x: Tensor, condition: Any = None) -> Tensor:
        """The noise z of data x."""

    def decode(self, z: Tensor, condition: Any = None) -> Tensor:
        """The data x of noise z."""
