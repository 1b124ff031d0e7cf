"""What a comparison is made of: a trial, the terms that all of them have alike, and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from genflow.storage.documents import printable
from genflow.studies.reporting.frames import real

__all__ = ["Outcome", "Recalled", "Terms", "Trial"]

_WAITING = "not done"
"""How the status of a trial begins that has not ended."""

_ENDED_BY = "failed: the process was ended by "
"""How that of one begins whose process was killed."""


class Recalled(RuntimeError):
    """A trial that is not wanted any more: its comparison has ended, or has it carried out anew."""


@dataclass(frozen=True)
class Terms:
    """What every trial of a comparison is given alike.

    Attributes:
        budget: Seconds of each training, or `None` where steps are counted.
        iterations: Optimizer steps instead.
        evaluations: Evaluations of the network instead.
        evaluation: Seconds that the figures of a model may take.
        threads: Threads of torch.
        points: Samples drawn, and at most as many rows in the figures of samples.
        metrics: Further metrics by name.
        device: Where the models compute.
        autocast: Whether models that are trained by regression are trained under bfloat16 autocast.
        clock: What tells the seconds: `wall`, or `cpu`, the time of the trial's process on processors.
        trials: Trainings of each model, of which the best on validation rows counts; each has the budget.
    """

    budget: float | None
    iterations: int | None
    evaluation: float
    threads: int = 1
    points: int = 1000
    metrics: Sequence[str] = ()
    device: str = "cpu"
    autocast: bool = False
    clock: str = "wall"
    trials: int = 1
    evaluations: int | None = None

    @property
    def timer(self) -> Callable[[], float]:
        """The clock itself."""
        return time.process_time if self.clock == "cpu" else time.perf_counter

    def to_json(self) -> dict[str, Any]:
        """As names with values."""
        return {**vars(self), "metrics": list(self.metrics)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Terms:
        """The terms in a row of `runs.json`, that of an earlier version included."""
        given = {part.name: row[part.name] for part in fields(cls) if part.name in row}
        return cls(**{**given, "threads": given.get("threads") or 1, "metrics": tuple(given.get("metrics", ()))})


@dataclass(frozen=True)
class Trial:
    """One model on one data set with one seed.

    Attributes:
        data: The data set's name.
        home: The same as the name of a folder.
        label: What the model is called in tables.
        name: The trial among those of its data set, as the name of a file.
        model: The name that the model is found by.
        options: Its constructor arguments.
        seed: The seed of everything random.
        terms: What all trials have alike.

    Example:
        >>> trial = Trial("two-moons", "two-moons", "nsf", "nsf", "nsf", {}, 0, Terms(60.0, None, 60.0))
        >>> Trial.from_json(trial.to_json()) == trial
        True
    """

    data: str
    home: str
    label: str
    name: str
    model: str
    options: Mapping[str, Any]
    seed: int
    terms: Terms

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others of its comparison."""
        return self.data, self.label, self.seed

    def to_json(self) -> dict[str, Any]:
        """As names with values, the terms among them."""
        own = {name: value for name, value in vars(self).items() if name != "terms"}
        return {**own, "options": dict(self.options), **self.terms.to_json()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Trial:
        """The trial in a row of `runs.json`."""
        own = {part.name: row[part.name] for part in fields(cls) if part.name != "terms"}
        return cls(**own, terms=Terms.from_json(row))


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        status: `ok`, `ok; a remark`, `failed: the reason`, or `not done` and why.
        figures: By the names of the leaderboard's columns; none of a trial that failed.
        history: The training's history.
        process_peak_mb: Peak resident memory of its process.
        evaluation_seconds: What its evaluation took.
        output: The last lines that its process wrote.
        traceback: Where it failed.
        tries: The trainings of a search, as names with values; see `genflow.studies.comparison.tries.Try`.

    Example:
        >>> Outcome("ok", {"nll": 1.5}).to_json()
        {'status': 'ok', 'figures': {'nll': 1.5}}
    """

    status: str = _WAITING
    figures: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    process_peak_mb: float | None = None
    evaluation_seconds: float | None = None
    output: str = ""
    traceback: str = ""
    tries: Sequence[Mapping[str, Any]] = ()

    @property
    def fine(self) -> bool:
        """Whether there are figures."""
        return self.status.startswith("ok")

    @property
    def ended(self) -> bool:
        """Whether it came to an end, a failure included."""
        return not self.status.startswith(_WAITING)

    @property
    def cut_off(self) -> bool:
        """Whether its training may go on where it was."""
        return not self.ended or self.status.startswith(_ENDED_BY)

    def to_json(self) -> dict[str, Any]:
        """As names with values, without what is empty."""
        found = asdict(self) | {"status": printable(self.status)}
        found |= {"history": list(self.history), "tries": list(self.tries)}
        return {name: value for name, value in found.items() if name == "status" or value not in ({}, [], None, "")}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Outcome:
        """The outcome in a row of `runs.json`; a figure that is no number is null there."""
        given = {part.name: row[part.name] for part in fields(cls) if part.name in row}
        figures = {name: real(value) for name, value in given.get("figures", {}).items()}
        return cls(**{**given, "figures": figures})
