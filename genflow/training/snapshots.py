"""The state of a training in one file, replaced atomically, so that a run killed at any instant can go on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from genflow.errors import InputError
from genflow.storage import atomic, documents, tensors
from genflow.storage.checkpoint import FORMAT, build
from genflow.storage.components import check_names, describe, names_in
from genflow.training.budget import Budget
from genflow.training.rows import TrainingData
from genflow.training.stage import StageState

__all__ = ["FILE", "Resumed", "Snapshots", "snapshot_in"]

FILE = "training.safetensors"
"""The name of a snapshot in its folder."""

_PAUSE = 100  # times what it took to write one until the next: a slow disk takes little of a budget of time


def snapshot_in(folder: Path) -> Path | None:
    """The snapshot that a training has left in a folder, where there is one; what a kill has left of another goes."""
    path = folder / FILE
    atomic.sweep(path)
    return path if path.exists() else None


@dataclass
class Resumed:
    """What a snapshot holds beside the model: the history, what was spent, and the state of the running stage."""

    history: list[dict[str, Any]]
    seconds: float
    counted: int
    run: StageState | None


class _Document(TypedDict):
    facts: dict[str, Any]
    structure: Any
    history: list[dict[str, Any]]
    used: float
    run: dict[str, Any] | None


class Snapshots:
    """Keeps a training in `training.safetensors`: the model as the running stage found it, and the stage's own state.

    On a clock no more than about a hundredth of the time goes into it: what comes sooner than that is not written.

    Args:
        folder: The folder; made if it is missing.
        seed: The training's seed.
        budget: Its budget.
        model: Its model, untrained.
        data: Its data. A snapshot of another seed, budget, model or data is refused.
        autocast: Whether it trains under autocast; of another precision, too.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        seed: int,
        budget: Budget,
        model: Any,
        data: TrainingData,
        autocast: bool = False,
    ):
        self.path = Path(folder) / FILE
        self.budget = budget
        self._next = -math.inf  # on the clock, the moment from which on another is worth its time
        unit = "s" if budget.timed else f" {budget.unit}"
        self.facts = {
            "format": FORMAT,
            "seed": seed,
            "budget": f"{budget.total:.15g}{unit}",
            "model": type(model).__name__,
            "data": _fingerprint(data),
            **({"autocast": True} if autocast else {}),
            **{f"model.{name}": describe(value) for name, value in {**model.defaults(), **model.given()}.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def begin_stage(self, model: nn.Module, history: list[dict[str, Any]]) -> None:
        """Remembers the model before a stage changes it."""
        self.model = {f"model.{name}": tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.document = {"facts": self.facts, "structure": describe(model), "history": list(history)}

    def write(self, run: StageState | None = None) -> None:
        """Writes the model as it was at the beginning of the stage, and where the stage is, if it runs.

        On a clock the state of a running stage is not written where the last was a moment ago: that one serves as well.
        """
        if self.budget.timed and run is not None and self.budget.clock() < self._next:
            return
        began = self.budget.clock()
        state, facts = run or ({}, None)
        text = json.dumps({**self.document, "used": self.budget.used, "run": facts})
        everything = {**self.model, **{f"run.{name}": tensor for name, tensor in state.items()}}
        with atomic.file(self.path) as part:
            tensors.write(part, everything, {"training": text, "sha256": tensors.digest(everything, text)})
        ended = self.budget.clock()
        self._next = ended + _PAUSE * (ended - began)

    def read(self, model: nn.Module) -> Resumed | None:
        """Puts the model back to where the running stage began; `None` if there is no snapshot.

        Raises:
            InputError: It is damaged, or belongs to another training.
        """
        if not self.path.exists():
            return None
        state, texts = tensors.read(self.path, "damaged ({}); remove it to begin again")
        text = texts.get("training", "")
        if texts.get("sha256") != tensors.digest(state, text):
            raise InputError(f"{self.path}: damaged, or of an older version; remove it to begin again")
        document = documents.parse(text, _Document, self.path)
        facts = document["facts"]
        for name in self.facts | facts:
            if facts.get(name) != self.facts.get(name):
                raise InputError(
                    f"{self.path}: a training with {name} {facts.get(name)}, now {self.facts.get(name)} came; "
                    "name another folder"
                )
        # What the caller's own model is made of may be built again.
        trust = names_in(describe(model))
        check_names(document["structure"], trust, self.path)
        weights = {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")}
        saved = build(document["structure"], weights, self.path, trust)
        like = next(model.parameters(), None)
        if like is not None:
            saved.to(like.device)
        # The arguments that the caller typed stay; what rules made of the others comes along.
        chosen = {**saved._arguments, **saved._chosen}
        model.__dict__.update({**saved.__dict__, "_arguments": model._arguments, "_chosen": chosen})
        run = None
        if document["run"] is not None:
            run = ({n.removeprefix("run."): t for n, t in state.items() if n.startswith("run.")}, document["run"])
        # On a clock what was used are seconds; where something is counted, the last entry knows the time.
        elapsed = run[1]["elapsed"] if run else document["history"][-1]["ends"] if document["history"] else 0.0
        seconds, counted = (document["used"], 0) if self.budget.timed else (elapsed, int(document["used"]))
        return Resumed(document["history"], seconds, counted, run)


def _fingerprint(data: TrainingData) -> str:
    digest = hashlib.sha256()
    conditions = (data.train_condition, data.validation_condition)
    for rows in (data.train, data.validation, *(condition for condition in conditions if condition is not None)):
        digest.update(rows.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
