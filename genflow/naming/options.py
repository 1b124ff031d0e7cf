"""A model from its name and the options that people type: each is checked before anything is trained.

A name stands for a class, or for a function that returns a model, a preset: `def ffjord(dim, …, **options) -> CNF`.
What such a function takes as `**options` are those of the class that it is said to return.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from genflow.errors import InputError
from genflow.interfaces import Component, check_keywords
from genflow.naming import registry
from genflow.naming.parts import for_pictures, network, part
from genflow.naming.values import expectation, is_plain, quote, types_of

__all__ = [
    "build",
    "check_options",
    "check_values",
    "class_behind",
    "network_of",
    "option_names",
    "parts_behind",
    "with_network",
]

_NETWORKS = ("block", "predictor", "velocity")
"""Arguments that take a model's network; the first that it has is the one."""

_PARTS = {
    **dict.fromkeys(_NETWORKS, "velocity"),
    "scheduler": "scheduler",
    "integrator": "integrator",
    "divergence": "divergence",
    "train_divergence": "divergence",
    "noise": "scheduler",
}
"""Options that name a part, and what they are registered as."""

_FLOW = ("velocity", "scheduler", "integrator", "divergence", "base")
"""The parts of a flow, which every one takes."""

_OF_DATA = "condition_dim"  # what nobody types, since the data say it

_COUNTS = ("batch_size", "bins", "blocks", "dim", "steps", "train_steps", "transforms", "width")


def build(
    cls: Any,
    dim: int,
    options: Mapping[str, Any],
    condition_dim: int = 0,
    event_shape: tuple[int, ...] | None = None,
) -> Any:
    """A model with its options.

    With a velocity on pictures its divergence is estimated by one random probe where no other is named: the exact one
    pushes as many tangents as a picture has entries.

    Args:
        cls: The model's class, or a function that returns a model.
        dim: Dimension of a row.
        options: Constructor arguments. The parts of a flow may be named: `{"integrator": "heun"}`, or with arguments
            `{"integrator": {"name": "adaptive", "rtol": 1e-6}}`.
        condition_dim: Dimension of the data's condition, 0 where there is none.
        event_shape: The data's `event_shape`, for velocities on pictures.

    Raises:
        InputError: An option that the model does not have, or a value that it can't be built with.
    """
    options = {**options, "condition_dim": condition_dim} if condition_dim else options
    check_options(cls, options)
    check_values(cls, options)
    hints = _types_of(cls)
    of_velocity = {"condition_dim": condition_dim} if condition_dim else {}
    arguments: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _PARTS or name in _plain(hints):
            arguments[name] = _tuples(value)
        elif not isinstance(value, str | dict):
            arguments[name] = value
        elif _PARTS[name] != "velocity":
            # Under `noise` stands a scheduler of another interface.
            arguments[name] = part(name if name == "noise" else _PARTS[name], value)
        else:
            arguments[name] = network(value, dim, event_shape, **of_velocity)
            if for_pictures(value) and "divergence" not in options:
                arguments["divergence"] = part("divergence", "hutchinson")
    try:
        return cls(dim, **arguments)
    except InputError:
        raise
    except Exception as error:
        if not options and not isinstance(error, TypeError):
            raise
        given = f"can't be built with {_in_words(options)} " if options else ""
        raise InputError(f"{registry.name_of(cls)}: {given}({type(error).__name__}: {error})") from error


def with_network(cls: Any, options: Mapping[str, Any], velocity: str | None) -> dict[str, Any]:
    """Options of a model, with its network under the name that the model's constructor has for it.

    Args:
        cls: The model's class.
        options: Its other options.
        velocity: A velocity by its name, such as `unet` or `unet,width=16`; `None` leaves all as it is.

    Raises:
        InputError: A model that is made of no velocity.

    Example:
        >>> import genflow as gf
        >>> from genflow.naming.options import with_network
        >>> with_network(gf.models.JKOiFlow, {"blocks": 2}, "unet")
        {'blocks': 2, 'block': 'unet'}
    """
    if velocity is None:
        return dict(options)
    name = network_of(cls)
    if name is None:
        raise InputError(f"velocity: {registry.name_of(cls)} is made of no velocity; leave it out")
    return {**options, name: velocity}


def network_of(cls: Any) -> str | None:
    """The argument that takes a model's network; `None` of a model that is made of no velocity."""
    known = option_names(cls) or []
    return next((name for name in _NETWORKS if name in known), None)


def check_options(cls: Any, options: Mapping[str, Any]) -> None:
    """Refuses options that a model does not have.

    Raises:
        InputError: With the nearest name, and all of them.
    """
    known = option_names(cls)
    if known is None:
        return
    typed = [option for option in known if option != _OF_DATA]
    check_keywords(registry.name_of(cls), [name for name in options if name not in known], typed)


def check_values(cls: Any, options: Mapping[str, Any]) -> None:
    """Refuses values of another type than the constructor's annotations say, and counts below 1.

    Raises:
        InputError: With what would do.
    """
    hints = _types_of(cls)
    for name, value in options.items():
        if other := _refusal(name, value, hints.get(name, Any)):
            raise InputError(f"{registry.name_of(cls)}: {name}={quote(value)} came; {other} would do")


def option_names(cls: Any) -> list[str] | None:
    """The options that a model has; `None` where it takes anything, and knows what to do with it.

    Args:
        cls: The model's class, or a function that returns a model.
    """
    parameters = dict(list(inspect.signature(cls).parameters.items())[1:])
    known = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    if len(known) == len(parameters):
        return known
    if (returned := class_behind(cls)) is not None:
        further = option_names(returned)
        return None if further is None else list(dict.fromkeys([*known, *further]))
    return [*known, *_FLOW] if hasattr(cls, "replace") else None


def parts_behind(cls: Any) -> dict[str, str]:
    """The parts of a flow that a model takes although its signature does not name them; what each is by default.

    Args:
        cls: The model's class, or a function that returns a model.

    Example:
        >>> import genflow as gf
        >>> parts_behind(gf.baselines.ffjord)["integrator"], parts_behind(gf.baselines.NSF)
        ('dopri5', {})
    """
    named = inspect.signature(cls).parameters
    found = [name for name in option_names(cls) or [] if name in _FLOW and name not in named]
    if not found:
        return {}
    try:
        made = cls(2)
    except Exception:  # a class of the user's own may want more than a dimension
        return dict.fromkeys(found, "the model's own")
    return {name: _called(getattr(made, name, None)) for name in found}


def _called(part: Any) -> str:
    """What a part is called: its method or registered name, otherwise the words that its class's name is made of."""
    name = getattr(part, "method", "") or registry.name_of(type(part))
    if ":" not in name:
        return name
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(part).__name__).lower()


def _types_of(cls: Any) -> dict[str, Any]:
    """The types of a model's options, as far as they can be told."""
    returned = class_behind(cls)
    return {**({} if returned is None else types_of(returned)), **types_of(cls)}


def class_behind(function: Any) -> type[Component] | None:
    """The class of the models that a function is said to return, which takes its `**options`.

    Example:
        >>> import genflow as gf
        >>> class_behind(gf.baselines.ffjord).__name__
        'CNF'
    """
    found = None if isinstance(function, type) else types_of(function).get("return")
    return found if isinstance(found, type) and issubclass(found, Component) else None


def _refusal(name: str, value: Any, hint: Any) -> str:
    """What would do in the place of a value; empty if it does."""
    if name in _PARTS and not is_plain(hint):
        kind = _PARTS[name]
        if isinstance(value, bool | int | float | list) or value is None:
            return f"the name of a part, such as {registry.names(kind)[0]},"
        return ""
    if name == "base" and isinstance(value, str | bool | int | float | list | dict):
        return "a distribution, from Python,"
    if other := expectation(value, hint):
        return other
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            return "a finite number"
        if name in _COUNTS and value < 1:
            return "at least 1"
        if name.endswith("_rate") and value <= 0:
            return "more than 0"
    return ""


def _plain(hints: Mapping[str, Any]) -> set[str]:
    return {name for name, hint in hints.items() if is_plain(hint)}


def _tuples(value: Any) -> Any:
    """JSON has lists only."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _in_words(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={quote(value)}" for name, value in options.items())
