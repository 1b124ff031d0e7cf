"""The command line: one module for each command, with `SUMMARY`, `DESCRIPTION`, `add_arguments` and `run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli import compare, divergences, evaluate, experiment, fit, listing, sample, score, solvers
from genflow.cli.words import version
from genflow.errors import InputError, SolverError

__all__ = ["main"]

_DESCRIPTION = "Densities and samplers for your own data, and which method to trust with it."

_COMMANDS: dict[str, Any] = {
    "compare": compare,
    "fit": fit,
    "sample": sample,
    "score": score,
    "evaluate": evaluate,
    "solvers": solvers,
    "divergences": divergences,
    "experiment": experiment,
    "list": listing,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a wrong input, 1 for a failure, 130 when interrupted.

    Args:
        arguments: What follows the program's name; from `sys.argv` by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = _parsers()
    if not words:
        parser.print_help()
        return 2
    try:
        chosen = parser.parse_args(words)
        commands[chosen.subcommand](chosen[chosen.subcommand])
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error), 2)
    except ArgumentError as error:
        return _complain(_short(error, words), 2)
    except KeyboardInterrupt:
        return _complain("interrupted, nothing was written", 130, kind="")
    except BrokenPipeError:  # `genflow list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SolverError, OSError, MemoryError) as error:
        return _complain(f"{type(error).__name__}: {error}", 1)
    except RuntimeError as error:
        if type(error).__name__ != "TrainingError":
            raise
        return _complain(str(error), 1)
    return 0


def _complain(message: str, code: int, kind: str = "error: ") -> int:
    print(f"genflow: {kind}{' '.join(message.split())}", file=sys.stderr)
    return code


def _short(error: Exception, words: Sequence[str]) -> str:
    """An error of the parser in one line, with where to look."""
    text = " ".join(str(error).split())
    known = [word for word in words[:1] if word in _COMMANDS]
    return f"{text}; see genflow {' '.join([*known, '--help'])}"


def _parsers() -> tuple[ArgumentParser, dict[str, Callable[[Arguments], None]]]:
    parser = _parser(_DESCRIPTION, prog="genflow")
    parser.add_argument("--version", action="version", version=f"genflow {version()}", help="print the version")
    subcommands = parser.add_subcommands(required=True, metavar="COMMAND", title="commands")
    for name, command in _COMMANDS.items():
        own = _parser(command.DESCRIPTION)
        command.add_arguments(own)
        subcommands.add_subcommand(name, own, help=command.SUMMARY)
    return parser, {name: command.run for name, command in _COMMANDS.items()}


def _parser(description: str, **options: Any) -> ArgumentParser:
    from argparse import RawDescriptionHelpFormatter

    class Formatter(RawDescriptionHelpFormatter):
        def __init__(self, prog: str, **settings: Any):
            super().__init__(prog, max_help_position=26, **settings)

    return ArgumentParser(
        description=description.rstrip(), formatter_class=Formatter, exit_on_error=False, default_env=False, **options
    )
