"""Where a model computes, by the name that people type."""

from __future__ import annotations

import torch

from genflow.errors import InputError

__all__ = ["device_named"]


def device_named(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: `cpu`; `cuda`, or one of several as `cuda:1`; `auto`, which is `cuda` where there is one.

    Raises:
        InputError: Another name, or a device that is not there.

    Example:
        >>> device_named("cpu")
        device(type='cpu')
    """
    found = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device: {name!r} came; cpu, cuda, cuda:1 or auto would do")
    if device.type == "cuda" and not found:
        raise InputError(f"device: {name} came, and torch finds no CUDA device here; cpu or auto would do")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise InputError(f"device: {name} came, and there are {count}; cuda:0 to cuda:{count - 1} would do")
    return device
