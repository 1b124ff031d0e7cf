"""The functions of the libraries, called with tensors."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from genflow.numerics.kernels.compilation import compiled

__all__ = ["Library", "two_layers"]

_SWITCH = "GENFLOW_KERNELS"
# Of each function, how many sizes come first, and how many tensors behind them.
_TWO_LAYERS = {
    "gained": (2, 3),
    "gained_back": (2, 4),
    "coupling": (2, 4),
    "coupling_back": (2, 8),
    "first_layer": (3, 6),
    "first_layer_back": (3, 11),
    "second_layer": (3, 10),
    "second_layer_back": (3, 13),
    "push_first_layer": (3, 8),
    "push_first_layer_back": (3, 12),
    "push_second_layer": (3, 12),
    "push_second_layer_back": (3, 15),
}


class Library:
    """Functions in C that take sizes, and tensors of float32 on the CPU, contiguous; nothing of that is checked.

    Args:
        path: The shared library.
        functions: Of each function, how many sizes it takes, and how many tensors behind them.
    """

    def __init__(self, path: Path, functions: dict[str, tuple[int, int]]):
        library = ctypes.CDLL(str(path))
        for name, (sizes, tensors) in functions.items():
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_int64] * sizes + [ctypes.c_void_p] * tensors, None
            setattr(self, name, _of_tensors(function, sizes))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no function {name!r}")


def _of_tensors(function: Callable[..., None], sizes: int) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        # The tensors are alive until it returns: `arguments` holds them.
        function(*arguments[:sizes], *map(Tensor.data_ptr, arguments[sizes:]))

    return call


@cache
def two_layers() -> Library | None:
    """The kernels of `two_layers.c`; `None` where there are none."""
    if os.environ.get(_SWITCH) == "0":
        return None
    path = compiled(Path(__file__).with_name("two_layers.c"))
    try:
        return None if path is None else Library(path, _TWO_LAYERS)
    except (OSError, AttributeError):  # of another machine, or not whole
        return None
