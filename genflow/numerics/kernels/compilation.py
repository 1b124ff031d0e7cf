"""A shared library of a file in C: compiled once for a machine and kept in the user's cache."""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["compiled"]

# Rounding, infinities and what is not a number are as in torch; only sums that say so may be taken in another order.
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
_NATIVE = "-march=native"
_PATIENCE = 60.0  # seconds that a compiler may take


def compiled(source: Path) -> Path | None:
    """The library of a source, from the cache or compiled now; `None` where that can't be.

    It is compiled for this very processor, and kept under a name that says of what source, compiler and processor it
    is: on a home directory that machines share, each has its own.

    Args:
        source: The file in C.
    """
    compiler = _compiler()
    if compiler is None:
        return None
    text = source.read_bytes()
    marks = [text, " ".join((*compiler, *_FLAGS)).encode(), _processor().encode()]
    name = f"{source.stem}-{hashlib.sha256(b'|'.join(marks)).hexdigest()[:20]}.so"
    folder = _cache()
    if (folder / name).is_file():
        return folder / name
    for native in ((_NATIVE,), ()):  # some compilers know no processor of their own
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = Path(own) / name
            command = [*compiler, *_FLAGS, *native, str(source), "-o", str(made), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL)
            except (OSError, subprocess.SubprocessError):
                continue
            made.replace(folder / name)  # whole or not at all, for those who look for it meanwhile
        return folder / name
    return None


def _compiler() -> list[str] | None:
    """The compiler's command: that of `CC`, or the first usual one that there is."""
    if os.name != "posix":
        return None
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    return None


def _processor() -> str:
    """What tells this processor's instructions from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return platform.machine() + "".join(found)


def _cache() -> Path:
    """A folder of the user's own; one of this process alone, while it lasts, where that can't be written to."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genflow"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # or there is no home
        pass
    folder = Path(tempfile.mkdtemp(prefix="genflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
