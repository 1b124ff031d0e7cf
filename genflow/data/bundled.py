"""Real data that come with scikit-learn: handwritten digits, breast cancer, patches of two photographs."""

from __future__ import annotations

import numpy as np
import torch

from genflow.data.dataset import Dataset, assemble, conditions, pixel_columns, split
from genflow.data.kinds import Column, Schema
from genflow.data.preprocessing import Standardize
from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["breast_cancer", "digits", "photo_patches"]

_TILE = 61  # a photograph of 427 x 640 has 7 x 10 tiles
_PATCH = 8


def digits(seed: int = 0, condition: str | None = None, atoms: str = "cells") -> Dataset:
    r"""Handwritten digits, 1797 rows of 8 by 8 pixels (d = 64), each of a grey level from 0 to 16.

    As recorded, where every level of a pixel has a probability; or dequantized, with values in [0, 17):

    .. math:: x = g + u, \quad u \sim U[0, 1)^{64}

    Args:
        seed: Seed of the noise.
        condition: What the digit itself, a class, is called as the condition; `None` for no condition.
        atoms: `"cells"` for the levels and their probabilities, `"dequantize"` for the noise, `"keep"` for levels under
            one scale for all pixels.

    Raises:
        InputError: `atoms="drop"`: every pixel repeats its levels.

    References:
        Optical Recognition of Handwritten Digits (Alpaydin & Kaynak), https://archive.ics.uci.edu/dataset/80
    """
    with extra("data"):
        from sklearn.datasets import load_digits

    bunch = load_digits()
    columns = pixel_columns(8, 8)
    schema = Schema([Column(name, "integer", grid=1.0, dtype="int64") for name in columns])
    if atoms == "dequantize":
        x = bunch.data + np.random.default_rng(seed).random(bunch.data.shape)
        remark = "digits: 17 grey levels, dequantized by uniform noise of one level"
        data = assemble("digits", split(x), columns, remarks=[remark], seed=seed, image_shape=(8, 8))
    elif atoms == "cells":
        remark = "digits: each of 17 grey levels has a probability, and log p is that of counts"
        data = assemble(
            "digits", split(bunch.data), columns, remarks=[remark], seed=seed, image_shape=(8, 8), schema=schema
        )
    elif atoms == "keep":
        parts = [torch.from_numpy(part.copy()) for part in split(bunch.data)]
        remark = "digits: 17 grey levels as they are: a likelihood there rewards spikes"
        scale = Standardize.fit_one_scale(parts[0])
        train, validation, test = parts
        data = Dataset("digits", train, validation, test, columns, scale, [remark], None, seed, (8, 8), schema=schema)
    else:
        raise InputError("atoms: 'drop' came for digits, whose columns all repeat their levels; 'cells' would do")
    if condition is not None:
        data.condition = conditions(split(bunch.target[:, None]), [condition], [[str(k) for k in range(10)]])
    return data


def breast_cancer() -> tuple[np.ndarray, list[str]]:
    """Features of cell nuclei: a table of 569 rows and 30 columns, as it is recorded, and the names of the columns.

    References:
        Breast Cancer Wisconsin, Diagnostic (Wolberg et al.), https://archive.ics.uci.edu/dataset/17
    """
    with extra("data"):
        from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return bunch.data, [str(name) for name in bunch.feature_names]


def photo_patches(rows: int | None = None, seed: int = 0) -> Dataset:
    r"""Patches of two photographs, 8 by 8 grey pixels, prepared as BSDS300 is for density estimation: d = 63.

    .. math:: y = (g + u) / 256, \quad u \sim U[0, 1)^{64}, \qquad x_j = y_j - \frac{1}{64} \sum_k y_k, \quad j < 64

    The last pixel is minus the sum of the others and is left out. Patches of the three parts are cut from different
    tiles of the photographs (8 to 1 to 1), so that no pixel is in two parts.

    Args:
        rows: Patches in all, 50 000 where it is not given.
        seed: Seed of the noise and of the places where patches are cut.

    References:
        | RNADE (Uria et al., 2013), https://arxiv.org/abs/1306.0186, section 4.2
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057
    """
    with extra("data"):
        from sklearn.datasets import load_sample_images

    rows = 50_000 if rows is None else rows
    # Luma of ITU-R BT.601, in whole grey levels as a grey photograph would have them.
    grey = np.stack([np.rint(image @ np.array([0.299, 0.587, 0.114])) for image in load_sample_images().images])
    corners = [
        (image, top, left)
        for image in range(len(grey))
        for top in range(0, grey.shape[1] - _TILE + 1, _TILE)
        for left in range(0, grey.shape[2] - _TILE + 1, _TILE)
    ]
    tiles = split(np.array(corners))
    places = _TILE - _PATCH + 1
    sizes = (rows * 8 // 10, rows * 9 // 10 - rows * 8 // 10, rows - rows * 9 // 10)
    most = min(len(part) * places**2 * 10 // share for part, share in zip(tiles, (8, 1, 1), strict=True))
    if not 10 <= rows <= most:
        raise InputError(f"rows: {rows} came; photo-patches has between 10 and {most}")
    rng = np.random.default_rng(seed)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (_PATCH, _PATCH), axis=(1, 2))
    parts = []
    for part, size in zip(tiles, sizes, strict=True):
        tile, place = np.divmod(rng.choice(len(part) * places**2, size, replace=False), places**2)
        image, top, left = part[tile].T
        patches = windows[image, top + place // places, left + place % places].reshape(size, -1)
        y = (patches + rng.random(patches.shape)) / 256
        parts.append((y - y.mean(1, keepdims=True))[:, :-1])
    columns = pixel_columns(_PATCH, _PATCH)[:-1]
    remark = "photo-patches: dequantized by uniform noise of one grey level, mean removed, last pixel left out"
    train, validation, test = parts
    return assemble(
        "photo-patches", (train, validation, test), columns, remarks=[remark], seed=seed, image_shape=(_PATCH, _PATCH)
    )
