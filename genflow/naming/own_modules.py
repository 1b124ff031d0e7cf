"""Modules of the user's own, in the current folder: what was named is found there, and nothing else is.

A file that lies beside the data may have the name of any library. The current folder is therefore not put on
`sys.path`: the module that was named is looked for in it, and so is what modules of that folder import themselves and
no installed package has. A module may be named by its file, too, in this folder or another: `parts/mine.py`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

__all__ = ["import_own_module", "name_of_module"]

_files: dict[str, str] = {}  # of modules that were named by their files, these as they were named


def import_own_module(name: str) -> ModuleType:
    """Imports a module that was named: from the current folder if it is there, otherwise as any other.

    Args:
        name: Its name, with dots for a module of a package; or its file, which ends in `.py`.

    Raises:
        ImportError: It is not there, or another module has the name of its file.
    """
    if name.endswith(".py"):
        return _import_file(name)
    top = name.partition(".")[0]
    if top not in sys.modules:
        folder = os.getcwd()
        spec = PathFinder.find_spec(top, [folder])
        if spec is not None and spec.origin is not None:  # a mere folder of that name is none
            return _import_from(folder, name)
    return importlib.import_module(name)


def name_of_module(name: str) -> str:
    """What `import_own_module` finds a module by that it may have imported: its name, or its file as it was named.

    Args:
        name: Its name.
    """
    return _files.get(name, name)


def _import_file(path: str) -> ModuleType:
    """Imports a file as a module, of which its folder is the home, as the current one is of a name."""
    folder, file = os.path.split(os.path.abspath(path))
    name = file.removesuffix(".py")
    if not os.path.isfile(path):
        raise ImportError(f"no file {path}")
    known = sys.modules.get(name)
    spec = PathFinder.find_spec(name, [folder]) if known is None else known.__spec__
    origin = None if spec is None else spec.origin
    if origin is None or not os.path.exists(origin) or not os.path.samefile(origin, path):
        raise ImportError(f"another module has the name {name}, {origin or 'which is built in'}; rename the file")
    module = _import_from(folder, name) if known is None else known
    _files[name] = path
    return module


def _import_from(folder: str, name: str) -> ModuleType:
    """Imports a module that is known to be in a folder."""
    finder, top = _Finder.of(folder), name.partition(".")[0]
    finder.named.add(top)
    try:
        return importlib.import_module(name)
    finally:
        finder.named.discard(top)


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
