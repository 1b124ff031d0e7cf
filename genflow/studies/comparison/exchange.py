"""A data set on its way to the process of a trial, and the grid on which densities in the plane are drawn."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genflow.storage import atomic
from genflow.storage.checkpoint import load, write_model
from genflow.storage.components import construct, describe

__all__ = ["GRID", "digest_of", "grid_of", "on_grid", "read_data", "write_data"]

GRID = 80
"""Points along each axis of the grid on which the density of two-dimensional data is drawn."""


def write_data(data: Any, folder: Path) -> str:
    """Writes a data set as a trial reads it: arrays, names, and the preprocessing as a checkpoint.

    Returns:
        What tells its rows from any others: a digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {part: rows.numpy() for part, rows in data.parts().items()}
    if data.condition is not None:
        arrays |= {f"condition.{name}": array for name, array in data.condition.arrays().items()}
    if data.dim == 2 and data.true_log_prob is not None:
        arrays["true_grid"] = on_grid(data.true_log_prob, data)
    if data.true_log_prob is not None:
        arrays["true_log_prob"] = data.true_log_prob(data.test).double().numpy()
    with atomic.file(folder / "data.npz") as part:
        np.savez(part, **arrays)
    shape = list(data.image_shape) if data.image_shape else None
    cls = type(data.preprocessor)
    document = {
        "name": data.name,
        "columns": list(data.columns),
        "remarks": list(data.remarks),
        "seed": data.seed,
        "image_shape": shape,
        "condition": describe(data.condition and data.condition.encoding),
        "schema": describe(data.schema),
        "trust": f"{cls.__module__}:{cls.__qualname__}",
    }
    atomic.write(folder / "data.json", json.dumps(document, indent=1) + "\n")
    shutil.rmtree(folder / "preprocessor", ignore_errors=True)
    (folder / "preprocessor").mkdir()
    write_model(data.preprocessor, folder / "preprocessor")
    return digest_of(data)


def digest_of(data: Any) -> str:
    """What tells the rows of a data set, and how they are split, from any others."""
    digest = hashlib.sha256()
    arrays = [rows.numpy() for rows in data.parts().values()]
    if data.condition is not None:
        arrays += data.condition.arrays().values()
    for array in arrays:
        plain = array.astype(str) if array.dtype.kind in "OU" else array
        digest.update(repr((plain.shape, plain.dtype.str)).encode())
        digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()[:16]


def read_data(folder: Path) -> Any:
    """Reads what `write_data` wrote. The true density, a function, does not come along."""
    from genflow.data import Conditions, Dataset

    document = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    with np.load(folder / "data.npz") as arrays:
        parts: dict[str, Any] = {part: torch.from_numpy(arrays[part]) for part in ("train", "validation", "test")}
        encoding = construct(document.pop("condition"), frozenset(), folder)
        document["schema"] = construct(document["schema"], frozenset(), folder)
        if encoding is not None:
            given = {name.removeprefix("condition."): arrays[name] for name in arrays if name.startswith("condition.")}
            parts["condition"] = Conditions.from_arrays(given, encoding)
    preprocessor = load(folder / "preprocessor", trust=[document.pop("trust")]).requires_grad_(False)
    shape = document.pop("image_shape")
    return Dataset(**parts, **document, preprocessor=preprocessor, image_shape=tuple(shape) if shape else None)


def grid_of(rows: np.ndarray, size: int = GRID) -> tuple[np.ndarray, np.ndarray]:
    """The axes of a grid over the rows of a two-dimensional data set, with a margin.

    Args:
        rows: Training and test rows, `(n, 2)`.
        size: Points along each axis.
    """
    low, high = rows.min(0), rows.max(0)
    margin = 0.12 * (high - low)
    low, high = low - margin, high + margin
    return np.linspace(low[0], high[0], size), np.linspace(low[1], high[1], size)


def on_grid(log_prob: Callable[[torch.Tensor], torch.Tensor], data: Any) -> np.ndarray:
    """A log density on the grid over a data set in the plane, `(GRID, GRID)`.

    Args:
        log_prob: Points, `(n, 2)`, to their log density.
        data: A `Dataset`.
    """
    axes = grid_of(torch.cat([data.train, data.test]).numpy())
    points = torch.from_numpy(np.stack(np.meshgrid(*axes), -1))
    return log_prob(points.reshape(-1, 2)).reshape(GRID, GRID).float().cpu().numpy()
