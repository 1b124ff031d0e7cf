r"""Which columns follow from others: functional dependencies, whole or in part, with few exceptions.

A value :math:`v` of a column *decides* another where the rows that have it agree there: all of them, or all but
:math:`\tau` of many. How far such agreement is to be believed is asked of the rows themselves: each is left out in
turn, and where the others with its value decide, they are right or wrong. Groups of few rows agree by chance, so only
those from a certain size on decide, by the code length per row

.. math::
    \frac1n \sum_{i \text{ right}} \log \frac{1 - \varepsilon + \varepsilon P(y_i)}{P(y_i)}
    + \frac1n \sum_{i \text{ wrong}} \log \varepsilon, \qquad \varepsilon = \frac{E + 1/2}{N + 1}

that it saves against the follower's own law, with :math:`E` of :math:`N` wrong. Of columns
that know nothing of each other a code saves :math:`\log (k / \alpha)` nats in all with a probability of
:math:`\alpha / k` at most, by Markov's inequality, and one of :math:`k` pairs with
:math:`\alpha`: less is not believed.

References:
    Discovering functional dependencies and approximate dependencies using partitions (Huhtala et al., 1998),
    https://doi.org/10.1109/ICDE.1998.655802
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from genflow.data.cells import Cells
from genflow.data.dependencies import Dependencies, Dependency
from genflow.data.kinds import Column
from genflow.data.laws import ColumnLaw
from genflow.numerics.normal import log_mass

__all__ = ["dependencies_among"]

_FEW = 0.005  # of a value's rows, exceptions that don't count
_DOUBT = 0.01  # the greatest share of wrong ones with which a value decides
_SEARCHED = 8192  # rows by which pairs are compared, all of them
_AGREE = 0.98  # of neighbours with the same value of a source: pairs that are looked at closely
_CHANCE = 0.5  # of the disagreement of any two rows: what neighbours with the same value may keep of it
_WORTH, _PART = 0.02, 0.05  # nats a row, and part of the follower's entropy, that a dependency saves
_ALPHA = 0.01  # probability that columns of some table that know nothing of each other are believed to
_COMPARED = 2**29  # values of neighbours that are compared, of all pairs: in wide tables by fewer rows


def dependencies_among(cells: Cells, train: np.ndarray, columns: Sequence[Column]) -> Dependencies | None:
    """The dependencies among the columns of a table; `None` where there is none.

    Args:
        cells: The map of rows to the line.
        train: Training rows, `(n, dim)`, NaN where a value is missing.
        columns: What the columns hold.

    Example:
        >>> from genflow.data.choice import cells_for
        >>> city = np.random.default_rng(0).integers(0, 6, 500)
        >>> rows = np.column_stack([city, city // 3]).astype(float)
        >>> kinds = [Column("city", "class", tuple("abcdef")), Column("state", "class", ("x", "y"))]
        >>> [(link.source, link.follower) for link in dependencies_among(cells_for(rows, kinds), rows, kinds).links]
        [(0, 1)]
    """
    width = train.shape[1]
    some = train[:: -(-len(train) // max(min(_SEARCHED, _COMPARED // width**2), 1))]
    sample = [_Coded.of(cells.law(j), some[:, j]) for j in range(width)]
    pairs = _candidates(sample)
    coded = {j: _Coded.of(cells.law(j), train[:, j]) for j in sorted({j for pair in pairs for j in pair})}
    least = math.log(width * (width - 1) / _ALPHA) / len(train) if pairs else 0.0
    found = []
    for source, follower in pairs:
        if coded[source].leads and coded[follower].celled:  # not some of the rows alone
            deciding = _deciding(coded[source], coded[follower])
            found += [(deciding, source, follower)] if deciding is not None and deciding.gain >= least else []
    # The best source of each follower, no circles; of two columns that follow from each other the finer one leads.
    found.sort(key=lambda entry: (-round(entry[0].gain, 6), -len(coded[entry[1]].low), entry[1]))
    chosen: dict[int, tuple[_Deciding, int]] = {}
    for deciding, source, follower in found:
        above = source
        while above in chosen and above != follower:
            above = chosen[above][1]
        if follower not in chosen and above != follower:
            chosen[follower] = deciding, source
    if not chosen:
        return None
    links: list[Dependency] = []
    left = dict(chosen)
    while left:
        ready = [j for j, (_, source) in left.items() if source not in left]
        links += [_link(j, left[j][1], left[j][0], coded, columns) for j in ready]
        left = {j: entry for j, entry in left.items() if j not in ready}
    return Dependencies(train.shape[1], links)


class _Coded(NamedTuple):
    """A column by the places of its values on the line.

    Attributes:
        code: The place of each row's value, `(n,)`.
        low: The lower end of each value's cell, in rising order.
        high: The upper end.
        log_mass: The log of the probability of each.
        dense: Whether there is one for whose probability a density stands.
    """

    code: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_mass: np.ndarray
    dense: bool

    @classmethod
    def of(cls, law: ColumnLaw, x: np.ndarray) -> _Coded:
        values, code = np.unique(x, return_inverse=True)
        asked = torch.from_numpy(values)
        piece, ends = law.piece(asked), law.cell(asked)
        low, first, place = np.unique(ends[0].numpy(), return_index=True, return_inverse=True)
        dense = bool((piece.low == piece.high).any())
        return cls(place[code], low, ends[1][first].numpy(), log_mass(ends[0][first], ends[1][first]).numpy(), dense)

    @property
    def leads(self) -> bool:
        """Whether others may follow from it: there are several values, and each is known by where it is on the line."""
        return len(self.low) > 1 and bool((self.high > self.low).all())

    @property
    def celled(self) -> bool:
        """Whether each value has a probability, and there are several."""
        return self.leads and not self.dense


class _Deciding(NamedTuple):
    """What the values of a source decide about a follower.

    Attributes:
        gain: Nats a row.
        doubt: How often it is wrong.
        target: The place of the follower's value for each value of the source, -1 where it decides nothing.
        smooth: Whether two neighbours that decide alike decide for what is between them, too.
    """

    gain: float
    doubt: float
    target: np.ndarray
    smooth: bool


def _candidates(columns: Sequence[_Coded]) -> list[tuple[int, int]]:
    """Pairs, a source and what may follow from it, by some of the rows: neighbours that have its value agree there."""
    followers = [j for j, column in enumerate(columns) if column.celled]
    if not followers:
        return []
    codes = np.stack([columns[j].code for j in followers], 1).astype(np.int32)
    rare = np.array([1 - np.square(np.bincount(column) / len(column)).sum() for column in codes.T])
    surprise = [-columns[j].log_mass for j in followers]
    return [
        (source, followers[k])
        for source, column in enumerate(columns)
        if column.leads
        for k in _agreeing(column.code, codes, rare, surprise)
        if followers[k] != source
    ]


def _agreeing(code: np.ndarray, codes: np.ndarray, rare: np.ndarray, surprise: Sequence[np.ndarray]) -> list[int]:
    """The columns whose neighbours agree, where those are the rows that have one value of a source.

    Args:
        code: The values of the source, `(n,)`.
        codes: Those of the columns, `(n, k)`.
        rare: The probability that any two rows have different ones, `(k,)`.
        surprise: -log P of the values of each column.
    """
    order = np.argsort(code, kind="stable")
    code, rows = code[order], codes[order]
    same = code[1:] == code[:-1]
    if not same.any():
        return []
    differ = (rows[1:] != rows[:-1])[same].mean(0)
    agree = differ <= np.minimum(1 - _AGREE, _CHANCE * rare)
    starts = np.flatnonzero(np.append(True, ~same))
    sizes = np.diff(np.append(starts, len(code)))
    pure = (np.minimum.reduceat(rows, starts) == np.maximum.reduceat(rows, starts)) & (sizes > 1)[:, None]
    decided = sizes[:, None] * pure
    in_part = [decided[:, k] @ surprise[k][rows[starts, k]] / len(code) for k in range(codes.shape[1])]
    return [k for k in range(codes.shape[1]) if agree[k] or in_part[k] >= _WORTH]


def _deciding(source: _Coded, follower: _Coded) -> _Deciding | None:
    """What the source decides; `None` where that is not worth it."""
    width = len(follower.low)
    pairs, counts = np.unique(source.code * width + follower.code, return_counts=True)
    group, value = pairs // width, pairs % width
    size = np.bincount(group, counts, minlength=len(source.low))
    order = np.lexsort((-counts, group))
    first = order[np.searchsorted(group[order], np.arange(len(source.low)))]
    top, most = value[first], counts[first]
    # Each row left out: the others with its value, `rest` of them, agree up to a few.
    rest, others = size - 1, size - most
    right = np.where((rest > 0) & (others <= _FEW * rest), most, 0.0)  # one of the usual ones
    wrong = np.where((rest > 0) & (others - 1 <= _FEW * rest), others, 0.0)  # one of the exceptions
    log_own = follower.log_mass
    best, n = None, len(source.code)
    for least in sorted(set(2 ** np.floor(np.log2(rest[rest > 0])).astype(int))):
        large = rest >= least
        rights, wrongs = right * large, wrong * large
        doubt = (wrongs.sum() + 0.5) / (rights.sum() + wrongs.sum() + 1)
        if doubt > _DOUBT:
            continue
        saved = np.logaddexp(math.log1p(-doubt), math.log(doubt) + log_own) - log_own
        gain = float(rights @ saved[top] + wrongs.sum() * math.log(doubt)) / n
        if best is None or gain > best.gain:
            target = np.where((size >= least) & (others <= _FEW * size), top, -1)
            best = _Deciding(gain, float(doubt), target, _is_smooth(target, group, value, counts, saved, doubt))
    entropy = -log_own[follower.code].mean()
    return best if best is not None and best.gain >= max(_WORTH, _PART * entropy) else None


def _is_smooth(
    target: np.ndarray, group: np.ndarray, value: np.ndarray, counts: np.ndarray, saved: np.ndarray, doubt: float
) -> bool:
    """Whether neighbours that decide alike speak for what is between them: of values that are left out in turn.

    Args:
        target: What each value of the source decides.
        group: Its values, one for each pair that occurs.
        value: Those of the follower.
        counts: How often they occur.
        saved: Nats that each value of the follower saves where it is said.
        doubt: How often what is said is wrong.
    """
    said = np.full(len(target), -1)
    said[1:-1] = np.where(target[:-2] == target[2:], target[2:], -1)
    asked = said[group] >= 0
    right = asked & (value == said[group])
    return float(counts[right] @ saved[value[right]] + counts[asked & ~right].sum() * math.log(doubt)) > 0


def _link(
    follower: int, source: int, deciding: _Deciding, coded: Mapping[int, _Coded], columns: Sequence[Column]
) -> Dependency:
    """The dependency as pieces of the source's line. Where no row has a value, both neighbours have to agree.

    Classes have no neighbours, and a value beyond all others says nothing.
    """
    ordered = deciding.smooth and columns[source].kind not in ("class", "boolean")
    of_source, target = coded[source], deciding.target.tolist()
    starts, targets = [-math.inf], [-1]
    for k, (low, high) in enumerate(zip(of_source.low.tolist(), of_source.high.tolist(), strict=True)):
        last = k + 1 == len(target)
        between = target[k] if ordered and not last and target[k] == target[k + 1] else -1
        starts += [low, high]
        targets += [target[k], between]
    # An interval of no width is none; neighbours that say the same are one.
    wide = [k for k, start in enumerate(starts) if start < (starts[k + 1] if k + 1 < len(starts) else math.inf)]
    said = [
        k for before, k in zip([None, *wide], wide, strict=False) if before is None or targets[k] != targets[before]
    ]
    cell = coded[follower]
    low = [float(cell.low[targets[k]]) if targets[k] >= 0 else -math.inf for k in said]
    high = [float(cell.high[targets[k]]) if targets[k] >= 0 else math.inf for k in said]
    return Dependency(follower, source, len(said), deciding.doubt, [starts[k] for k in said[1:]], low, high)
