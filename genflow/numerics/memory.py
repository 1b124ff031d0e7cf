"""How the C library hands out the memory of large tensors."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["own_pages"]

_MMAP_THRESHOLD = -3  # its name in glibc's mallopt(3)
_LARGE, _USUAL = 1 << 17, 32 << 20  # what glibc begins with, and where its own adjusting leads


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
