"""Files that a command writes: none is replaced, and each appears when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.storage import atomic

__all__ = ["fresh", "must_not_exist", "table_file", "write_table"]


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
    path = Path(name)
    if path.suffix not in _WRITERS:
        raise InputError(f"out: {name} came; a name that ends in {', '.join(_WRITERS)} would do")
    must_not_exist(path)
    if not path.parent.is_dir():
        raise InputError(f"out: {path.parent} is no folder; make it first")
    return path


def write_table(path: Path, rows: Any, columns: Sequence[str]) -> None:
    """Writes rows under the names of their columns, in the format of the file's ending."""
    import pandas as pd

    if path.suffix == ".npy" and rows.dtype == object:
        raise InputError(f"out: {path} came, which holds numbers only; a name that ends in .csv or .parquet would do")
    with atomic.file(path) as part:
        _WRITERS[path.suffix](pd.DataFrame(rows, columns=list(columns)).infer_objects(), part)


_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".npy": lambda frame, path: __import__("numpy").save(path, frame.to_numpy()),
}
