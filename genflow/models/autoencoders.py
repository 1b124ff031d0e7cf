r"""Autoencoders: :math:`E: R^d \to R^l` into a space of few dimensions, and :math:`D: R^l \to R^d` back.

Both are trained by the mean squared error of the reconstruction, :math:`E_x |D(E(x)) - x|^2 / d`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from genflow.errors import InputError
from genflow.interfaces import Component

__all__ = ["Autoencoder", "ConvolutionalAutoencoder"]


class _Reconstruction(Component, nn.Module, ABC):
    """What an autoencoder has to offer to a `LatentFlow`."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch latent"]:
        """The latent :math:`E(x)` of rows."""

    @abstractmethod
    def decode(self, u: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch dim"]:
        """The rows :math:`D(u)` of latents."""

    def errors(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""Of each row, the mean squared error :math:`|D(E(x)) - x|^2 / d`."""
        return (self.decode(self.encode(x)) - x).square().mean(-1)


class Autoencoder(_Reconstruction):
    r"""Two networks of two hidden layers each.

    Args:
        dim: Columns :math:`d` of a row.
        latent: Dimension :math:`l` of the latent space.
        width: Width of the hidden layers.

    Raises:
        InputError: A latent space that is not smaller than that of the rows.

    Example:
        >>> import torch
        >>> autoencoder = Autoencoder(64, latent=4)
        >>> u = autoencoder.encode(torch.zeros(3, 64))
        >>> u.shape, autoencoder.decode(u).shape
        (torch.Size([3, 4]), torch.Size([3, 64]))
    """

    def __init__(self, dim: int, latent: int = 8, width: int = 256):
        super().__init__()
        _check(latent, dim)
        self.dim, self.latent = dim, latent
        self.encoder = _network(dim, width, latent)
        self.decoder = _network(latent, width, dim)

    def encode(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch latent"]:
        return self.encoder(x)

    def decode(self, u: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch dim"]:
        return self.decoder(u)


class ConvolutionalAutoencoder(_Reconstruction):
    r"""Convolutions of three by three pixels, for rows that are grey pictures.

    The encoder halves the picture twice, to :math:`\lceil H/4 \rceil \times \lceil W/4 \rceil` pixels of :math:`2 C`
    channels, and ends in an affine map; the decoder mirrors it. It enlarges by interpolation and convolves afterwards,
    which treats all pixels alike; transposed convolutions leave the pattern of a checkerboard.

    Args:
        picture: Height :math:`H` and width :math:`W` of a picture; a row is one of :math:`d = H W` pixels, line by
            line.
        latent: Dimension :math:`l` of the latent space.
        channels: Channels :math:`C` at half the size.

    Raises:
        InputError: A picture without pixels; a latent space that is not smaller than that of the rows.

    A. Odena, V. Dumoulin, C. Olah, Deconvolution and checkerboard artifacts, Distill 2016,
    https://doi.org/10.23915/distill.00003

    Example:
        >>> import torch
        >>> autoencoder = ConvolutionalAutoencoder((28, 28), latent=16)
        >>> u = autoencoder.encode(torch.zeros(3, 784))
        >>> u.shape, autoencoder.decode(u).shape
        (torch.Size([3, 16]), torch.Size([3, 784]))
    """

    def __init__(self, picture: tuple[int, int], latent: int = 8, channels: int = 16):
        super().__init__()
        height, width = picture
        if min(height, width, channels) < 1:
            raise InputError(f"picture, channels: {list(picture)}, {channels} came; at least 1 each would do")
        self.dim, self.latent = height * width, latent
        _check(latent, self.dim)
        # The sizes of the picture from whole to small: odd ones are halved upwards, as a stride of two does.
        self.sizes = [(height, width)]
        for _ in range(2):
            self.sizes.append(((self.sizes[-1][0] + 1) // 2, (self.sizes[-1][1] + 1) // 2))
        small = 2 * channels * self.sizes[-1][0] * self.sizes[-1][1]
        self.shrinking = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in ((1, channels), (channels, 2 * channels))
        )
        self.to_latent = nn.Linear(small, latent)
        self.from_latent = nn.Linear(latent, small)
        self.growing = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in ((2 * channels, channels), (channels, 1))
        )

    def encode(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch latent"]:
        def encoded(rows: Tensor) -> Tensor:
            h = rows.unflatten(-1, (1, *self.sizes[0]))
            for shrink in self.shrinking:
                h = nn.functional.silu(shrink(h))
            return self.to_latent(h.flatten(1))

        return _by_rows(encoded, x)

    def decode(self, u: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch dim"]:
        def decoded(rows: Tensor) -> Tensor:
            h = self.from_latent(rows).unflatten(-1, (-1, *self.sizes[-1]))
            for grow, size in zip(self.growing, reversed(self.sizes[:-1]), strict=True):
                h = grow(interpolate(nn.functional.silu(h), size, mode="nearest"))
            return h.flatten(1)

        return _by_rows(decoded, u)


def _check(latent: int, dim: int) -> None:
    if not 1 <= latent < dim:
        raise InputError(f"latent: {latent} came for rows of {dim} columns; between 1 and {dim - 1} would do")


def _network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )


def _by_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of `(n, columns)`, of a batch of any shape."""
    return function(x.reshape(-1, x.shape[-1])).unflatten(0, x.shape[:-1]) if x.ndim > 1 else function(x[None])[0]
