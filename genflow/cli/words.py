"""What people type, as values."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from genflow.errors import InputError, Remark
from genflow.naming.assignments import assignment

__all__ = [
    "as_typed",
    "counted",
    "console",
    "flag_of",
    "flags_for",
    "kinds",
    "note",
    "print_remarks",
    "option",
    "options_by_model",
    "speak_of",
    "version",
]

_flags: dict[str, str] = {}  # of the command that runs: `{"atoms": "--atoms"}`
_ARGUMENTS = {"--evaluation-budget": "evaluation", "--set": "options"}  # of flags that have another name


def speak_of(flags: Iterable[str]) -> None:
    """Says which flags the command that runs has: messages then name arguments as they are typed, see `as_typed`.

    Args:
        flags: The flags, such as `--condition-from`.
    """
    known = {flag.lstrip("-").replace("-", "_"): flag for flag in flags}
    _flags.clear()
    # One of several is named in the singular: `integrator: no 'rk5'` of --integrators.
    _flags.update({name[:-1]: flag for name, flag in known.items() if name.endswith("s") and name != "steps"} | known)
    _flags.update({f"{name}s": flag for name, flag in known.items() if f"{name}s" not in _flags})
    _flags.update({_ARGUMENTS[flag]: flag for flag in known.values() if flag in _ARGUMENTS})


def flag_of(argument: str) -> str:
    """The flag of the command that runs by which an argument comes; its own name where there is none.

    Args:
        argument: Its name in Python.

    Example:
        >>> speak_of(["--kind", "--missing-values"])
        >>> flag_of("kinds"), flag_of("missing_values"), flag_of("x")
        ('--kind', '--missing-values', 'x')
    """
    return _flags.get(argument, argument)


@contextmanager
def flags_for(**flags: str) -> Iterator[None]:
    """Within, a call's arguments go by the flags that they came by, where others have their names.

    Args:
        flags: The flag of an argument: `steps="--chain-steps"`.

    Example:
        >>> speak_of(["--steps", "--chain-steps"])
        >>> with flags_for(steps="--chain-steps"):
        ...     as_typed("steps: 0 came; steps=20 would do")
        '--chain-steps: 0 came; --chain-steps 20 would do'
        >>> as_typed("steps: 0 came; 4 would do")
        '--steps: 0 came; 4 would do'
    """
    before = dict(_flags)
    _flags.update(flags)
    yield  # an error ends the command, and is told in these words
    _flags.clear()
    _flags.update(before)


def as_typed(text: str, *, remark: bool = False) -> str:
    """A message with arguments as the command line has them: `atoms=drop` is `--atoms drop` there.

    Errors and remarks are worded for Python; only flags of the command that runs are put in their place. A command
    without --drop takes rows for a trained model, which needs all of its columns: none of them is to be left out. What
    stands for a missing value is said when a model is fitted.

    Args:
        text: The message.
        remark: Whether it is one of data, whose name it begins with; an error begins with the name of an argument.

    Example:
        >>> speak_of(["--atoms", "--budget", "--iterations"])
        >>> as_typed("t: repeated values in a; atoms=dequantize or atoms=drop makes it comparable")
        't: repeated values in a; --atoms dequantize or --atoms drop makes it comparable'
        >>> as_typed("budget, iterations: both came; give one of them")
        '--budget, --iterations: both came; give one of them'
        >>> as_typed("steps: 0 came; blocks=3 would do")  # no flags of this command
        'steps: 0 came; blocks=3 would do'
        >>> as_typed("t.csv: row 1, column 'a': 'x' is not a number; mend it, or leave the column out with drop=")
        "t.csv: row 1, column 'a': 'x' is not a number; mend it"
    """
    if not _flags:
        return text
    if "drop" not in _flags:
        text = re.sub(r"(mend it, or )?leave the column out with drop=", "mend it", text)
    if "missing_values" not in _flags:
        text = re.sub(r"missing_values=(\S+) says so", r"fit a model with --missing-values \1", text)
    names = "|".join(
        sorted(
            (re.escape(spelling) for flag in _flags for spelling in {flag, flag.replace("_", "-")}),
            key=len,
            reverse=True,
        )
    )

    def flag(name: str) -> str:
        return _flags[name.replace("-", "_")]

    def assigned(match: re.Match[str]) -> str:
        given = "" if match[2] == "True" else match[2]  # a switch takes no value
        values = given.strip("[]{}").replace(": ", "=").replace(",", " ").replace('"', "").replace("'", "")
        return f"{flag(match[1])}{' ' if values else ''}{' '.join(values.split())}"

    head = None if remark else re.match(rf"({names})(, ({names}))*(?=: )", text)
    if head is not None:
        text = ", ".join(flag(name) for name in head[0].split(", ")) + text[head.end() :]
    return re.sub(rf"(?<![\w,.-])({names})=(\[[^]]*\]|\{{[^}}]*\}}|-?[\w.]*\w|)", assigned, text)


def counted(number: int, one: str, several: str = "") -> str:
    """How many there are of something.

    Args:
        number: How many.
        one: What one is called.
        several: What several are called; with an s by default.

    Example:
        >>> counted(1, "row"), counted(3, "row"), counted(0, "missing entry", "missing entries")
        ('1 row', '3 rows', '0 missing entries')
    """
    return f"{number} {one if number == 1 else several or one + 's'}"


def note(text: str) -> None:
    """Prints a remark on standard error, in a line of its own."""
    print(as_typed(text, remark=True), file=sys.stderr, flush=True)


@contextmanager
def print_remarks() -> Iterator[None]:
    """Prints remarks that come as warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Remark)
        yield
    for warning in caught:
        if issubclass(warning.category, Remark):
            note(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def console() -> Any:
    """Standard output as rich prints on it, with remarks worded for the command line."""
    from rich.console import Console

    class Spoken(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(
                *(as_typed(item, remark=True) if isinstance(item, str) else item for item in objects), **options
            )

    return Spoken()


def option(text: str) -> tuple[str, Any]:
    """`OPTION=VALUE` of `--set` as a pair."""
    return assignment(text, "OPTION=VALUE, such as blocks=6,", of="set")


def kinds(texts: Sequence[str]) -> dict[str, str]:
    """`COL=KIND` of `--kind` as a dictionary.

    Example:
        >>> kinds(["code=class", "a=b=integer"])
        {'code': 'class', 'a=b': 'integer'}
    """
    found = {}
    for text in texts:
        column, equals, kind = text.rpartition("=")
        if not equals or not column:
            raise InputError(f"kind: {text!r} came; COLUMN=KIND, such as code=class, would do")
        found[column] = kind
    return found


def options_by_model(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`jko-iflow.blocks=6` as `{"jko-iflow": {"blocks": 6}}`."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = option(text)
        model, dot, name = key.rpartition(".")
        if not dot:
            raise InputError(f"set: {text!r} came; MODEL.OPTION=VALUE, such as jko-iflow.blocks=6, would do")
        found.setdefault(model, {})[name] = value
    return found


def version() -> str:
    """The version of genflow."""
    from genflow.version import __version__

    return __version__
