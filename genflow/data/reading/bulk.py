"""The bulk of a long text: plain numbers behind its first lines, read at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np

from genflow.data.reading.lines import ALONE, BLANKS

__all__ = ["beginning", "bulk", "line_of", "may_be_grouped"]

_SHORT = 1 << 20  # characters that are read without it
_LINES = 500  # that tell separator, header and notation
_LINE = re.compile(r"[^\r\n]+")
_CHARACTERS = b"0123456789+-.eE \r\n"


def beginning(text: str) -> int:
    """Where the bulk begins: behind the first lines of a long text; 0 if it has none."""
    if len(text) < _SHORT:
        return 0
    ends = (found.end() for found in re.finditer(r"\r\n|\r|\n", text))
    end = next(itertools.islice(ends, _LINES, None), 0)
    return 0 if text.count('"', 0, end) % 2 else end


def bulk(text: str, start: int, separator: str, width: int) -> np.ndarray | None:
    """The numbers behind the first lines, `(rows, width)`; `None` if anything else stands there, or other lengths.

    Args:
        text: The text.
        start: Where the bulk begins.
        separator: What stands between fields.
        width: The number of fields.
    """
    between = b"\t" if separator == BLANKS else b"" if separator == ALONE else separator.encode()
    try:
        others = text[start:].encode("ascii").translate(None, _CHARACTERS + between)
    except UnicodeEncodeError:
        return None
    if others:
        return None
    delimiter = separator if between and separator != BLANKS else None
    try:
        values = np.loadtxt(_lines(text, start), delimiter=delimiter, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if values.shape[1:] == (width,) and len(values) else None


def may_be_grouped(text: str, start: int, column: np.ndarray) -> bool:
    """Whether points may separate thousands: every number is whole, or 1 to 999 with three decimals at most."""
    size = np.abs(column)
    if not ((size < 1000) & ((size >= 1) | (size == 0))).all():
        return False
    whole = size == np.floor(size)
    thousandths = np.abs(size * 1000 - np.round(size * 1000)) < 1e-6
    return bool(thousandths.all()) and (not whole.all() or ".000" in text[start:])


def line_of(text: str, row: int, start: int) -> int:
    """The number of the line that a row of the bulk stands on."""
    found = next(itertools.islice(_LINE.finditer(text, start), row, None))
    return len(re.findall(r"\r\n|\r|\n", text[: found.start()])) + 1


def _lines(text: str, start: int) -> Iterator[str]:
    return (found[0] for found in _LINE.finditer(text, start))
