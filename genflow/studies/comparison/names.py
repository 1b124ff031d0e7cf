"""Names of data and models as names of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

__all__ = ["file_names", "slug"]


def slug(name: str) -> str:
    """A name as the name of a file."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "unnamed"


def file_names(names: Iterable[str], longest: int = 60, taken: Iterable[str] = ()) -> dict[str, str]:
    """Names as the names of files, no two of them alike even where a file system takes `A` for `a`.

    Args:
        names: Any texts, each once.
        longest: Characters at most.
        taken: Names of files that are no longer free.

    Example:
        >>> from genflow.studies.comparison.names import file_names
        >>> file_names(["a/b", "a b", "A b", "x"])
        {'a/b': 'a-b', 'a b': 'a-b-2', 'A b': 'A-b-3', 'x': 'x'}
    """
    found: dict[str, str] = {}
    used = {name.casefold() for name in taken}
    for name in names:
        short = slug(name)[:longest]
        try:
            os.fsencode(short)
        except UnicodeEncodeError:  # the locale's file names can't hold it
            short = slug(short.encode("ascii", "replace").decode("ascii"))
        chosen, count = short, 1
        while chosen.casefold() in used:
            count += 1
            chosen = f"{short}-{count}"
        used.add(chosen.casefold())
        found[name] = chosen
    return found
