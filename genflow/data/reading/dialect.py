"""What separates the fields of a text."""

from __future__ import annotations

import csv
import itertools
from collections import Counter

from genflow.data.reading.dates import dates
from genflow.data.reading.lines import ALONE, BLANKS, Records
from genflow.data.reading.notation import SIGNS, is_missing, is_number, undress

__all__ = ["separator_of"]

_SEPARATORS = (";", "\t", "|", ",", BLANKS, ALONE)  # of those that serve as well, the first
_SHOWN = 100  # records that are looked at
_USUAL = 0.9  # the share of them that must have the same number of fields


def separator_of(text: str, start: int = 0, comments: bool = True) -> str:
    """The separator by which most records have the same number of fields, and most fields are numbers.

    But what is not in the names as often as below, such as a decimal comma, separates nothing where another stands in
    them and in every line below alike.

    Args:
        text: The text.
        start: Where its first line begins.
        comments: Whether lines that begin with a mark are comments.

    Example:
        >>> [separator_of(text) for text in ("a,b\\n1,2", "1,5;2", "1,5 2,5", "a|b\\n1,5|2")]
        [',', ';', '', '|']
        >>> separator_of("amount;paid\\n1,64;EUR 14.941,80\\n2,5;EUR 7,10")
        ';'
    """
    found = []
    more: dict[str, list[int]] = {}  # the fields of each line, less the usual number
    steady: list[int] = []  # the first line with a separator that every line behind it has as often
    for place, separator in enumerate(_SEPARATORS):
        try:
            records = [fields for _, fields in itertools.islice(Records(text, separator, start, comments), _SHOWN)]
        except csv.Error:
            continue
        if not records:
            return ALONE
        body = records[1:] or records
        count, often = Counter(map(len, body)).most_common(1)[0]
        regular = often >= _USUAL * len(body)
        if count < 2 and (separator != ALONE or _may_be_pairs(records)):
            continue
        fields = [field for row in body for field in row if not is_missing(field)]
        may_have_units = separator not in (BLANKS, ALONE) or (separator == ALONE and _has_one_unit(records))
        counts = (lambda field: undress(field) is not None) if may_have_units else is_number
        share = sum(counts(field.strip(f"{SIGNS} ")) for field in fields) / max(len(fields), 1)
        if separator == "," and any(" " in field.strip() and is_number(field) for field in fields):
            place = len(_SEPARATORS)  # "1,5 2,5" is two numbers with a decimal comma
        more[separator] = [len(row) - count for row in records]
        begin = next((i for i, row in enumerate(records) if len(row) > 1), _SHOWN)
        if separator != BLANKS and not any(more[separator][begin:]):
            steady.append(begin)
        found.append((share, regular, len(records[0]) == count, -place, separator))
    names = min(steady, default=_SHOWN)
    found = [each for each in found if each[0] == 1 or not any(more[each[-1]][names : names + 1])]
    if not any(regular and separator != ALONE for _, regular, _, _, separator in found) and _has_colons(text, start):
        return ":"
    chosen = max(found)[-1] if found else ","
    if chosen == "\t" and _widths(text, "\t", start, comments) > 1 == _widths(text, BLANKS, start, comments):
        return BLANKS  # several tabs between two numbers
    return chosen


def _has_one_unit(records: list[list[str]]) -> bool:
    """Whether numbers with one unit stand below a single word: `mass`, `1.5 kg`, `2 kg`."""
    (head, *_), *body = records
    found = [undress(row[0]) for row in body if not is_missing(row[0])]
    return " " not in head.strip() and None not in found and len({each.sign for each in found if each}) == 1


def _widths(text: str, separator: str, start: int, comments: bool) -> int:
    """How many numbers of fields the records have."""
    records = itertools.islice(Records(text, separator, start, comments), _SHOWN * 10)
    return len({len(fields) for _, fields in records})


def _has_colons(text: str, start: int) -> bool:
    """Whether colons separate fields, and not hours from minutes."""
    lines = [fields[0] for _, fields in itertools.islice(Records(text, ALONE, start), _SHOWN)]
    counts = {line.count(":") for line in lines}
    return len(lines) > 1 and len(counts) == 1 and counts != {0} and dates(lines[-1:]) is None


def _may_be_pairs(records: list[list[str]]) -> bool:
    """Whether numbers with a comma may be two, in rows of which some are cut short: no name stands above them."""
    return "," in records[0][0] and any("," in row[0] for row in records[1:])
