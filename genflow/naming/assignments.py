"""`OPTION=VALUE`, as people type it."""

from __future__ import annotations

import json
import re
from typing import Any

from genflow.errors import InputError

__all__ = ["assignment"]

_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)  # such as .5 and 2., which JSON refuses


def assignment(text: str, wanted: str, of: str = "") -> tuple[str, Any]:
    """`OPTION=VALUE` as a pair, the value read as JSON where it is, and as a number as people write it.

    Args:
        text: What was typed.
        wanted: What would do, for the error.
        of: The argument that it belongs to, for the error.

    Raises:
        InputError: No option, or no equals sign.

    Example:
        >>> assignment("n=8", "NAME,OPTION=VALUE")
        ('n', 8)
        >>> assignment("matching=.5", "OPTION=VALUE")
        ('matching', 0.5)
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{of + ': ' if of else ''}{text!r} came; {wanted} would do")
    try:
        return key, json.loads(value)
    except ValueError:
        if _NUMBER.fullmatch(value):
            return key, float(value)
        return key, {"True": True, "False": False, "None": None}.get(value, value)
