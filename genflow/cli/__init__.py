"""The command line: one module for each command, with `SUMMARY`, `DESCRIPTION`, `USAGE`, `NEEDED`, `add_arguments` and
`run`. Nothing heavy is imported before an interrupt can be told from an error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

from genflow.cli.output import finish_output, say_what_can_be_said
from genflow.cli.words import as_typed
from genflow.errors import InputError, Remark, ResultError, SolverError, WriteError
from genflow.extras import require
from genflow.interrupts import end_on_interrupt, interrupt_on_signals, note_of

__all__ = ["main"]

_INTERRUPTED = "interrupted, nothing was written"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a wrong input, 1 for a failure, 130 when interrupted.

    Args:
        arguments: What follows the program's name; from `sys.argv` by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    say_what_can_be_said()
    try:
        own = end_on_interrupt(f"genflow: {_INTERRUPTED}", 130) if arguments is None else nullcontext()
        with own:
            require("cli")
            from genflow.cli.parsing import parse, print_help

            if not words:
                print_help()
                finish_output()
                return 2
            try:
                command, chosen = parse(words)
            finally:
                finish_output()  # of a help
            from genflow.numerics.tuning import tuned_process
        with warnings.catch_warnings(), interrupt_on_signals():
            warnings.simplefilter("ignore", Remark)  # a command prints remarks where they belong
            with tuned_process():
                code = command.run(chosen)
        finish_output()
    except InputError as error:
        return _complain(_with_kept(error, str(error)), 2)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except (ResultError, WriteError) as error:
        return _complain(_with_kept(error, str(error)), 1)
    except (SolverError, OSError, MemoryError) as error:
        return _complain(_with_kept(error, f"{type(error).__name__}: {error}"), 1)
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # so Python 3.11 has one that comes while a class is made
            return _interrupted(error.__cause__)
        if "out of memory" in str(error) or "can't allocate memory" in str(error):  # torch has no error of its own
            return _complain("not enough memory; fewer rows, samples or a smaller model would do", 1)
        if type(error).__name__ != "TrainingError":
            raise
        return _complain(_with_kept(error, str(error)), 1)
    return int(code or 0)


def _interrupted(interrupt: BaseException) -> int:
    there = note_of(interrupt)
    return _complain(f"interrupted: {there}" if there else _INTERRUPTED, 130, kind="")


def _with_kept(error: Exception, line: str) -> str:
    there = note_of(error)
    return f"{line}; {there}" if there else line


def _complain(message: str, code: int, kind: str = "error: ") -> int:
    print(f"genflow: {kind}{as_typed(' '.join(message.split()))}", file=sys.stderr)
    return code
