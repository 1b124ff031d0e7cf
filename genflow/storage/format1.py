"""What a folder of format 1 means: it names only the arguments that were typed, and leaves the others to defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["DEFAULTS", "RULES", "complete"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "genflow.models.latent:LatentFlow": {"latent": 8},
    "genflow.models.cnf:CNF": {"whiten": True},
    "genflow.models.jko_iflow:JKOiFlow": {
        "whiten": True,
        "objective": "warmed",
        "free_block": False,
        "matching_rate": 3e-3,
        "members": 1,
        "fallback": False,
        "tails": False,
    },
}
"""Arguments by class whose default is another one today, as JSON: `{"module:Name": {"argument": old default}}`.

Whoever changes a default writes the old value here, the old rule behind a default of `None` below. Later formats name
every argument and need no such tables.
"""


def _jko_iflow(arguments: dict[str, Any]) -> dict[str, Any]:
    plane = arguments.get("dim") in (1, 2)
    matching, joint = (0.0, 0.0) if plane else (0.1, 0.75)
    blocks, first = (4, 0.2) if plane else (2, 0.4)
    return {"matching": matching, "joint": joint, "depth": 0, "blocks": blocks, "first": first}


RULES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"genflow.models.jko_iflow:JKOiFlow": _jko_iflow}
"""What other arguments decided, by class: `{"module:Name": rule(arguments) -> {"argument": value}}`."""


def complete(structure: Any) -> Any:
    """The structure of a model with the arguments that defaults of that time stood for."""
    if isinstance(structure, list):
        return [complete(item) for item in structure]
    if not isinstance(structure, dict):
        return structure
    parts = {key: complete(item) for key, item in structure.items()}
    if set(parts) == {"class", "arguments"} and isinstance(parts["arguments"], dict):
        name, typed = str(parts["class"]), parts["arguments"]
        rule = RULES[name](typed) if name in RULES else {}
        parts["arguments"] = {**DEFAULTS.get(name, {}), **rule, **typed}
    return parts
