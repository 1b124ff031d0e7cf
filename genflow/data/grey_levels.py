r"""Pictures of 256 grey levels, or of as many levels of each colour, as rows with a density.

.. math:: x = g + u, \quad u \sim U[0, 1)^d, \qquad g \in \{0, \dots, 255\}^d

A density of :math:`x`, averaged over a pixel's unit cube, is the probability of the levels :math:`g`.

Theis, van den Oord, Bethge 2016, A note on the evaluation of generative models, https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from genflow.data.dataset import Dataset, conditions, pixel_columns
from genflow.data.preprocessing import Standardize

__all__ = ["LABEL", "dequantize"]

LABEL = "label"
"""What the class of a picture is called as a condition."""

_LEVELS = 256
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def dequantize(
    name: str, parts: Parts, seed: int = 0, labels: tuple[str, Sequence[str], Parts] | None = None
) -> Dataset:
    """A data set of pictures, standardized by one scale for all pixels.

    Args:
        name: What tables call it.
        parts: Training, validation and test pictures, bytes `(n, height, width)` or `(n, channels, height, width)`.
        seed: Seed of the noise.
        labels: The condition, where there is one: its name, the names of the classes, and the place of each picture's
            among them, `(n,)`.
    """
    *channels, height, width = parts[0].shape[1:]
    rng = np.random.default_rng(seed)
    flat = (part.reshape(len(part), -1) for part in parts)
    x, y, z = (torch.from_numpy(part + rng.random(part.shape)) for part in flat)
    colours = channels[0] if channels else 1
    levels = f"{_LEVELS} grey levels" if colours == 1 else f"{_LEVELS} levels of each colour"
    data = Dataset(
        name,
        x,
        y,
        z,
        pixel_columns(height, width, colours),
        Standardize.fit_one_scale(x),
        [f"{name}: {levels}, dequantized by uniform noise of one level"],
        seed=seed,
        image_shape=(height, width),
    )
    if labels is not None:
        column, classes, (first, second, third) = labels
        data.condition = conditions((first[:, None], second[:, None], third[:, None]), [column], [classes])
    return data
