r"""The law of one column as a map of its values to pieces of the line of standard normal numbers.

A value that has a probability owns an interval of the line, whose mass under the standard normal law is that
probability; a value that has a density owns a point.

.. math::
    x \mapsto (a, b), \quad P(X = x) = w \, (\Phi(b) - \Phi(a)) \qquad \text{or} \qquad
    x \mapsto z, \quad f(x) = \varphi(z) \, \frac{dz}{dx}

Every number of the line belongs to a value that the column can have, so the inverse of any number is one: whole numbers
come back as whole numbers, classes as classes, gaps as gaps, and bounds hold.
"""

from __future__ import annotations

from genflow.data.laws.atoms import Atoms
from genflow.data.laws.grid import Grid
from genflow.data.laws.law import ColumnLaw, Piece
from genflow.data.laws.levels import Levels
from genflow.data.laws.line import CelledLine, celled_line, celled_lines
from genflow.data.laws.smooth import LogNormal, Normal, Smooth, Weibull

__all__ = [
    "Atoms", "CelledLine", "ColumnLaw", "Grid", "Levels", "LogNormal", "Normal", "Piece", "Smooth", "Weibull",
    "celled_line", "celled_lines",
]  # fmt: skip
