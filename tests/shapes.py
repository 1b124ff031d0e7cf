"""Shapes in signatures, held against what comes and goes: `Float[Tensor, "*batch d"]` by jaxtyping and beartype.

Only functions whose annotations name a shape are wrapped, once, where they stand. jaxtyping's own import hook wraps all
of them, and those within functions anew in each call, which takes more time than all that is tested.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped

__all__ = ["check_shapes"]

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
                    wrapped[value] = jaxtyped(value, typechecker=beartype)
                    setattr(owner, name, wrapped[value])
    # Other modules hold some of them by name.
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "genflow"]:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in wrapped:
                setattr(module, name, wrapped[value])
    return len(wrapped)


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
