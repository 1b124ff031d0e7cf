"""Names of the files that a command writes: none is replaced."""

from __future__ import annotations

from pathlib import Path

from genflow.errors import InputError

__all__ = ["fresh", "must_not_exist", "table_file"]


def fresh(name: str) -> str:
    """A name that no file has yet: comparison, comparison-2, …"""
    count, candidate = 1, name
    while Path(candidate).exists():
        count += 1
        candidate = f"{name}-{count}"
    return candidate


def must_not_exist(path: Path) -> None:
    """Refuses a folder that is there already."""
    if path.exists():
        raise InputError(f"out: {path} exists already; name one that does not, or remove it")


def table_file(name: str) -> Path:
    """The path of a table that can be written; refused before any work is done."""
    from genflow.data import WRITABLE

    path = Path(name)
    if path.suffix.lower() not in WRITABLE:
        raise InputError(f"out: {name} came; a name that ends in {', '.join(WRITABLE)} would do")
    must_not_exist(path)
    if not path.parent.is_dir():
        raise InputError(f"out: {path.parent} is no folder; make it first")
    return path
