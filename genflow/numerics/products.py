"""Which library multiplies float32 matrices on the CPU, while a model is trained or a solver runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

__all__ = ["fast_products"]


def fast_products(device: torch.device | str = "cpu") -> AbstractContextManager[None]:
    """Hands float32 products to oneDNN instead of the BLAS that torch was built with, where nothing is lost by it.

    On AVX-512 processors that BLAS does not know, oneDNN multiplies about twice as fast. torch reaches it by allowing a
    lower precision, which oneDNN uses only where the hardware multiplies bfloat16 natively. Whether it does is tried
    once: then, and where the precision was already chosen by somebody, nothing changes. Nor does it on another device,
    where the same setting would mean a lower precision, nor in a graph that is being compiled.

    Args:
        device: Where the matrices are.

    Example:
        >>> import torch
        >>> with fast_products():
        ...     product = torch.eye(2) @ torch.ones(2, 2)
        >>> torch.get_float32_matmul_precision()
        'highest'
    """
    if torch.compiler.is_compiling() or torch.device(device).type != "cpu":
        return nullcontext()
    return _of_onednn()


@contextmanager
def _of_onednn() -> Iterator[None]:
    before = _chosen()
    if before != "highest" or not _keeps_precision():
        yield
        return
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _chosen() -> str:
    """The precision that holds for all backends, or that they have been told apart."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # newer torch: somebody has chosen for one backend only
        return "by backend"


@cache
def _keeps_precision() -> bool:
    """Whether oneDNN's products of float32 are good to float32's rounding, on a processor where they are faster."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0), device="cpu").unbind()
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    try:
        error = ((a @ b) - exact).abs().max()
    finally:
        torch.set_float32_matmul_precision("highest")
    return bool(error < 1e-5 * exact.abs().max())  # bfloat16 leaves several thousandths
