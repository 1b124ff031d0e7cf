"""Libraries beyond the light core, each behind an extra: where one is missing, a line says what to install.

The core (torch, numpy, safetensors, jaxtyping, torchdiffeq) builds, trains and uses every continuous model on tensors
and arrays. `pip install 'genflow[all]'` brings the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from genflow.errors import InputError

__all__ = ["EXTRAS", "MissingExtra", "extra", "require"]

EXTRAS = {
    "data": ("pandas", "pyarrow", "narwhals", "openpyxl", "sklearn", "PIL"),
    "studies": ("pandas", "sklearn", "ot", "matplotlib", "jinja2", "rich", "scipy", "cloudpickle"),
    "baselines": ("zuko", "sklearn"),
    "transport": ("ot",),
    "sde": ("torchsde",),
    "cli": ("jsonargparse", "yaml", "rich"),
    "tuning": ("optuna",),
    "tensorboard": ("tensorboard",),
    "dask": ("dask", "distributed"),
    "ray": ("ray",),
}
"""The modules that each extra brings."""


class MissingExtra(InputError, ImportError):
    """A library of an extra is not installed."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of an extra's libraries.

    Args:
        name: The extra, one of `EXTRAS`.

    Raises:
        MissingExtra: One of them is not installed; with the command that installs it.

    Example:
        >>> with extra("data"):
        ...     raise ModuleNotFoundError(name="pandas")
        Traceback (most recent call last):
        ...
        genflow.extras.MissingExtra: pandas is not installed; pip install 'genflow[data]' would do
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in EXTRAS[name]:  # a library of its own that lacks something
            raise
        raise _missing(missing, name) from None


def require(name: str) -> None:
    """Refuses at once what would need an extra later on.

    Args:
        name: The extra, one of `EXTRAS`.

    Raises:
        MissingExtra: One of its libraries is not installed.
    """
    for module in EXTRAS[name]:
        if find_spec(module) is None:
            raise _missing(module, name)


def _missing(module: str, name: str) -> MissingExtra:
    return MissingExtra(f"{module} is not installed; pip install 'genflow[{name}]' would do")
