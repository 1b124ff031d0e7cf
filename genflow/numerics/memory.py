"""Memory: whether there is enough of it, and how the C library hands it out to large tensors."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["check_room", "own_pages"]

_MMAP_THRESHOLD = -3  # its name in glibc's mallopt(3)
_LARGE, _USUAL = 1 << 17, 32 << 20  # what glibc begins with, and where its own adjusting leads


def check_room(rows: int, columns: int) -> None:
    """Refuses what no memory of this machine holds, before hours are spent on a part of it.

    Raises:
        MemoryError: So many rows in float64 are more than there is.

    Example:
        >>> check_room(10**15, 3)
        Traceback (most recent call last):
        MemoryError: 1000000000000000 samples of 3 columns take more than the ... MB of this machine
    """
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return
    if 8 * rows * columns > room:
        raise MemoryError(f"{rows} samples of {columns} columns take more than the {room >> 20} MB of this machine")


@contextmanager
def own_pages() -> Iterator[None]:
    """Gives tensors of 128 KB and more pages of their own, which go back to the system when they are freed.

    That is slower than taking them from the heap, but leaves no holes there when small ones that were made in between
    live on: the process then holds what is alive and little more. With another C library nothing changes.

    Example:
        >>> with own_pages():
        ...     pass
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)


@cache
def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None
