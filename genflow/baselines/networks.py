"""The network that every baseline has by default, so that a comparison compares the methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from genflow.interfaces import Path, Velocity
from genflow.paths import Prediction
from genflow.velocities import ProbabilityFlow, conditional, optional

__all__ = ["along", "extends", "network"]

Preset = TypeVar("Preset", bound=Callable[..., Any])


def network(
    dim: int, width: int, depth: int, condition_dim: int, condition_dropout: float, parts: dict[str, Any]
) -> Velocity:
    """The residual network, or the `velocity` of the parts, which is taken from them.

    Args:
        dim: Dimension of a point.
        width: Width of the residual network.
        depth: Its layers.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Parts of a flow.
    """
    given = parts.pop("velocity", None)
    if given is None:
        return conditional(dim, width, depth, condition_dim, condition_dropout)
    return optional(given, condition_dim, condition_dropout)


def along(path: Path, prediction: Prediction, field: Velocity, clock: Any = "log_snr") -> ProbabilityFlow:
    """A network along a path; one that is a probability flow already follows its own.

    Args:
        path: The path.
        prediction: What the network predicts.
        field: The network.
        clock: What it is told of the time; see `ProbabilityFlow`.
    """
    return field if isinstance(field, ProbabilityFlow) else ProbabilityFlow(field, path, prediction, clock)


def extends(base: Callable[..., Any]) -> Callable[[Preset], Preset]:
    """Marks a preset whose further options are those of another: they show in its signature, for helps and checks.

    Args:
        base: The function that it passes them on to.
    """
    inherited = inspect.signature(base).parameters

    def mark(preset: Preset) -> Preset:
        own = inspect.signature(preset).parameters
        kinds = inspect.Parameter
        kept = [each for each in own.values() if each.kind is not kinds.VAR_KEYWORD]
        more = [
            each.replace(kind=kinds.KEYWORD_ONLY) if each.kind is not kinds.VAR_KEYWORD else each
            for name, each in inherited.items()
            if name not in own and (each.default is not kinds.empty or each.kind is kinds.VAR_KEYWORD)
        ]
        preset.__signature__ = inspect.Signature([*kept, *more])  # type: ignore[attr-defined]
        preset.__annotations__ = {**base.__annotations__, **preset.__annotations__}
        return preset

    return mark
