"""Whether the first line of a text names the columns.

Names that are asked for decide, if all of them stand in it. Else every column of numbers has a vote: a word above
numbers is a name, and so is whatever stands in quotes above numbers that do not; a number above numbers is a row's.
A word that stands again in its column is a row's, too. Numbers are names if they count or are spaced evenly as no row
is, and unlike the numbers below them: whole numbers above decimals, or outside of the range of their columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genflow.data.reading.lines import Field
from genflow.data.reading.names import distinct, unescape
from genflow.data.reading.notation import is_integer, is_missing, is_number, roughly

__all__ = ["Judgement", "judge", "same_names"]

_FEW = 3  # rows that make evenly spaced numbers above them stand out
_MANY = 8  # columns whose numbers do not rise by chance
_YEARS = range(1800, 2201)


class Judgement(NamedTuple):
    """What the first line is.

    Attributes:
        named: Whether it names the columns.
        doubt: Whether that is a guess.
    """

    named: bool
    doubt: bool = False


def same_names(first: Sequence[Field], wanted: Sequence[str | int] | None) -> bool:
    """Whether all names that are asked for stand in a line."""
    names = {name for name in wanted or () if isinstance(name, str)}
    return bool(names) and names <= set(distinct([unescape(field.text) for field in first])[0])


def judge(
    first: Sequence[Field],
    second: Sequence[Field],
    rows: Sequence[Sequence[str]],
    blanks: bool = False,
    wanted: Sequence[str | int] | None = None,
) -> Judgement:
    """Whether a line names the columns of the rows below it.

    Args:
        first: The line.
        second: The line below it.
        rows: Rows of as many fields, without it.
        blanks: Whether only blanks separate the fields.
        wanted: Names or positions of columns that will be asked for.
    """
    if same_names(first, wanted):
        return Judgement(True)
    if not rows:
        return Judgement(any(not is_number(field.text) and not is_missing(field.text) for field in first))
    columns = [list(column) for column in zip(*rows)]
    if not first[0].text and len(first) > 1 and columns[0][0] in ("0", "1") and _counts(columns[0]):
        return Judgement(True)
    texts = [field.text for field in first]
    others = [row for row in rows if [text.strip() for text in row[: len(texts)]] != texts]
    words = quoted = against = 0
    strange = False  # a word above words that does not stand among them
    numbers = []
    for j, field in enumerate(first):
        known = [text for text in columns[j] if not is_missing(text)]
        numeric = sum(map(is_number, known)) > len(known) / 2
        again = field.text in {row[j].strip() for row in others}
        if numeric and field.quoted and not (j < len(second) and second[j].quoted):
            quoted += 1
        elif is_missing(field.text):
            continue
        elif not is_number(field.text):
            words += numeric and not again
            against += again
            strange |= not numeric and not again
        elif numeric:
            numbers.append(j)
    if not words + quoted + len(numbers):
        return Judgement(not against, against > 0)
    if numbers:
        judgement = _numbers([texts[j] for j in numbers], [columns[j] for j in numbers], blanks, strange or words > 0)
        if words + quoted <= len(numbers) + against or judgement.named:
            return judgement._replace(doubt=(judgement.doubt or against > 0 or strange) and not words + quoted)
    return Judgement(words + quoted > against)


def _numbers(texts: Sequence[str], columns: Sequence[Sequence[str]], blanks: bool, supported: bool) -> Judgement:
    """Whether numbers above columns of numbers name them.

    Args:
        texts: The numbers.
        columns: The fields below each of them.
        blanks: Whether only blanks separate the fields.
        supported: Whether a word beside them looks like a name.
    """
    values = np.array([roughly(text) for text in texts])
    below = np.array([[roughly(text) for text in column] for column in columns]).T
    count = len(values)
    if len(below) < _FEW or len(set(values)) < count:
        return Judgement(False)
    whole = all(map(is_integer, texts))
    decimals = whole and not any(is_integer(text) for column in columns for text in column)
    years = whole and all(value in _YEARS for value in values)
    counting = whole and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
    outside = (values < np.nanmin(below, 0)) | (values > np.nanmax(below, 0))
    if count == 1:
        named = decimals and ((values[0] == 0 and not blanks) or (supported and (years or values[0] in (0, 1))))
        return Judgement(named, named)
    if count == 2:
        years = years and abs(values[1] - values[0]) == 1
        named = (years and (decimals or supported or bool(outside.all()))) or (counting and decimals and not blanks)
        return Judgement(named, named or years)
    alike = _even(below)
    if _even(values[None])[0] and not alike.all() and (outside.all() or not alike.any()):
        return Judgement(counting or decimals or supported or bool(outside.mean() > 0.5) or count > 4, True)
    named = count >= _MANY and bool(_rising(values[None])[0]) and not _rising(below).any()
    return Judgement(named, named)


def _even(rows: np.ndarray) -> np.ndarray:
    """Which rows are spaced evenly."""
    steps = np.diff(rows)
    spread = np.abs(steps - steps[:, :1]).max(1)
    return np.logical_and(steps[:, 0] != 0, spread <= 1e-6 * np.abs(steps[:, 0]))


def _rising(rows: np.ndarray) -> np.ndarray:
    """Which rows only rise, or only fall."""
    steps = np.diff(rows)
    return np.logical_or((steps > 0).all(1), (steps < 0).all(1))


def _counts(column: Sequence[str]) -> bool:
    return all(text == str(k) for k, text in enumerate(column, int(column[0])))
