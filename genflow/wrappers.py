"""Parts that are made of other parts, and pass on what those declare.

`Velocity` and `DivergenceEstimator` declare as attributes what a part may offer: a closed form, a denoiser, probes of
its own. A part that is made of others says, of each, what they say, unless it says something itself; so what is
declared there one day is passed on by all of them. `genflow.testing.check_wrapper` checks it.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.interfaces import Component, DivergenceEstimator, Velocity

__all__ = ["Composed", "Question", "WrappedEstimator", "Wrapper", "alike", "declared_names", "pass_on"]

Question = Callable[..., Any]
"""`(field, x, t, *vectors, condition)`: what is asked of a field, such as its value or its divergence."""


def declared_names(interface: type) -> tuple[str, ...]:
    """The names of all attributes that an interface declares.

    Args:
        interface: `Velocity` or `DivergenceEstimator`.

    Example:
        >>> import genflow as gf
        >>> from genflow.wrappers import declared_names
        >>> "denoise" in declared_names(gf.Velocity), declared_names(gf.DivergenceEstimator)
        (True, ('has_per_probe', 'n'))
    """
    return tuple(interface.__annotations__)


class _PassedOn:
    """An attribute that all parts agree on, and the default of one that does not declare it where they don't."""

    def __init__(self, interface: type, name: str, rule: Callable[[list[Any]], Any] | None = None):
        self.name, self.rule = name, rule
        default = interface.__dict__[name]
        self.default = default.__get__(None, interface) if hasattr(default, "__get__") else default

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self.default
        values = [getattr(part, self.name) for part in instance.parts()]
        if not values:
            return self.default
        if self.rule is not None:
            return self.rule(values)
        return values[0] if all(alike(values[0], value) for value in values[1:]) else self.default


def alike(a: Any, b: Any) -> bool:
    """Whether two parts, or values, say the same: components do that are built of the same arguments."""
    if isinstance(a, Component) and type(a) is type(b):
        return a is b or a.config() == b.config()
    return a is b or bool(a == b)


_RULES: dict[str, Callable[[list[Any]], Any]] = {
    "closed_form": all,
    "channels": max,
    "condition_optional": all,
    "spatial": any,
}


def pass_on(interface: type, name: str) -> Any:
    """A declared attribute, as a part says it that is made of others."""
    return _PassedOn(interface, name, _RULES.get(name))


class Composed(Velocity):
    """A velocity that is made of others: it says how it puts a question to them, and what it makes of their answers.

    Attributes:
        own: What it says itself, by name, and does not pass on.
    """

    own: frozenset[str] = frozenset()

    @abstractmethod
    def parts(self) -> Sequence[Velocity]:
        """The velocities that it is made of."""

    @abstractmethod
    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        """The answer of the whole.

        Args:
            question: What is to be asked of the parts; see `Question`. Their answer is a tensor like the points, or a
                pair: of such a tensor and one like the vectors, or one number for each point.
            x: Points, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
            condition: As in `forward`.
            vectors: Tangents or cotangents, `(n, *batch, *event)`.
        """

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self.ask(_value, x, t, condition)

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return self.ask(_pushforward, x, t, condition, tangents)

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        return self.ask(_pullback, x, t, condition, cotangents)

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        return self.ask(_divergence, x, t, condition)

    # What is declared as something to be called is offered where all parts offer it.

    @property
    def denoise(self) -> Callable[..., Tensor] | None:  # type: ignore[override]
        return self._denoise if self._all_have("denoise") else None

    @property
    def diffusion(self) -> Callable[..., Any] | None:  # type: ignore[override]
        return self._diffusion if self._all_have("diffusion") else None

    @property
    def scale_output(self) -> Callable[[float], None] | None:  # type: ignore[override]
        return self._scale_output if self._all_have("scale_output") else None

    def _all_have(self, name: str) -> bool:
        parts = self.parts()
        return bool(parts) and all(getattr(part, name) is not None for part in parts)

    def _denoise(self, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        return self.ask(_denoise, x, t, condition)

    def _diffusion(self, t: Tensor, x: Tensor) -> Any:
        return self.ask(_diffusion, x, t, None)

    @torch.no_grad()
    def _scale_output(self, factor: float) -> None:
        for part in self.parts():
            assert part.scale_output is not None
            part.scale_output(factor)


for _name in declared_names(Velocity):
    if _name not in Composed.__dict__:
        setattr(Composed, _name, pass_on(Velocity, _name))


class Wrapper(Composed):
    """A velocity around one other, which stands in the attribute, and in the argument, `inside`.

    Attributes:
        inside: The name of that attribute.
    """

    inside: str = "velocity"

    def parts(self) -> Sequence[Velocity]:
        return (getattr(self, self.inside),)

    def ask(self, question: Question, x: Tensor, t: Tensor, condition: Any, *vectors: Tensor) -> Any:
        return question(self.parts()[0], x, t, *vectors, condition)

    def around(self, inner: Velocity) -> Any:
        """The same around another velocity; weights of its own are shared."""
        other = copy.copy(self)
        object.__setattr__(other, "_modules", {**self._modules, self.inside: inner})
        kept = {name: value for name, value in self._arguments.items() if name != "interval"}
        object.__setattr__(other, "_arguments", {**kept, self.inside: inner})
        return other

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        pieces = self.parts()[0].pieces()
        if len(pieces) == 1:
            return [(self, *self.interval)]
        return [(self.around(piece), start, stop) for piece, start, stop in pieces]

    def on(self, interval: tuple[float, float]) -> Velocity:
        return copy.deepcopy(self.around(self.parts()[0].on(interval)))


class WrappedEstimator(DivergenceEstimator):
    """A divergence estimator around another, with the probes of that one.

    Attributes:
        estimator: The other.
    """

    estimator: DivergenceEstimator

    def parts(self) -> Sequence[DivergenceEstimator]:
        """The one that it is around."""
        return (self.estimator,)

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor | None:
        return self.estimator.probes(x, event_ndim, generator)

    def estimates(self, probes: Tensor | None) -> int:
        return self.estimator.estimates(probes)


for _name in declared_names(DivergenceEstimator):
    setattr(WrappedEstimator, _name, pass_on(DivergenceEstimator, _name))


def _value(field: Velocity, x: Tensor, t: Tensor, condition: Any) -> Tensor:
    return field(x, t, condition)


def _pushforward(field: Velocity, x: Tensor, t: Tensor, tangents: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    return field.pushforward(x, t, tangents, condition)


def _pullback(field: Velocity, x: Tensor, t: Tensor, cotangents: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    return field.pullback(x, t, cotangents, condition)


def _divergence(field: Velocity, x: Tensor, t: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    return field.divergence(x, t, condition)


def _denoise(field: Velocity, x: Tensor, t: Tensor, condition: Any) -> Tensor:
    assert field.denoise is not None
    # A denoiser without conditions need not know of them.
    return field.denoise(t, x) if condition is None else field.denoise(t, x, condition)


def _diffusion(field: Velocity, x: Tensor, t: Tensor, condition: Any) -> Tensor:
    assert field.diffusion is not None
    return torch.as_tensor(field.diffusion(t, x), dtype=x.dtype, device=x.device).expand_as(x)
