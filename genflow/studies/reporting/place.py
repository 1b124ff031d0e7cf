"""The folder of a study: its name is taken at the start, and what lies in it says how far the study got."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.interrupts import interrupt_on_signals
from genflow.storage import atomic
from genflow.storage.documents import printable

__all__ = ["Place", "refuse_taken", "take_place", "write_json"]

_MARK = "config.json"


@dataclass
class Place:
    """A folder that is being filled.

    Attributes:
        folder: The folder.
        kept: What is in it that an end before the end must not take away, in words; without any it is removed.
        mark: What its `config.json` says while it is being filled.
        resumed: Whether it was there before: then it stays, whatever comes.
    """

    folder: Path
    kept: str = ""
    mark: dict[str, Any] = field(default_factory=dict)
    resumed: bool = False


@contextmanager
def take_place(out: str | PathLike[str] | None, what: str, *, resume: bool = False) -> Iterator[Place]:
    """A new folder, there under its own name from the start, so that no other run can take it.

    If the block does not end well, the folder is removed, or, where it has something to keep, the error says so.

    Args:
        out: The folder; with `None` a temporary one.
        what: What is being made there, for people.
        resume: Whether one that was made earlier and not to its end may be gone on with.

    Raises:
        InputError: It exists, or can't be made there; to be resumed, something else is in it, or it is under way.
    """
    if resume and out is not None and _is_begun(Path(out)):
        place = _taken_up(Path(out), what)
        try:
            with interrupt_on_signals():
                yield place
        except BaseException as error:
            if place.kept:
                error.add_note(place.kept)
            raise
        return
    made: list[Path] = []
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="genflow-"))
    else:
        folder = Path(out)
        made = [parent for parent in folder.parents if not parent.exists()]
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            _remove_empty(made)
            if os.path.lexists(folder):
                raise InputError(_refusal(folder)) from None
            raise InputError(
                f"out: {folder}: no folder can be made there ({error.strerror}); name another place"
            ) from None
    place = Place(folder)
    try:
        with interrupt_on_signals():
            mark = {"study": what, "state": "running", "process": os.getpid(), "machine": platform.node()}
            place.mark = mark
            write_json(folder / _MARK, mark)
            yield place
    except BaseException as error:
        if place.kept:
            error.add_note(place.kept)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(made)
        raise


def _is_begun(folder: Path) -> bool:
    """Whether something was begun in a folder; one that a kill has left empty goes."""
    if folder.is_dir() and not (folder / _MARK).exists():
        atomic.sweep(folder / _MARK)
        with suppress(OSError):
            folder.rmdir()
    return (folder / _MARK).exists()


def _taken_up(folder: Path, what: str) -> Place:
    found = _read(folder / _MARK, dict)
    if found.get("study", what) != what:
        raise InputError(f"out: {folder}: a {found['study']} is there, and no {what}; name another folder")
    if found.get("state") == "running" and _runs(found) and found.get("process") != os.getpid():
        raise InputError(_refusal(folder))
    return Place(folder, mark=found, resumed=True)


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders that were made on the way, from the inside out, unless another has put something there."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def refuse_taken(out: str | PathLike[str]) -> None:
    """Refuses a folder that is there already, and says what is in it.

    Raises:
        InputError: It exists.
    """
    if os.path.lexists(out):
        raise InputError(_refusal(Path(out)))


def write_json(path: Path, document: Any) -> None:
    """Writes a document whole or not at all; numbers that JSON does not know become null, or their names."""
    atomic.write(path, json.dumps(_json(document), indent=1, default=str, allow_nan=False) + "\n")


def _refusal(folder: Path) -> str:
    found, runs = _read(folder / _MARK, dict), _read(folder / "runs.json", list)
    done = sum(isinstance(run, dict) and not str(run.get("status")).startswith("not done") for run in runs)
    far = f", {done} of {len(runs)} trials are done" if runs else ""
    what = f"out: {folder}: a {found.get('study', 'study')}"
    state = str(found.get("state", "done")).partition(":")[0]
    if state == "running" and _runs(found):
        where = "" if found.get("machine") == platform.node() else f" on {found.get('machine')}"
        return f"{what} is under way there (process {found.get('process')}{where}{far}); name another folder"
    if state != "done":
        how = "cut off" if state == "running" else state
        onward = "go on with resume=True, " if found.get("study") == "comparison" else ""
        return f"{what} that was {how} is there{far}; {onward}remove it or name another folder"
    return f"out: {folder} exists already; name one that does not, or remove it"


def _read(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return kind()
    return found if isinstance(found, kind) else kind()


def _runs(found: dict[str, Any]) -> bool:
    """Whether the process that wrote a mark may be running still; of another machine's nobody can tell from here."""
    process = found.get("process")
    if found.get("machine") != platform.node() or os.name != "posix":
        return True
    try:
        os.kill(int(process), 0)  # type: ignore[arg-type]
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _json(value: Any) -> Any:
    """JSON knows no NaN: a missing number is null, an infinite one its name. Nor does UTF-8 know half a character."""
    if isinstance(value, dict):
        return {printable(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None if value != value else ("inf" if value > 0 else "-inf")
    return value
