"""Standard output and standard error in a locale that lacks some of our characters."""

from __future__ import annotations

import codecs
import io
import sys

__all__ = ["say_what_can_be_said"]

_NAME = "genflow.plain"
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


def say_what_can_be_said() -> None:
    """A character that the terminal's encoding lacks becomes a plain one, or a question mark, and no error."""
    codecs.register_error(_NAME, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
