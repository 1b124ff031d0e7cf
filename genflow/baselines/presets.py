"""What presets of `Matching` share: the network, the optimizer, and a signature that shows both."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from genflow.interfaces import Path
from genflow.models.matching import Matching
from genflow.models.networks import along, network
from genflow.paths import Prediction
from genflow.schedulers import Uniform

__all__ = ["diffusion", "extends", "matching"]

Preset = TypeVar("Preset", bound=Callable[..., Any])

_ARGUMENT = r"^ {8}(\w+): .*\n(?: {12}.*\n)*"
_OPTIONS = r" {8}options: .*\n(?: {12}.*\n)*"


def extends(base: Callable[..., Any]) -> Callable[[Preset], Preset]:
    """Marks a preset whose further options are those of another: they show in its signature and in its docstring, in
    the place of `options`, for helps and checks.

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
        preset.__annotations__ = {**typing.get_type_hints(base), **preset.__annotations__}
        told = _explanations(base)
        lines = "".join(told[each.name] for each in more if each.name in told)
        preset.__doc__ = re.sub(_OPTIONS, lambda _: lines, preset.__doc__ or "")
        return preset

    return mark


def _explanations(function: Callable[..., Any]) -> dict[str, str]:
    """The lines of a docstring on each argument."""
    return {found[1]: found[0] for found in re.finditer(_ARGUMENT, function.__doc__ or "", re.MULTILINE)}


def matching(
    dim: int,
    name: str,
    width: int = 128,
    depth: int = 3,
    steps: int = 32,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    condition_dim: int = 0,
    condition_dropout: float = 0.0,
    **parts: Any,
) -> Matching:
    """A `Matching` whose network is the field itself, on equal steps.

    Args:
        dim: Dimension of a point.
        name: What it is called.
        width: Width of the network.
        depth: Its residual layers.
        steps: Integrator steps of likelihood and sampling.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Further arguments of `Matching`, and parts of the flow; `velocity` is the network.
    """
    return Matching(
        network(dim, width, depth, condition_dim, condition_dropout, parts),
        batch_size=batch_size,
        learning_rate=learning_rate,
        condition_dropout=condition_dropout,
        name=name,
        **{"scheduler": Uniform(steps), **parts},
    )


def diffusion(
    dim: int,
    name: str,
    path: Path,
    prediction: Prediction,
    clock: str,
    width: int = 128,
    depth: int = 3,
    batch_size: int = 512,
    learning_rate: float = 4e-3,
    condition_dim: int = 0,
    condition_dropout: float = 0.0,
    **parts: Any,
) -> Matching:
    """A `Matching` whose network predicts something along a path.

    Args:
        dim: Dimension of a point.
        name: What it is called.
        path: The path.
        prediction: What the network predicts.
        clock: What it is told of the time; see `genflow.velocities.ProbabilityFlow`.
        width: Width of the network.
        depth: Its residual layers.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Further arguments of `Matching`, and parts of the flow; `velocity` is the network.
    """
    field = network(dim, width, depth, condition_dim, condition_dropout, parts)
    return Matching(
        along(path, prediction, field, clock),
        batch_size=batch_size,
        learning_rate=learning_rate,
        condition_dropout=condition_dropout,
        name=name,
        **parts,
    )
