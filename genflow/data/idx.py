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

from genflow.data.dataset import Dataset, split
from genflow.data.files import find_file, verify
from genflow.data.grey_levels import LABEL, dequantize
from genflow.data.sampling import fewer
from genflow.errors import InputError

__all__ = ["idx_images", "read_idx"]

_UNSIGNED_BYTE = 8


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
    condition: bool = False,
) -> Dataset:
    """Pictures from IDX files, dequantized by `genflow.data.grey_levels`; the file of test pictures is the test part.

    Args:
        name: The data set.
        folder: Where the files are, or `None`.
        source: Where they come from, in words.
        rows: At most so many pictures in all.
        seed: Seed of the noise.
        checksums: SHA-256 by file, where one is on record.
        condition: Whether the class of each picture, from the files of labels, is the condition.

    Raises:
        InputError: A file that is missing, damaged, or of no pictures; labels of another number.
    """
    paths = [find_file(name, folder, _files(part, "images", 3), source) for part in ("train", "t10k")]
    files = [verify(path, checksums) for path in paths]
    known, test = (_pictures(path) for path in paths)
    if known.shape[1:] != test.shape[1:]:
        raise InputError(
            f"{paths[1]}: pictures of {test.shape[1:]} came, those of {paths[0].name} are {known.shape[1:]}"
        )
    train, validation, _ = split(np.arange(len(known)), test=False)
    places = fewer((train, validation, np.arange(len(test))), rows)
    labels = None
    if condition:
        marks = [find_file(name, folder, _files(part, "labels", 1), source) for part in ("train", "t10k")]
        files += [verify(path, checksums) for path in marks]
        known_labels, test_labels = (
            _labels(path, len(images)) for path, images in zip(marks, (known, test), strict=True)
        )
        classes = [str(k) for k in range(int(max(known_labels.max(), test_labels.max())) + 1)]
        labels = (known_labels[places[0]], known_labels[places[1]], test_labels[places[2]])
    parts = (known[places[0]], known[places[1]], test[places[2]])
    data = dequantize(name, parts, seed, None if labels is None else (LABEL, classes, labels))
    data.remarks += [file.remark for file in files]
    return data


def _files(part: str, what: str, axes: int) -> tuple[str, ...]:
    """The names that a file goes by, the best first."""
    return tuple(f"{part}-{what}{dot}idx{axes}-ubyte{ending}" for dot in "-." for ending in ("", ".gz"))


def _pictures(path: Path) -> np.ndarray:
    images = read_idx(path)
    if images.ndim != 3 or len(images) < 10:
        raise InputError(f"{path}: an array of {images.shape} came; at least 10 pictures (n, height, width) would do")
    return images


def _labels(path: Path, count: int) -> np.ndarray:
    labels = read_idx(path)
    if labels.shape != (count,):
        raise InputError(f"{path}: an array of {labels.shape} came; a label for each of the {count} pictures would do")
    return labels
