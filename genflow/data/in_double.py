"""What was fitted stays as it was fitted, whatever a model computes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["InDouble"]


class InDouble(nn.Module):
    """A module whose buffers are in float64: `model.float()` or `.to(torch.bfloat16)` moves them, but rounds nothing.

    Example:
        >>> import torch
        >>> class Law(InDouble):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("mean", torch.tensor(1 / 3, dtype=torch.float64))
        >>> torch.nn.Sequential(Law()).to(torch.bfloat16)[0].mean
        tensor(0.3333, dtype=torch.float64)
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            assert moved is not None
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self
