r"""Densities in the plane to look at; all of them known, so that the best possible likelihood is.

========================  =======================================================================
family                    density
========================  =======================================================================
`eight_gaussians`         a Gaussian mixture
`two_moons`, `rings`,     curves with Gaussian noise, :math:`p(x) = \int N(x; c(u), \sigma^2 I) \, du`
`swiss_roll`, `spirals`
`pinwheel`                a Gaussian mixture, twisted by an angle that depends on the radius (so volume is kept)
`checkerboard`            uniform on half of the squares
`rose`, `fractal_tree`    pictures drawn here, as in the JKO-iFlow paper
========================  =======================================================================

The scales are those of FFJORD's toy data (https://github.com/rtqichen/ffjord), two moons those of scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data.mixtures import GaussianMixture
from genflow.data.pictures import Picture
from genflow.extras import extra

__all__ = [
    "TOYS",
    "Arc",
    "Checkerboard",
    "Density",
    "NoisyCurves",
    "Pinwheel",
    "eight_gaussians",
    "fractal_tree",
    "rings",
    "rose",
    "spirals",
    "swiss_roll",
    "two_moons",
]


class Density(Protocol):
    """A density that can be drawn from and evaluated."""

    @property
    def dim(self) -> int: ...

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray: ...

    def log_prob(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Arc:
    r"""A circle, an arc of one, or a spiral.

    .. math:: c(u) = o + (r + g \theta) (\cos(\theta + \varphi), \sin(\theta + \varphi)), \qquad
        \theta = \theta_0 + (\theta_1 - \theta_0) u^q

    Args:
        start: :math:`\theta_0`, radians.
        stop: :math:`\theta_1`.
        radius: :math:`r`.
        growth: :math:`g`.
        turn: :math:`\varphi`.
        centre: :math:`o`.
        power: :math:`q`; one half spreads the points of a spiral evenly along it.
    """

    start: float
    stop: float
    radius: float = 0.0
    growth: float = 0.0
    turn: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    power: float = 1.0

    def __call__(self, u: np.ndarray) -> np.ndarray:
        angle = self.start + (self.stop - self.start) * u**self.power
        radius = self.radius + self.growth * angle
        direction = np.stack([np.cos(angle + self.turn), np.sin(angle + self.turn)], -1)
        return np.asarray(self.centre) + radius[:, None] * direction


class NoisyCurves:
    r"""Points on curves, each curve as likely as the other, with Gaussian noise.

    .. math:: p(x) = \frac{1}{m} \sum_{j=1}^m \int_0^1 N(x; c_j(u), \sigma^2 I) \, du

    The integral is taken by Gauss-Legendre quadrature on pieces of a few :math:`\sigma`, in :math:`u^q`, in which a
    spiral is smooth.

    Args:
        curves: :math:`c_j: u \mapsto (x, y)` on the unit interval.
        noise: :math:`\sigma`.
        nodes: Nodes of the quadrature on each piece.

    Example:
        >>> import numpy as np, torch
        >>> circle = NoisyCurves([Arc(0, 2 * np.pi, radius=1)], noise=0.1)
        >>> circle.log_prob(torch.tensor([[1.0, 0.0]])).exp()  # 1 / (2 pi) along, 1 / (sigma sqrt(2 pi)) across
        tensor([0.6357])
    """

    dim = 2

    def __init__(self, curves: Sequence[Arc], noise: float, nodes: int = 16):
        self.curves, self.noise = list(curves), noise
        points, weights = zip(*(_quadrature(curve, 6 * noise, nodes) for curve in self.curves), strict=True)
        self._nodes, self._weights = np.concatenate(points), np.concatenate(weights) / len(self.curves)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, `(n, 2)`.

        Args:
            n: How many.
            rng: Source of randomness.
        """
        label, u = rng.integers(len(self.curves), size=n), rng.random(n)
        x = np.empty((n, 2))
        for j, curve in enumerate(self.curves):
            x[label == j] = curve(u[label == j])
        return x + self.noise * rng.standard_normal((n, 2))

    def log_prob(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The log density in nats.

        Args:
            x: Points, `(*batch, 2)`.
        """
        nodes = torch.as_tensor(self._nodes, device=x.device)
        constant = torch.as_tensor(self._weights, device=x.device).log() - math.log(2 * math.pi * self.noise**2)
        chunks = [
            (constant - 0.5 * (torch.cdist(rows, nodes) / self.noise).square()).logsumexp(-1)
            for rows in x.reshape(-1, 2).to(torch.float64).split(1024)
        ]
        return torch.cat(chunks).reshape(x.shape[:-1]).to(x.dtype)


def _quadrature(curve: Arc, piece: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of the mean along a curve, in pieces that are no longer than `piece`."""
    fine = curve(np.linspace(0, 1, 1001) ** (1 / curve.power))
    pieces = math.ceil(1000 * np.linalg.norm(np.diff(fine, axis=0), axis=-1).max() / piece)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    v = ((np.arange(pieces)[:, None] + (points + 1) / 2) / pieces).ravel()
    slope = v ** (1 / curve.power - 1) / curve.power  # of u = v^(1/q)
    return curve(v ** (1 / curve.power)), slope * np.tile(weights / 2 / pieces, pieces)


class Pinwheel:
    r"""Gaussian blades, twisted by an angle that grows with the radius.

    .. math::
        x = R(2 \pi k / m + c \, e^{\|y\|}) \, y, \qquad y \sim N\left((1, 0), \operatorname{diag}(s_r^2, s_t^2)\right),
        \qquad k \text{ uniform}

    A rotation by an angle that depends on the radius alone keeps volumes, so the density is that of :math:`y`.
    (The usual pinwheel turns by the first coordinate of :math:`y`, which is nearly the radius.)

    Args:
        blades: Their number :math:`m`.
        rate: The twist :math:`c`.
        radial: :math:`s_r`, before scaling.
        tangential: :math:`s_t`, before scaling.
        scale: A factor on everything.

    Example:
        >>> import numpy as np
        >>> Pinwheel().sample(3, np.random.default_rng(0)).shape
        (3, 2)
    """

    dim = 2

    def __init__(
        self, blades: int = 5, rate: float = 0.25, radial: float = 0.3, tangential: float = 0.1, scale: float = 2.0
    ):
        self.blades, self.rate, self.radial, self.tangential, self.scale = blades, rate, radial, tangential, scale

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, `(n, 2)`.

        Args:
            n: How many.
            rng: Source of randomness.
        """
        y = rng.standard_normal((n, 2)) * [self.radial, self.tangential] + [1.0, 0.0]
        radius = np.hypot(y[:, 0], y[:, 1])
        angle = 2 * np.pi * rng.integers(self.blades, size=n) / self.blades + self.rate * np.exp(radius)
        cos, sin = np.cos(angle), np.sin(angle)
        return self.scale * np.stack([cos * y[:, 0] - sin * y[:, 1], sin * y[:, 0] + cos * y[:, 1]], -1)

    def log_prob(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The log density in nats.

        Args:
            x: Points, `(*batch, 2)`.
        """
        y = x / self.scale
        blade = torch.arange(self.blades, dtype=x.dtype, device=x.device) * (2 * math.pi / self.blades)
        radius = y.square().sum(-1, keepdim=True).sqrt()
        angle = torch.atan2(y[..., 1:], y[..., :1]) - blade - self.rate * radius.exp()
        across = (radius * angle.cos() - 1) / self.radial, radius * angle.sin() / self.tangential
        constant = 2 * math.pi * self.radial * self.tangential * self.scale**2 * self.blades
        return (-0.5 * (across[0].square() + across[1].square())).logsumexp(-1) - math.log(constant)


class Checkerboard:
    """Uniform on every other square of a board from -4 to 4, four squares by four.

    Example:
        >>> import torch
        >>> log_p = Checkerboard().log_prob(torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
        >>> (32 * log_p.exp()).round(decimals=4)
        tensor([1., 0.])
    """

    dim = 2

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, `(n, 2)`.

        Args:
            n: How many.
            rng: Source of randomness.
        """
        column = rng.integers(4, size=n)
        row = 2 * rng.integers(2, size=n) + column % 2
        return 2 * (np.stack([column, row], -1) + rng.random((n, 2))) - 4

    def log_prob(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The log density in nats: minus infinity on the other squares and outside.

        Args:
            x: Points, `(*batch, 2)`.
        """
        square = ((x + 4) / 2).floor()
        inside = ((square >= 0) & (square < 4)).all(-1) & (square.sum(-1) % 2 == 0)
        log_p = torch.full(inside.shape, -math.log(32), dtype=x.dtype, device=x.device)
        return log_p.masked_fill(~inside, -torch.inf)


def eight_gaussians() -> GaussianMixture:
    r"""Eight Gaussians on a circle of the radius :math:`2 \sqrt 2`, with :math:`\sigma = 1 / (2 \sqrt 2)`."""
    angle = np.arange(8) * np.pi / 4
    means = 2 * math.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], -1)
    return GaussianMixture(np.ones(8), means, np.tile(np.eye(2) / 8, (8, 1, 1)))


def two_moons() -> NoisyCurves:
    """Two half circles that reach into each other, as scikit-learn's `make_moons(noise=0.1)`."""
    return NoisyCurves([Arc(0, np.pi, radius=1), Arc(np.pi, 2 * np.pi, radius=1, centre=(1, 0.5))], noise=0.1)


def rings() -> NoisyCurves:
    """Four rings around the origin."""
    return NoisyCurves([Arc(0, 2 * np.pi, radius=radius) for radius in (0.75, 1.5, 2.25, 3)], noise=0.08)


def swiss_roll() -> NoisyCurves:
    """One arm that winds outwards, the section of scikit-learn's `make_swiss_roll`."""
    return NoisyCurves([Arc(1.5 * np.pi, 4.5 * np.pi, growth=0.25)], noise=0.125)


def spirals() -> NoisyCurves:
    """Two arms that wind outwards from the origin."""
    return NoisyCurves([Arc(0, 3 * np.pi, growth=1 / 3, turn=turn, power=0.5) for turn in (0, np.pi)], noise=0.12)


def rose() -> Picture:
    r"""A rose: the curve :math:`r = \cos(5 \theta / 4)`, drawn with a pen."""
    angle = np.linspace(0, 8 * np.pi, 4000)
    radius = np.cos(1.25 * angle)
    stroke = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return _rasterize([(stroke, 0.03)])


def fractal_tree(depth: int = 9) -> Picture:
    """A tree whose branches are trees: each branch ends in two smaller ones, to the left and to the right.

    Args:
        depth: Generations of branches.
    """
    tips, directions, length, width = np.array([[0.0, -1.0]]), np.array([np.pi / 2]), 0.6, 0.075
    strokes: list[tuple[np.ndarray, float]] = []
    for _ in range(depth):
        ends = tips + length * np.stack([np.cos(directions), np.sin(directions)], -1)
        strokes += [(np.stack([start, end]), width) for start, end in zip(tips, ends, strict=True)]
        tips = np.repeat(ends, 2, axis=0)
        directions = (directions[:, None] + np.array([-0.48, 0.48])).ravel()
        length, width = 0.74 * length, 0.72 * width
    return _rasterize(strokes)


def _rasterize(strokes: Sequence[tuple[np.ndarray, float]], size: int = 512, finer: int = 4) -> Picture:
    """Strokes `(points, width)` drawn black on white, on a square canvas that they fill; edges are smoothed."""
    with extra("data"):
        from PIL import Image, ImageDraw

    points = np.concatenate([stroke for stroke, _ in strokes])
    low, high = points.min(0), points.max(0)
    scale = 0.94 * size * finer / (high - low).max()
    canvas = Image.new("L", (size * finer, size * finer), 255)
    pen = ImageDraw.Draw(canvas)
    for stroke, width in strokes:
        centred = (stroke - (low + high) / 2) * [scale, -scale] + size * finer / 2
        thick = max(1, round(width * scale))
        pen.line([tuple(point) for point in centred.tolist()], fill=0, width=thick, joint="curve")
        for x, y in centred[[0, -1]].tolist():  # round ends, so that branches join
            pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=0)
    return Picture(np.asarray(canvas.resize((size, size), Image.Resampling.BOX)))


TOYS: dict[str, Callable[[], Density]] = {
    "two-moons": two_moons,
    "eight-gaussians": eight_gaussians,
    "checkerboard": Checkerboard,
    "pinwheel": Pinwheel,
    "rings": rings,
    "swiss-roll": swiss_roll,
    "spirals": spirals,
    "rose": rose,
    "fractal-tree": fractal_tree,
}
"""The toys by name."""
