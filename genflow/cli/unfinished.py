"""The snapshot that `genflow fit` keeps of a training until its model is written, and the command that it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

from genflow.errors import InputError, SolverError
from genflow.storage import atomic, documents

__all__ = ["Unfinished"]

_COMMAND = "command.json"


class _Document(TypedDict):
    command: dict[str, Any]


class Unfinished:
    """The folder of a training that has not ended: its snapshot beside what was asked for.

    A snapshot is never lost without a word: where one lies, a training goes on from it or begins anew, as is said.

    Args:
        out: The folder of the model that is trained.
        folder: The snapshot's; `OUT.unfinished` by default.
        resume: Whether to go on from what lies there.
        anew: Whether to begin anew, and remove what lies there.

    Raises:
        InputError: Both; or neither, and a snapshot lies there.
    """

    def __init__(self, out: Path, folder: str | None, resume: bool, anew: bool):
        from genflow.refitting import SECOND
        from genflow.training.snapshots import FILE

        self.folder = out.with_name(f"{out.name}.unfinished") if folder is None else Path(folder)
        self.resume, self.anew = resume, anew
        self.file, self.second = self.folder / FILE, self.folder / SECOND / FILE
        self.ours = False  # whether this process has made what lies there
        if resume and anew:
            raise InputError("resume, anew: both came; give one of them")
        atomic.refuse_taken(out)
        if self.exists and not resume and not anew:
            raise InputError(
                f"out: {self.folder} holds an unfinished training of {out.name}; --resume goes on from it, --anew "
                "removes it and begins again"
            )

    @property
    def exists(self) -> bool:
        """Whether there is a snapshot to go on from."""
        return self.file.is_file()

    def begin(self, command: Mapping[str, Any]) -> str:
        """Makes the folder ready for a training, and says in a line what it goes on from, if that was asked for.

        Args:
            command: What decides the weights: by flag, the name of the `data`, and a sum of its `rows`.

        Raises:
            InputError: What lies there is of another command.
        """
        wanted = json.loads(json.dumps(dict(command), default=str))
        if self.resume and self.exists:
            kept = documents.read(self.folder / _COMMAND, _Document)["command"]
            if other := _difference(kept, wanted):
                raise InputError(f"resume: {self.folder} is a training with {other} came; give what it had, or --anew")
            return f"goes on from {self.folder}"
        self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ours = True
        atomic.write(self.folder / _COMMAND, json.dumps({"command": wanted}, indent=1) + "\n")
        return f"{self.folder} holds no unfinished training: it begins anew" if self.resume else ""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever interrupts the block says how to go on; what would end so again leaves nothing."""
        from genflow.training import TrainingError

        try:
            yield
        except (InputError, SolverError, TrainingError):
            if self.ours:
                self.remove()
            raise
        except BaseException as error:
            if self.exists and self._begun:
                error.add_note(f"the training is kept in {self.folder}, the same command with --resume goes on")
            elif self.ours:
                self.remove()
            raise

    def remove(self) -> None:
        """Removes the snapshot, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for path in (self.second, self.file, self.folder / _COMMAND):
            atomic.sweep(path)
            path.unlink(missing_ok=True)
        for folder in (self.second.parent, self.folder):
            with suppress(OSError):
                folder.rmdir()

    @property
    def _begun(self) -> bool:
        return self.ours or self.resume


def _difference(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing that is not as it was, such as `--seed 0, now --seed 1`; empty where the rows are those."""
    for flag in wanted:
        if flag not in ("data", "rows") and kept.get(flag) != wanted[flag]:
            return f"{_in_words(flag, kept.get(flag))}, now {_in_words(flag, wanted[flag])}"
    if kept.get("rows") == wanted["rows"]:
        return ""
    return f"other rows of {kept.get('data')}, now those of {wanted['data']}"


def _in_words(flag: str, value: Any) -> str:
    """What came by a flag: `--seed 1`, `no --masks`."""
    if value is None or value is False or value in ([], {}):
        return f"no {flag}"
    if value is True:
        return flag
    if isinstance(value, dict):
        value = [f"{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in value.items()]
    return f"{flag} {' '.join(map(str, value)) if isinstance(value, list) else value}"
