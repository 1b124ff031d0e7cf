"""Components as JSON, and JSON as components: which classes a file may name, and how they are built from it.

A component is `{"class": "module:Name", "arguments": {...}}`, a function of a module `{"function": "module:Name"}`, a
tuple `{"tuple": [...]}`. An object that would be mistaken for one of these is `{"object": {...}}`.

Nothing is imported because a file says so. A name is looked up if it is known beforehand: a component that a module of
genflow's own parts, models and preprocessings defines, what an installed package registers, what the reader trusts.
"""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Collection, Iterable, Iterator
from numbers import Integral, Real
from typing import Any

from genflow.errors import InputError, reason
from genflow.interfaces import Component
from genflow.naming.own_modules import import_own_module
from genflow.storage.bounds import Exceeded
from genflow.storage.documents import expectation, not_finite, printable

__all__ = ["construct", "check_names", "describe", "is_own", "names_in", "trusted"]

_PACKAGES = (
    "baselines", "data", "divergences", "fitted", "imputation", "models", "paths", "schedulers", "solvers", "training",
    "velocities",
)  # fmt: skip
_MODULES = ("base", "fitting", "flow", "groups", "normal_mixture", "scale_mixture", "wrappers")
"""Where genflow's own components are defined."""

_MOVED = {
    "genflow.fitted:Transformed": "genflow.fitted.transformed:Transformed",
    "genflow.flow:StandardNormal": "genflow.base:StandardNormal",
    "genflow.functions:FunctionIntegrator": "genflow.solvers.function:FunctionIntegrator",
    "genflow.functions:FunctionScheduler": "genflow.schedulers.function:FunctionScheduler",
    "genflow.model:Transformed": "genflow.fitted.transformed:Transformed",
    "genflow.schedulers.noise:LinearInterpolant": "genflow.paths.interpolants:LinearInterpolant",
    "genflow.schedulers.noise:VariancePreserving": "genflow.paths.diffusions:VariancePreserving",
}
"""What older files call by another name."""

_ABSENT = "which is not a component, or is not there in this version; install the one that wrote it"

_MARKS = ({"class", "arguments"}, {"function"}, {"tuple"}, {"object"})


def describe(value: Any) -> Any:
    """JSON for a value: a component becomes its class and its arguments, a function of a module the name of both.

    Raises:
        InputError: A value that JSON can't hold and that is no component.
    """
    if isinstance(value, Component):
        cls = type(value)
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "arguments": _items(value.config())}
    if isinstance(value, dict):
        items = _items(value)
        return {"object": items} if set(items) in _MARKS else items
    if isinstance(value, tuple):
        return {"tuple": [describe(item) for item in value]}
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's, too
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if inspect.isfunction(value) and "<" not in value.__qualname__ and value.__module__ != "__main__":
        return {"function": f"{value.__module__}:{value.__qualname__}"}
    raise InputError(
        f"save: a {type(value).__name__} can't be written to a checkpoint; make it a component (subclass gf.Component)"
        + (", or a function at the top of a module" if inspect.isfunction(value) else "")
    )


def names_in(description: Any) -> list[str]:
    """The classes and functions that a description names."""
    return list(dict.fromkeys(name for _, name in _references(description)))


def check_names(description: Any, trust: Collection[str], source: Any) -> None:
    """Refuses a description that names what is not known, all of it at once, and before anything is imported.

    Args:
        description: JSON of `describe`.
        trust: Further names that may be imported, as `module:Name`.
        source: The file, for the error.
    """
    foreign: dict[str, str] = {}
    for what, name in _references(description):
        if not isinstance(name, str):
            raise InputError(f"{source}: damaged, a {type(name).__name__} stands where the name of a {what} should")
        if is_own(name):
            continue
        if name.partition(":")[0].split(".")[0] == "genflow":
            raise InputError(f"{source}: it names {name!r}, {_ABSENT}")
        if name not in trust and name not in _entry_points():
            foreign[name] = what
    if foreign:
        kinds = set(foreign.values())
        plural = len(foreign) > 1
        what = "classes" if kinds == {"class"} else "functions" if kinds == {"function"} else "classes and functions"
        what = what if plural else kinds.pop()
        raise InputError(
            f"{source}: it names the foreign {what} {', '.join(map(repr, foreign))}, which "
            f"{'were' if plural else 'was'} not imported; if you trust {'them' if plural else 'it'}, "
            f"load {'them' if plural else 'it'} with trust={json.dumps(list(foreign))}"
        )


def trusted(names: Iterable[str]) -> list[str]:
    """What is trusted, as `module:Name`; a module that was named by its file is imported from there.

    Args:
        names: Names, as `module:Name` or `file.py:Name`.

    Raises:
        InputError: No such name, or a file that can't be imported.
    """
    found = []
    for name in names if isinstance(names, Iterable) else [names]:
        if not (isinstance(name, str) and all(name.partition(":"))):
            raise InputError(f"trust: {name!r} came; a module and a name in it, such as my_flows:MyFlow, would do")
        module, _, part = name.rpartition(":")
        if module.endswith(".py"):
            try:
                module = import_own_module(module).__name__
            except Exception as error:  # a module of the user's own may fail in any way
                raise InputError(f"trust: {name!r} can't be imported ({reason(error)})") from None
        found.append(f"{module}:{part}")
    return found


def construct(value: Any, trust: Collection[str], source: Any) -> Any:
    """The value that `describe` wrote, its components built again.

    Args:
        value: JSON of `describe`, whose names have been checked.
        trust: What may be imported beside genflow's own and installed components, as `module:Name`.
        source: The file, for errors.

    Raises:
        InputError: A name that is not there or no component, or arguments that its constructor does not take.
    """
    if isinstance(value, list):
        return [construct(item, trust, source) for item in value]
    if not isinstance(value, dict):
        return value
    keys = set(value)
    if keys == {"class", "arguments"}:
        return _component(value, trust, source)
    if keys == {"function"}:
        return _object(value["function"], trust, source)
    if keys == {"tuple"} and isinstance(value["tuple"], list):
        return tuple(construct(item, trust, source) for item in value["tuple"])
    inner = value["object"] if keys == {"object"} and isinstance(value["object"], dict) else value
    return {key: construct(item, trust, source) for key, item in inner.items()}


def is_own(path: str) -> bool:
    """Whether a name is in a module where genflow's own components are. (What is there is a component or refused.)"""
    module, _, name = _MOVED.get(path, path).partition(":")
    root, *parts = module.split(".")
    words = root == "genflow" and all(word.isidentifier() for word in (*parts, name))
    return words and ((parts[:1] and parts[0] in _PACKAGES) or (len(parts) == 1 and parts[0] in _MODULES))


def _items(items: dict[Any, Any]) -> dict[str, Any]:
    return {printable(key): describe(item) for key, item in items.items()}


def _component(value: dict[str, Any], trust: Collection[str], source: Any) -> Component:
    cls = _object(value["class"], trust, source)
    if not (isinstance(cls, type) and issubclass(cls, Component)) or inspect.isabstract(cls):
        raise InputError(f"{source}: it names {value['class']!r}, which is not a component")
    if not isinstance(value["arguments"], dict):
        raise InputError(f"{source}: damaged, the arguments of {cls.__name__} are no object")
    arguments = {name: construct(item, trust, source) for name, item in value["arguments"].items()}
    _check_arguments(cls, arguments, source)
    try:
        return cls(**arguments)
    except Exceeded as error:
        raise InputError(f"{source}: weights and structure do not belong together ({error})") from None
    except Exception as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{source}: {cls.__name__} can't be built from the checkpoint ({type(error).__name__}: {why})"
        ) from None


def _check_arguments(cls: type[Component], arguments: dict[str, Any], source: Any) -> None:
    """Refuses arguments of another type than the constructor's annotations say, and numbers that are none."""
    try:
        hints = typing.get_type_hints(cls.__init__)
    except Exception:  # annotations of the user's own may name anything
        hints = {}
    for name, value in arguments.items():
        hint = hints.get(name, Any)
        answer = expectation(value, hint, name)
        if not answer and hint is not Any and not_finite(value) and not not_finite(cls.defaults().get(name)):
            answer = f"{name}: {value} came; a finite number would do"
        if answer:
            raise InputError(f"{source}: {cls.__name__} can't be built from the checkpoint, {answer}")


def _object(path: str, trust: Collection[str], source: Any) -> Any:
    """What `module:Name` names."""
    check_names({"function": path}, trust, source)
    module, _, name = _MOVED.get(path, path).partition(":")
    try:
        # Only what the user trusts is looked for in the current folder, too.
        imported = import_own_module(module) if path in trust else importlib.import_module(module)
        found = getattr(imported, name)
    except Exception as error:  # a module of the user's own may fail in any way
        by_file = json.dumps([f"folder/{module}.py:{name}"])
        advice = f"which can't be imported; run in the folder of its module, or name that, as in trust={by_file}"
        raise InputError(
            f"{source}: it names {path!r}, {_ABSENT if is_own(path) else advice} ({reason(error)})"
        ) from None
    if is_own(path) and not (isinstance(found, type) and issubclass(found, Component)):
        raise InputError(f"{source}: it names {path!r}, {_ABSENT}")
    return found


def _references(description: Any) -> Iterator[tuple[str, Any]]:
    """The names in a description, and whether each is that of a class or of a function."""
    items: Any = ()
    if isinstance(description, dict):
        items = description.values()
        if set(description) == {"class", "arguments"}:
            yield "class", description["class"]
        elif set(description) == {"function"}:
            yield "function", description["function"]
    elif isinstance(description, list):
        items = description
    for item in items:
        yield from _references(item)


def _entry_points() -> set[str]:
    from importlib.metadata import entry_points

    kinds = ("velocities", "integrators", "divergences", "schedulers", "models", "metrics")
    return {point.value for kind in kinds for point in entry_points(group=f"genflow.{kind}")}
