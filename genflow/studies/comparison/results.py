"""What a comparison has found so far, in its folder: each outcome is written as it comes, pictures are drawn last."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from genflow.storage.documents import printable
from genflow.studies.comparison.board import Board
from genflow.studies.reporting.place import Place, write_json

__all__ = ["Results"]


class Results:
    """The outcome of every trial, those to come included.

    Args:
        place: The folder.
        config: What `config.json` says beside how far it got.
        trials: The trials, in their order.
    """

    def __init__(self, place: Place, config: dict[str, Any], trials: list[dict[str, Any]]):
        self.place, self.folder = place, place.folder
        self.began = time.time()
        self.config = {
            "study": "comparison",
            "state": "running",
            "process": os.getpid(),
            "machine": platform.node(),
            **config,
            "began": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self.began)),
            "seconds": 0.0,
            "notes": [],
        }
        self.runs = [{**trial, "status": "not done"} for trial in trials]
        self.write()

    @property
    def done(self) -> int:
        """How many trials have ended."""
        return sum(not run["status"].startswith("not done") for run in self.runs)

    @property
    def trained(self) -> int:
        """How many trials have not ended and left a model all the same: their evaluation was interrupted."""
        waiting = [run for run in self.runs if run["status"].startswith("not done")]
        return sum(self._home_of_model(run).is_dir() for run in waiting)

    def _home_of_model(self, run: dict[str, Any]) -> Path:
        return self.folder / "models" / run["home"] / run["name"]

    def write(self) -> None:
        """Writes how far it got."""
        self.config["seconds"] = round(time.time() - self.began, 1)
        write_json(self.folder / "config.json", self.config)
        write_json(self.folder / "runs.json", self.runs)

    def take(self, index: int, result: dict[str, Any], workplace: Path) -> None:
        """Takes over what a trial found, and what it left: a model that was trained, even if its evaluation failed.

        Args:
            index: The trial's number.
            result: Its status, and figures where it has some.
            workplace: Where its process worked.
        """
        run = self.runs[index]
        run.update(result, status=printable(result["status"]))
        for source, kept in (
            (workplace / "model", self._home_of_model(run)),
            (workplace / "arrays.npz", self.folder / "evaluation" / run["home"] / f"{run['name']}.npz"),
        ):
            if source.exists() and (source.is_dir() or run["status"].startswith("ok")):
                kept.parent.mkdir(parents=True, exist_ok=True)
                source.rename(kept)
        self.write()
        if self.done or self.trained:
            self.place.kept = self.in_words()
        with contextlib.suppress(Exception):  # they follow from the rest, and are written again at the end
            Board(self.folder).write_tables()

    def close(self, state: str) -> Board:
        """Writes the tables, draws, and writes the report.

        Args:
            state: `done`, `interrupted`, or `broken off` and why.
        """
        shutil.rmtree(self.folder / ".work", ignore_errors=True)
        self.config["state"] = state
        self.write()
        board = Board(self.folder)
        board.write_tables()
        self.config["notes"] = board.config["notes"] = board.draw()
        self.write()
        if failure := board.write_report():
            self.config["notes"].append(failure)
            self.write()
        return Board(self.folder)

    def in_words(self) -> str:
        """How much there is, and where."""
        further = ", and a model whose evaluation was cut off," if self.trained else ""
        where = f"are in {self.folder} (see {self.folder / 'report.html'})"
        return f"{self.done} of {len(self.runs)} trials{further} {where}"
