"""Modules of the user's own, in the current folder: what was named is found there, and nothing else is.

A file that lies beside the data may have the name of any library. The current folder is therefore not put on
`sys.path`: the module that was named is looked for in it, and so is what modules of that folder import themselves and
no installed package has.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

__all__ = ["import_own_module"]


def import_own_module(name: str) -> ModuleType:
    """Imports a module that was named: from the current folder if it is there, otherwise as any other.

    Args:
        name: Its name, with dots for a module of a package.
    """
    top = name.partition(".")[0]
    if top not in sys.modules:
        folder = os.getcwd()
        spec = PathFinder.find_spec(top, [folder])
        if spec is not None and spec.origin is not None:  # a mere folder of that name is none
            finder = _Finder.of(folder)
            finder.named.add(top)
            try:
                return importlib.import_module(name)
            finally:
                finder.named.discard(top)
    return importlib.import_module(name)


class _Finder(MetaPathFinder):
    """Finds what is being named in a folder before all, and after all what a module of that folder asks for."""

    def __init__(self, folder: str):
        self.folder = folder
        self.named: set[str] = set()
        self.found: set[str] = set()

    @classmethod
    def of(cls, folder: str) -> _Finder:
        """The finder of a folder; it stays, since a module may import others of its folder at any time."""
        for known in sys.meta_path:
            if isinstance(known, _First) and known.finder.folder == folder:
                return known.finder
        finder = cls(folder)
        sys.meta_path.insert(0, _First(finder))
        sys.meta_path.append(finder)
        return finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self.taken(fullname) if path is None and self._is_asked_from_here() else None

    def taken(self, name: str) -> ModuleSpec | None:
        """What the folder has under a name."""
        spec = PathFinder.find_spec(name, [self.folder])
        if spec is not None:
            self.found.add(name)
        return spec

    def _is_asked_from_here(self) -> bool:
        """Whether the import stands in a module that was found here, the machinery of importing left out."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _of_importlib(frame.f_code.co_filename):
            frame = frame.f_back
        return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in self.found


class _First(MetaPathFinder):
    """The same finder's place before all others: for the one module that is being named."""

    def __init__(self, finder: _Finder):
        self.finder = finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self.finder.taken(fullname) if path is None and fullname in self.finder.named else None


def _of_importlib(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or filename == importlib.__file__
