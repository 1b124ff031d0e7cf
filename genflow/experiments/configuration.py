"""An experiment as a file: what is trained on what, for how long, and what the paper has.

title: a rose: a drawing as a density in the plane
reference: where the published figures stand
data: rose                             # a name of genflow.data.load
metric: nll                            # the leaderboard's column that the paper's NLL is held against
models: {jko-iflow: {blocks: 4}}       # options by model
scales:
  small: {budget: 2min}                # minutes on a laptop; also: rows, points, options
  full: {budget: 1h}
published: [{model: JKO-iFlow, nll: 2.64}]
remarks: [what a reader of the two should know]
checksums: {file: SHA-256}             # of downloads, where they are on record
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["FIGURES", "METRICS", "Experiment", "Scale", "names", "read"]

METRICS = ("nll", "nll_standardized")
"""Columns of the leaderboard that a published NLL can be held against."""

FIGURES = ("nll", "mmd", "fid", "inversion_error", "batches", "parameters")
"""What a published row may hold, beside `model` and `note`."""

_ENDING = ".yaml"


@dataclass(frozen=True)
class Scale:
    """How much of an experiment is run.

    Attributes:
        budget: Wall time of each training.
        rows: At most so many rows in all; `None` for all.
        points: Samples drawn, and rows at most in their figures.
        options: Options by model, on top of the experiment's.
    """

    budget: str
    rows: int | None = None
    points: int = 1000
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper.

    Attributes:
        name: What it is called.
        title: What it is, in a line.
        reference: Where the published figures stand.
        data: A name that `genflow.data.load` takes.
        models: Options by model.
        scales: Budgets by name, `small` and `full`.
        metric: The column of the leaderboard that the published NLL is held against.
        published: The paper's figures, a dictionary for each row.
        remarks: What a reader of the two should know, one line each.
        checksums: SHA-256 of the data's files by name, where they are on record.
    """

    name: str
    title: str
    reference: str
    data: str
    models: dict[str, dict[str, Any]]
    scales: dict[str, Scale]
    metric: str = "nll"
    published: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)

    def options(self, scale: str) -> dict[str, dict[str, Any]]:
        """The options of each model at a scale."""
        further = self.scales[scale].options
        return {model: {**chosen, **further.get(model, {})} for model, chosen in self.models.items()}


def names() -> list[str]:
    """The experiments that come with the package.

    Example:
        >>> "power" in names()
        True
    """
    home = files("genflow.experiments") / "configurations"
    return sorted(entry.name.removesuffix(_ENDING) for entry in home.iterdir() if entry.name.endswith(_ENDING))


def read(name: str) -> Experiment:
    """An experiment by its name, or from a file of YAML of one's own.

    Args:
        name: One of `names`, or a path that ends in `.yaml`.

    Raises:
        InputError: No such experiment, or a file that is none.
    """
    if name in names():
        return _load_shipped(name)
    if name.endswith(_ENDING):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: no text in UTF-8 ({error.reason} at byte {error.start})") from None
        return _parse(text, path.stem, str(path))
    near = difflib.get_close_matches(name, names(), n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"experiment: no {name!r}; {hint}known: {', '.join(names())}, or a file that ends in {_ENDING}")


@cache
def _load_shipped(name: str) -> Experiment:
    file = files("genflow.experiments") / "configurations" / f"{name}{_ENDING}"
    return _parse(file.read_text(encoding="utf-8"), name, name)


def _parse(text: str, name: str, origin: str) -> Experiment:
    with extra("cli"):
        import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: no YAML ({' '.join(str(error).split())})") from None
    content = _check_keys(document, Experiment, f"{origin}: an experiment", {"name"})
    scales = _mapping(content["scales"], f"{origin}: scales")
    content["scales"] = {
        key: Scale(**_check_keys(value, Scale, f"{origin}: the scale {key}")) for key, value in scales.items()
    }
    models = _mapping(content["models"], f"{origin}: models")
    content["models"] = {model: dict(options or {}) for model, options in models.items()}
    experiment = Experiment(name=name, **content)
    if experiment.metric not in METRICS:
        raise InputError(f"{origin}: metric {experiment.metric!r} came; {' or '.join(METRICS)} would do")
    for row in experiment.published:
        _check_row(row, origin)
    return experiment


def _check_keys(document: Any, cls: Any, what: str, given: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """A mapping that has what a class wants, and nothing that it does not know."""
    from dataclasses import MISSING

    content = dict(_mapping(document, what))
    wanted = [item for item in fields(cls) if item.name not in given]
    missing = [
        item.name
        for item in wanted
        if item.default is MISSING and item.default_factory is MISSING and item.name not in content
    ]
    if missing:
        raise InputError(f"{what} has no {missing[0]!r}; it needs one")
    unknown = sorted(content.keys() - {item.name for item in wanted})
    if unknown:
        raise InputError(f"{what} has {unknown[0]!r}; known: {', '.join(item.name for item in wanted)}")
    return content


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what}: {type(value).__name__} came; names with values would do")
    return value


def _check_row(row: Any, origin: str) -> None:
    values = _mapping(row, f"{origin}: a row of published")
    unknown = sorted(values.keys() - {"model", "note", *FIGURES})
    if unknown or "model" not in values:
        what = f"has {unknown[0]!r}" if unknown else "has no model"
        raise InputError(f"{origin}: a row of published {what}; known: model, {', '.join(FIGURES)}, note")
    for name in FIGURES:
        if name in values and (isinstance(values[name], bool) or not isinstance(values[name], int | float)):
            raise InputError(f"{origin}: {name}={values[name]!r} came in published; a number would do")
