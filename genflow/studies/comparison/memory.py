"""The peak of a process's resident memory."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["reset_peak", "resident_peak"]


def reset_peak() -> bool:
    """Sets the record of this process's peak memory back to what it holds now; without that there is no honest peak.

    Where the kernel can't, the record begins with the process, whose start-up may have held more for a moment.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return platform.system() != "Windows"
    return True


def resident_peak() -> float:
    """Peak resident memory of this process, in MB (2^20 bytes)."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 1024
