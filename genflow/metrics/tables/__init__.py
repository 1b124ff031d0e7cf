"""Figures of merit of samples that are rows of a table: numbers, classes and gaps side by side.

=============  ==========================================================================  =============
function       question                                                                    at its best
=============  ==========================================================================  =============
`w1`           how far must samples be carried to become rows of the table?                the floor
`shapes`       has each column the right law by itself?                                    1
`trends`       do every two columns go together as they should?                            1
`manifold`     precision, recall, density, coverage: do they lie where rows lie?           the floor
`utility`      is what is learned from samples as good as what is learned from rows?       the floor
`privacy`      are they nearer to training rows than to rows held out?                     the floor
=============  ==========================================================================  =============

All take samples, training rows and test rows as numbers, `(n, d)`, with a column of `genflow.data.kinds` for each of
theirs: the number of a class is its place, and NaN is missing, a value of its own. The floor is the same figure of the
training rows, as many as there are samples. Whatever has a distance takes Gower's, in which every column weighs the
same, and takes it a portion at a time.
"""

from __future__ import annotations

from genflow.metrics.tables.figures import table_figures
from genflow.metrics.tables.gower import Gower
from genflow.metrics.tables.manifold import manifold
from genflow.metrics.tables.privacy import privacy
from genflow.metrics.tables.rows import Figure, TableColumn
from genflow.metrics.tables.shapes import shapes
from genflow.metrics.tables.transport import w1
from genflow.metrics.tables.trends import trends
from genflow.metrics.tables.utility import utility

__all__ = [
    "Figure",
    "Gower",
    "TableColumn",
    "manifold",
    "privacy",
    "shapes",
    "table_figures",
    "trends",
    "utility",
    "w1",
]
