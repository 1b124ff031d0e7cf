"""IDX, the format of MNIST and of the data sets that took its place.

A file begins with two zero bytes, a byte for the type, one for the number of axes, and the length of each axis as four
bytes, the highest first; then come the numbers. Pictures are of the type 8, one byte each, and have three axes.

LeCun, Cortes, Burges, The MNIST database of handwritten digits.
Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, https://arxiv.org/abs/1708.07747
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from genflow.data.dataset import Dataset, pixel_columns, split
from genflow.data.files import checked, found
from genflow.data.preprocessing import Standardize
from genflow.data.sampling import fewer
from genflow.errors import InputError

__all__ = ["idx_images", "read_idx"]

_TRAIN = tuple(f"train-images{dot}idx3-ubyte{ending}" for dot in "-." for ending in ("", ".gz"))
_TEST = tuple(f"t10k-images{dot}idx3-ubyte{ending}" for dot in "-." for ending in ("", ".gz"))
_UNSIGNED_BYTE = 8
_LEVELS = 256


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, compressed by gzip or not.

    Args:
        path: The file.

    Raises:
        InputError: No such file, another format, or a truncated one.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "tiny-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6, 7]))
        ...     read_idx(path)
        array([5, 6, 7], dtype=uint8)
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except EOFError:
        raise InputError(f"{path}: truncated, the compressed file ends too early; download it again") from None
    except (OSError, zlib.error) as error:
        raise InputError(f"{path}: it can't be read ({error}); download it again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not content[3]:
        raise InputError(f"{path}: it begins with {content[:4].hex(' ')}; an IDX file of bytes with 00 00 08")
    head = 4 + 4 * content[3]
    if len(content) < head:
        raise InputError(f"{path}: truncated, it ends within its head of {head} bytes; download it again")
    shape = struct.unpack(f">{content[3]}I", content[4:head])
    if len(content) - head != math.prod(shape):
        cut = "truncated" if len(content) - head < math.prod(shape) else "too long"
        raise InputError(
            f"{path}: {cut}, {len(content) - head} bytes came for {' x '.join(map(str, shape))}; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def idx_images(
    name: str,
    folder: str | PathLike[str] | None,
    source: str,
    rows: int | None = None,
    seed: int = 0,
    checksums: Mapping[str, str] | None = None,
) -> Dataset:
    r"""Pictures from IDX files, dequantized; the file of test pictures is the test part.

    .. math:: x = g + u, \quad u \sim U[0, 1)^d, \qquad g \in \{0, \dots, 255\}^d

    They are standardized by one scale for all pixels.

    Args:
        name: The data set.
        folder: Where the files are, or `None`.
        source: Where they come from, in words.
        rows: At most so many pictures in all.
        seed: Seed of the noise.
        checksums: SHA-256 by file, where one is on record.

    Raises:
        InputError: A file that is missing, damaged, or of no pictures.
    """
    paths = [found(name, folder, files, source) for files in (_TRAIN, _TEST)]
    files = [checked(path, checksums) for path in paths]
    known, test = (_pictures(path) for path in paths)
    if known.shape[1:] != test.shape[1:]:
        raise InputError(
            f"{paths[1]}: pictures of {test.shape[1:]} came, those of {paths[0].name} are {known.shape[1:]}"
        )
    train, validation, _ = split(known.reshape(len(known), -1), test=False)
    parts = fewer((train, validation, test.reshape(len(test), -1)), rows)
    rng = np.random.default_rng(seed)
    x, y, z = (torch.from_numpy(part + rng.random(part.shape)) for part in parts)
    height, width = known.shape[1:]
    remarks = [f"{name}: {_LEVELS} grey levels, dequantized by uniform noise of one level", *(f.remark for f in files)]
    preprocessor = Standardize.fit_one_scale(x)
    columns = pixel_columns(height, width)
    return Dataset(name, x, y, z, columns, preprocessor, remarks, seed=seed, image_shape=(height, width))


def _pictures(path: Path) -> np.ndarray:
    images = read_idx(path)
    if images.ndim != 3 or len(images) < 10:
        raise InputError(f"{path}: an array of {images.shape} came; at least 10 pictures (n, height, width) would do")
    return images
