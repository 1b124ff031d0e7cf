"""What people type, as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genflow.assignments import assignment
from genflow.errors import InputError

__all__ = ["option", "options_by_model", "version"]


def option(text: str) -> tuple[str, Any]:
    """`OPTION=VALUE` of `--set` as a pair."""
    return assignment(text, "OPTION=VALUE, such as blocks=6,", of="set")


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
    from genflow import __version__

    return __version__
