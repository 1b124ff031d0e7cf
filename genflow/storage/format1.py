"""What a folder of format 1 means: it names only the arguments that were typed, and leaves the others to defaults."""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULTS", "complete"]

DEFAULTS: dict[str, dict[str, Any]] = {"genflow.models.latent:LatentFlow": {"latent": 8}}
"""Arguments by class whose default is another one today, as JSON: `{"module:Name": {"argument": old default}}`.

Whoever changes a default, or a rule behind a default of `None`, writes the old value here. Later formats name every
argument and need no such table.
"""


def complete(structure: Any) -> Any:
    """The structure of a model with the arguments that defaults of that time stood for."""
    if isinstance(structure, list):
        return [complete(item) for item in structure]
    if not isinstance(structure, dict):
        return structure
    parts = {key: complete(item) for key, item in structure.items()}
    if set(parts) == {"class", "arguments"} and isinstance(parts["arguments"], dict):
        parts["arguments"] = {**DEFAULTS.get(str(parts["class"]), {}), **parts["arguments"]}
    return parts
