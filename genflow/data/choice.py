"""Which law a column gets: cells for values that repeat, a smooth law for the others.

============================================  ======================================================================
a column of                                   its law
============================================  ======================================================================
classes, booleans                             `Levels`, one for each class, in the order of `class_order`
numbers with few values                       `Levels`, every point of the grid from the least to the greatest
whole numbers and others on a wide grid       `Grid`, a cell for each point, over a smooth law
other numbers                                 `Normal`, `LogNormal` or `Weibull`; samples come back on their grid
some values that stand out                    `Atoms`, over the law of the others
============================================  ======================================================================

Missing values are a level, or an atom. Numbers that are never negative stay so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from genflow.data.atoms import grid_width, outstanding_values, repeats
from genflow.data.cells import Cells
from genflow.data.kinds import Column
from genflow.data.laws import Atoms, ColumnLaw, Grid, Levels, LogNormal, Normal, Smooth, Weibull
from genflow.data.scales import moments
from genflow.data.seriation import class_order
from genflow.data.smoothing import smooth
from genflow.numerics.normal import log_density

__all__ = ["cells_for", "law_of"]

_MOST_LEVELS = 1 << 14
_FEW_LEVELS = 20  # a scale of so few values ends where it ends
_FINE = 0.01  # of a standard deviation: the width of a grid below which a density does not change within a cell
_SURE = 2.0  # standard errors by which another smooth law than standardization has to be better
_WORTH = 1e-3  # nats
_NEW = 0.5  # of the mass at most, for numbers that no row has: where nearly all were seen once
_MARGIN = 3.0  # kernel widths by which levels go on behind the least and the greatest value


def cells_for(train: np.ndarray, columns: Sequence[Column], validation: np.ndarray | None = None) -> Cells:
    """The map of a table's rows to the line, fitted on training rows.

    Args:
        train: Training rows, `(n, dim)`, NaN where a value is missing.
        columns: What the columns hold.
        validation: Rows that decide between smooth laws; where there are none, columns are standardized.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.column_stack([rng.poisson(2.0, 500), rng.normal(size=500)])
        >>> cells = cells_for(rows, [Column("children", "integer", grid=1.0), Column("income")])
        >>> [type(law).__name__ for law in cells.laws]
        ['Levels', 'Normal']
    """
    laws = [
        law_of(
            train[:, j],
            column,
            None if validation is None else validation[:, j],
            class_order(train, columns, j) if column.kind in ("class", "boolean") else None,
        )
        for j, column in enumerate(columns)
    ]
    return Cells(laws)


def law_of(
    x: np.ndarray, column: Column, validation: np.ndarray | None = None, order: np.ndarray | None = None
) -> ColumnLaw:
    """The law of one column.

    Args:
        x: Training values, `(n,)`.
        column: What it holds.
        validation: Values that decide between smooth laws.
        order: Of classes, their places in the order of the line.
    """
    rest = 0.5 / (len(x) + 1)
    gone = np.isnan(x)
    if order is not None:
        counts = np.array([(gone if math.isnan(place) else x == place).sum() for place in order])
        return Levels(len(order), _tensor(order), _tensor(smooth(counts, False)[0]), rest=rest)
    known = x[~gone]
    may_miss = column.missing or bool(gone.any())
    found = _numbers(known, column, None if validation is None else validation[~np.isnan(validation)], rest)
    if not may_miss:
        return found
    share = (gone.sum() + 0.5) / (len(x) + 1)
    if not isinstance(found, Levels | Atoms):
        return Atoms(found, 1, [math.nan], [share])
    p = torch.cat([found.probabilities * (1 - share), found.probabilities.new_tensor([share])])
    values = torch.cat([found.values, found.values.new_tensor([math.nan])])
    if isinstance(found, Levels):
        beyond, between = found.rest * (1 - share), found.between * (1 - share)
        return Levels(found.count + 1, values, p, found.unit, beyond, between=between, grid=found.grid)
    return Atoms(found.rest, found.count + 1, values, p)


def _numbers(x: np.ndarray, column: Column, validation: np.ndarray | None, rest: float) -> ColumnLaw:
    """The law of numbers, none of them missing."""
    counted = column.kind in ("integer", "date")
    distinct = np.unique(x)
    if len(distinct) < 2:
        only = _tensor(distinct) if len(distinct) else torch.zeros(1)
        return Levels(len(only), only, torch.ones(len(only)), rest=rest)
    # Numbers that are all even, or whole hundreds, are on a wider grid.
    grid = max(column.grid, grid_width(distinct)) if column.grid > 0 else 0.0
    repeat = repeats(x)
    if repeat.coarse or len(distinct) <= _FEW_LEVELS:
        levels = _levels(x, distinct, grid)
        if levels is not None:
            values, counts, ordered = levels
            p, width = smooth(counts, ordered)
            unit = grid if grid > 0 and not counted else 1.0
            if ordered:
                values, p = _extend_levels(x, values, p, width, grid)
            # By Good and Turing new numbers are as frequent as those seen once, where not all points of a grid have a
            # level anyhow; by Hill they fall in any of the spaces alike.
            new = rest if ordered else max(rest, min(_NEW, (counts == 1).sum() / (len(x) + 1)))
            spaces = len(values) + 1
            between, beyond = new * (spaces - 2) / spaces, max(rest, 2 * new / spaces)
            # What is new may be anywhere on the grid that is recorded, however wide that of the training rows is.
            return Levels(len(values), _tensor(values), _tensor(p), unit, beyond, between=between, grid=column.grid)
    atoms = outstanding_values(x) if repeat.atoms else np.empty(0)
    low = -math.inf if x.min() < 0 else 0.0
    if grid <= 0 and x.min() == low:  # at a bound there is no density
        atoms = np.union1d(atoms, low)
    others = x[~np.isin(x, atoms)]
    if len(np.unique(others)) < 2:
        atoms, others = np.empty(0), x
    if validation is not None:
        validation = validation[~np.isin(validation, atoms)]
    # Rows that pile up at an end say that it is one.
    if len(atoms):
        low = atoms[0] if atoms[0] == x.min() else low
    high = atoms[-1] if len(atoms) and atoms[-1] == x.max() else math.inf
    beside = bool(len(atoms)) and atoms[0] == x.min()
    law = _smooth(others, low, high, grid, counted, validation, rest, beside)
    if not len(atoms):
        return law
    p = np.array([(x == atom).sum() for atom in atoms]) / len(x)
    return Atoms(law, len(atoms), _tensor(atoms), _tensor(p))


def _levels(x: np.ndarray, distinct: np.ndarray, grid: float) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """The values that have a level, their counts, and whether they have neighbours; `None` where there are too many."""
    if grid > 0:
        steps = np.rint((x - distinct[0]) / grid).astype(np.int64)
        size = int(steps.max()) + 1
        if size <= min(_MOST_LEVELS, max(4 * len(x), _FEW_LEVELS)):
            own = np.rint((distinct - distinct[0]) / grid).astype(np.int64)
            values = np.interp(np.arange(size), own, distinct)  # as they are recorded, to the last digit
            return values, np.bincount(steps, minlength=size), True
    if len(distinct) <= _MOST_LEVELS:
        return distinct, np.unique(x, return_counts=True)[1], False
    return None


def _extend_levels(
    x: np.ndarray, values: np.ndarray, p: np.ndarray, width: float, grid: float
) -> tuple[np.ndarray, np.ndarray]:
    """Levels beyond the least and the greatest value, where the scale does not end there."""
    if width == 0 or len(values) <= _FEW_LEVELS or grid <= 0:
        return values, p
    more = math.ceil(_MARGIN * width)
    tail = np.exp(-0.5 * (np.arange(1, more + 1) / width) ** 2) * 0.5 / (len(x) + 1)
    near = max(1, int(width))
    if p[-1] < 2 * p[-1 - near : -1].mean():  # no pile of rows at the end
        values = np.append(values, values[-1] + grid * np.arange(1, more + 1))
        p = np.append(p, tail / tail.sum() * max(p[-1], tail.sum()) * 0.5)
    if p[0] < 2 * p[1 : 1 + near].mean() and values[0] != 0:
        before = values[0] - grid * np.arange(1, more + 1)
        keep = before >= 0 if values[0] > 0 else np.ones(more, dtype=bool)
        first = tail / tail.sum() * max(p[0], tail.sum()) * 0.5
        values, p = np.append(before[keep][::-1], values), np.append(first[keep][::-1], p)
    return values, p / p.sum()


def _smooth(
    x: np.ndarray,
    low: float,
    high: float,
    grid: float,
    counted: bool,
    validation: np.ndarray | None,
    rest: float,
    beside_atom: bool = False,
) -> ColumnLaw:
    """The smooth law that the validation rows prefer, between bounds, on the grid where there is one."""
    mean, std = (float(part) for part in moments(torch.from_numpy(x)[:, None]))
    half = 0.5 * grid
    candidates: list[Smooth] = [Normal(mean, std, low - half, high + half, rest)]
    if low > -math.inf and high == math.inf and x.min() > low - half:
        logs = np.log(x - (low - half))
        if logs.std() > 0:
            candidates.append(Weibull(*_weibull(logs), low=low - half, rest=rest, unit=std))
            if not beside_atom:  # there its density vanishes, faster than that of any column of people
                candidates.append(LogNormal(logs.mean(), logs.std(), low=low - half, rest=rest, unit=std))
        if low == 0 and x.min() > 2 * std:  # a bound that is far
            candidates.insert(0, Normal(mean, std, rest=rest))
    best = candidates[0]
    if validation is not None and len(validation) > 1:
        own = _log_density(best, validation)
        for law in candidates[1:]:
            gain = _log_density(law, validation) - own
            if gain.mean() > _SURE * gain.std() / math.sqrt(len(gain)) + _WORTH:
                best, own = law, own + gain
    return best if grid <= 0 else Grid(best, grid, float(x[0]), counted, fine=grid < _FINE * std)


def _weibull(logs: np.ndarray) -> tuple[float, float]:
    r"""Location and scale of the logarithms of Weibull numbers, most likely: the shape :math:`k = 1/s` solves

    .. math:: \frac{\sum_i x_i^k \log x_i}{\sum_i x_i^k} - \frac1k = \frac1n \sum_i \log x_i
    """
    mean = logs.mean()
    centred = logs - mean

    def excess(shape: float) -> float:
        weights = np.exp(shape * (centred - centred.max()))
        return float(weights @ centred / weights.sum() - 1 / shape)

    low, high = 1e-3 / centred.std(), 1e3 / centred.std()  # it rises with the shape
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    shape = math.sqrt(low * high)
    top = centred.max()
    return float(mean + top + np.log(np.exp(shape * (centred - top)).mean()) / shape), 1 / shape


def _log_density(law: Smooth, x: np.ndarray) -> np.ndarray:
    piece = law.piece(torch.from_numpy(x))
    point = piece.low == piece.high
    value = log_density(torch.where(point, piece.low, 0.0)) + piece.log_slope
    return torch.where(point, value, math.log(law.rest)).numpy()


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
