"""Models as files: weights in safetensors, structure in JSON, written atomically. No code is executed on load."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from genflow.errors import InputError
from genflow.interfaces import Component
from genflow.own_modules import own_module
from genflow.storage import atomic

__all__ = ["FORMAT", "built", "described", "load", "named_classes", "save", "write_model"]

FORMAT = 1
"""Number of the format; a newer one is refused, an older one stays readable."""

_STRUCTURE = "model.json"
_WEIGHTS = "model.safetensors"


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """Writes a model to a new folder: `model.json` and `model.safetensors`.

    Args:
        model: A model made of components.
        path: The folder; it must not exist.

    Raises:
        InputError: The folder exists, or a part is not a component.
    """
    structure = described(model)
    with atomic.folder(path) as folder:
        write_model(model, folder, structure)


def write_model(model: nn.Module, folder: Path, structure: Any = None) -> None:
    """Writes a model into a folder that exists."""
    from safetensors.torch import save as serialized

    from genflow import __version__

    structure = described(model) if structure is None else structure
    text = json.dumps({"format": FORMAT, "genflow": __version__, "model": structure}, indent=1)
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    (folder / _WEIGHTS).write_bytes(serialized(weights))
    (folder / _STRUCTURE).write_text(text + "\n", encoding="utf-8")


def load(path: str | PathLike[str], trust: Sequence[str] = ()) -> Any:
    """Reads a model that `save` wrote.

    Only components of genflow itself and of installed entry points are built; a checkpoint can't make it import, let
    alone run, anything else.

    Args:
        path: The folder.
        trust: Further components that may be imported, as `module:Name`.

    Raises:
        InputError: No checkpoint there, a damaged one, one of a newer format, or one that names a foreign class.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(path)
    if not (folder / _STRUCTURE).is_file():
        raise InputError(f"{folder}: no model there ({_STRUCTURE} is missing); name a folder that fit or save wrote")
    try:
        document = json.loads((folder / _STRUCTURE).read_text(encoding="utf-8"))
        number, structure = document["format"], document["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / _STRUCTURE}: damaged, it can't be read as a model ({type(error).__name__})"
        ) from None
    if not isinstance(number, int) or number > FORMAT:
        raise InputError(f"{folder}: format {number} came, this version reads up to {FORMAT}; install a newer genflow")
    try:
        # clone: into memory that torch has aligned. Elsewhere kernels split their work, and round, differently.
        weights = {name: tensor.clone() for name, tensor in load_file(folder / _WEIGHTS).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / _WEIGHTS}: missing or damaged ({error}); copy it again") from None
    model = built(structure, frozenset(trust), folder)
    try:
        # assign: buffers and parameters take the dtype that was saved.
        model.load_state_dict(weights, assign=True)
    except (RuntimeError, AttributeError) as error:
        line = str(error).splitlines()[-1].strip()
        raise InputError(f"{folder}: weights and structure do not belong together ({line})") from None
    for parameter in model.parameters():
        parameter.requires_grad_()
    return model.eval()


def described(value: Any) -> Any:
    """JSON for a value: a component becomes its class and its arguments, a function of a module the name of both.

    Raises:
        InputError: A value that JSON can't hold and that is no component.
    """
    if isinstance(value, Component):
        cls = type(value)
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "arguments": described(value.config())}
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [described(item) for item in value]}
    if isinstance(value, list):
        return [described(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if inspect.isfunction(value) and "<" not in value.__qualname__ and value.__module__ != "__main__":
        return {"function": f"{value.__module__}:{value.__qualname__}"}
    raise InputError(
        f"save: a {type(value).__name__} can't be written to a checkpoint; make it a component (subclass gf.Component)"
        + (", or a function at the top of a module" if inspect.isfunction(value) else "")
    )


def named_classes(description: Any) -> Iterator[str]:
    """The classes and functions that a description names."""
    items: Any = ()
    if isinstance(description, dict):
        items = description.values()
        if set(description) == {"class", "arguments"}:
            yield description["class"]
        elif set(description) == {"function"}:
            yield description["function"]
    elif isinstance(description, list):
        items = description
    for item in items:
        yield from named_classes(item)


def built(value: Any, trust: frozenset[str], folder: Path) -> Any:
    """The value that `described` wrote, its components built again; see `load` for which may be imported."""
    if isinstance(value, dict) and set(value) == {"class", "arguments"}:
        cls = _component_class(value["class"], trust, folder)
        arguments = {name: built(item, trust, folder) for name, item in value["arguments"].items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InputError(f"{folder}: {cls.__name__} can't be built from the checkpoint ({error})") from None
    if isinstance(value, dict) and set(value) == {"function"}:
        return _named_object(value["function"], "function", trust, folder, known=False)
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return tuple(built(item, trust, folder) for item in value["tuple"])
    if isinstance(value, dict):
        return {key: built(item, trust, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [built(item, trust, folder) for item in value]
    return value


def _component_class(path: str, trust: frozenset[str], folder: Path) -> type[Component]:
    module = str(path).partition(":")[0]
    cls = _named_object(path, "class", trust, folder, known=module == "genflow" or module.startswith("genflow."))
    if not (isinstance(cls, type) and issubclass(cls, Component)):
        raise InputError(f"{folder}: it names {path!r}, which is not a component")
    return cls


def _named_object(path: str, what: str, trust: frozenset[str], folder: Path, known: bool) -> Any:
    """What `module:Name` names, if it is known, trusted, or brought by an installed package."""
    module, _, name = str(path).partition(":")
    if not known and path not in trust and path not in _entry_points():
        raise InputError(
            f"{folder}: it names the foreign {what} {path!r}, which was not imported; "
            f'if you trust it, load(…, trust=["{path}"]) or --trust {path}'
        )
    try:
        # Only what the user trusts is looked for in the current folder, too.
        imported = own_module(module) if path in trust else importlib.import_module(module)
        return getattr(imported, name)
    except Exception as error:  # a module of the user's own may fail in any way
        advice = (
            "which is not there in this version; install the one that wrote it"
            if known
            else "which can't be imported; run in the folder of its module, or name that in PYTHONPATH"
        )
        raise InputError(f"{folder}: it names {path!r}, {advice} ({type(error).__name__}: {error})") from None


def _entry_points() -> set[str]:
    from importlib.metadata import entry_points

    groups = ("velocities", "integrators", "divergences", "schedulers", "models", "metrics")
    return {point.value for group in groups for point in entry_points(group=f"genflow.{group}")}
