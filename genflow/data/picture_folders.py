"""Folders of pictures, such as PNG files: each picture is a row; each sub-folder, where there are some, is a class.

    flowers/daisy/001.png, flowers/daisy/002.png, …, flowers/rose/001.png, …

Pictures are grey where the three colours of every pixel agree, and otherwise have three channels.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset as Items

from genflow.data.dataset import FEWEST_ROWS, Dataset, split
from genflow.data.grey_levels import LABEL, dequantize
from genflow.data.pictures import PICTURES
from genflow.data.sampling import fewer
from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["PictureFiles", "folder_images", "has_pictures"]

_GREY = ("1", "L", "LA")  # modes without colours
_DEEP = ("I", "F")  # modes of more than eight bits, whose levels are not 0 to 255


def has_pictures(folder: str | PathLike[str]) -> bool:
    """Whether a folder, or one of its sub-folders, holds a picture."""
    return any(_inside(home) for home in [Path(folder), *_subfolders(Path(folder))])


def folder_images(
    name: str,
    folder: str | PathLike[str],
    *,
    test: str | PathLike[str] | None = None,
    condition: bool = False,
    rows: int | None = None,
    seed: int = 0,
) -> Dataset:
    """The pictures of a folder, in the order of their names before they are split, dequantized by
    `genflow.data.grey_levels`.

    Args:
        name: What tables call it.
        folder: The folder; all of its pictures have one size.
        test: Another such folder, whose pictures are the test part.
        condition: Whether the class, the name of the sub-folder that a picture is in, is the condition.
        rows: At most so many pictures in all.
        seed: Seed of the noise.

    Raises:
        InputError: Too few pictures, one that can't be read, of another size, or in a sub-folder beside pictures that
            are in none; no sub-folders for a condition; other classes in the test folder.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for k, shade in enumerate(np.random.default_rng(0).integers(256, size=(20, 4, 6), dtype=np.uint8)):
        ...         Image.fromarray(shade).save(pathlib.Path(folder, f"{k}.png"))
        ...     folder_images("noise", folder).event_shape
        (1, 4, 6)
    """
    paths, places, classes = _list_pictures(Path(folder))
    if len(paths) < FEWEST_ROWS:
        raise InputError(f"{folder}: {len(paths)} pictures came; at least {FEWEST_ROWS} would do")
    if condition and not classes:
        raise InputError(f"condition: {folder} has no sub-folders, of which each would be a class; leave it out")
    pictures = _read(paths)
    parts = split(np.arange(len(paths)), test=test is None)
    if test is not None:
        others, other_places, other_classes = _list_pictures(Path(test))
        if not others:
            raise InputError(f"test: {test} holds no pictures; a folder like {folder} would do")
        if condition and (strange := [each for each in other_classes if each not in classes]):
            raise InputError(f"test: {test} has the sub-folder {strange[0]!r}, which {folder} has not")
        more = _read(others, like=(paths[0], pictures[0].shape[:2]))
        parts = (*parts[:2], len(paths) + np.arange(len(others)))
        pictures = np.concatenate([pictures, more])
        if condition:
            places = np.concatenate([places, np.array([classes.index(other_classes[k]) for k in other_places])])
    parts = fewer(parts, rows)
    if (pictures == pictures[..., :1]).all():
        pictures = pictures[..., :1]
    pictures = np.moveaxis(pictures, -1, 1)
    first, second, third = parts
    labels = (LABEL, classes, (places[first], places[second], places[third])) if condition else None
    data = dequantize(name, (pictures[first], pictures[second], pictures[third]), seed, labels)
    if classes and not condition:
        data.remarks.append(f"{name}: its sub-folders are taken together; condition={LABEL} makes them classes")
    return data


class PictureFiles(Items[tuple[np.ndarray, str]]):
    """The pictures of a folder, each read from its file when it is asked for: bytes, and the name of its class.

    They are grey where the files say so, all of them; else in colours.

    Args:
        folder: The folder; all of its pictures have one size.

    Attributes:
        classes: The names of the sub-folders, where the pictures are in some.

    Raises:
        InputError: Too few pictures; pictures beside sub-folders of pictures; pictures of different sizes.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise InputError(f"data: {folder} is no folder; one of pictures would do")
        self.paths, self.places, self.classes = _list_pictures(folder)
        if len(self.paths) < FEWEST_ROWS:
            raise InputError(f"{folder}: {len(self.paths)} pictures came; at least {FEWEST_ROWS} would do")
        heads = [_head(path) for path in self.paths]
        self._size = heads[0][0]
        for path, (size, _) in zip(self.paths, heads, strict=True):
            _check_size(path, size, (self.paths[0], self._size))
        self.grey = all(mode in _GREY for _, mode in heads)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[np.ndarray, str]:
        picture = _read([self.paths[place]], like=(self.paths[0], self._size))[0]
        channels = np.moveaxis(picture, -1, 0)[: 1 if self.grey else None]
        return channels, self.classes[self.places[place]] if self.classes else ""


def _list_pictures(folder: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """The pictures in the order of their names, the place of each one's class, and the names of the classes."""
    if not folder.is_dir():
        raise InputError(f"test: {folder} is no folder; one of pictures would do")
    alone = _inside(folder)
    homes = [home for home in _subfolders(folder) if _inside(home)]
    if alone and homes:
        raise InputError(
            f"{folder}: pictures came in it ({alone[0].name}) and in its sub-folder {homes[0].name}; all in "
            "sub-folders, of which each is a class, or none would do"
        )
    inside = [_inside(home) for home in homes]
    places = np.repeat(np.arange(len(homes)), [len(paths) for paths in inside])
    return alone or [path for paths in inside for path in paths], places, [home.name for home in homes]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _inside(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )


def _read(paths: list[Path], like: tuple[Path, tuple[int, ...]] | None = None) -> np.ndarray:
    """Pictures `(n, height, width, 3)` of one size, bytes; what is transparent counts as white."""
    pictures = np.empty((0,), np.uint8)
    for i, path in enumerate(paths):
        picture = _colours(path)
        first, size = like or (path, picture.shape[:2])
        _check_size(path, picture.shape[:2], (first, size))
        like = first, size
        if not i:
            pictures = np.empty((len(paths), *picture.shape), np.uint8)
        pictures[i] = picture
    return pictures


def _check_size(path: Path, came: tuple[int, ...], like: tuple[Path, tuple[int, ...]]) -> None:
    first, size = like
    if came != size:
        (a, b), (c, d) = came, size
        raise InputError(f"{path}: {b} x {a} pixels came, {first} has {d} x {c}; pictures of one size would do")


def _head(path: Path) -> tuple[tuple[int, int], str]:
    """Height and width of a picture, and its mode, from the beginning of its file."""
    with extra("data"):
        from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return (image.height, image.width), image.mode
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: it can't be read as a picture ({type(error).__name__})") from None


def _colours(path: Path) -> np.ndarray:
    with extra("data"):
        from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode, layers = image.mode, image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: it can't be read as a picture ({type(error).__name__})") from None
    if mode.startswith(_DEEP):
        raise InputError(f"{path}: its pixels have more than 8 bits (mode {mode}); 8 bits for each colour would do")
    white = Image.new("RGBA", layers.size, "white")
    return np.asarray(Image.alpha_composite(white, layers).convert("RGB"))
