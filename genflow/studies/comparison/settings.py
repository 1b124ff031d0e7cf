"""The settings that each model was trained with, in words: those that were asked for and those that it chose."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genflow.studies.comparison.outcomes import Outcomes

__all__ = ["Setting", "in_words", "settings_of"]

_LONGEST = 120  # letters of a value


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: Its name.
        value: Its value, in words.
        asked: Whether it was asked for; it is the model's own otherwise.
    """

    name: str
    value: str
    asked: bool


def settings_of(board: Outcomes, model: str) -> list[Setting]:
    """The settings of a model, as its first trial on each data set that left a model kept them; a value that is not the
    same on all of them is told with where it stands. Those that were asked for come first.

    Args:
        board: The comparison.
        model: The model's label.
    """
    found: dict[str, dict[str, str]] = {}  # by data set
    asked: dict[str, Any] = {}
    for run in board.runs:
        if run["label"] != model or run["data"] in found:
            continue
        file = board.folder / "models" / board.home(run["data"]) / run["name"] / "model.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))["model"]["arguments"]["model"]["arguments"]
        except (OSError, ValueError, KeyError, TypeError):
            kept = {}
        options = run.get("options", {})
        asked |= options
        if kept or options:
            found[run["data"]] = {name: in_words(value) for name, value in {**options, **kept}.items()}
    names = dict.fromkeys(name for values in found.values() for name in values)
    settings = [Setting(name, _on_all(found, name), name in asked) for name in names]
    return sorted(settings, key=lambda setting: not setting.asked)


def _on_all(found: Mapping[str, Mapping[str, str]], name: str) -> str:
    """A setting's value; where it is not one, each with the data sets that it is of."""
    places: dict[str, list[str]] = {}
    for data, values in found.items():
        if name in values:
            places.setdefault(values[name], []).append(data)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(f"{value} ({', '.join(datasets)})" for value, datasets in places.items())


def in_words(value: Any) -> str:
    """A value of a checkpoint's structure, in a few words.

    Example:
        >>> in_words({"class": "genflow.solvers.fixed:RK4", "arguments": {"gradient": "backprop"}})
        'RK4(gradient backprop)'
        >>> in_words({"tuple": [1.0, 20.0]}), in_words(None), in_words([3, 3])
        ('1, 20', '–', '2 × 3')
    """
    text = _words(value, 0)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _words(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        if "class" in value:
            name = re.split(r"[:.]", str(value["class"]))[-1]
            inner = [(key, item) for key, item in value.get("arguments", {}).items() if item is not None]
            plain = [f"{key} {_words(item, depth + 1)}" for key, item in inner if depth < 1 or _is_number(item)]
            return f"{name}({', '.join(plain)})" if plain else name
        if set(value) == {"tuple"}:
            return ", ".join(_words(item, depth + 1) for item in value["tuple"])
        return ", ".join(f"{key} {_words(item, depth + 1)}" for key, item in value.items()) or "–"
    if isinstance(value, list):
        if len(value) > 1:
            return f"{len(value)} × {_words(value[0], depth + 1)}"
        return ", ".join(_words(item, depth + 1) for item in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
