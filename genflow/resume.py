"""The state of a training in one file, replaced atomically, so that a run killed at any instant can go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from genflow.checkpoint import FORMAT, built, described, named_classes
from genflow.errors import InputError
from genflow.storage import atomic
from genflow.training import Budget, TrainingData

if TYPE_CHECKING:
    from genflow.optimization import StageRun

__all__ = ["Resumed", "Snapshots"]

_FILE = "training.safetensors"


@dataclass
class Resumed:
    """What a snapshot holds beside the model: the history, what was spent, and the state of the running stage."""

    history: list[dict[str, Any]]
    seconds: float
    steps: int
    run: tuple[dict[str, Tensor], dict[str, Any]] | None


class Snapshots:
    """Keeps a training in `training.safetensors`: the model as the running stage found it, and the stage's own state.

    Args:
        folder: The folder; made if it is missing.
        seed: The training's seed.
        budget: Its budget.
        model: Its model, untrained.
        data: Its data. A snapshot of another seed, budget, model or data is refused.
    """

    def __init__(self, folder: str | PathLike[str], seed: int, budget: Budget, model: Any, data: TrainingData):
        self.path = Path(folder) / _FILE
        self.budget = budget
        unit = "s" if budget.timed else " iterations"
        self.facts = {
            "format": FORMAT,
            "seed": seed,
            "budget": f"{budget.total:g}{unit}",
            "model": type(model).__name__,
            "data": _fingerprint(data),
            **{f"model.{name}": described(value) for name, value in model._arguments.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def begin_stage(self, model: nn.Module, history: list[dict[str, Any]]) -> None:
        """Remembers the model before a stage changes it."""
        self.model = {f"model.{name}": tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.document = {"facts": self.facts, "structure": described(model), "history": list(history)}

    def write(self, run: StageRun | None = None) -> None:
        """Writes the model as it was at the beginning of the stage, and where the stage is."""
        from safetensors.torch import save as serialized

        tensors, facts = run.state() if run else ({}, None)
        document = {**self.document, "used": self.budget.used, "run": facts}
        everything = {**self.model, **{f"run.{name}": tensor for name, tensor in tensors.items()}}
        tensors = {name: tensor.contiguous().clone() for name, tensor in everything.items()}
        with atomic.file(self.path) as part:
            part.write_bytes(serialized(tensors, metadata={"training": json.dumps(document)}))

    def read(self, model: nn.Module) -> Resumed | None:
        """Puts the model back to where the running stage began; `None` if there is no snapshot.

        Raises:
            InputError: It is damaged, or belongs to another training.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                document = json.loads(file.metadata()["training"])
                facts, used, history = (document[name] for name in ("facts", "used", "history"))
                # clone: into memory that torch has aligned. Elsewhere kernels split their work, and round, differently.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, no mapping
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({error}); remove it to begin again") from None
        for name in self.facts | facts:
            if facts.get(name) != self.facts.get(name):
                raise InputError(
                    f"{self.path}: a training with {name} {facts.get(name)}, now {self.facts.get(name)} came; "
                    "name another folder"
                )
        # What the caller's own model is made of may be built again.
        saved = built(document["structure"], frozenset(named_classes(described(model))), self.path)
        like = next(model.parameters(), None)
        # assign: the dtype that was saved is kept.
        weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        saved.load_state_dict(weights, assign=True)
        if like is not None:
            saved.to(like.device)
        model.__dict__.update({**saved.__dict__, "_arguments": model._arguments})
        run = None
        if document["run"] is not None:
            run = ({n.removeprefix("run."): t for n, t in tensors.items() if n.startswith("run.")}, document["run"])
        # On a clock what was used are seconds; where steps are counted, the last entry knows the time.
        elapsed = run[1]["elapsed"] if run else history[-1]["ends"] if history else 0.0
        seconds, steps = (used, 0) if self.budget.timed else (elapsed, int(used))
        return Resumed(history, seconds, steps, run)


def _fingerprint(data: TrainingData) -> str:
    digest = hashlib.sha256()
    conditions = (data.train_condition, data.validation_condition)
    for rows in (data.train, data.validation, *(condition for condition in conditions if condition is not None)):
        digest.update(rows.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
