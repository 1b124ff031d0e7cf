"""The models of a comparison: each by its label, looked up and tried before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genflow.errors import InputError
from genflow.model import builder
from genflow.naming import registry
from genflow.naming.options import build, check_options, check_values, network_of, with_network

__all__ = ["Entrant", "entrants", "try_options"]


@dataclass(frozen=True)
class Entrant:
    """A model that takes part.

    Attributes:
        label: What it is called in tables.
        name: The name that it is found by.
        cls: Its class, or a function that returns a model.
        options: Its constructor arguments.
        nameless: Whether no other process can find it by its name: it was made in a script, a notebook or a function.
    """

    label: str
    name: str
    cls: Any
    options: Mapping[str, Any]
    nameless: bool = False

    def pickled(self) -> bytes | None:
        """The class by value, where no other process can find it by its name.

        Raises:
            InputError: It holds on to something that can't be sent.
        """
        if not self.nameless:
            return None
        import cloudpickle

        try:
            return bytes(cloudpickle.dumps(self.cls))
        except Exception as error:
            raise InputError(
                f"models: {self.label} can't be sent to another process ({type(error).__name__}: {error}); put it into "
                "a module of its own"
            ) from error


def entrants(
    models: Sequence[Any], options: Mapping[str, Mapping[str, Any]], velocity: str | None = None
) -> list[Entrant]:
    """The models that were named.

    Args:
        models: Names, `module:Name`, or classes.
        options: Constructor arguments by model.
        velocity: The network of every model that is made of one and has no other among its options.

    Raises:
        InputError: None came, one that is unknown or came twice, or options that it does not have.
    """
    if not models:
        raise InputError(f"models: none came; some of {', '.join(registry.names('model'))} would do")
    found: dict[str, Entrant] = {}
    for model in models:
        entrant = _entrant(model)
        if entrant.label in found:
            raise InputError(f"models: {entrant.label} came twice")
        found[entrant.label] = entrant
    for key, arguments in options.items():
        label = next((label for label, entrant in found.items() if key in (label, entrant.name)), None)
        if label is None:
            raise InputError(f"options: {key!r} is not among the models {', '.join(found)}")
        entrant = found[label]
        check_options(entrant.cls, arguments)
        check_values(entrant.cls, arguments)
        found[label] = replace(entrant, options={**entrant.options, **arguments})
    if velocity is None:
        return list(found.values())
    made = [entrant for entrant in found.values() if network_of(entrant.cls) is not None]
    if not made:
        raise InputError(f"velocity: {velocity} came, and none of the models is made of a velocity; leave it out")
    for entrant in made:
        options_of_it = with_network(entrant.cls, {}, velocity) | dict(entrant.options)
        found[entrant.label] = replace(entrant, options=options_of_it)
    return list(found.values())


def try_options(chosen: Iterable[Entrant], datasets: Iterable[Any]) -> None:
    """Builds once every model with options, so that what it can't be built with is refused before anything runs."""
    import torch

    shapes = {(data.dim, data.condition_dim, data.event_shape) for data in datasets}
    with torch.random.fork_rng(devices=[]):
        for entrant in chosen:
            if entrant.options:
                for dim, *of_data in shapes:
                    build(entrant.cls, dim, entrant.options, *of_data)


def _entrant(model: Any) -> Entrant:
    cls = builder(model, "models")
    nameless = not isinstance(model, str) and (cls.__module__ == "__main__" or "<locals>" in cls.__qualname__)
    name = registry.name_of(cls)
    return Entrant(name.rpartition(":")[2].rpartition(".")[2] or name, name, cls, {}, nameless)
