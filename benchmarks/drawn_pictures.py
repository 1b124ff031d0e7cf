"""Pictures that are drawn here, so that nothing is downloaded: letters in files like MNIST's, shapes in colours."""

from __future__ import annotations

import colorsys
import gzip
import math
import struct
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmr10",
    "cmss10", "cmtt10", "cmb10",
)  # fmt: skip
LETTERS = "ABCDEFGHIJ"
SHAPES = {"triangle": 3, "square": 4, "hexagon": 6, "star": 5, "disc": 0, "ring": 0}
_FINE = 4  # pixels of a drawing for one of the picture, along each side


def letters(folder: Path, count: int = 12_000, size: int = 28, seed: int = 0) -> None:
    """Ten capital letters in nineteen fonts, turned, sheared, scaled and moved a little, as MNIST's four files.

    Args:
        folder: A new folder.
        count: Pictures in all; a sixth of them are the test pictures.
        size: Pixels of a side.
        seed: Seed of everything random.
    """
    rng, wide = np.random.default_rng(seed), _FINE * size
    home = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(home / f"{name}.ttf"), round(0.72 * wide)) for name in FONTS]
    pictures, labels = np.empty((count, size, size), np.uint8), rng.integers(len(LETTERS), size=count, dtype=np.uint8)
    for i, label in enumerate(labels):
        page = Image.new("L", (wide, wide))
        font = fonts[rng.integers(len(fonts))]
        ImageDraw.Draw(page).text((wide / 2, wide / 2), LETTERS[label], 255, font, anchor="mm")
        angle, scale, shear = rng.normal(0, 0.12), math.exp(rng.normal(0, 0.08)), rng.normal(0, 0.1)
        back = np.linalg.inv(scale * _turn(angle) @ np.array([[1, shear], [0, 1]]))
        middle = np.full(2, wide / 2)
        offset = middle - back @ (middle + rng.normal(0, _FINE, 2))
        page = page.transform(page.size, Image.Transform.AFFINE, (*back[0], offset[0], *back[1], offset[1]), 2)
        pictures[i] = np.asarray(page.resize((size, size), Image.Resampling.BOX))
    folder.mkdir(parents=True)
    cut = count - count // 6
    for part, rows in (("train", slice(cut)), ("t10k", slice(cut, None))):
        for kind, array in (("images-idx3", pictures[rows]), ("labels-idx1", labels[rows])):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def shapes(folder: Path, count: int = 8_000, size: int = 16, seed: int = 0) -> None:
    """Six shapes of one colour before another, turned, scaled and moved, as PNG files in a sub-folder for each shape.

    Args:
        folder: A new folder.
        count: Pictures in all.
        size: Pixels of a side.
        seed: Seed of everything random.
    """
    rng, wide = np.random.default_rng(seed), _FINE * size
    for name in SHAPES:
        (folder / name).mkdir(parents=True)
    for i, name in enumerate(rng.choice(list(SHAPES), count)):
        hue = rng.random()
        colours = (
            _colour(hue, 0.25, rng.uniform(0.8, 1)),
            _colour(hue + rng.normal(0.5, 0.1), 0.85, rng.uniform(0.4, 0.9)),
        )
        page = Image.new("RGB", (wide, wide), colours[0])
        draw, middle = ImageDraw.Draw(page), wide / 2 + rng.normal(0, _FINE, 2)
        radius = wide * rng.uniform(0.28, 0.42)
        if corners := SHAPES[name]:
            angles = rng.uniform(0, 2 * math.pi) + np.arange(2 * corners) * math.pi / corners
            inner = 0.45 if name == "star" else math.cos(math.pi / corners)
            radii = radius * np.where(np.arange(2 * corners) % 2, inner, 1.0)
            points = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            draw.polygon([tuple(point) for point in points], colours[1])
        else:
            draw.ellipse([*(middle - radius), *(middle + radius)], colours[1])
            if name == "ring":
                draw.ellipse([*(middle - 0.5 * radius), *(middle + 0.5 * radius)], colours[0])
        page.resize((size, size), Image.Resampling.BOX).save(folder / name / f"{i:05d}.png")


def _turn(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue
