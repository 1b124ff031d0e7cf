"""What a comparison has found so far, in its folder: each outcome is written as it comes, pictures are drawn last."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genflow.studies.comparison.board import Board
from genflow.studies.comparison.records import Outcome, Trial
from genflow.studies.comparison.tries import FOLDER
from genflow.studies.reporting.place import Place, write_json
from genflow.training.snapshots import snapshot_in

__all__ = ["Results"]


class Results:
    """The outcome of every trial, those to come included.

    Args:
        place: The folder.
        config: What `config.json` says beside how far it got; what it said already of a comparison that goes on.
        trials: The trials, in their order.
        outcomes: What is known of them already.
    """

    def __init__(self, place: Place, config: Mapping[str, Any], trials: Sequence[Trial], outcomes: Sequence[Outcome]):
        self.place, self.folder = place, place.folder
        self.trials, self.outcomes = list(trials), list(outcomes)
        self.unfinished = self.folder / "unfinished"
        self._since = time.time()
        self._before = float(config.get("seconds", 0.0))
        self.config = {
            "study": "comparison",
            "began": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self._since)),
            **config,
            "state": "running",
            "process": os.getpid(),
            "machine": platform.node(),
            "notes": [],
        }
        self.write()
        self._keep()

    @property
    def waiting(self) -> list[int]:
        """The numbers of the trials that have not ended."""
        return [index for index, outcome in enumerate(self.outcomes) if not outcome.ended]

    @property
    def done(self) -> int:
        """How many trials have ended."""
        return len(self.trials) - len(self.waiting)

    def workplace(self, trial: Trial) -> Path:
        """Where a trial works, and what it leaves until it has ended."""
        return self.unfinished / trial.home / trial.name

    def write(self) -> None:
        """Writes how far it got."""
        self.config["seconds"] = round(self._before + time.time() - self._since, 1)
        write_json(self.folder / "config.json", self.config)
        rows = [trial.to_json() | outcome.to_json() for trial, outcome in zip(self.trials, self.outcomes)]
        write_json(self.folder / "runs.json", rows)

    def take(self, index: int, outcome: Outcome) -> None:
        """Takes over what a trial found, and what it left: a model that was trained, even if its evaluation failed.

        Args:
            index: The trial's number.
            outcome: What came of it.
        """
        trial = self.trials[index]
        home = self.workplace(trial)
        arrays = self.folder / "evaluation" / trial.home / f"{trial.name}.npz"
        _move(home / "model", self._model_of(trial))
        if outcome.fine:
            _move(home / "arrays.npz", arrays)
        self.outcomes[index] = outcome
        self.write()
        # A kill before this line costs an evaluation, none after it anything.
        if not outcome.cut_off or not _goes_on(home):
            shutil.rmtree(home, ignore_errors=True)
        self._keep()
        with contextlib.suppress(Exception):  # they follow from the rest, and are written again at the end
            Board(self.folder).write_tables()

    def close(self, state: str) -> Board:
        """Writes the tables, draws, and writes the report.

        Args:
            state: `done`, `interrupted`, or `broken off` and why.
        """
        if not any(outcome.cut_off for outcome in self.outcomes):
            shutil.rmtree(self.unfinished, ignore_errors=True)
        _remove_empty(self.unfinished)
        self.config["state"] = state
        self.write()
        self.config["notes"] = Board(self.folder).redraw()
        self.write()
        return Board(self.folder)

    def in_words(self) -> str:
        """How much there is, and where, and how it goes on."""
        further = ""
        if any(self._model_of(self.trials[index]).is_dir() for index in self.waiting):
            further = ", and a model whose evaluation was cut off,"
        elif any(self._snapshot_of(index) for index in self.waiting):
            further = ", and a training that was cut off,"
        where = f"are in {self.folder} (see {self.folder / 'report.html'})"
        onward = "; the same with resume=True goes on" if self.waiting else ""
        return f"{self.done} of {len(self.trials)} trials{further} {where}{onward}"

    def _model_of(self, trial: Trial) -> Path:
        return self.folder / "models" / trial.home / trial.name

    def _snapshot_of(self, index: int) -> bool:
        return _goes_on(self.workplace(self.trials[index]))

    def _keep(self) -> None:
        """Says what an end before the end must not take away."""
        waiting = self.waiting
        if self.done or any(self._model_of(self.trials[i]).is_dir() or self._snapshot_of(i) for i in waiting):
            self.place.kept = self.in_words()


def _goes_on(home: Path) -> bool:
    """Whether a trial that was cut off has left what it can go on from: a snapshot, or a search."""
    return snapshot_in(home / "snapshot") is not None or (home / FOLDER).is_dir()


def _move(source: Path, target: Path) -> None:
    """Puts what is there in the place of what an earlier try has left."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def _remove_empty(folder: Path) -> None:
    """Removes the folders in a folder that hold nothing, and the folder itself."""
    for path in sorted([folder, *folder.rglob("*")], reverse=True) if folder.is_dir() else []:
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
