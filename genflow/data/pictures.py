r"""A picture as a density in the plane: dark is dense.

With the shade :math:`g_{ij}` of a pixel (white is large) and pixels of the area :math:`a`,

.. math:: p(x) = \frac{\max g - g_{ij}}{a \sum_{kl} (\max g - g_{kl})} \quad \text{for } x \text{ in pixel } ij,

constant on each pixel: a pixel is drawn by its darkness, a point in it uniformly. The longer side of the picture spans
[-4, 4], the other one keeps the aspect ratio, and y points upwards.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["PICTURES", "Picture"]

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of files that are read as pictures."""

_SPAN = 8.0  # length of the longer side
_MOST_PIXELS = 4_000_000  # a larger photograph is made smaller: finer detail is of no use to a density


class Picture:
    """The density of a picture.

    Args:
        shade: Grey values, `(height, width)`, the first row on top; the brightest value has no mass.
        name: What the error calls it.

    Raises:
        InputError: A picture of a single shade, such as an all-white one.

    References:
        Normalizing flow neural networks by JKO scheme (Xu et al., 2023), https://arxiv.org/abs/2212.14424

    Example:
        >>> import numpy as np, torch
        >>> shade = np.array([[0, 255], [255, 255]])
        >>> picture = Picture(shade)
        >>> x, y = picture.sample(100, np.random.default_rng(0)).T
        >>> bool((x < 0).all() and (y > 0).all())  # all of the mass is in the upper left quarter
        True
        >>> picture.log_prob(torch.tensor([[-1.0, 1.0], [1.0, 1.0]])).exp()
        tensor([0.0625, 0.0000])
    """

    dim = 2

    def __init__(self, shade: np.ndarray, name: str = "picture"):
        shade = np.asarray(shade, dtype=np.float64)
        darkness = shade.max() - shade
        if darkness.sum() == 0:
            raise InputError(
                f"{name}: the picture has a single shade; dark is dense, so it needs something dark on something light"
            )
        self.mass = darkness / darkness.sum()
        self.pixel = _SPAN / max(shade.shape)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Picture:
        """The density of a picture file; what is transparent counts as white.

        Args:
            path: The file, of one of the endings in `PICTURES`.

        Raises:
            InputError: No such file, a damaged one, or a picture of a single shade.
        """
        with extra("data"):
            from PIL import Image, UnidentifiedImageError

        path = Path(path)
        try:
            with Image.open(path) as image:
                image.draft("L", (2000, 2000))
                layers = image.convert("RGBA")
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: it can't be read as a picture ({reason})") from None
        white = Image.new("RGBA", layers.size, "white")
        grey = Image.alpha_composite(white, layers).convert("L")
        factor = (grey.width * grey.height / _MOST_PIXELS) ** 0.5
        if factor > 1:
            grey = grey.resize(
                (max(1, int(grey.width / factor)), max(1, int(grey.height / factor))), Image.Resampling.BOX
            )
        return cls(np.asarray(grey), str(path))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, `(n, 2)`.

        Args:
            n: How many.
            rng: Source of randomness.
        """
        height, width = self.mass.shape
        row, column = np.divmod(rng.choice(self.mass.size, n, p=self.mass.ravel()), width)
        jitter = rng.random((n, 2))
        x = (column + jitter[:, 0] - width / 2) * self.pixel
        y = (height / 2 - row - jitter[:, 1]) * self.pixel
        return np.stack([x, y], -1)

    def log_prob(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The log density in nats: minus infinity on white and outside.

        Args:
            x: Points, `(*batch, 2)`.
        """
        height, width = self.mass.shape
        column = (x[..., 0] / self.pixel + width / 2).floor().long()
        row = (height / 2 - x[..., 1] / self.pixel).floor().long()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        mass = torch.as_tensor(self.mass, device=x.device)[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        density = torch.where(inside, mass, torch.zeros_like(mass)) / self.pixel**2
        return density.log().to(x.dtype)
