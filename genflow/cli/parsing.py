"""What was typed, as a command and its arguments; what was mistyped, in one line that names it as it is typed."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.words import speak_of, version
from genflow.errors import InputError

__all__ = ["parse", "print_help"]

_DESCRIPTION = "Densities and samplers for your own data, and which method to trust with it."

_COMMANDS = {
    "describe": "describe",
    "compare": "compare",
    "board": "board",
    "fit": "fit",
    "sample": "sample",
    "score": "score",
    "impute": "impute",
    "evaluate": "evaluate",
    "solvers": "solvers",
    "divergences": "divergences",
    "experiment": "experiment",
    "list": "listing",
}
"""The commands, and the modules of `genflow.cli` that they are."""


def parse(words: Sequence[str]) -> tuple[Any, Arguments]:
    """The command's module, and what was typed behind its name.

    Args:
        words: What follows the program's name.

    Raises:
        InputError: No such command, or a mistyped argument: what it is, what would do, how the command is used.
        SystemExit: After the help or the version was printed.
    """
    name, *rest = words
    if name not in _COMMANDS:
        if name.startswith("-"):
            with contextlib.suppress(ArgumentError):
                _whole().parse_args([name])
            raise InputError(f"no option {name} before a command; see genflow --help")
        near = difflib.get_close_matches(name, _COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no command {name!r}; {hint}commands: {', '.join(_COMMANDS)}; see genflow --help")
    command = _command(name)
    parser = _parser(name, command)
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    speak_of(flag for flag in flags if flag != "--data")  # data are named by their place as often
    words = _positionals_first(parser, rest)
    try:
        chosen = parser.parse_args(words)
    except ArgumentError as error:
        raise InputError(f"{_short_reason(str(error), parser, words)}; see genflow {name} --help") from None
    _take_data(chosen, rest)
    _check_numbers(chosen)
    missing = [given for given in command.NEEDED if chosen.get(given) in (None, [])]
    if missing:
        typed = " and ".join(_spelling(parser, given) for given in missing)
        verb = "is" if len(missing) == 1 else "are"
        hint = _greedy_flag_hint(parser, chosen, rest)
        raise InputError(f"{typed} {verb} missing{hint}; usage: {command.USAGE}; see genflow {name} --help")
    return command, chosen


def print_help() -> None:
    """Prints what the program does and its commands."""
    _whole().print_help()


def _whole() -> ArgumentParser:
    """The program with all of its commands, for its help."""
    parser = ArgumentParser(
        prog="genflow", usage="genflow COMMAND …", description=_DESCRIPTION, formatter_class=_Formatter,
        exit_on_error=False, default_env=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"genflow {version()}", help="print the version")
    subcommands = parser.add_subcommands(metavar="COMMAND", title="commands", required=False)
    for name in _COMMANDS:
        subcommands.add_subcommand(name, ArgumentParser(), help=_command(name).SUMMARY)
    return parser


def _command(name: str) -> Any:
    return importlib.import_module(f"genflow.cli.{_COMMANDS[name]}")


def _parser(name: str, command: Any) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"genflow {name}",
        usage=command.USAGE,
        description=command.DESCRIPTION.rstrip(),
        formatter_class=_Formatter,
        exit_on_error=False,
        default_env=False,
    )
    parser._negative_number_matcher = _NEGATIVE
    command.add_arguments(parser)
    return parser


class _Formatter(RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **settings: Any):
        super().__init__(prog, max_help_position=26, **settings)


def _positionals_first(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """The words with those that belong to no flag in front: argparse takes them where they stand together."""
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    free: list[str] = []
    bound: list[str] = []
    taking = 0.0  # how many further words belong to the flag before them
    for place, word in enumerate(words):
        if word == "--":
            return [*free, *words[place + 1 :], *bound]
        if _is_flag(word):
            bound.append(word)
            flag, equals, _ = word.partition("=")
            action = flags.get(flag) or next((flags[known] for known in flags if known.startswith(flag)), None)
            taking = 0 if equals or action is None else {None: 1, "+": float("inf"), 0: 0}.get(action.nargs, 1)
        elif taking:
            bound.append(word)
            taking -= 1
        else:
            free.append(word)
    return [*free, *bound]


def _is_flag(word: str) -> bool:
    """Whether a word is a flag, and no value that begins with a minus."""
    return word.startswith("-") and word != "-" and _NEGATIVE.match(word) is None


_NEGATIVE = re.compile(r"-(\.?\d|inf$)")  # how what is less than nothing begins, such as -1s: no flag does


def _take_data(chosen: Arguments, words: Sequence[str]) -> None:
    """Data sets by their place and by --data are one list; of commands that take one, one."""
    if "sources" not in chosen:
        return
    placed, flagged = list(chosen.pop("sources")), chosen.data
    if not isinstance(flagged, list):
        found = [*placed, *([] if flagged is None else [flagged])]
        if len(found) > 1:
            raise InputError(f"data: {' '.join(found)} came; one data set would do")
        chosen.data = found[0] if found else None
    elif placed and any(word.partition("=")[0] == "--config" for word in words):
        chosen.data = placed  # what is typed counts more than what is in a file
    else:
        chosen.data = [*placed, *flagged]


def _check_numbers(chosen: Arguments) -> None:
    """Refuses whole numbers that no library takes, and seeds below zero."""
    for name, value in vars(chosen).items():
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, int) or isinstance(number, bool):
                continue
            if name in ("seed", "seeds") and not 0 <= number < _LARGEST:
                raise InputError(f"{name}: {number} came; a whole number from 0 to 2^63 - 1 would do")
            if abs(number) >= _LARGEST:
                raise InputError(f"{name}: {number} came; a number below 2^63 would do")


_LARGEST = 2**63


def _short_reason(text: str, parser: ArgumentParser, words: Sequence[str]) -> str:
    """An error of the parser, as short as it can be said. What is not known here stays as it came."""
    text = " ".join(text.split())
    if found := re.fullmatch(r"unrecognized arguments: (.*)", text):
        strays = found[1].split()
        flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        unknown = next(filter(_is_flag, strays), None)  # what came behind it was put in front of all
        if unknown is None:
            return f"{found[1]} came at the end, more than there is a place for"
        near = difflib.get_close_matches(unknown.partition("=")[0], flags, n=1)
        return f"no option {unknown}{f'; did you mean {near[0]}?' if near else ''}"
    if found := re.fullmatch(r"argument (\S+): expected (one|at least one) argument", text):
        flag = found[1].rpartition("/")[2]
        action = next((a for a in parser._actions if flag in a.option_strings), None)
        return f"{flag}: no {action.metavar if action is not None and action.metavar else 'value'} came behind it"
    if found := re.fullmatch(r'Parser key "([\w.-]+)"(?: element (\d+))?: Expected a (.+?)\. Got value: (.*)', text):
        typed = _typed(parser, found[1], words)
        place = -1 if found[2] is None else int(found[2]) - 1
        value = typed[place] if -len(typed) <= place < len(typed) else found[4]  # of a file of options as it came
        return f"{_spelling(parser, found[1], False)}: {_quoted_value(value)} came; {_kind(found[3])} would do"
    if found := re.fullmatch(r"ambiguous option: (\S+) could match (.*)", text):
        return f"{found[1]}: {found[2].replace(', ', ' or ')} would do"
    if found := re.fullmatch(r'Parser key "config": (.*)', text):
        return f"--config: {found[1]}"
    if "config" in text:  # whatever is wrong with a file of options
        return f"--config: it can't be read as a file of options ({text[:120]}{'…' if len(text) > 120 else ''})"
    return text if len(text) <= 300 else f"{text[:299]}…"


def _typed(parser: ArgumentParser, name: str, words: Sequence[str]) -> list[str]:
    """The words that were typed behind the flag of an argument, those of no flag being in front of all."""
    flags = [flag for action in parser._actions if action.dest == name for flag in action.option_strings]
    found: list[str] = []
    ours = False
    for word in words:
        if _is_flag(word):
            flag, equals, value = word.partition("=")
            ours = any(known.startswith(flag) for known in flags)
            found += [value] if ours and equals else []
        elif ours:
            found.append(word)
    return found


def _spelling(parser: ArgumentParser, name: str, with_value: bool = True) -> str:
    """How an argument is typed: `DATA`, `--out RUN`."""
    action = next((a for a in parser._actions if a.dest == name), None)
    positional = next(
        (a for a in parser._actions if not a.option_strings and name in (a.dest, _DATA.get(a.dest))), None
    )
    if positional is not None:
        return str(positional.metavar)
    if action is None:
        return f"--{name}"
    return f"{action.option_strings[-1]}{f' {action.metavar}' if with_value and action.metavar else ''}"


_DATA = {"sources": "data"}


def _quoted_value(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:59]}…")


def _kind(wanted: str) -> str:
    """A type for people."""
    for name, words in (("int", "a whole number"), ("float", "a number"), ("bool", "true or false")):
        if f"'{name}'" in wanted:
            return words
    return wanted


def _greedy_flag_hint(parser: ArgumentParser, chosen: Arguments, words: Sequence[str]) -> str:
    """A hint, where a flag that takes several values has taken a file for one of them."""
    for action in parser._actions:
        if action.nargs == "+" and action.dest != "data" and action.option_strings:
            for value in chosen.get(action.dest) or []:
                if value in words and Path(str(value)).is_file():
                    return f" ({value} was taken for a value of {action.option_strings[-1]}; put it in front)"
    return ""
