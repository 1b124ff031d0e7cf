"""Numbers on a recording grid."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genflow.data.laws.law import ColumnLaw, Piece
from genflow.data.laws.smooth import Smooth

__all__ = ["Grid"]


class Grid(ColumnLaw):
    r"""A smooth law whose values are recorded on a grid: each owns the cell around it.

    .. math:: x \mapsto \bigl( z(x - w/2), \; z(x + w/2) \bigr)

    The bounds of the smooth law are half a cell beyond the least and the greatest value. Cells of a fine grid, over
    which no density changes, are points: their mass is the density in the middle by the width.

    Args:
        smooth: The smooth law.
        width: The width :math:`w` of the grid.
        origin: A point of the grid.
        counted: Whether log p is that of a count; otherwise it is a density, per unit, the mass of a cell by its width.
        fine: Whether the cells are points.

    Example:
        >>> import torch
        >>> from genflow.data.laws import Normal
        >>> law = Grid(Normal(2.0, 1.5, low=-0.5), 1.0)
        >>> piece = law.piece(torch.tensor([0.0, 3.0], dtype=torch.float64))
        >>> piece.low, piece.high
        (tensor([  -inf, 0.2846], dtype=torch.float64), tensor([-1.1930,  0.9676], dtype=torch.float64))
        >>> law.value(torch.tensor([-7.0, 0.9], dtype=torch.float64))
        tensor([0., 3.], dtype=torch.float64)
    """

    def __init__(self, smooth: Smooth, width: float, origin: float = 0.0, counted: bool = True, fine: bool = False):
        super().__init__()
        self.smooth, self.width, self.origin = smooth, float(width), float(origin)
        self.counted, self.fine = bool(counted), bool(fine)

    def config(self) -> dict[str, Any]:
        return {
            "smooth": self.smooth,
            "width": self.width,
            "origin": self.origin,
            "counted": self.counted,
            "fine": self.fine,
        }

    @property
    def random(self) -> bool:
        return not self.fine

    def side(self, x: Tensor) -> Tensor:
        return self.smooth.side(x)

    def piece(self, x: Tensor) -> Piece:
        if self.fine:
            found = self.smooth.piece(x)
            point = found.low == found.high
            return found._replace(log_slope=found.log_slope + self.counted * point * math.log(self.width))
        a, b = self.cell(x)
        zero = torch.zeros_like(a)
        return Piece(
            a,
            b,
            zero if self.counted else zero - math.log(self.width),
            zero if self.counted else (zero - math.log(self.smooth.unit)),
        )

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.smooth.low, self.smooth.high
        half = 0.5 * self.width
        middle = x.clamp(low + half, high - half)
        outside = self.side(x) != 0
        a = self.smooth.piece((middle - half).clamp(min=low)).low
        b = self.smooth.piece((middle + half).clamp(max=high)).high
        beyond = self.smooth.piece(torch.where(outside, x, middle))
        return torch.where(outside, beyond.low, a), torch.where(outside, beyond.high, b)

    def value(self, z: Tensor) -> Tensor:
        half = 0.5 * self.width
        inside = self.smooth.value(z).clamp(self.smooth.low + half, self.smooth.high - half)
        return self.origin + ((inside - self.origin) / self.width).round() * self.width
