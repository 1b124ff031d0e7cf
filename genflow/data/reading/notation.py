"""How numbers are spelt: the decimal sign and what separates thousands, found from the numbers themselves.

A notation reads a column if it reads every number of it. In one that separates thousands the groups have three digits
and a number of more than three is grouped: `1,234.5` is English, `1.234,5` German, `1 234,5` French, `1'234.5` Swiss;
in the Indian one, `12,34,567.5`, all groups but the last have two. `1,234` alone may be two numbers. Then the decimal
sign of the other columns decides; where they have none,

- numbers of up to three digits beside many like `1,234`, with many different endings, tell thousands: decimals would
  have been cut to one or two digits here and there;
- else `1.234` has a decimal point, and `1,234` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = [
    "MISSING",
    "SIGNS",
    "Doubt",
    "Dressed",
    "Meaning",
    "Numbers",
    "certain_decimals",
    "is_gap",
    "is_integer",
    "is_missing",
    "is_number",
    "roughly",
    "undress",
]

MISSING = {
    "", "?", "na", "n/a", "n.a.", "nan", "-nan", "null", "none", "#n/a", "#na", "#nv", "#n/a n/a", "<na>",
    "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
}  # fmt: skip
"""Words, in small letters, that stand for a missing value."""
_ERROR = re.compile(r"#(?:[\u00a1\u00bf]?[A-Z/0]+[!?]|##+)")
"""What a spreadsheet shows where a formula has no value, `#DIV/0!`, in any language, or where it has no room."""
_BESIDE_NUMBERS = {"-", "--", ".", "..", "...", "*", "\u2013", "\u2014", "nil", "nd", "n.d."}
"""Words that do so among numbers; elsewhere they may be classes."""

SIGNS = "$\u20ac\u00a3\u00a5\u20b9%"
"""Signs of money and shares that may stand beside numbers."""

_FEWEST = 20  # numbers like 1,234 that tell thousands
_FEWEST_BESIDE_COMMAS = (
    60  # numbers like 1.234: a file with commas between its columns hardly writes them the German way
)
_FEWEST_ENDINGS = 15
_SPELT = str.maketrans({"\u2212": "-", "\uff0d": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
_PLAIN = re.compile(r"[0-9+\-.eE \n]*")
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FORTRAN = re.compile(r"([+-]?[0-9]*\.[0-9]*)[dD]([+-]?[0-9]+)")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")


class Notation(NamedTuple):
    """The sign of the decimals, what separates thousands ('' for nothing), and the digits of the groups before them."""

    decimal: str
    group: str
    digits: int = 3


def _pattern(notation: Notation) -> re.Pattern[str]:
    decimal, group = re.escape(notation.decimal), re.escape(notation.group)
    first = rf"[1-9][0-9]{{0,{notation.digits - 1}}}(?:{group}[0-9]{{{notation.digits}}})*"
    whole = rf"(?:{first}{group}[0-9]{{3}}|[0-9]{{1,3}})" if group else "[0-9]+"
    few = "*" if notation.decimal == "." else "+"  # `5.` is a number, `5,` the end of a clause
    return re.compile(rf"[+-]?(?:{whole}(?:{decimal}[0-9]{few})?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?")


_NOTATIONS = {
    notation: _pattern(notation)
    for notation in (
        *(Notation(decimal, group) for decimal in ".," for group in ("", ",", ".", " ", "'")),
        Notation(".", ",", 2),
    )
    if notation.decimal != notation.group
}


def is_number(text: str) -> bool:
    """Whether a field is a number in some notation.

    Example:
        >>> [is_number(text) for text in ("1.5", "1'234,5", "-1 000", "1e-3", "1,23,456", "1.0D+05")]
        [True, True, True, True, True, True]
        >>> [is_number(text) for text in ("1,23,4", "12 %", "0x1f", "1_000")]
        [False, False, False, False]
    """
    text = _spell(text)
    return any(pattern.fullmatch(text) for pattern in _NOTATIONS.values()) or bool(_INFINITE.fullmatch(text))


def is_integer(text: str) -> bool:
    """Whether a field is a number of digits alone."""
    return bool(_INTEGER.fullmatch(_spell(text)))


def is_missing(text: str) -> bool:
    """Whether a field stands for a missing value.

    Example:
        >>> [is_missing(text) for text in ("NA", "#DIV/0!", "#WERT!", "#tag")]
        [True, True, True, False]
    """
    text = text.strip()
    return text.lower() in MISSING or bool(_ERROR.fullmatch(text))


def is_gap(text: str) -> bool:
    """Whether a field among numbers stands for a missing value.

    Example:
        >>> is_gap("NA"), is_gap("n.d."), is_missing("n.d."), is_gap("unknown")
        (True, True, False, False)
    """
    return is_missing(text) or _spell(text).lower() in _BESIDE_NUMBERS


def roughly(text: str) -> float:
    """A number whose notation is not known yet: in doubt a group of three digits is one of thousands. NaN for none."""
    text = _spell(text)
    found = (notation for notation, pattern in _NOTATIONS.items() if pattern.fullmatch(text))
    return next((_value(text, notation) for notation in found), np.nan)


class Dressed(NamedTuple):
    """A number and what stands around it.

    Attributes:
        number: The number, with a minus before it where it is negative.
        sign: A sign of money or shares, or a unit.
        negative: How it is negative where no minus stands before it: `()` or `-`, the brackets around it or the minus
            behind it.
    """

    number: str
    sign: str = ""
    negative: str = ""


def undress(text: str) -> Dressed | None:
    """The number in a field, without its sign of money, its unit, its brackets; `None` if it is none.

    Example:
        >>> undress("($12.30)"), undress("1.5 kg")
        (Dressed(number='-12.30', sign='$', negative='()'), Dressed(number='1.5', sign='kg', negative=''))
        >>> undress("5 or 6"), undress("A7")
        (None, None)
    """
    text, negative = _spell(text), ""
    for sign, pattern in _NEGATIVES.items():
        if (found := pattern.fullmatch(text)) is not None:
            text, negative = "".join(found.groups()), sign
    found = _DRESSED.fullmatch(text)
    if found is None or (found["before"] and found["behind"]) or (negative and found["minus"]):
        return None
    number = found["minus"] + found["number"]
    sign = found["before"] or found["behind"] or ""
    return Dressed("-" * bool(negative) + number, sign, negative) if is_number(number) else None


_NEGATIVES = {
    "()": re.compile(rf"([{SIGNS}]?) ?\(([^()]+)\)"),
    "-": re.compile(rf"([^()]*[0-9.{SIGNS}])-( ?[{SIGNS}]?)"),
}
_DRESSED = re.compile(
    rf"(?P<minus>[+-]?) ?(?P<before>[{SIGNS}])? ?(?P<number>-?[0-9.,][0-9.,' ]*?(?:[eE][+-]?[0-9]+)?) ?"
    rf"(?P<behind>[{SIGNS}]|(?:[^\W\d_]|[\u00b0\u2030%])[\w\u00b0/^\u00b7.*%]*)?"
)


class Meaning(NamedTuple):
    """What the numbers of a column may be.

    Attributes:
        decimals: The decimal signs of the notations that read it so.
        group: What separates its thousands.
        values: The numbers, NaN where one is missing.
    """

    decimals: frozenset[str]
    group: str
    values: np.ndarray


class Doubt(NamedTuple):
    """A number that may be two."""

    row: int
    text: str


class Numbers:
    """A column of text and what its numbers may be.

    Args:
        cells: The fields of the column.
        sign: The unit or sign that stood at each of them and was taken away.

    Attributes:
        meanings: What they may be: one where there is no doubt, none where a field is no number.
    """

    def __init__(self, cells: Sequence[str], sign: str = ""):
        self.cells, self.sign = cells, sign
        self._texts: dict[str, str] | None = None
        plain = _plain(cells)
        if plain is not None and not _all_grouped(cells):
            decimals = "." if any("." in cell for cell in cells) else ".,"
            self.meanings = [Meaning(frozenset(decimals), "", plain)]
            return
        texts = {cell: _spell(cell) for cell in dict.fromkeys(cells)}
        known = {cell: text for cell, text in texts.items() if not is_missing(text)}
        self._texts = {cell: text for cell, text in known.items() if not is_gap(text)} or known
        self.meanings = self._readings(self._texts)

    @property
    def _known(self) -> list[tuple[int, str]]:
        """The rows with a number, and how it is spelt."""
        texts = self._texts or {}
        return [(i, texts[cell]) for i, cell in enumerate(self.cells) if cell in texts]

    def _readings(self, texts: dict[str, str]) -> list[Meaning]:
        found: list[Meaning] = []
        places = {cell: k for k, cell in enumerate(texts)}
        rows = np.array([places.get(cell, -1) for cell in self.cells], dtype=np.intp)
        for notation, pattern in _NOTATIONS.items():
            if not all(pattern.fullmatch(text) or _INFINITE.fullmatch(text) for text in texts.values()):
                continue
            group = notation.group if any(notation.group in text for text in texts.values()) else ""
            numbers = np.array([*(_value(text, notation) for text in texts.values()), np.nan])
            meaning = Meaning(frozenset(notation.decimal), group, numbers[rows])
            same = [k for k, other in enumerate(found) if np.array_equal(other.values, meaning.values, equal_nan=True)]
            if same:
                found[same[0]] = found[same[0]]._replace(decimals=found[same[0]].decimals | meaning.decimals)
            else:
                found.append(meaning)
        return found

    def are_whole(self, meaning: Meaning) -> bool:
        """Whether no number has decimals or an exponent, as it is written.

        Args:
            meaning: One of the meanings.
        """
        texts = set(self.cells) if self._texts is None else self._texts.values()
        signs = {*(meaning.decimals - {meaning.group}), "e", "E"}
        return not any(sign in text for text in texts for sign in signs)

    def wrong(self, decimal: str) -> int:
        """The row of the first field that is no number, read as most of the column is.

        Args:
            decimal: The decimal sign that is preferred.
        """
        readings = {
            notation: [bool(pattern.fullmatch(text) or _INFINITE.fullmatch(text)) for _, text in self._known]
            for notation, pattern in _NOTATIONS.items()
        }
        best = max(readings, key=lambda notation: (sum(readings[notation]), notation.decimal == decimal))
        return self._known[readings[best].index(False)][0]

    def first_grouped(self, group: str) -> int:
        """The row of the first number whose thousands are separated."""
        return next(i for i, text in self._known if group in text)

    def under(self, decimals: set[str]) -> list[Meaning]:
        """What the numbers may be where other columns have these decimal signs."""
        return [m for m in self.meanings if m.decimals & decimals] if len(decimals) == 1 else self.meanings

    def thousands(self, separator: str) -> Meaning | None:
        """The meaning with thousands, where numbers of up to three digits among many like 1,234 tell them.

        Args:
            separator: What separates the columns.
        """
        if len(self.meanings) < 2:
            return None
        grouped = self._groups()
        if len(grouped) == len(self._known):
            return None
        fewest = _FEWEST_BESIDE_COMMAS if separator == "," and "." in grouped[0][1] else _FEWEST
        endings = {text[-3:] for _, text in grouped}
        if len(grouped) < fewest or len(endings) < _FEWEST_ENDINGS:
            return None
        return next(m for m in self.meanings if m.group)

    def guess(self, decimals: set[str], separator: str) -> Meaning | Doubt:
        """The meaning of numbers that nothing tells: a decimal point, where no number speaks for thousands.

        Args:
            decimals: The decimal signs of the columns that leave no doubt.
            separator: What separates the columns.
        """
        grouped = self._groups()
        small = len(grouped) < len(self._known)
        if "." in grouped[0][1] and len(decimals) < 2 and (not small or separator == ","):
            return next(m for m in self.meanings if "." in m.decimals)
        return Doubt(*grouped[0])

    def _groups(self) -> list[tuple[int, str]]:
        return [(i, text) for i, text in self._known if _GROUPED.fullmatch(text)]


def certain_decimals(columns: Sequence[Numbers]) -> set[str]:
    """The decimal signs of the columns that leave no doubt."""
    certain = [column.meanings[0].decimals for column in columns if len(column.meanings) == 1]
    return {sign for decimals in certain if len(decimals) == 1 for sign in decimals}


def _all_grouped(cells: Sequence[str]) -> bool:
    """Whether every point of plain numbers may separate thousands, and there is one."""
    return any("." in cell for cell in cells) and all(
        "." not in cell or _GROUPED.fullmatch(cell.strip()) for cell in cells
    )


def _spell(text: str) -> str:
    text = text.strip().translate(_SPELT)
    found = _FORTRAN.fullmatch(text)
    return text if found is None else f"{found[1]}e{found[2]}"


def _value(text: str, notation: Notation) -> float:
    return float((text.replace(notation.group, "") if notation.group else text).replace(notation.decimal, "."))


def _plain(cells: Sequence[str]) -> np.ndarray | None:
    """Numbers as programs write them, read at once; `None` if one is not."""
    if not _PLAIN.fullmatch("\n".join(cells)):
        return None
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        return None
