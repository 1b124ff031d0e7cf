r"""Columns that follow from others: a conditional law in the place of a column's own.

Where a column has one value in nearly all rows in which another has the value :math:`v`, as a state follows from a
post code, and a gap from an answer, its law given the other is

.. math::
    F(y \mid v) = \varepsilon F(y) + (1 - \varepsilon) F(y \mid y \in c(v))

with the cell :math:`c(v)` of that value on the line of the follower, and the doubt :math:`\varepsilon`. As the cells
make each column standard normal by itself, this makes it so given the other: a step of the conditional distributional
transform (Rosenblatt, 1952). Under every model a sample then keeps to what the rows kept to.

On the line the map is

.. math::
    \Phi(z') = \varepsilon \Phi(z) + (1 - \varepsilon) \min \Bigl( 1, \max \Bigl( 0,
    \frac{\Phi(z) - \Phi(a)}{\Phi(b) - \Phi(a)} \Bigr) \Bigr), \qquad
    \frac{dz'}{dz} = \frac{\varphi(z)}{\varphi(z')} \, \frac{d\Phi(z')}{d\Phi(z)}

with :math:`c(v) = (a, b)`. It depends on the other column through its value alone, so the Jacobian is triangular.

References:
    Remarks on a multivariate transformation (Rosenblatt, 1952), https://doi.org/10.1214/aoms/1177729394
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from genflow.data.in_double import InDouble
from genflow.data.laws import CelledLine
from genflow.data.preprocessing import Preprocessor
from genflow.errors import InputError
from genflow.interfaces import Component
from genflow.numerics.normal import between, log_density, log_mass, quantile

__all__ = ["Dependencies", "Dependency"]

_END = 38.0  # of the line: beyond it no double is a probability
_NAMED = 6  # dependencies in a remark
_ALL = 0.98  # of the rows
_LEAST = -745.0  # log of the least probability that is one


class Dependency(Component, InDouble):
    r"""What the value of one column says about another.

    Args:
        follower: The column that follows.
        source: The one that it follows from.
        count: How many pieces the line of the source has.
        doubt: :math:`\varepsilon`, the weight of the follower's own law beside the cell that the source says.
        edges: Where the pieces end, `(count - 1,)`, in rising order.
        low: :math:`a`, the lower end of the follower's cell for each piece, `(count,)`; minus infinity where the
            source says nothing.
        high: :math:`b`; infinity where it says nothing.

    Raises:
        InputError: A doubt that is no probability between 0 and 1; as many edges or ends as there are no pieces.

    Example:
        >>> import torch
        >>> state = Dependency(follower=1, source=0, count=2, doubt=0.01, edges=[0.0], low=[-9.0, 0.5], high=[0.5, 9.0])
        >>> city, z = torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.0, 0.0]).double()
        >>> state.broken(city, z)
        tensor(0.5000)
        >>> moved, log_slope = state(city, z)
        >>> moved.round(decimals=2), bool((state.inverse(city, moved) - z).abs().max() < 1e-12)
        (tensor([ 0.5900, -2.5800], dtype=torch.float64), True)
    """

    edges: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        follower: int,
        source: int,
        count: int,
        doubt: float,
        edges: Sequence[float] | Tensor | None = None,
        low: Sequence[float] | Tensor | None = None,
        high: Sequence[float] | Tensor | None = None,
    ):
        super().__init__()
        self.follower, self.source, self.count, self.doubt = int(follower), int(source), int(count), float(doubt)
        edges = torch.arange(count - 1) if edges is None else edges
        ends = [torch.full((count,), end) if given is None else given for given, end in ((low, -_END), (high, _END))]
        if not 0 < doubt < 1:
            raise InputError(f"doubt: {doubt} came; a number between 0 and 1 would do")
        if len(edges) != count - 1 or any(len(end) != count for end in ends):
            came = ", ".join(str(len(each)) for each in (edges, *ends))
            raise InputError(f"edges, low, high: {came} came for count={count}; {count - 1}, {count}, {count} would do")
        self.register_buffer("edges", torch.as_tensor(edges, dtype=torch.float64).detach().clone())
        for name, end in zip(("low", "high"), ends, strict=True):
            end = torch.as_tensor(end, dtype=torch.float64).detach().clamp(-_END, _END)  # a checkpoint holds numbers
            self.register_buffer(name, end.clone())

    def config(self) -> dict[str, Any]:
        return {"follower": self.follower, "source": self.source, "count": self.count, "doubt": self.doubt}

    @property
    def share(self) -> float:
        """The share of the rows in which the source says something."""
        ends = torch.cat([self.edges.new_tensor([-math.inf]), self.edges, self.edges.new_tensor([math.inf])])
        return float(torch.special.ndtr(ends).diff()[self._says()].sum())

    def broken(self, source: Float[Tensor, "*batch"], z: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
        """The share of rows with another value of the follower, of those in which the source says something.

        Args:
            source: Numbers on the line of the source.
            z: Those on the line of the follower.
        """
        (low, high), _, known = self._cells(source)
        return (((z < low) | (z > high)) & known).sum() / known.sum()

    def _says(self) -> Bool[Tensor, " count"]:
        return (self.low > -_END) | (self.high < _END)

    def forward(
        self, source: Float[Tensor, "*batch"], z: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r""":math:`z'` and :math:`\log dz'/dz`.

        Args:
            source: Numbers on the line of the source.
            z: Those on the line of the follower.
        """
        cell, moved, known = self._cells(source)
        return self._map(z, cell, moved, known)

    def inverse(self, source: Float[Tensor, "*batch"], z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The number on the line of the follower.

        Args:
            source: Numbers on the line of the source.
            z: What `forward` made of it.
        """
        cell, moved, known = self._cells(source)
        return self._map(z, moved, cell, known)[0]

    def _cells(self, source: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Bool[Tensor, "*batch"]]:
        """The cell of the follower for each row, where it goes, and whether there is one."""
        low, high = self.low, self.high
        log_doubt = math.log(self.doubt)
        # Φ(a') = ε Φ(a) and Φ(-b') = ε Φ(-b): what is outside of the cell keeps its proportions.
        under, over = (log_doubt + torch.special.log_ndtr(end) for end in (low, -high))
        moved_low = quantile(under, torch.log1p(-under.exp()))
        moved_high = quantile(torch.log1p(-over.exp()), over)
        piece = torch.bucketize(source.detach().contiguous(), self.edges, right=True)
        known = self._says()[piece]
        return (low[piece], high[piece]), (moved_low[piece], moved_high[piece]), known

    @staticmethod
    def _map(
        z: Tensor, cell: tuple[Tensor, Tensor], onto: tuple[Tensor, Tensor], known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Three intervals onto three others, below, in and above a cell, each with its share of the mass."""
        given, z = z, torch.where(known, z, 0.0)  # what is not taken has a gradient, too, far out none that is a number
        end = torch.full_like(z, math.inf)

        def piece(ends: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            low = torch.where(z < cell[0], -end, torch.where(z < cell[1], ends[0], ends[1]))
            high = torch.where(z < cell[0], ends[0], torch.where(z < cell[1], ends[1], end))
            return low, high

        low, high = piece(cell)
        new_low, new_high = piece(onto)
        mass = log_mass(low, high)
        share = (log_mass(low, z) - mass).clamp(min=_LEAST, max=0.0)
        rest = (log_mass(z, high) - mass).clamp(min=_LEAST, max=0.0)
        moved = between(new_low, new_high, share, rest)
        log_slope = log_mass(new_low, new_high) - mass + log_density(z) - log_density(moved)
        return torch.where(known, moved, given), torch.where(known, log_slope, 0.0)


class Dependencies(Preprocessor):
    """Rows on lines of their columns, each follower by its law given what it follows from; see the formulas above.

    Args:
        dim: The number of columns.
        links: What follows from what, none from one that comes later, none twice.

    Raises:
        InputError: A column that follows twice, or from one that comes later.

    Example:
        >>> import torch
        >>> links = [Dependency(1, 0, 2, 0.01, [0.0], [-9.0, 0.5], [0.5, 9.0])]
        >>> law = Dependencies(2, links)
        >>> z = torch.tensor([[-1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
        >>> torch.allclose(law.inverse(law(z)[0]), z)
        True
    """

    def __init__(self, dim: int, links: Sequence[Dependency]):
        super().__init__()
        for k, link in enumerate(links):
            behind = {later.follower for later in links[k:]}
            if link.source in behind or link.follower in {later.follower for later in links[k + 1 :]}:
                raise InputError(
                    f"links: column {link.follower} follows from {link.source} before that is known, or twice; each "
                    "column once, behind the one that it follows from, would do"
                )
        self.dim = dim
        self.links = nn.ModuleList(links)

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim, "links": list(self.links)}

    @property
    def mixes(self) -> bool:
        return True

    def in_words(self, columns: Sequence[str]) -> str:
        """What follows from what, in a line.

        Args:
            columns: Names of the columns.

        Example:
            >>> Dependencies(2, [Dependency(1, 0, 2, 0.01, [0.0], [-9.0, 0.5], [0.5, 9.0])]).in_words(["city", "state"])
            'columns that follow from others, and are modelled given them: state from city'
        """
        links = cast("list[Dependency]", list(self.links))
        said = [
            f"{columns[link.follower]} {'' if link.share > _ALL else 'in part '}from {columns[link.source]}"
            for link in sorted(links, key=lambda link: link.follower)
        ]
        more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
        return f"columns that follow from others, and are modelled given them: {', '.join(said[:_NAMED])}{more}"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        columns = list(x.to(torch.float64).unbind(-1))
        result, total = list(columns), torch.zeros_like(columns[0])
        for link in cast("list[Dependency]", self.links):
            result[link.follower], log_slope = link(columns[link.source], columns[link.follower])
            total = total + log_slope
        return torch.stack(result, -1), total

    def log_unit(self, x: Tensor) -> Tensor:
        return torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)

    def lines_of(self, lines: Sequence[CelledLine]) -> list[CelledLine]:
        # What follows in part keeps its cells: rows that are normal on all of the line are so in each of them.
        noise = {link.follower for link in cast("list[Dependency]", self.links) if link.share > _ALL}
        return [CelledLine(smooth=False, noise=True) if j in noise else line for j, line in enumerate(lines)]

    def inverse(self, z: Tensor) -> Tensor:
        columns = list(z.to(torch.float64).unbind(-1))
        for link in cast("list[Dependency]", self.links):  # what it follows from is on its own line by then
            columns[link.follower] = link.inverse(columns[link.source], columns[link.follower])
        return torch.stack(columns, -1)
