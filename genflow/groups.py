"""Arguments that belong together: a component of their own, whose fields may still be typed each by itself.

A constructor with many arguments takes them in groups, `optimization=Optimization(learning_rate=1e-3)`, and says so by
its signature: an argument whose default is a `Group` is one. Under `flatten_groups` the name of a field stands for the
group that has it, `learning_rate=1e-3`. That is what people type on the command line and in files, and what
checkpoints keep, so that an argument may move from one group to another and old checkpoints still load.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar

from genflow.errors import InputError
from genflow.interfaces import Component

__all__ = ["FieldOf", "Group", "flatten_groups", "groups_of"]

Constructor = TypeVar("Constructor", bound=Callable[..., None])


class Group(Component):
    """Some arguments of a constructor. A frozen dataclass: it serves as a default, so it must not change."""


def flatten_groups(constructor: Constructor) -> Constructor:
    """Lets the fields of a constructor's groups be typed by themselves.

    Its signature shows the fields in the place of the groups, so that whatever asks for the arguments of a class finds
    all of them. A field that is typed by itself comes before the same in a group. A component keeps fields, not groups,
    among its arguments; any other class may have groups, too.

    Args:
        constructor: An `__init__` whose groups are keywords; it takes `**parts`, too.

    Raises:
        InputError: On construction, something that is no such group.

    Example:
        >>> from dataclasses import dataclass
        >>> import genflow as gf
        >>> from genflow.groups import Group, flatten_groups
        >>> @dataclass(frozen=True)
        ... class Rounds(Group):
        ...     moves: int = 0
        ...     halvings: int = 0
        >>> class Model(gf.interfaces.Component):
        ...     @flatten_groups
        ...     def __init__(self, dim, *, rounds: Rounds = Rounds(halvings=1), **parts):
        ...         self.rounds = rounds
        >>> Model(2, moves=3).rounds
        Rounds(moves=3, halvings=1)
        >>> Model(2, rounds=Rounds(moves=3), halvings=2).config()
        {'moves': 3, 'halvings': 2, 'dim': 2}
    """
    signature = inspect.signature(constructor)
    groups = _groups(signature)
    home = {field: name for name, group in groups.items() for field in group.defaults()}

    @wraps(constructor)
    def opened(self: Any, *arguments: Any, **options: Any) -> None:
        fields = {name: options.pop(name) for name in list(options) if name in home}
        for name, group in groups.items():
            given = options.get(name, group)
            if not isinstance(given, type(group)):
                raise InputError(f"{name}: a {type(given).__name__} came; a {type(group).__name__} would do")
            own = {field: value for field, value in fields.items() if home[field] == name}
            options[name] = given.rebuilt(**own) if own else given
        if isinstance(self, Component):
            object.__setattr__(self, "_arguments", _flat_arguments(self._arguments))
        constructor(self, *arguments, **options)

    fields = [field for group in groups.values() for field in _fields(group)]
    opened.__signature__ = _flat_signature(signature, fields)  # type: ignore[attr-defined]
    opened.__annotations__ = {**opened.__annotations__, **{field.name: field.annotation for field in fields}}
    return typing.cast(Constructor, opened)


class FieldOf:
    """An attribute that is the field of this name of one of an object's groups, read there and set there.

    Args:
        group: The attribute that the group is.

    Example:
        >>> from dataclasses import dataclass
        >>> from genflow.groups import FieldOf, Group
        >>> @dataclass(frozen=True)
        ... class Rounds(Group):
        ...     moves: int = 0
        >>> class Chain:
        ...     moves = FieldOf("rounds")
        ...     rounds = Rounds()
        >>> chain = Chain()
        >>> chain.moves = 3
        >>> chain.moves, chain.rounds, Chain.rounds
        (3, Rounds(moves=3), Rounds(moves=0))
    """

    def __init__(self, group: str):
        self.group = group

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.path = attrgetter(f"{self.group}.{name}")

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.path(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self.group, attrgetter(self.group)(instance).rebuilt(**{self.name: value}))


def groups_of(callable_: Any) -> dict[str, Group]:
    """The groups of a class's constructor, by name, with the defaults of that class.

    Example:
        >>> import genflow as gf
        >>> from genflow.groups import groups_of
        >>> groups_of(gf.models.JKOiFlow)["rounds"].damping
        0.5
    """
    if not isinstance(callable_, type):
        return {}
    return _groups(inspect.signature(inspect.unwrap(callable_.__init__)))  # type: ignore[misc]


def _groups(signature: inspect.Signature) -> dict[str, Group]:
    return {name: each.default for name, each in signature.parameters.items() if isinstance(each.default, Group)}


def _fields(group: Group) -> list[inspect.Parameter]:
    """The fields of a group as arguments."""
    hints = typing.get_type_hints(type(group).__init__)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, keyword, default=value, annotation=hints[name])
        for name, value in group.config().items()
    ]


def _flat_signature(signature: inspect.Signature, fields: list[inspect.Parameter]) -> inspect.Signature:
    """The signature with fields in the place of the groups that they come from."""
    *others, variadic = (each for each in signature.parameters.values() if not isinstance(each.default, Group))
    assert variadic.kind is inspect.Parameter.VAR_KEYWORD, "a grouped constructor takes **parts: its groups are there"
    return signature.replace(parameters=[*others, *fields, variadic])


def _flat_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as they are kept: fields in the place of groups, those behind that were typed by themselves."""
    groups = [value for value in arguments.values() if isinstance(value, Group)]
    fields = {name: value for group in groups for name, value in group.config().items()}
    return {**fields, **{name: value for name, value in arguments.items() if not isinstance(value, Group)}}
