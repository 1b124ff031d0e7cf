"""Shapes in signatures, held against what comes and goes: `Float[Tensor, "*batch d"]` by jaxtyping and beartype.

Only functions whose annotations name a shape are wrapped, once, where they stand. jaxtyping's own import hook wraps all
of them, and those within functions anew in each call, which takes more time than all that is tested.

A solver asks one function for the same shapes a thousand times. What came and went is checked when it comes in a form
that has not passed before: shapes, dtypes and classes are all that a signature speaks of.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped
from torch import Tensor

__all__ = ["check_shapes"]

_LONG = 8  # parts of a list: beartype looks at one of them, so that not all need a look here

_SHAPED = re.compile(r"\b(Float|Int|Bool|Shaped)\[")


def check_shapes(names: Iterable[str]) -> int:
    """Checks the shapes in these modules, or packages, from now on.

    Returns:
        How many functions it checks.
    """
    wrapped: dict[Any, Any] = {}
    for module in [module for name in names for module in _with_parts(importlib.import_module(name))]:
        classes = [item for item in vars(module).values() if isinstance(item, type) and _is_of(item, module)]
        for owner in (module, *classes):
            for name, value in list(vars(owner).items()):
                if any(_is_of(function, module) and _is_shaped(function) for function in _functions(value)):
                    wrapped[value] = _checked(value)
                    setattr(owner, name, wrapped[value])
    # Other modules hold some of them by name.
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "genflow"]:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in wrapped:
                setattr(module, name, wrapped[value])
    return len(wrapped)


def _checked(value: Any) -> Any:
    """A function whose arguments and result are checked, once in every form; properties and class methods always."""
    always = jaxtyped(value, typechecker=beartype)
    if not inspect.isfunction(value):
        return always
    passed: set[Hashable] = set()

    @functools.wraps(value)
    def once(*arguments: Any, **named: Any) -> Any:
        form = _form((arguments, tuple(named.items())))
        if form is None:
            return always(*arguments, **named)
        if form not in passed:
            result = always(*arguments, **named)
            passed.update([form, (form, _form(result))])
            return result
        result = value(*arguments, **named)
        answer = _form(result)
        if answer is None or (form, answer) not in passed:
            _answering(value, result)(*arguments, **named)
            passed.add((form, answer))
        return result

    return once


def _answering(function: FunctionType, result: Any) -> Callable[..., Any]:
    """The function's signature, checked, around a result that is there already."""

    def answer(*arguments: Any, **named: Any) -> Any:
        return result

    # Where the function stands, or its annotations mean nothing and all is let through.
    there = FunctionType(answer.__code__, function.__globals__, function.__name__, None, answer.__closure__)
    return jaxtyped(functools.update_wrapper(there, function), typechecker=beartype)


def _form(value: Any) -> Hashable:
    """All of a value that a signature can speak of; `None` where there is no end to it."""
    if isinstance(value, Tensor):
        return type(value), tuple(value.shape), value.dtype
    if isinstance(value, tuple | list):
        parts = [_form(part) for part in value] if len(value) <= _LONG else [None]
        return None if None in parts else (type(value), *parts)
    if isinstance(value, str | bool | int):  # one of a Literal
        return type(value), value
    return (type(value),)


def _with_parts(module: ModuleType) -> list[ModuleType]:
    parts = pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}.")
    return [module, *(importlib.import_module(part.name) for part in parts)]


def _functions(value: Any) -> Iterator[Any]:
    if isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from filter(None, (value.fget, value.fset))
    elif inspect.isfunction(value):
        yield value


def _is_of(item: Any, module: ModuleType) -> bool:
    return getattr(item, "__module__", None) == module.__name__


def _is_shaped(function: Any) -> bool:
    return any(_SHAPED.search(str(hint)) for hint in function.__annotations__.values())
