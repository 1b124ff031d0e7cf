"""The one writer: a file or a folder appears whole or not at all, and what a kill leaves is found again.

What is being written has a name of its own beside its place, `.NAME.partial-PROCESS-MACHINE`, and is renamed at the
end. So the old file stays until the new one is complete, and the next writer of the same place can tell what a process
that is gone has left (`leftovers`).
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from genflow.errors import InputError, WriteError

__all__ = ["Leftover", "file", "folder", "leftovers", "refuse_taken", "sweep", "write"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_OPEN: set[Path] = set()  # what this very process is writing


@dataclass(frozen=True)
class Leftover:
    """Something half-written beside its place.

    Attributes:
        path: Where it is.
        process: Who wrote it.
        machine: Where that process ran.
        alive: Whether it may be writing still. Of another machine's process nobody can tell from here.
    """

    path: Path
    process: int
    machine: str
    alive: bool

    def __str__(self) -> str:
        if not self.alive:
            return f"{self.path}: left by process {self.process}, which is gone; it can be removed"
        where = "" if self.machine == _machine() else f" on {self.machine}"
        return f"{self.path}: being written by process {self.process}{where}; if that is gone, it can be removed"


@contextmanager
def folder(path: str | PathLike[str], *, clean: bool = True) -> Iterator[Path]:
    """A new folder, filled under another name and renamed at the end. Its name is taken from the start.

    Args:
        path: The folder; it must not exist, and its parents are made.
        clean: Whether what a process that is gone has left of the same folder is removed.

    Raises:
        InputError: It exists, another process is writing it, or it can't be made there.
        WriteError: The disk is full; nothing is left.

    Example:
        >>> import pathlib, tempfile
        >>> home = pathlib.Path(tempfile.mkdtemp())
        >>> with folder(home / "run") as part:
        ...     _ = (part / "a.txt").write_text("complete")
        ...     (home / "run").exists()
        False
        >>> [path.name for path in (home / "run").iterdir()]
        ['a.txt']
    """
    path = Path(path)
    with _possible(path, "folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            refuse_taken(path)
            if clean:
                sweep(path)
            part = _claim(path)
            try:
                part.mkdir()
            except BaseException:
                _OPEN.discard(part.absolute())
                raise
    with _completing(path, part, only_disk=True):
        yield part
        for written in part.rglob("*"):
            if written.is_file():
                _to_disk(written)
        if path.exists():  # os.rename would put it in place of an empty folder
            raise InputError(f"{path}: it was made by another meanwhile; name a folder that does not exist")
        os.rename(part, path)


@contextmanager
def file(path: str | PathLike[str]) -> Iterator[Path]:
    """A file, written under another name of the same ending, and put in the old one's place at the end.

    Args:
        path: The file; its folder must exist.

    Raises:
        InputError: Its folder does not exist, or it is a folder itself.
        WriteError: The disk is full; the old file is as it was.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with file(path) as part:
        ...     _ = part.write_text("complete")
        >>> path.read_text()
        'complete'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a file")
    sweep(path)
    part = _claim(path)
    with _completing(path, part):
        yield part
        _to_disk(part)
        os.replace(part, path)


def write(path: str | PathLike[str], content: str | bytes) -> None:
    """A file with this content, in UTF-8, whole or not at all.

    Raises:
        InputError: It can't be made there.
        WriteError: The disk is full; an old file is still there.
    """
    with file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def leftovers(path: str | PathLike[str]) -> list[Leftover]:
    """What writers of a file or a folder have left beside it, or are writing now.

    Args:
        path: The file or folder that was to be written.
    """
    path = Path(path)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.partial-(\d+)-([^.]*)(?:\.\d+)?{re.escape(path.suffix)}")
    found = []
    for part in sorted(path.parent.iterdir()) if path.parent.is_dir() else []:
        if match := pattern.fullmatch(part.name):
            process, machine = int(match[1]), match[2]
            found.append(Leftover(part, process, machine, machine != _machine() or _runs(process, part)))
    return found


def sweep(path: str | PathLike[str]) -> list[Leftover]:
    """Removes what processes that are gone have left of a file or a folder, and says what that was.

    Args:
        path: The file or folder that was to be written.
    """
    gone = [left for left in leftovers(path) if not left.alive]
    for left in gone:
        _remove(left.path)
    return gone


def refuse_taken(path: Path) -> None:
    """Refuses a folder that is there, or that another process is writing.

    Args:
        path: The folder.

    Raises:
        InputError: With what would do.
    """
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: it exists already; name a folder that does not, or remove it")
    if taken := [left for left in leftovers(path) if left.alive]:
        raise InputError(f"{path}: its name is taken, {taken[0]}; name another folder")


def _claim(path: Path) -> Path:
    """A name for what is being written that nobody has; the ending is kept, as writers go by it."""
    number, part = 0, path
    while part == path or part.exists() or part.absolute() in _OPEN:
        again = f".{number}" if number else ""
        part = path.with_name(f".{path.name}.partial-{os.getpid()}-{_machine()}{again}{path.suffix}")
        number += 1
    _OPEN.add(part.absolute())
    return part


@contextmanager
def _completing(path: Path, part: Path, only_disk: bool = False) -> Iterator[None]:
    """Removes the part on failure, and says in one line what the disk said."""
    try:
        yield
    except BaseException as error:
        _remove(part)
        if isinstance(error, OSError) and (_of_disk(error, part) or (error.errno is None and not only_disk)):
            raise _unwritten(path, error) from None
        raise
    finally:
        _OPEN.discard(part.absolute())


def _of_disk(error: OSError, part: Path) -> bool:
    return error.errno in _FULL or str(error.filename or "").startswith(str(part)) or isinstance(error, shutil.Error)


def _unwritten(path: Path, error: OSError) -> WriteError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if isinstance(error, shutil.Error):  # of copying a folder: one (from, to, reason) for each file
        reason = str(error.args[0][0][-1])
    return WriteError(error.errno, f"{path}: it can't be written ({reason}); make room or name another place")


@contextmanager
def _possible(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _unwritten(path, error) from None
        raise InputError(f"{path}: no {what} can be made there ({error.strerror}); name another place") from None


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One at a time looks whether a name is free and takes it, where the system can lock a folder."""
    try:
        import fcntl

        handle = os.open(home, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):  # a network's file system may have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _to_disk(path: Path) -> None:
    """Waits until it is on the disk: some file systems say only then that they are full."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _runs(process: int, part: Path) -> bool:
    if process == os.getpid():
        return part.absolute() in _OPEN
    if os.name != "posix":  # elsewhere a signal of 0 is none
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", platform.node())[:40]
