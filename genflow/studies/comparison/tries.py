r"""The tries of a trial: a model's own defaults, then settings that a search suggests, judged by validation NLL.

Every try has the budget of a training. The suggestions are those of Optuna's tree-structured Parzen estimator, each
with a seed of its own, so that a search that was cut off goes on as if it had not been: it is kept in the trial's
folder.

    search/journal.log      what was suggested, and what came of it, for Optuna
    search/3/settings.json  the third try: its settings, then its figures
    search/3/snapshot/      where its training stands
    search/3/model/         its model, while it is the best

References:
    | Bergstra, Bardenet, Bengio and Kégl 2011, Algorithms for hyper-parameter optimization,
      https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization
    | Akiba et al. 2019, Optuna, https://arxiv.org/abs/1907.10902
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from genflow.deadline import OutOfTime, deadline
from genflow.errors import InputError
from genflow.extras import extra
from genflow.naming.search import OneOf, Range, Space
from genflow.storage import documents
from genflow.storage.checkpoint import load, save
from genflow.studies.comparison.records import Recalled
from genflow.studies.reporting.frames import real
from genflow.studies.reporting.place import write_json

__all__ = ["FOLDER", "Try", "best_try", "judge"]

FOLDER = "search"
"""The folder in that of a trial."""

_JUDGED_ROWS = 500  # validation rows, the same in every try


class _Row(TypedDict):
    number: int
    settings: dict[str, Any]
    status: str


@dataclass(frozen=True)
class Try:
    """One training of a search.

    Attributes:
        number: Its place among the tries, from 1 on; the first has the model's own defaults.
        settings: What it was given beside what was asked for.
        loss: Its NLL on validation rows, in nats, or the loss of its last stage there where it has no density; NaN
            where it failed or has not ended.
        seconds: What its training took.
        steps: Optimizer steps.
        status: `ok`, `failed: the reason`, or empty where it has not ended.
        asked: Its number in the journal, where one that was cut off before it was written has a number, too.
    """

    number: int
    settings: Mapping[str, Any]
    loss: float = math.nan
    seconds: float = math.nan
    steps: int = 0
    status: str = ""
    asked: int = 0

    def to_json(self) -> dict[str, Any]:
        """As names with values."""
        return {**asdict(self), "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Try:
        """The try in a row; a figure that is no number is null there."""
        given = {part.name: row[part.name] for part in fields(cls) if part.name in row}
        return cls(**{**given, "loss": real(given.get("loss")), "seconds": real(given.get("seconds"))})


def best_try(
    space: Space,
    count: int,
    folder: Path,
    seed: int,
    train: Callable[[Try, Path], Any],
    loss_of: Callable[[Any], float],
    trust: str | None = None,
) -> tuple[Any, list[Try]]:
    """Makes the tries that are not made yet, and returns the model of the best, with all of them.

    Args:
        space: What is searched.
        count: How many tries.
        folder: Where the search is kept; one that was cut off there goes on.
        seed: Of the suggestions.
        train: Trains a model with a try's settings; `(try, the folder of its snapshot) -> fitted`.
        loss_of: What a fitted model is judged by.
        trust: The name of the model's class, where that is not genflow's own.

    Raises:
        Exception: That of the last try, where all failed.
    """
    search, tries = _Search(space, folder, seed, count), list[Try]()
    best: tuple[float, Any] | None = None
    for number in range(1, count + 1):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        made = _read(place) or search.suggest(number)
        fitted = _load(place / "model", trust) if made.status else None
        # A best model that can't be read again, of a class that no module has, is trained again.
        if not made.status or (fitted is None and (place / "model").exists()):
            write_json(place / "settings.json", replace(made, status="").to_json())
            try:
                fitted = train(made, place / "snapshot")
                made = replace(made, loss=loss_of(fitted), seconds=_seconds(fitted), steps=_steps(fitted), status="ok")
            except Recalled:
                raise
            except Exception as error:  # settings that do not work: to find that out is what a search is for
                fitted = None
                made = replace(made, status=f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
                if best is None and number == count:
                    raise
        if fitted is not None and (best is None or made.loss < best[0] or not math.isfinite(best[0])):
            best = made.loss, fitted
            shutil.rmtree(place / "model", ignore_errors=True)
            save(fitted, place / "model")
            for other in range(1, number):
                shutil.rmtree(folder / str(other) / "model", ignore_errors=True)
        write_json(place / "settings.json", made.to_json())
        shutil.rmtree(place / "snapshot", ignore_errors=True)
        search.tell(made)
        tries.append(made)
    assert best is not None
    return best[1], tries


def judge(fitted: Any, data: Any, seconds: float, clock: Callable[[], float]) -> float:
    """What a try is judged by: the NLL of validation rows, the same in every try, or the last loss without a density.

    Args:
        fitted: A fitted model.
        data: The data set.
        seconds: What it may take; beyond it what the training itself saw of the NLL counts.
        clock: What tells them.
    """
    if not fitted.has_log_prob:
        return real(fitted.history[-1].get("validation")) if fitted.history else math.nan
    rows = data.validation[:_JUDGED_ROWS]
    condition = None if data.condition is None else data.condition.validation[:_JUDGED_ROWS]
    generator = torch.Generator(fitted.like.device).manual_seed(0)
    try:
        with torch.no_grad(), deadline(seconds, clock):
            return -float(fitted.log_prob(rows, condition, generator, draws=1).double().mean())
    except OutOfTime:
        return math.nan if fitted.record is None else fitted.record.nll


class _Search:
    """What Optuna suggests, one try after the other."""

    def __init__(self, space: Space, folder: Path, seed: int, count: int):
        with extra("tuning"):
            import optuna
            from optuna.storages.journal import JournalFileBackend

        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed, self.optuna = space, seed, optuna
        self.random = min(10, max(3, count // 3))  # tries before it believes that it has seen something
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal.log")))
        self.study = optuna.create_study(storage=storage, study_name="search", load_if_exists=True)

    def suggest(self, number: int) -> Try:
        """A try with its settings; the first has the model's own."""
        self.study.sampler = self.optuna.samplers.TPESampler(n_startup_trials=self.random, seed=self.seed + number)
        trial = self.study.ask()
        settings = {name: _suggested(trial, name, values) for name, values in self.space.items() if number > 1}
        return Try(number, settings, asked=trial.number)

    def tell(self, made: Try) -> None:
        """Says what came of a try."""
        if self.study.get_trials(deepcopy=False)[made.asked].state.is_finished():
            return
        if math.isfinite(made.loss):
            self.study.tell(made.asked, made.loss)
        else:
            self.study.tell(made.asked, state=self.optuna.trial.TrialState.FAIL)


def _suggested(trial: Any, name: str, values: Range) -> Any:
    if isinstance(values, OneOf):
        return trial.suggest_categorical(name, list(values.values))
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _read(place: Path) -> Try | None:
    file = place / "settings.json"
    return Try.from_json(documents.read(file, _Row)) if file.exists() else None


def _load(folder: Path, trust: str | None) -> Any:
    try:
        return load(folder, trust=[] if trust is None else [trust]) if folder.exists() else None
    except InputError:
        return None


def _seconds(fitted: Any) -> float:
    return math.nan if fitted.record is None else float(fitted.record.seconds)


def _steps(fitted: Any) -> int:
    return sum(entry.get("steps", 0) for entry in fitted.history)
