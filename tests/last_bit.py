"""Arithmetic of a machine that nobody has: whatever another processor may round otherwise comes out otherwise here.

IEEE 754 fixes the result of +, -, *, / and the square root, but neither the order in which a sum is added up nor the
last bit of an exponential. A mode of torch moves the results of products, sums and elementary functions by up to a unit
of rounding, relative to the size of what was summed, as a function of the number and of the batch's size alone: the
same computation gives the same bits, as it does on one machine, and one of another shape does not.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = {"mm", "bmm"}
_SUMS = {"sum", "mean"}
_OTHERS = re.compile(
    r"addcdiv|addcmul|addmm|addmv|baddbmm|_cdist_forward|convolution(_backward)?|cumsum|dot|lerp|mv|trace|var_mean|var|std"
    r"|(_linalg_|linalg_)\w+|logsumexp|native_(group|layer)_norm|_(log_)?softmax"
    r"|asinh|atan|cosh?|erf(inv)?|exp|expm1|gelu|lgamma|log|log1p|log2|logaddexp|pow|rsqrt|sinh?|tan"
    r"|(sigmoid|silu|softplus|tanh)(_backward)?"
)
_SPREAD = {torch.float32: 7654.321, torch.float64: 1234567890.123}  # digits of a number that say nothing of its size


class LastBit(TorchDispatchMode):
    """While it is on, last bits are those of another machine.

    Args:
        machine: Which one.
    """

    def __init__(self, machine: int = 1):
        super().__init__()
        self.machine = machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        plain = name.rstrip("_") if not name.startswith("_") else name
        known = plain in _PRODUCTS or plain in _SUMS or _OTHERS.fullmatch(plain)
        if not known or "out" in func._overloadname:
            return result
        if isinstance(result, Tensor):
            if not _rounded(result):
                return result
            size = result.abs()
            if plain in _PRODUCTS:
                size = func(args[0].abs(), args[1].abs())
            elif plain in _SUMS and args[0].is_floating_point():
                size = func(args[0].abs(), *args[1:], **kwargs)
            moved = self._moved(result, size)
            return result.copy_(moved) if name != plain else moved
        if isinstance(result, tuple):
            return tuple(self._moved(part, part.abs()) if _rounded(part) else part for part in result)
        return result

    def _moved(self, x: Tensor, size: Tensor) -> Tensor:
        digits = x * (_SPREAD[x.dtype] * (1 + self.machine / 7 + (len(x) if x.ndim else 0) / 101))
        moved = torch.addcmul(x, digits - digits.round(), size, value=2 * torch.finfo(x.dtype).eps)
        # Whole numbers are sums of whole numbers, exact on every machine.
        return torch.where((x != x.round()) & moved.isfinite(), moved, x)


def _rounded(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in _SPREAD and x.layout == torch.strided and x.device.type == "cpu"
