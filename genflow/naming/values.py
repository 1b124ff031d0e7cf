"""Values that people type, held against the types that a constructor's annotations name."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from genflow.errors import InputError

__all__ = ["check_arguments", "is_plain", "quote", "types_of", "expectation"]

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def expectation(value: Any, hint: Any) -> str:
    """What would do in the place of a value, by its annotation; empty if it does.

    Example:
        >>> expectation(3, int), expectation("3", int), expectation("slow", typing.Literal["fast", "exact"])
        ('', 'a whole number', 'one of fast, exact')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "" if value in arguments else f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        found = [expectation(value, argument) for argument in arguments]
        return "" if "" in found else " or ".join(dict.fromkeys(found))
    if origin is tuple:
        items = (
            (arguments[0],) * len(value) if arguments[1:] == (...,) and isinstance(value, list | tuple) else arguments
        )
        if isinstance(value, list | tuple) and len(value) == len(items):
            return next(filter(None, map(expectation, value, items)), "")
        return (
            "a list such as [" + ", ".join("1" if item is int else "1.0" for item in arguments if item is not ...) + "]"
        )
    if hint is types.NoneType:
        return "" if value is None else "null"
    if hint is float:
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else _KINDS[float]
    if hint is int:
        return "" if isinstance(value, int) and not isinstance(value, bool) else _KINDS[int]
    if hint in (str, bool):
        return "" if isinstance(value, hint) else _KINDS[hint]
    return ""


def types_of(callable_: Any) -> dict[str, Any]:
    """The types of the arguments of a class's constructor, or of a function, as far as they can be told.

    The type of what a function returns goes by `return`.
    """
    typed: Any = callable_
    try:
        return typing.get_type_hints(typed.__init__ if isinstance(callable_, type) else typed)
    except Exception:  # annotations of the user's own may name anything
        return {}


def is_plain(hint: Any) -> bool:
    """Whether an annotation is a plain type of one value."""
    return hint in (int, float, str, bool)


def check_arguments(owner: str, callable_: Any, arguments: Mapping[str, Any], hints: Mapping[str, str] = {}) -> None:
    """Refuses arguments that a class or a function does not take, or whose values are of another type.

    Args:
        owner: What the error begins with, such as `integrator: heun`.
        callable_: The class or the function.
        arguments: The arguments, by name.
        hints: What to say of a name that it does not take.

    Raises:
        InputError: With the arguments that it takes.
    """
    try:
        parameters = inspect.signature(callable_).parameters
    except (TypeError, ValueError):
        return
    hinted = types_of(callable_)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in arguments:
            if name not in parameters:
                known = f"it takes {', '.join(parameters)}" if parameters else "it takes no options"
                hint = f"; {hints[name]}" if name in hints else ""
                raise InputError(f"{owner} has no option {name!r}: {known}{hint}")
    for name, value in arguments.items():
        if would := expectation(value, hinted.get(name, Any)):
            raise InputError(f"{owner}: {name}={quote(value)} came; {would} would do")


def quote(value: Any) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value, default=repr)
