"""A part of a flow from what people name it by: a registered name, `module:Name`, a class, a function, or the part."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from genflow.errors import InputError, name_of_function
from genflow.interfaces import DivergenceEstimator, Integrator, NoiseSchedule, Scheduler, Velocity
from genflow.naming import registry
from genflow.naming.assignments import assignment
from genflow.naming.values import check_arguments, types_of

__all__ = ["for_pictures", "label_of", "network", "part", "parts", "ready"]

_INTERFACES: dict[str, type] = {
    "velocity": Velocity,
    "divergence": DivergenceEstimator,
    "integrator": Integrator,
    "scheduler": Scheduler,
    "noise": NoiseSchedule,
}
_ELSEWHERE = {"integrator": {"steps": "how many steps is told by the scheduler: steps=4"}}
_PICTURE = 3  # axes of a picture: channels, height, width
_KINDS = {"noise": "scheduler"}  # what a kind is registered as, where that has another name


def part(kind: str, given: Any, *first: Any, **defaults: Any) -> Any:
    """The part that somebody asks for.

    Args:
        kind: `velocity`, `divergence`, `integrator`, `scheduler` or `noise`.
        given: The part itself; a class or function; or a text: a name, with arguments if need be, as in
            `hutchinson,n=8` or `{"name": "hutchinson", "n": 8}`. A method of torchdiffeq is a name, too: `dopri5`.
        first: What its class is called with before the arguments: a velocity's dimension.
        defaults: Arguments where `given` has none of that name.

    Raises:
        InputError: No such part, one that can't be built, or something else than such a part.

    Example:
        >>> from genflow.naming.parts import part
        >>> part("divergence", "hutchinson,n=8").n
        8
        >>> part("integrator", "dopri5,rtol=1e-6").method
        'dopri5'
    """
    if isinstance(given, _INTERFACES[kind]):
        return given
    name, arguments = _name_and_arguments(kind, given) if isinstance(given, str | Mapping) else (given, {})
    if isinstance(name, str):
        found, arguments = _look_up(kind, name, arguments)
    else:
        found, name = given, name_of_function(given, type(given).__name__)
    if isinstance(found, _INTERFACES[kind]):
        made = found
    else:
        if isinstance(found, type):
            check_arguments(f"{kind}: {name}", found, arguments, _ELSEWHERE.get(kind, {}))
            if lacking := _lacking(found, first, {**defaults, **arguments}):
                raise InputError(
                    f"{kind}: {name} is made of {', '.join(lacking)}, which Python alone can give it; "
                    f"{', '.join(ready(kind, *first))} would do"
                )
        try:
            convert = registry.from_function(kind)
            if convert is not None and _is_the_part_itself(found):
                made = convert(found, **arguments)
            else:
                made = found(*first, **{**defaults, **arguments})
        except InputError:
            raise
        except Exception as error:  # a class of the user's own may fail in any way
            raise InputError(f"{kind}: {name} can't be built ({type(error).__name__}: {error})") from error
    if not isinstance(made, _INTERFACES[kind]):
        raise InputError(f"{kind}: {name} is no {_INTERFACES[kind].__name__}; another one of `genflow list` would do")
    return made


def network(given: Any, dim: int, event_shape: tuple[int, ...] | None = None, **defaults: Any) -> Velocity:
    """The velocity that somebody asks for, for rows of a data set; one on pictures is told their shape and flattened.

    Args:
        given: As in `part`.
        dim: The number of columns of a row.
        event_shape: Channels, height and width of the picture that a row holds; `None` of a table.
        defaults: As in `part`.

    Raises:
        InputError: A velocity on pictures for rows that are none; see `part`.

    Example:
        >>> import torch
        >>> from genflow.naming.parts import network
        >>> network("unet,width=8", 64, (1, 8, 8))(torch.randn(5, 64), torch.tensor(0.5)).shape
        torch.Size([5, 64])
    """
    if not for_pictures(given):
        return part("velocity", given, dim, **defaults)
    if event_shape is None:
        name = _name_and_arguments("velocity", given)[0] if isinstance(given, str | Mapping) else given.__name__
        raise InputError(
            f"velocity: {name} is for pictures, the data are rows of {dim} columns; digits or a folder of pictures "
            "would do, or a velocity of rows such as residual-mlp"
        )
    return registry.lookup("velocity", "flattened")(part("velocity", given, event_shape, **defaults))


def for_pictures(given: Any) -> bool:
    """Whether a name, or a class, is that of a velocity on pictures, which is built with their shape.

    Example:
        >>> from genflow.naming.parts import for_pictures
        >>> for_pictures("unet"), for_pictures("shallow")
        (True, False)
    """
    found = (
        _look_up("velocity", *_name_and_arguments("velocity", given))[0] if isinstance(given, str | Mapping) else given
    )
    return isinstance(found, type) and issubclass(found, Velocity) and found.event_ndim == _PICTURE


def parts(kind: str, given: Any) -> dict[str, Any]:
    """Several parts of one kind, by the labels that tables know them by.

    Args:
        kind: As in `part`.
        given: One, a list of them, or a dictionary of them by label.

    Raises:
        InputError: None, or two under one label.
    """
    if isinstance(given, Mapping) and "name" not in given:
        return {label: part(kind, item) for label, item in given.items()}
    items = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found: dict[str, Any] = {}
    for item in items:
        made = part(kind, item)
        label = label_of(item, made)
        if label in found:
            raise InputError(f"{kind}s: {label} came twice; give them labels by a dictionary")
        found[label] = made
    if not found:
        raise InputError(f"{kind}s: none came; some of {', '.join(registry.names(kind))} would do")
    return found


def ready(kind: str, *first: Any) -> list[str]:
    """The registered parts of a kind that can be built without further arguments.

    Args:
        kind: As in `part`.
        first: Likewise.

    Example:
        >>> from genflow.naming.parts import ready
        >>> "hutchinson" in ready("divergence"), "control-variate" in ready("divergence")
        (True, False)
        >>> "shallow" in ready("velocity", 2), "guided" in ready("velocity", 2)
        (True, False)
    """
    found = {name: _look_up(kind, name, {})[0] for name in registry.names(_KINDS.get(kind, kind))}
    fitting = {n: f for n, f in found.items() if not isinstance(f, type) or issubclass(f, _INTERFACES[kind])}
    return [name for name, one in fitting.items() if not _lacking(one, first)]


def label_of(given: Any, made: Any) -> str:
    """What tables call a part: what it was asked for by, without the module; otherwise its registered name."""
    if isinstance(given, str) and not given.startswith("{"):
        name, comma, rest = given.partition(",")
        return name.rpartition(":")[2] + comma + rest
    if isinstance(given, Mapping):
        arguments = [f"{key}={value}" for key, value in given.items() if key != "name"]
        return ",".join([str(given.get("name", "")).rpartition(":")[2], *arguments])
    if name := name_of_function(given, ""):
        return name
    options = made.given()
    name = name_of_function(options.pop("function", None), "") or registry.name_of(type(made))
    return ",".join([name.rpartition(":")[2], *(f"{key}={value}" for key, value in options.items())])


def _name_and_arguments(kind: str, given: Any) -> tuple[str, dict[str, Any]]:
    """A name and its arguments."""
    if isinstance(given, str) and given.startswith("{"):
        try:
            return _name_and_arguments(kind, dict(json.loads(given)))
        except ValueError as error:
            raise InputError(f"{kind}: {given} is no JSON ({error}); NAME,OPTION=VALUE would do") from None
    if isinstance(given, Mapping):
        arguments = dict(given)
        return str(arguments.pop("name", "")), arguments
    name, *assignments = str(given).split(",")
    return name, dict(assignment(text, "NAME,OPTION=VALUE, such as hutchinson,n=8,", of=kind) for text in assignments)


def _look_up(kind: str, name: str, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What goes by a name; a method of torchdiffeq is that class with its first argument."""
    if kind == "integrator" and name not in registry.names(kind):
        adaptive = registry.lookup(kind, "adaptive")
        if name in adaptive.methods:
            return adaptive, {"method": name, **arguments}
    return registry.lookup(_KINDS.get(kind, kind), name), arguments


def _lacking(found: Any, first: Sequence[Any], arguments: Mapping[str, Any] = types.MappingProxyType({})) -> list[str]:
    """The arguments that a call with these can't do without, by name; also those in whose place another thing comes."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return []
    hints = types_of(found)
    filled = [p.name for p, value in zip(parameters, first, strict=False) if _takes(hints.get(p.name, Any), value)]
    taken = {p.name for p in parameters[: len(first)]} - {*filled}
    return [p.name for p in parameters if p.name in taken or (_is_required(p) and p.name not in {*filled, *arguments})]


def _takes(hint: Any, value: Any) -> bool:
    """Whether an argument of this annotation may be such a value; where it does not say, it may."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_takes(one, value) for one in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    return hint is Any or not isinstance(kind, type) or isinstance(value, kind)


def _is_the_part_itself(found: Any) -> bool:
    """Whether a function is called like the part; one of at most one argument makes the part.

    A class makes one, too; of an object that can be called, the call counts.
    """
    if isinstance(found, type):
        return False
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return True
    parameters = signature.parameters.values()
    return sum(map(_is_required, parameters)) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _is_required(parameter: inspect.Parameter) -> bool:
    """Whether a call can't do without an argument in this place."""
    kinds = (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return parameter.kind in kinds and parameter.default is parameter.empty
