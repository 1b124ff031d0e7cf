"""Standard output and standard error: in a locale that lacks some of our characters, closed, or read by nobody."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

from genflow.errors import WriteError

__all__ = ["finish_output", "say_what_can_be_said"]

_NAME = "genflow.plain"
_OUTPUT = 1  # the number of standard output
_PLAIN = {
    "±": "+-",
    "²": "2",
    "√": "sqrt",
    "∫": "integral of ",
    "∇": "grad",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "←": "<-",
    "–": "-",
    "—": "-",
    "−": "-",
    "·": "*",
    "×": "x",
    "…": "...",
    "’": "'",
    "“": '"',
    "”": '"',
    "\u202f": " ",
}


class _Unbroken(io.FileIO):
    """A file whose reader may go: what is written from then on is lost, and the work goes on.

    Where standard output can't be written for another reason, that is said once: by an error, and again at the end by
    `finish_output`, since argparse keeps it to itself.
    """

    lost: WriteError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            if self.fileno() == _OUTPUT and not isinstance(error, BrokenPipeError):
                line = f"standard output: it can't be written ({error.strerror}); make room or name another place"
                self.lost = WriteError(error.errno, line)
                raise self.lost from None
            return len(data)


def say_what_can_be_said() -> None:
    """A character that the terminal's encoding lacks becomes a plain one, or a question mark, and no error.

    Nor is it one that a stream is closed or that nobody reads it any more, as of `genflow fit … 2>&1 | head -1`: a
    training is not lost with its last line.
    """
    codecs.register_error(_NAME, _replacement)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, as long as the process
        elif type(stream) is io.TextIOWrapper and type(getattr(stream.buffer, "raw", stream.buffer)) is io.FileIO:
            stream.flush()
            raw = _Unbroken(stream.fileno(), "w", closefd=False)
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            text = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, _NAME, line_buffering=by_line)
            setattr(sys, name, text)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def finish_output() -> None:
    """Writes what is left of standard output.

    Raises:
        WriteError: It, or something before it, can't be written.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Unbroken) and raw.lost is not None:
        error, raw.lost = raw.lost, None
        raise error


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
