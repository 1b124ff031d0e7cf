"""What people type, as values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from genflow.errors import InputError

__all__ = ["assignment", "options_by_model", "version"]


def assignment(text: str) -> tuple[str, Any]:
    """`OPTION=VALUE` as a pair, the value read as JSON where it is."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"set: {text!r} came; OPTION=VALUE, such as blocks=6, would do")
    try:
        return key, json.loads(value)
    except ValueError:
        named = {"True": True, "False": False, "None": None}
        return key, named.get(value, value)


def options_by_model(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`jko-iflow.blocks=6` as `{"jko-iflow": {"blocks": 6}}`."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = assignment(text)
        model, dot, option = key.rpartition(".")
        if not dot:
            raise InputError(f"set: {text!r} came; MODEL.OPTION=VALUE, such as jko-iflow.blocks=6, would do")
        found.setdefault(model, {})[option] = value
    return found


def version() -> str:
    """The version of genflow."""
    from genflow import __version__

    return __version__
