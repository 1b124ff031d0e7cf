r"""Rows of any table as rows of numbers on the line, by the randomized distributional transform of each column.

.. math::
    z = \Phi^{-1} \bigl( F(x^-) + u \, P(X = x) \bigr), \qquad u \sim U(0, 1)

Where a value has a probability it owns a cell of the line, in which :math:`u` spreads its rows; where it has a density
the map is smooth. With a density :math:`p_Z` of the model on the line, the law of the recorded values is

.. math::
    p(x) = \mathbb E_u \Bigl[ p_Z(z) \prod_{j \text{ with a cell}} \frac{P_j(x_j)}{\varphi(z_j)}
    \prod_{j \text{ with a density}} \frac{d z_j}{d x_j} \Bigr]

The mean of the logarithm over one draw of :math:`u` is a lower bound of its logarithm; that of a mean over several
draws is a tighter one (Burda et al., 2016).

References:
    | On the distributional transform, Sklar's theorem, and the empirical copula process (Rüschendorf, 2009),
      https://doi.org/10.1016/j.jspi.2009.05.030
    | Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.data.laws import CelledLine, ColumnLaw, Normal, Piece, celled_lines
from genflow.data.preprocessing import Preprocessor
from genflow.data.scales import original, standardize
from genflow.numerics.normal import between, log_density, log_mass

__all__ = ["Cells"]

_LEAST = 2.0**-53


class Cells(Preprocessor):
    """Every column by its own law; see the formulas above.

    Without shares `u` a row goes to the middle of its cells, so that the map is a function; its inverse is the same
    wherever in its cells a row is.

    Args:
        laws: The law of each column.

    Example:
        >>> from genflow.data.laws import Levels, Normal
        >>> import torch
        >>> cells = Cells([Levels(2, [0.0, 1.0], [0.25, 0.75]), Normal(10.0, 2.0)])
        >>> x = torch.tensor([[1.0, 12.0]], dtype=torch.float64)
        >>> z, log_det = cells.spread(x, torch.Generator().manual_seed(0))
        >>> cells.inverse(z)
        tensor([[ 1., 12.]], dtype=torch.float64)
    """

    def __init__(self, laws: Sequence[ColumnLaw]):
        super().__init__()
        self.laws = nn.ModuleList(laws)
        # Columns that are standardized and no more are so at once.
        self._plain = [j for j, law in enumerate(laws) if isinstance(law, Normal) and law.plain]
        self._others = [j for j in range(len(laws)) if j not in set(self._plain)]

    def config(self) -> dict[str, Any]:
        return {"laws": list(self.laws)}

    @property
    def plain(self) -> bool:
        """Whether every column is standardized and no more."""
        return not self._others

    @property
    def random(self) -> bool:
        return any(cast(ColumnLaw, law).random for law in self.laws)

    def law(self, j: int) -> ColumnLaw:
        """The law of a column.

        Args:
            j: Which.
        """
        return cast(ColumnLaw, self.laws[j])

    def pieces(self, x: Float[Tensor, "n dim"]) -> Piece:
        """What each value owns of its column's line, each part `(n, dim)`.

        Args:
            x: Rows, NaN where a value is missing.
        """
        found = [torch.empty_like(x) for _ in Piece._fields]
        if self._plain:
            mean, std = self._moments()
            z = standardize(x[:, self._plain], mean, std)
            slope = -std.log().expand_as(z)
            for whole, part in zip(found, (z, z, slope, slope), strict=True):
                whole[:, self._plain] = part
        for j in self._others:
            for whole, part in zip(found, cast(ColumnLaw, self.laws[j]).piece(x[:, j]), strict=True):
                whole[:, j] = part
        return Piece(*found)

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        middle = torch.full(x.shape, 0.5, dtype=torch.float64, device=x.device)
        return next(self.places(x, [middle if u is None else u]))

    def places(self, x: Tensor, shares: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        piece = self.pieces(x.reshape(-1, x.shape[-1]).to(torch.float64))
        for u in shares:
            z, log_det = _at(piece, u.reshape(-1, x.shape[-1]).to(piece.low))
            yield z.reshape(x.shape), log_det.reshape(x.shape[:-1])

    def cells(self, x: Tensor) -> Tensor:
        return torch.where(self._are_points(x), 0.0, x)

    def owns_cells(self, x: Tensor) -> Tensor:
        return ~self._are_points(x).all(-1)

    @torch.no_grad()
    def _are_points(self, x: Tensor) -> Tensor:
        """Whether each value is a point of the line, as those with a density are; a cell otherwise."""
        piece = self.pieces(x.reshape(-1, x.shape[-1]).to(torch.float64))
        return (piece.low == piece.high).reshape(x.shape)

    def celled_lines(self) -> list[CelledLine] | None:
        return celled_lines([cast(ColumnLaw, law) for law in self.laws])

    def log_unit(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        return self.pieces(flat).log_unit.sum(-1).reshape(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        flat = z.reshape(-1, z.shape[-1]).to(torch.float64)
        x = torch.empty_like(flat)
        if self._plain:
            x[:, self._plain] = original(flat[:, self._plain], *self._moments())
        for j in self._others:
            x[:, j] = cast(ColumnLaw, self.laws[j]).value(flat[:, j])
        return x.reshape(z.shape)

    def _moments(self) -> tuple[Tensor, Tensor]:
        laws = [cast(Normal, self.laws[j]) for j in self._plain]
        return torch.stack([law.mean for law in laws]), torch.stack([law.std for law in laws])


def _at(piece: Piece, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The points of shares of the pieces, and the log-determinant of each row."""
    point = piece.low == piece.high
    if bool(point.all()):
        return piece.low, piece.log_slope.sum(-1)
    shares = shares.clamp(_LEAST, 1 - _LEAST)  # none at the end of the line
    # Of points some interval, whose numbers are not taken: that of no width has no gradient.
    low, high = torch.where(point, -1.0, piece.low), torch.where(point, 1.0, piece.high)
    drawn = between(low, high, shares.log(), torch.log1p(-shares))
    mass = log_mass(low, high) - log_density(drawn)
    return torch.where(point, piece.low, drawn), (piece.log_slope + torch.where(point, 0.0, mass)).sum(-1)
