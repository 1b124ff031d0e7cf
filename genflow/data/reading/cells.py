"""Columns of text that are no plain numbers: truth values, dates, classes, and numbers with a stray word among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from genflow.data.kinds import Column
from genflow.data.reading.dates import dates, no_dates
from genflow.data.reading.kind import distinct_words, number_column, truth_column, word_column
from genflow.data.reading.names import unescape
from genflow.data.reading.notation import SIGNS, Dressed, Numbers, is_gap, is_integer, is_missing, is_number, undress

__all__ = [
    "Found",
    "are_beyond_doubles",
    "classes_of",
    "codes_of",
    "common_width",
    "dates_of",
    "is_padded",
    "numbers_of",
    "padded_width",
    "separate_stray_dates",
    "separate_strays",
    "strip_sign",
    "strip_signs",
    "truth_of",
    "words_of",
]

_EXACT = 15  # digits of a whole number that a double holds, whatever they are

_NUMBERS = 0.9  # the share of numbers among which words are strays
_ALONE = 0.5  # the same, of a single word
_DISTINCT = 10  # numbers that differ, from where on they are no names of classes


class Found(NamedTuple):
    """What a column of text holds.

    Attributes:
        values: Its numbers.
        column: Their kind.
        remark: What was guessed, '' for nothing.
    """

    values: np.ndarray
    column: Column
    remark: str = ""


def truth_of(name: str, cells: Sequence[str]) -> Found | None:
    """A column of truth values, in one spelling; `None` if it is none.

    Example:
        >>> truth_of("alone", ["True", "", "False"]).values
        array([ 1., nan,  0.])
    """
    texts = {cell.strip() for cell in set(cells) if not is_missing(cell)}
    spelt = next((pair for pair in _SPELLINGS if texts and texts <= set(pair)), None)
    if spelt is None:
        return None
    place = {text: float(k) for k, text in enumerate(spelt)}
    values = np.array([place.get(cell.strip(), np.nan) for cell in cells])
    return Found(values, truth_column(name, values, "bool" if spelt == _SPELLINGS[0] else "str", spelt))


_SPELLINGS = (("False", "True"), ("FALSE", "TRUE"), ("false", "true"))


def dates_of(name: str, cells: Sequence[str], known: str = "") -> Found | None:
    """A column of dates, or of times of day; `None` if it is none.

    Args:
        name: Its name.
        cells: Its fields.
        known: A notation that is tried first.
    """
    first = next((cell.strip() for cell in cells if not is_missing(cell)), "")
    if not dates([first], known):
        return None
    texts = [cell.strip() for cell in cells]
    gone = np.array([is_missing(text) or text == "-" for text in texts])
    found, places = distinct_words(texts, gone)
    read = dates(found, known)
    if read is None:
        return None
    values = np.append(read.counts.astype(np.float64), np.nan)[places]
    missing = bool(gone.any())
    if not missing and len(found) == 1:
        return Found(values, Column(name, "constant", dtype="str", value=found[0]))
    grid = float(np.gcd.reduce(np.diff(np.unique(read.counts)))) if len(found) > 1 else 1.0
    column = Column(name, "date", grid=grid, missing=missing, unit=read.unit, dtype="str", format=read.format)
    return Found(values, column, read.remark)


def classes_of(name: str, cells: Sequence[str], numbers: Numbers) -> Found:
    """A column of classes, be they words or numbers."""
    known: Sequence[str | float] = [unescape(cell.strip()) for cell in cells]
    whole = len(numbers.meanings) == 1 and not any(map(is_padded, cells))
    if whole:  # 3 and 3.0 are one class
        known = numbers.meanings[0].values.tolist()
    missing = np.array([is_missing(cell) for cell in cells])
    different = {cell.strip() for cell in set(cells) if not is_missing(cell)}
    plain = whole and all(is_integer(text) and str(int(text)) == text for text in different)
    return Found(*word_column(name, known, missing, "int64" if plain else "str", kind="class"))


def words_of(name: str, cells: Sequence[str]) -> Found:
    """A column of words: classes, or an identifier."""
    missing = np.array([is_missing(cell) for cell in cells])
    values, column = word_column(name, [unescape(cell.strip()) for cell in cells], missing)
    words = [text for text in column.classes if not is_number(text)]
    rows = sum(cell.strip() in words for cell in cells)
    beside = column.kind == "class" and 2 * rows < (~missing).sum()
    shown = ", ".join(words[:3]) + (", …" if len(words) > 3 else "")
    return Found(values, column, f"numbers and words ({shown}): each is the name of a class" if beside else "")


def strip_signs(cells: Sequence[str]) -> tuple[Numbers, list[str], dict[int, str]] | None:
    """Amounts of money, shares and quantities without the sign or unit that all of them have, and what is to be said.

    Brackets around numbers, or a minus behind them, make them negative: beside a sign of money, or where several
    numbers have them, and none a minus before it. A few words among them are missing. `None` if the fields are no such
    numbers.

    Args:
        cells: The fields.

    Returns:
        The numbers, the remarks, and the words among them by their rows.

    Example:
        >>> numbers, remarks, _ = strip_signs(["$1,200", "-$3", "", "-"])
        >>> numbers.cells, numbers.sign, remarks
        (['1,200', '-3', '', ''], '$', ['the $ of numbers like $1,200 is left out'])
        >>> strip_signs(["5", "(12)", "(7)"])[0].cells
        ['5', '-12', '-7']
        >>> strip_signs(["12 %", "13"]), strip_signs(["1 kg", "2 g"]), strip_signs(["007 b", "7 b"])
        (None, None, None)
    """
    dressed = {cell: undress(cell.strip()) for cell in dict.fromkeys(cells)}
    known = {cell.strip(): found for cell, found in dressed.items() if found is not None}
    strays, few = _strays(cells, {cell for cell, found in dressed.items() if found is None})
    if not known or (strays and not few) or len({found.sign for found in known.values()}) > 1:
        return None
    first, *_ = known
    sign, negative = known[first].sign, [text for text, found in known.items() if found.negative]
    if not (negative or sign) or not _are_negative(negative, known):
        return None
    if sign not in SIGNS and (len(known) == 1 or any(is_padded(each.number) for each in known.values())):
        return None  # a word such as 2nd, codes such as 007b
    remarks = [f"the {sign} of numbers like {first} is left out"] if sign else []
    if negative:
        remarks.append(f"numbers like {negative[0]} are read as {known[negative[0]].number}")
    bare = {text: each.number for text, each in known.items()}
    return Numbers([bare.get(cell.strip(), "") for cell in cells], sign), remarks, strays


def strip_sign(cells: Sequence[str], sign: str) -> tuple[list[str], int | None]:
    """Numbers without a unit or sign that is known, where they have it, and the first row that has another.

    Args:
        cells: The fields.
        sign: The unit or sign.

    Example:
        >>> strip_sign(["1.5 kg", "2", "unknown", "3 g"], "kg")
        (['1.5', '2', 'unknown', '3 g'], 3)
    """
    known = {cell: undress(cell.strip()) for cell in set(cells) if not is_missing(cell)}
    bare = {cell: found.number for cell, found in known.items() if found is not None and found.sign in ("", sign)}
    others = {cell for cell, found in known.items() if found is not None and found.sign not in ("", sign)}
    other = next((i for i, cell in enumerate(cells) if cell in others), None)
    return [bare.get(cell, cell) for cell in cells], other


def _are_negative(negative: Sequence[str], known: Mapping[str, Dressed]) -> bool:
    """Whether brackets, or a minus behind, make numbers negative; one alone may be a slip, and all may be labels."""
    if not negative:
        return True
    alike = len({known[text].negative for text in negative}) == 1
    none_before = not any(each.number.startswith("-") and not each.negative for each in known.values())
    return alike and none_before and (known[negative[0]].sign in tuple(SIGNS) or 1 < len(negative) < len(known))


def separate_strays(cells: Sequence[str]) -> tuple[Numbers, dict[int, str]] | None:
    """Numbers with a few words among them as missing: `unknown`, `1O.5`; `None` if they are no such column.

    Args:
        cells: The fields.

    Returns:
        The numbers without the words, and the words by their rows.
    """
    strays, few = _strays(cells, {cell for cell in set(cells) if not is_number(cell)})
    return (Numbers(["" if i in strays else cell for i, cell in enumerate(cells)]), strays) if few else None


def _strays(cells: Sequence[str], others: Collection[str]) -> tuple[dict[int, str], bool]:
    """The words among numbers by their rows, and whether they are a few among many numbers.

    Args:
        cells: The fields.
        others: Those that are no numbers: words and gaps.
    """
    gaps = {cell for cell in others if is_gap(cell)}
    known = {i: cell.strip() for i, cell in enumerate(cells) if cell not in gaps}
    strays = {i: text for i, text in known.items() if cells[i] in others}
    share = 1 - len(strays) / max(len(known), 1)
    return strays, _are_strays(len(set(strays.values())), len(set(known.values())), share)


def _are_strays(strange: int, different: int, share: float) -> bool:
    """Whether so many words of all that differ are a few among many others, which have this share of the rows."""
    return different - strange > _DISTINCT and share >= (_ALONE if strange == 1 else _NUMBERS)


def separate_stray_dates(name: str, cells: Sequence[str]) -> tuple[Found, dict[int, str]] | None:
    """Dates with a few words among them as missing: `unknown`, `2020-02-30`, `0000-00-00`; as `separate_strays`."""
    known = [cell.strip() for cell in cells if not is_missing(cell)]
    different = list(dict.fromkeys(known))
    strange = no_dates(different) if different else None
    if not strange or not _are_strays(
        len(strange), len(different), 1 - sum(text in strange for text in known) / len(known)
    ):
        return None
    strays = {i: cell.strip() for i, cell in enumerate(cells) if cell.strip() in strange}
    found = dates_of(name, ["" if i in strays else cell for i, cell in enumerate(cells)])
    return None if found is None else (found, strays)


def are_beyond_doubles(cells: Sequence[str]) -> bool:
    """Whether there are whole numbers that no double tells from their neighbours, as long identifiers are.

    Example:
        >>> are_beyond_doubles(["1200000000000000001", "7"]), are_beyond_doubles(["900719925474099", "1e300"])
        (True, False)
    """
    texts = (cell.strip().lstrip("+-") for cell in cells if len(cell) > _EXACT)
    return any(text.isascii() and text.isdigit() and int(text) > 2**53 for text in texts)


def codes_of(name: str, cells: Sequence[str]) -> Found | None:
    """A column of few codes of different lengths such as 1, 01 and 001, which are no one number; `None` if it is none.

    Example:
        >>> codes_of("code", ["1", "01", "2", "1"]).column.classes, codes_of("code", ["1", "2", "02"] * 2)[2][:20]
        (('01', '1', '2'), 'numbers like 02 and ')
        >>> codes_of("code", ["01", "2", "10"]) is None
        True
    """
    texts = {cell.strip() for cell in cells}
    twice = next((text for text in sorted(texts) if is_padded(text) and (text.lstrip("0") or "0") in texts), None)
    if twice is None:
        return None
    found = words_of(name, cells)
    if found.column.kind != "class":
        return None
    remark = f"numbers like {twice} and {twice.lstrip('0') or '0'} are written apart: each is the name of a class"
    return found._replace(remark=remark)


def padded_width(cells: Sequence[str]) -> int:
    """The number of digits of codes such as 00501, where all are of one length and some begin with 0; else 0.

    Example:
        >>> padded_width(["00501", "", "94110"]), padded_width(["0", "7"]), padded_width(["007", "12"])
        (5, 0, 0)
    """
    texts = {cell.strip() for cell in cells if not is_missing(cell)}
    return common_width(texts) if any(text[0] == "0" for text in texts) else 0


def is_padded(text: str) -> bool:
    """Whether a field is a whole number with zeros before it, as a code such as 007 is.

    Example:
        >>> is_padded("007"), is_padded("0"), is_padded("00.5")
        (True, False, False)
    """
    text = text.strip()
    return len(text) > 1 and text[0] == "0" and text.isascii() and text.isdigit()


def common_width(texts: Collection[str]) -> int:
    """The number of digits that all whole numbers have, where it is one, and two or more; else 0."""
    width = len(next(iter(texts), ""))
    alike = all(len(text) == width and text.isascii() and text.isdigit() for text in texts)
    return width if alike and 1 < width <= _EXACT else 0


def numbers_of(name: str, values: np.ndarray, whole: bool) -> Column:
    """The column of numbers that stand in text."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    there = values[np.isfinite(values)]
    whole = whole and largest < 2**53 and bool((there == np.floor(there)).all()) and not np.isinf(values).any()
    return number_column(name, values, "int64" if whole else "float64")
