"""The text of a table: its bytes decoded, its records with the lines that they begin on, comments set aside."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ALONE", "BLANKS", "MARKS", "Comment", "Field", "Records", "decode", "fields_of", "separator_line"]

BLANKS = ""
"""Separates fields by blanks and tabs."""
ALONE = "\x1f"
"""Separates nothing: a line is one field."""
MARKS = "#%"
"""A line that begins with one of these is a comment."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_WORD = re.compile(r'"(?:[^"]|"")*"|[^ \t]+')
_SEPARATOR_LINE = re.compile(r"sep=(.)[ \t]*(?:\r\n|\r|\n)", re.IGNORECASE)
_RULE = re.compile(r"[\s|+]*(?:{0})(?:[\s|+]+(?:{0}))*[\s|+]*".format(r":?[-=]{3,}:?|:-+:?|-+:"))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1e]")
_MARKED = (  # the longer marks first: that of UTF-16 begins that of UTF-32
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def decode(content: bytes) -> tuple[str, str] | None:
    """Text, and a remark where its encoding had to be guessed; `None` if the bytes are no text.

    Example:
        >>> decode("größe".encode("utf-16"))
        ('größe', '')
        >>> decode("größe".encode("cp1252"))
        ('größe', 'its text is no UTF-8: it is read as Windows-1252 (Latin-1)')
    """
    encoding = next((name for mark, name in _MARKED if content.startswith(mark)), "")
    start = content[: 1 << 12]
    if not encoding and start.count(0) > len(start) // 4:  # without a mark: half of the bytes of most text are zero
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    try:
        return content.decode(encoding or "utf-8"), ""
    except UnicodeDecodeError:
        if encoding or _CONTROL.search(content):
            return None
    try:
        return content.decode("cp1252"), "its text is no UTF-8: it is read as Windows-1252 (Latin-1)"
    except UnicodeDecodeError:
        return None


def separator_line(text: str) -> tuple[str, int]:
    """The separator that a first line `sep=;` names, as Excel writes it, and where the next line begins; '' and 0."""
    found = _SEPARATOR_LINE.match(text)
    return ("", 0) if found is None else (found[1], found.end())


class Field(NamedTuple):
    """A field of a header.

    Attributes:
        text: What it says, without its quotes.
        quoted: Whether it stood in quotes.
    """

    text: str
    quoted: bool = False


class Comment(NamedTuple):
    """A line that is left out.

    Attributes:
        line: Its number, from 1.
        text: The line without its end.
    """

    line: int
    text: str


class Records:
    """Iterates over the records of a text: `(line, fields)`, the line it begins on and its fields without quotes.

    Empty lines, comments and lines that are drawn (`|---|:-:|`, `+-----+`) are left out. A field in quotes may hold
    separators, line ends, and quotes that are doubled; what stands in it is never a comment.

    Args:
        text: The text.
        separator: What stands between fields: one character, `BLANKS` or `ALONE`.
        start: Where the first line begins.
        comments: Whether lines that begin with a mark are comments.

    Attributes:
        raw: The record that came last, as it stands in the text.
        comments: The comments so far, or `None`.

    Example:
        >>> list(Records('a,"b\\n#c"\\n# no row\\n\\n1,2', ","))
        [(1, ['a', 'b\\n#c']), (5, ['1', '2'])]
    """

    def __init__(self, text: str, separator: str, start: int = 0, comments: bool = True):
        self._text, self._separator, self._start = text, separator, start
        self.comments: list[Comment] | None = [] if comments else None
        self.raw = ""
        self._line, self._begins = 0, True

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        lines = self._lines()
        if self._separator == BLANKS:
            for line in lines:
                self._begins = True
                yield self._line, [_bare(word) for word in _WORD.findall(line.rstrip("\r\n"))]
            return
        reader = csv.reader(lines, delimiter=self._separator, skipinitialspace=True)
        for fields in reader:
            self._begins = True
            yield self._line, fields

    def _lines(self) -> Iterator[str]:
        number = 1 if self._start else 0
        for found in _LINE.finditer(self._text, self._start):
            line = found[0]
            number += 1
            if not self._begins:  # within quotes
                self.raw += line
                yield line
                continue
            content = line.strip()
            if not content or (content[0] in "|+-=:" and _RULE.fullmatch(content)):
                continue
            first = line.lstrip(" ") if self._separator == "\t" else content  # behind a tab stands the second field
            if first[0] in MARKS and self.comments is not None:
                self.comments.append(Comment(number, content))
                continue
            self.raw, self._line, self._begins = line, number, False
            yield line


def fields_of(record: str, separator: str) -> list[Field]:
    """The fields of one record with what `Records` does not tell: whether they stood in quotes.

    Example:
        >>> fields_of('height, "a ""b"", c ",1', ",")
        [Field(text='height', quoted=False), Field(text='a "b", c ', quoted=True), Field(text='1', quoted=False)]
    """
    record = record.rstrip("\r\n")
    if separator == BLANKS:
        return [Field(_bare(word), word.startswith('"') and word.endswith('"')) for word in _WORD.findall(record)]
    fields = []
    position = 0
    while True:
        while record[position : position + 1] == " ":
            position += 1
        quoted = record[position : position + 1] == '"'
        text = ""
        if quoted:
            position += 1
            while (end := record.find('"', position)) >= 0:
                text += record[position:end]
                position = end + 1
                if record[position : position + 1] != '"':
                    break
                text += '"'
                position += 1
            else:
                text, position = text + record[position:], len(record)
        end = record.find(separator, position)
        rest = record[position:] if end < 0 else record[position:end]
        fields.append(Field(text + rest.rstrip() if quoted else rest.strip(), quoted))
        if end < 0:
            return fields
        position = end + 1


def _bare(word: str) -> str:
    return word[1:-1].replace('""', '"') if len(word) > 1 and word[0] == word[-1] == '"' else word
