"""Settings of the whole process that are its owner's to choose: off in the library, on in the programs.

How float32 matrices are multiplied (`genflow.numerics.products`) and how the C library hands out memory
(`genflow.numerics.memory`) hold for everything that runs in a process. The command line, the trials of a comparison and
the benchmarks own theirs, and switch both on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch

from genflow.numerics.memory import own_pages
from genflow.numerics.products import fast_products

__all__ = ["pages", "products", "tuned_process"]

_TUNED: ContextVar[bool] = ContextVar("tuned", default=False)


@contextmanager
def tuned_process() -> Iterator[None]:
    """Within, trainings and solves may change settings of the process for as long as they last.

    On some processors that makes a training twice as fast; what it computes is the same to rounding.

    Example:
        >>> import genflow as gf
        >>> with tuned_process():
        ...     fitted = gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5)
    """
    token = _TUNED.set(True)
    try:
        yield
    finally:
        _TUNED.reset(token)


def products(device: torch.device | str = "cpu") -> AbstractContextManager[None]:
    """`fast_products` where the process is tuned; otherwise nothing.

    Args:
        device: Where the matrices are.
    """
    # A graph that is being compiled does not look at context variables.
    return nullcontext() if torch.compiler.is_compiling() or not _TUNED.get() else fast_products(device)


def pages() -> AbstractContextManager[None]:
    """`own_pages` where the process is tuned; otherwise nothing."""
    return own_pages() if _TUNED.get() else nullcontext()
