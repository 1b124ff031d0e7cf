"""JSON from files that anything may have happened to: checked against a schema, and refused in one line.

A schema is a type, in the words of Python's annotations: a `TypedDict`, `list[int]`, `str | None`, `Any`, …
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from genflow.errors import InputError

__all__ = ["DEEPEST", "not_finite", "parse", "printable", "read", "expectation"]

DEEPEST = 100
"""How many lists and objects may stand within each other: what Python can walk through with room to spare."""

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def read(path: str | PathLike[str], schema: Any) -> Any:
    """The document in a file.

    Args:
        path: The file.
        schema: What it holds, as an annotation.

    Raises:
        InputError: It is missing or damaged, or holds something else.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.json"
        >>> _ = path.write_text('{"seed": 3}')
        >>> read(path, dict[str, int])
        {'seed': 3}
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: it can't be read ({error.strerror}); copy it again") from None
    return parse(text, schema, path)


def parse(text: str | bytes, schema: Any, source: Any) -> Any:
    """The document in a text; see `read`.

    Args:
        text: JSON, in UTF-8.
        schema: What it holds, as an annotation.
        source: Where it is from, for the error.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise InputError(f"{source}: damaged, lists within lists more than {DEEPEST} deep") from None
    except ValueError as error:  # of JSON and of UTF-8
        raise InputError(f"{source}: damaged, it is no JSON ({' '.join(str(error).split())})") from None
    for value, depth in _nodes(document):
        if depth > DEEPEST:
            raise InputError(f"{source}: damaged, lists within lists more than {DEEPEST} deep")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InputError(f"{source}: damaged, text that is no Unicode")
    if missing := expectation(document, schema):
        raise InputError(f"{source}: damaged, {missing}")
    return document


def printable(text: Any) -> str:
    r"""A text that UTF-8 can hold: a file's name that the locale could not read comes with halves of characters.

    Example:
        >>> from genflow.storage.documents import printable
        >>> printable("gr\udcc3\udcb6n"), printable("\udcff")
        ('grön', '�')
    """
    return (
        str(text)
        .encode("utf-8", "surrogateescape" if _has_escapes(str(text)) else "replace")
        .decode("utf-8", "replace")
    )


def expectation(value: Any, schema: Any, where: str = "") -> str:
    """What should be in the place of a value; empty if it is.

    Args:
        value: A value.
        schema: An annotation.
        where: The place of the value, for the answer.

    Example:
        >>> expectation([1, "2"], list[int])
        "[1]: '2' came; a whole number would do"
    """
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if schema is Any:
        return ""
    if origin is Literal:
        return "" if value in arguments else _came(where, value, " or ".join(map(repr, arguments)))
    if origin in (typing.Union, types.UnionType):
        answers = [expectation(value, argument, where) for argument in arguments]
        return "" if "" in answers else answers[0]
    if origin in (typing.Required, typing.NotRequired):
        return expectation(value, arguments[0], where)
    if typing.is_typeddict(schema):
        return _object_wanted(value, schema, where)
    if schema in (dict, Mapping) or origin in (dict, Mapping):
        if not isinstance(value, dict):
            return _came(where, value, "names with values")
        item = arguments[1] if arguments else Any
        return next(filter(None, (expectation(part, item, f"{where}[{key!r}]") for key, part in value.items())), "")
    if schema in (list, tuple, Sequence) or origin in (list, tuple, Sequence):
        return _list_wanted(value, origin or schema, arguments, where)
    if schema in (None, types.NoneType):
        return "" if value is None else _came(where, value, "nothing")
    if schema is float:
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else _came(where, value, "a number")
    if schema in _KINDS:
        fits = isinstance(value, schema) and (schema is bool or not isinstance(value, bool))
        return "" if fits else _came(where, value, _KINDS[schema])
    if schema is Callable or origin is Callable:
        return "" if callable(value) else _came(where, value, "a function")
    if isinstance(schema, type):
        return "" if isinstance(value, schema) else _came(where, value, f"a {schema.__name__}")
    return ""  # what can't be told from outside


def not_finite(value: Any) -> bool:
    """Whether it is a number that is none or infinite, or a list that holds one.

    Records, names with values, may hold one: a validation of infinitely many nats has been seen.
    """
    if isinstance(value, list | tuple):
        return any(map(not_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


def _has_escapes(text: str) -> bool:
    return all(not "\ud800" <= c <= "\udfff" or "\udc80" <= c <= "\udcff" for c in text)


def _object_wanted(value: Any, schema: Any, where: str) -> str:
    if not isinstance(value, dict):
        return _came(where, value, "names with values")
    hints = typing.get_type_hints(schema, include_extras=True)
    for name, hint in hints.items():
        place = f"{where}.{name}" if where else name
        if name not in value:
            if typing.get_origin(hint) is not typing.NotRequired:  # not __required_keys__: annotations are text
                return f"{place} is missing"
        elif answer := expectation(value[name], hint, place):
            return answer
    return ""


def _list_wanted(value: Any, kind: Any, arguments: tuple[Any, ...], where: str) -> str:
    if not isinstance(value, list | tuple):
        return _came(where, value, "a list")
    if kind is tuple and arguments and arguments[-1] is not ...:
        if len(value) != len(arguments):
            return _came(where, value, f"a list of {len(arguments)}")
        items = list(arguments)
    else:
        items = [arguments[0] if arguments else Any] * len(value)
    answers = (expectation(part, item, f"{where}[{i}]") for i, (part, item) in enumerate(zip(value, items)))
    return next(filter(None, answers), "")


def _came(where: str, value: Any, answer: str) -> str:
    shown = ascii(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return f"{where}: {shown} came; {answer} would do".removeprefix(": ")


def _nodes(document: Any) -> Iterator[tuple[Any, int]]:
    """Every value and name in a document, with its depth; without recursion, as the document may be too deep for it."""
    waiting = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
