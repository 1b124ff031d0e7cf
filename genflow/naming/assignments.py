"""`OPTION=VALUE`, as people type it."""

from __future__ import annotations

import json
from typing import Any

from genflow.errors import InputError

__all__ = ["assignment"]


def assignment(text: str, wanted: str, of: str = "") -> tuple[str, Any]:
    """`OPTION=VALUE` as a pair, the value read as JSON where it is.

    Args:
        text: What was typed.
        wanted: What would do, for the error.
        of: The argument that it belongs to, for the error.

    Raises:
        InputError: No option, or no equals sign.

    Example:
        >>> assignment("n=8", "NAME,OPTION=VALUE")
        ('n', 8)
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{of + ': ' if of else ''}{text!r} came; {wanted} would do")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, {"True": True, "False": False, "None": None}.get(value, value)
