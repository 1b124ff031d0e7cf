"""What the first optimizer step of a process costs, whatever it trains."""

from __future__ import annotations

from functools import cache

import torch

from genflow.numerics.kernels import two_layers

__all__ = ["warm_up"]


@cache
def warm_up() -> None:
    """Pays it, once, so that no training's time is charged for it.

    torch imports its compiler then, for seconds; and the first one on a machine compiles kernels.
    """
    two_layers()
    with torch.inference_mode(False), torch.enable_grad():
        weight = torch.nn.Parameter(torch.zeros(8, 8))
        optimizer = torch.optim.AdamW([weight], fused=True)
        (weight @ torch.ones(8, 8)).sum().backward()
        optimizer.step()
