r"""The probability flow of rows that are spread in cells, from a network that says how probable each cell is.

A column of classes, answers or counts is seen through its distribution function: each value owns a cell of the line, in
which its rows are spread as the standard normal law would spread them (`genflow.data.Cells`). The density of such rows,
divided by the normal one, is constant in each cell and jumps at its edges. A network that has to learn these edges as a
field is long at it; but they are known, and along the circle

.. math:: x_\theta = x \cos \theta + z \sin \theta, \qquad z \sim N(0, I),

of which the Ornstein–Uhlenbeck flow is made, what is not known of a column is only in which of its cells x is. Given
the cell :math:`(a_k, b_k)`, x is normal with mean :math:`x_\theta \cos \theta` and deviation :math:`\sin \theta`, cut
off at the edges. With the edges in these units, :math:`\alpha_k = (a_k - x_\theta \cos \theta) / \sin \theta` and
:math:`\beta_k` alike, and the densities of the cells :math:`E_k = e^{\ell_k}`, relative to the normal law and given the
other columns, the mean rate of change of :math:`x_\theta` is

.. math::
    \frac{dx_\theta}{d\theta}
    = \cot \theta \, x_\theta - \frac{E[x \mid x_\theta]}{\sin \theta}
    = - \frac{\sum_k E_k \bigl(\varphi(\alpha_k) - \varphi(\beta_k)\bigr)}
             {\sum_k E_k \bigl(\Phi(\beta_k) - \Phi(\alpha_k)\bigr)} .

It is 0 where all :math:`E_k` are alike, and sharp at the edges where the noise is small. As the place in a cell says
nothing about the other columns, the best logits :math:`\ell_k` of a column depend on them through their cells alone:
through the probability, under the normal law, that x is below an edge, :math:`\Phi(\alpha_k)`. With `sides` the network
is told that of each edge, in units of its deviation. It has not to learn then where the others' edges are.

For classes that are embedded as points, in place of cells, this is known as score interpolation.

| Dieleman et al. 2022, Continuous diffusion for categorical data, https://arxiv.org/abs/2211.15089
| Rüschendorf 2009, On the distributional transform, https://doi.org/10.1016/j.jspi.2009.05.030
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.numerics.normal import log_density
from genflow.velocities.residual import ResidualMLP

__all__ = ["CellPosterior"]

_EARLIEST = 0.003  # an angle, below which the field is that of this one: as sharp as a grid of times can follow
_MOST = 15.0  # bound of a logit: a cell is at most e³⁰ times as dense as another
_BOUNDS = math.exp(-_MOST) * (1 + 1e-6), math.exp(_MOST) * (1 - 1e-6)
_LEAST = 1e-30
_RAREST = 1e-3  # a variance, below which what is told of an edge is less than one unit
_FAR = 1e4  # an edge that no row comes near
_OUTER = 12.0  # deviations, beyond which nothing is left: φ is 2e-32 there, and smaller numbers are slow to come by
_ROOT_HALF = math.sqrt(0.5)


class _Answer(NamedTuple):
    """The velocities of the columns with cells, and what their derivatives are made of; an edge behind each cell."""

    velocity: Tensor  # (*batch, columns)
    density: Tensor  # E, (*batch, columns, cells)
    jump: Tensor  # of E at each edge, likewise
    mass: Tensor  # the denominator, (*batch, columns)
    home: Tensor  # the cell that the mean of x is in, (*batch, columns, 1)
    z: Tensor  # the edges, in units of the noise
    bell: Tensor  # φ at each edge
    tail: Tensor  # of the normal law behind each edge, negative for the lower one
    cotangent: Tensor


class CellPosterior(ResidualMLP):
    r"""A residual network whose outputs are logits of cells; see the formulas above.

    Columns that are smooth in a part of their line have the network's output, on top of that of their cells; those
    without cells have nothing else.

    Args:
        edges: For each column the inner edges of its cells, in rising order; none for a column without cells.
        smooth: Whether each column has an output of its own. By default those without cells.
        arc: Which part of the quarter of a circle :math:`0 \le \theta \le \pi / 2` the interval is, as shares of it.
        width: Width of the hidden layers.
        depth: Number of residual layers.
        condition_dim: Dimension of a condition vector, 0 for none.
        activation: `silu`, `tanh`, `sine` or `softplus`.
        time_features: Terms of the cosine series in time that the biases are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives; the angle is linear in them.
        series: The interval of the cosine series in time, and of the arc, by default the same.
        sides: Whether the network is told how probable each side of each edge is.

    It starts as the zero field.

    Example:
        >>> import torch, genflow as gf
        >>> velocity = gf.velocities.CellPosterior([[-0.5, 0.7], []], width=16)
        >>> velocity(torch.randn(5, 2), torch.tensor(0.5)).abs().max().item()
        0.0
    """

    scale_output = None  # type: ignore[assignment]  # a multiple of it is not of this form
    _smooth: Tensor
    _edges: Tensor
    _columns: Tensor
    _last: Tensor
    _owner: Tensor
    _places: Tensor
    _below: Tensor
    _deviation: Tensor

    def __init__(
        self,
        edges: Sequence[Sequence[float]],
        smooth: Sequence[bool] | None = None,
        arc: tuple[float, float] = (0.0, 1.0),
        width: int = 128,
        depth: int = 3,
        condition_dim: int = 0,
        activation: str = "silu",
        time_features: int = 8,
        interval: tuple[float, float] = (0.0, 1.0),
        series: tuple[float, float] | None = None,
        sides: bool = False,
    ):
        super().__init__(len(edges), width, depth, condition_dim, activation, time_features, interval, series)
        rising = all(a < b for own in edges for a, b in pairwise([-_FAR, *own, _FAR]))  # nor is one no number
        if not rising or not any(edges):
            raise InputError(
                f"edges: {list(map(list, edges))} came; numbers in rising order for each column, or none for some, "
                "would do; without any a ResidualMLP"
            )
        if smooth is not None and len(smooth) != len(edges):
            raise InputError(f"smooth: {len(smooth)} came for {len(edges)} columns; one for each would do")
        if not 0 <= arc[0] < arc[1] <= 1:
            raise InputError(f"arc: {arc} came; two shares of a quarter of a circle, such as (0, 1), would do")
        self.arc = (float(arc[0]), float(arc[1]))
        given = [not own for own in edges] if smooth is None else smooth
        self._hold("_smooth", torch.tensor([float(each) for each in given]))
        columns = [j for j, own in enumerate(edges) if own]
        self._hold("_columns", torch.tensor(columns, dtype=torch.long))
        # As many cells for each column, an edge behind each: so far away, where there is none, that it does not count.
        most = max(len(edges[j]) for j in columns) + 1
        self._hold("_last", torch.tensor([[len(edges[j])] for j in columns]))
        self._hold("_edges", torch.tensor([[*edges[j], *[_FAR] * (most - len(edges[j]))] for j in columns]))
        self.logits = nn.Linear(width, self._edges.numel())
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.sides = bool(sides)
        if self.sides:
            # Each edge that there is, the number of its column, and the probability below it with its deviation.
            inner = [(j, edge) for j in columns for edge in edges[j]]
            self._hold("_owner", torch.tensor([j for j, _ in inner], dtype=torch.long))
            self._hold("_places", torch.tensor([edge for _, edge in inner]))
            self._hold("_below", torch.special.ndtr(self._places))
            self._hold("_deviation", (self._below * (1 - self._below)).clamp(min=_RAREST).sqrt())
            self.lift_sides = nn.Linear(len(inner), width, bias=False)
            nn.init.zeros_(self.lift_sides.weight)  # many edges and few rows: what they say is to be shown first

    def _hold(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)  # the constructor's arguments say them again

    @property
    def _rate(self) -> float:
        r"""The rate of the angle :math:`\theta`."""
        start, stop = self.series
        return 0.5 * math.pi * (self.arc[1] - self.arc[0]) / (stop - start)

    def _in_noise(self, edges: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""Edges in units of the noise about each column's coordinate, and :math:`\cot \theta`."""
        since = t.to(x.dtype) - self.series[0]
        angle = (0.5 * math.pi * self.arc[0] + since * self._rate).clamp(min=_EARLIEST)
        angle = angle[(..., *[None] * edges.ndim)] if angle.ndim else angle
        cos, sin = angle.cos(), angle.sin()
        return ((edges - cos * x) / sin).clamp(-_OUTER, _OUTER), cos / sin

    def _sides(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network is told of each edge."""
        z, _ = self._in_noise(self._places, x[..., self._owner], t)
        return (torch.special.ndtr(z) - self._below) / self._deviation

    def _slopes_of_sides(self, x: Tensor, t: Tensor) -> Tensor:
        """Its derivative by the coordinate of its column."""
        z, cotangent = self._in_noise(self._places, x[..., self._owner], t)
        return -cotangent * log_density(z).exp() / self._deviation

    def enter(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.lift(x)
        return h + self.lift_sides(self._sides(x, t)) if self.sides else h

    def pushed_entry(self, x: Tensor, t: Tensor, tangents: Tensor) -> Tensor:
        pushed = super().pushed_entry(x, t, tangents)
        if not self.sides:
            return pushed
        return pushed + self.lift_sides(self._slopes_of_sides(x, t) * tangents[..., self._owner])

    @property
    def _directions(self) -> int:
        return max(self.dim, len(self._owner)) if self.sides else self.dim

    def _columns_of(self, x: Tensor, t: Tensor) -> Callable[[slice], Tensor] | None:
        """What a unit in each direction enters as; `None` where it is the same for all rows."""
        if not self.sides:
            return None
        slopes = self._slopes_of_sides(x, t).reshape(-1, len(self._owner), 1)

        def columns(rows: slice) -> Tensor:
            of_sides = slopes[rows] * self.lift_sides.weight.mT
            return self.lift.weight.mT.expand(len(of_sides), -1, -1).index_add(1, self._owner, of_sides)

        return columns

    def _answer(self, x: Tensor, t: Tensor, logits: Tensor) -> _Answer:
        z, cotangent = self._in_noise(self._edges, x[..., self._columns, None], t)
        bell = log_density(z).exp()
        tail = torch.copysign(torch.erfc(z.abs() * _ROOT_HALF) * 0.5, z)
        density = logits.unflatten(-1, self._edges.shape).clamp(-_MOST, _MOST).exp()
        # Sums by parts: over the edges, of jumps, from the cell that the mean of x is in. Nothing large cancels.
        jump = nn.functional.pad(density.diff(dim=-1), (0, 1))
        home = torch.minimum(torch.signbit(z).sum(-1, keepdim=True), self._last)  # also where x is no number
        mass = (density.gather(-1, home).squeeze(-1) + (tail * jump).sum(-1)).clamp(min=_LEAST)
        velocity = -self._rate * (bell * jump).sum(-1) / mass
        return _Answer(velocity, density, jump, mass, home, z, bell, tail, cotangent.squeeze(-1))

    def _own_slope(self, found: _Answer) -> Tensor:
        """The derivative of each column's velocity by its own coordinate, where the logits stay."""
        v, curved = found.velocity / self._rate, (found.z * found.bell * found.jump).sum(-1)
        return self._rate * found.cotangent * (v.square() - curved / found.mass)

    def _by_logit(self, found: _Answer) -> Tensor:
        """The derivative of each column's velocity by the logits of its cells, `(*batch, columns, cells)`."""
        by_jump = self._rate * found.bell + found.velocity.unsqueeze(-1) * found.tail
        by_density = nn.functional.pad(by_jump, (1, 0))[..., :-1] - by_jump  # of the edge below, and of that above
        by_density = by_density.scatter_add(-1, found.home, found.velocity.unsqueeze(-1))
        bounded = (found.density > _BOUNDS[0]) & (found.density < _BOUNDS[1])
        return -by_density * torch.where(bounded, found.density, 0.0) / found.mass.unsqueeze(-1)

    def _whole(self, read: Tensor, of_cells: Tensor) -> Tensor:
        """What all columns have, from the readout and from the cells."""
        return (read * self._smooth).index_add(-1, self._columns, of_cells)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        a = self.features(x, t, condition)
        return self._whole(self.readout(a), self._answer(x, t, self.logits(a)).velocity)

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        a, arrived = self.pushed_features(x, t, tangents, condition)
        found = self._answer(x, t, self.logits(a))
        pushed = (arrived @ self.logits.weight.mT).unflatten(-1, self._edges.shape)
        of_cells = (pushed * self._by_logit(found)).sum(-1) + self._own_slope(found) * tangents[..., self._columns]
        return (
            self._whole(self.readout(a), found.velocity),
            self._whole(arrived @ self.readout.weight.mT, of_cells),
        )

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        a, slopes = self.features_with_slopes(x, t, condition)
        found = self._answer(x, t, self.logits(a))
        by_logit = self._by_logit(found).reshape(-1, *self._edges.shape)
        plain, weight = self.readout.weight * self._smooth[:, None], self.logits.weight.unflatten(0, self._edges.shape)

        def readout(rows: slice) -> Tensor:
            """What reads the features out of each row, to the first order."""
            of_cells = torch.einsum("rck,ckw->rcw", by_logit[rows], weight)
            return plain.expand(len(of_cells), -1, -1).index_add(1, self._columns, of_cells)

        trace = self.trace_of(readout, slopes, self._columns_of(x, t)).reshape(x.shape[:-1])
        return self._whole(self.readout(a), found.velocity), trace + self._own_slope(found).sum(-1)
