"""What repeats a comparison: a file for `genflow compare --config`, and the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["command", "repeatable"]

_KEPT = (
    "models", "budget", "iterations", "evaluations", "seeds", "threads", "metrics", "columns", "atoms", "condition",
    "classes", "drop", "missing", "missing_values", "sheet", "points", "evaluation_budget", "device", "autocast",
    "clock", "trials",
)  # fmt: skip
_DEFAULTS = (("atoms", "cells"), ("missing", "value"), ("points", 1000))


def repeatable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as `genflow compare --config` reads them; paths from anywhere."""
    data = [str(Path(source).resolve()) if Path(source).is_file() else source for source in arguments["data"]]
    settings = [
        f"{label}.{option}={json.dumps(value)}"
        for label, chosen in arguments["options"].items()
        for option, value in chosen.items()
    ]
    test = arguments["test"] and str(Path(arguments["test"]).resolve())
    kept = {key: arguments[key] for key in _KEPT if key in arguments}
    kinds = [f"{column}={kind}" for column, kind in arguments["kinds"].items()]
    given = {"data": data, **kept, "kind": kinds, "set": settings, "test": test}
    usual = (("device", "cpu"), ("clock", "wall"), ("trials", 1))
    return {key: value for key, value in given.items() if value and (key, value) not in usual}


def command(arguments: Mapping[str, Any]) -> str:
    """The command line that repeats a comparison."""
    words = ["genflow", "compare"]
    for key, value in repeatable(arguments).items():
        if (key, value) in _DEFAULTS:
            continue
        if value is True:
            words.append(f"--{key}")
            continue
        given = arguments["data"] if key == "data" else value
        words += [f"--{key.replace('_', '-')}", *(map(str, given) if isinstance(given, list) else [str(given)])]
    return shlex.join(words)
