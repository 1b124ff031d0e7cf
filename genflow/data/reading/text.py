"""Text as a table: what separates its fields, which line names the columns, and what its numbers are."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genflow.data.dataset import default_columns
from genflow.data.reading.bulk import beginning, bulk, line_of, may_be_grouped
from genflow.data.reading.classes import classes as classes_of
from genflow.data.reading.dialect import separator_of
from genflow.data.reading.header import Judgement, judge, same_names
from genflow.data.reading.lines import ALONE, BLANKS, MARKS, Comment, Field, Records, decoded, fields_of, separator_line
from genflow.data.reading.names import distinct, unescaped
from genflow.data.reading.notation import Doubt, Numbers, certain_decimals, is_integer, is_missing, is_number
from genflow.data.reading.table import NO_NUMBER, Classes, Table, shown, wanted_positions
from genflow.errors import InputError

__all__ = ["read_text"]

_LOOKED_AT = 200  # rows that tell whether the line above them is a header
_SIGNS = {",": "comma", ".": "point", " ": "blank", "'": "apostrophe"}


def read_text(path: Path, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    """The table of a file of text.

    Args:
        path: The file.
        wanted: Columns that will be asked for: text in others is no error, and a line that has them all is the header.
        classes: Columns of which text makes classes.

    Raises:
        InputError: It is no text, its rows have different lengths, or a value that is wanted is no number.
    """
    known = decoded(path.read_bytes())
    if known is None:
        raise InputError(f"{path}: it is not text in UTF-8, UTF-16 or Latin-1; save it as such, or as Parquet or NPY")
    text, remark = known
    table = _long(text, str(path), wanted) if not classes.forced else None
    if table is None:
        table = _whole(text, str(path), wanted, classes)
    table.remarks[:0] = [remark] if remark else []
    return table


def _whole(text: str, origin: str, wanted: Sequence[str | int] | None, classes: Classes) -> Table:
    sheet = Sheet(text, origin, wanted)
    names, lines, remarks = sheet.names, sheet.lines, list(sheet.remarks)
    columns = [list(column) for column in zip(*sheet.rows, strict=True)]
    if names is not None and not names[0] and len(columns) > 1 and "" not in (wanted or ()):
        if label := _labels(columns[0]):
            columns, names = columns[1:], names[1:]
            remarks.append(f"the first column has no name and {label}: left out")
        elif sheet.shifted:
            raise sheet.header_error(len(names) - 1)
    titles, same = _titles(names, len(columns))
    table = Table(np.empty(0), titles, names is not None, origin, [*remarks, *same], lambda row: lines[row])
    return _numbers(columns, table, sheet.separator, wanted, classes)


def _long(text: str, origin: str, wanted: Sequence[str | int] | None) -> Table | None:
    """The table of a long text whose numbers are plain, without a look at each field; `None` if it is another one."""
    start = beginning(text)
    if not start:
        return None
    try:
        head = Sheet(text[:start], origin, wanted)
    except InputError:
        return None
    values = bulk(text, start, head.separator, len(head.rows[0]))
    columns = [Numbers(column) for column in zip(*head.rows, strict=True)]
    if values is None or (head.names is not None and not head.names[0]):
        return None
    if any(len(c.meanings) != 1 or c.meanings[0].group or "." not in c.meanings[0].decimals for c in columns):
        return None
    values = np.concatenate([np.column_stack([column.meanings[0].values for column in columns]), values])
    if "." in text[start:] and any(may_be_grouped(text, start, column) for column in values.T):
        return None
    titles, same = _titles(head.names, len(columns))
    first = len(head.rows)

    def line(row: int) -> int:
        return head.lines[row] if row < first else line_of(text, row - first, start)

    return Table(values, titles, head.names is not None, origin, [*head.remarks, *same], line)


def _titles(names: Sequence[str | None] | None, count: int) -> tuple[list[str], list[str]]:
    """The names of the columns, with those that they have where there are none, and remarks."""
    titles = default_columns(count)
    if names is None:
        return titles, []
    return distinct([default if name is None else name for name, default in zip(names, titles, strict=True)])


class Sheet:
    """The rows of a text, each of the same number of fields, and the names of its columns.

    Args:
        text: The text.
        origin: What an error calls it.
        wanted: Columns that will be asked for.

    Attributes:
        separator: What separates fields.
        rows: The fields of each row.
        lines: The line that each row begins on.
        names: The names of the columns, `None` where there is no header; a name is `None` where it has a gap.
        shifted: Whether the header has no name for the first column, as R writes it.
        remarks: What was noticed.
    """

    def __init__(self, text: str, origin: str, wanted: Sequence[str | int] | None):
        self._origin, self._wanted = origin, wanted
        self.remarks: list[str] = []
        self.names: list[str | None] | None = None
        self.shifted = False
        given, start = separator_line(text)
        comments = next(iter(Records(text, ALONE, start)), None) is not None  # else every line begins with a mark
        self.separator = given or separator_of(text, start, comments)
        records = Records(text, self.separator, start, comments)
        self._read(records)
        if not self.rows:
            raise InputError(f"{origin}: the file holds no numbers")
        self._name(records.comments or [])
        self._trim()
        self._note_comments(records.comments or [])

    def _read(self, records: Records) -> None:
        self.rows: list[list[str]] = []
        self.lines = array("q")
        self._first: list[Field] = []
        self._second: list[Field] = []
        try:
            for line, fields in records:
                if len(self.rows) < 2:
                    found = fields_of(records.raw, self.separator)
                    self._first, self._second = (self._first, found) if self.rows else (found, [])
                if self.rows and "#" in records.raw:
                    fields = _without_note(fields, fields_of(records.raw, self.separator))
                self.rows.append(fields)
                self.lines.append(line)
        except csv.Error as error:
            raise InputError(f"{self._origin}: it can't be read as a table ({error})") from None

    def _name(self, comments: list[Comment]) -> None:
        """Takes the header out of the rows, or out of the comment before them."""
        body = self.rows[1:] or self.rows
        usual = Counter(map(len, body)).most_common(1)[0][0]
        self._width = max((_filled(row) for row in body if len(row) <= usual), default=usual)
        cut = _without_note(self.rows[0], self._first)
        if len(self._first) != len(cut) in (usual, len(self._second)) or len(self.rows) == 1:
            self.rows[0], self._first = cut, self._first[: len(cut)]
        first = self._first[: max(self._width, _filled([field.text for field in self._first]))]
        self.shifted = len(first) + 1 == self._width
        first = [Field(""), *first] if self.shifted else first
        judgement = self._judge(first, self.rows[1:])
        if judgement.named:
            if len(self.rows) == 1:
                raise InputError(f"{self._origin}: the file holds no rows, only a header")
            del self.rows[0], self.lines[0]
        else:
            self.rows[0] = _without_note(self.rows[0], self._first)
            first = self._commented(comments)
        if judgement.doubt:
            line = ", ".join(field.text for field in first[:4]) if judgement.named else ", ".join(self.rows[0][:4])
            verdict = "is taken as the names of the columns" if judgement.named else "is read as a row, not as names"
            self.remarks.append(f"the first line, {line}{', …' if self._width > 4 else ''}, {verdict}")
        if first:
            self._width = max(self._width, len(first))
            if len(first) < usual and len(first) < self._width:
                raise self.header_error(len(first))
            bare = [field for field in first if field.text]
            single = all(not f.quoted and len(f.text) > 1 and f.text[0] == f.text[-1] == "'" for f in bare)
            single = single and not same_names(first, self._wanted)
            names = [field.text[1:-1] if single else field.text for field in first]
            self.names = [
                unescaped(name) if name or field.quoted else None for name, field in zip(names, first, strict=True)
            ]

    def _judge(self, first: Sequence[Field], rows: Sequence[Sequence[str]]) -> Judgement:
        alike = [row for row in rows[:_LOOKED_AT] if len(row) >= len(first)]
        if rows and not alike and not same_names(first, self._wanted):
            return Judgement(sum(not is_number(field.text) for field in first) > len(first) / 2)
        return judge(first, self._second, alike, self.separator == BLANKS, self._wanted)

    def _commented(self, comments: list[Comment]) -> list[Field]:
        """The names that stand in the last comment before the rows, as `numpy.savetxt` writes them; none otherwise."""
        before = [comment for comment in comments if comment.line < self.lines[0]]
        if not before:
            return []
        text = before[-1].text
        whole, bare = fields_of(text, self.separator), fields_of(text.lstrip(MARKS).lstrip(), self.separator)
        marked = len(whole) > 1 and whole[1].text.startswith(text[0]) and len(whole) == self._width
        if same_names(whole, self._wanted) or marked:  # the mark belongs to the names
            return whole
        if len(bare) != self._width or not self._judge(bare, self.rows).named:
            return []
        if not (text[0] == "#" and text[1:2].isspace()):
            mark = f"the mark {text[0]} before the names is that of a comment"
            self.remarks.append(f"{mark}: the first column is called {bare[0].text}")
        return bare

    def _trim(self) -> None:
        """Rows of one length: what is behind them is a separator too many, or an error."""
        width = self._width
        for i, row in enumerate(self.rows):
            if len(row) == width:
                continue
            if len(row) > width and not any(field.strip() for field in row[width:]):
                del row[width:]
                continue
            if i == 0 and self.names is not None:
                raise self.header_error(len(self.names))
            before = f"the lines before it have {width}" if len(row) > width else f"the first row has {width}"
            raise InputError(f"{self._origin}: line {self.lines[i]} has {len(row)} values, {before}")
        if self.names is not None:  # columns that have neither a name nor a value
            self.names += [None] * (width - len(self.names))
            empty = [
                j for j, name in enumerate(self.names) if name is None and not any(row[j].strip() for row in self.rows)
            ]
            for row in self.rows if empty else ():
                for j in reversed(empty):
                    del row[j]
            self.names = [name for j, name in enumerate(self.names) if j not in empty]

    def _note_comments(self, comments: list[Comment]) -> None:
        """Says which comments look like rows."""
        inner = [comment for comment in comments if comment.line > self.lines[0]]
        rows = [comment for comment in inner if len(fields_of(comment.text, self.separator)) == self._width > 1]
        if rows:
            more = f", and {len(rows) - 1} more like it" if len(rows) > 1 else ""
            self.remarks.append(f"line {rows[0].line} begins with {rows[0].text[0]}{more}: left out as a comment")

    def header_error(self, names: int) -> InputError:
        """The error of a header that does not fit."""
        return InputError(f"{self._origin}: the header names {names} columns, the rows have {len(self.rows[0])} values")


def _without_note(fields: list[str], written: Sequence[Field]) -> list[str]:
    """A row without the note behind its numbers, `1, 2  # estimated`; what stands in quotes is none."""
    quoted = [field.quoted for field in written] if len(written) == len(fields) else [False] * len(fields)
    for j, field in enumerate(fields):
        before, mark, _ = field.partition("#")
        if mark and not quoted[j]:
            if before and not (before[-1].isspace() and is_number(before)):
                return fields
            if not before and j == 0:
                return fields
            return [*fields[:j], before] if before else fields[:j]
        if not is_number(field):
            return fields
    return fields


def _filled(row: Sequence[str]) -> int:
    """The number of fields up to the last that is not empty."""
    return next((j for j in range(len(row), 0, -1) if row[j - 1].strip()), 0)


def _labels(column: Sequence[str]) -> str:
    """How a column without a name tells rows apart; '' if it does not."""
    if len(set(column)) < len(column) or any(is_missing(text) for text in column):
        return ""
    if all(map(is_integer, column)):
        return "counts the rows"
    return "names the rows" if not any(map(is_number, column)) else ""


def _numbers(
    columns: list[list[str]], table: Table, separator: str, wanted: Sequence[str | int] | None, classes: Classes
) -> Table:
    """Fills a table; text in a column that is wanted is an error, or makes classes."""
    chosen = wanted_positions(table.columns, wanted)
    allowed, forced = ({table.position(c) for c in group} for group in (classes.allowed, classes.forced))
    numbers = {j: Numbers(column) for j, column in enumerate(columns) if j in chosen | allowed | forced}
    decimals = certain_decimals(list(numbers.values()))
    told = {j: column.thousands(separator) for j, column in numbers.items() if len(column.under(decimals)) > 1}
    decimals |= {sign for meaning in told.values() if meaning for sign in meaning.decimals}
    values = np.full((len(columns[0]), len(columns)), np.nan)
    thousands: dict[str, list[int]] = {}
    points: list[int] = []
    for j, column in numbers.items():
        if j in forced or (j in allowed and not column.meanings):
            known: Sequence[str | float] = [unescaped(text.strip()) for text in columns[j]]
            if len(column.meanings) == 1 and not set(columns[j]) & {"True", "False"}:
                known = column.meanings[0].values.tolist()
            missing = np.array([is_missing(text) for text in columns[j]])
            values[:, j], table.classes[j] = classes_of(known, missing)
            continue
        if not column.meanings:
            i = column.wrong(next(iter(decimals)) if len(decimals) == 1 else ".")
            found = shown(columns[j][i].strip())
            if is_number(columns[j][i]):
                raise InputError(f"{table.place(i, j)}: {found} is written in another way than the numbers around it")
            raise InputError(f"{table.place(i, j)}: {found} is not a number; {NO_NUMBER}")
        left = column.under(decimals)
        meaning = told.get(j) or (left[0] if len(left) == 1 else column.guess(decimals, separator))
        if isinstance(meaning, Doubt):
            whole, parts = meaning.text.replace(",", "").replace(".", ""), meaning.text.replace(",", ".")
            raise InputError(
                f"{table.place(meaning.row, j)}: {meaning.text} may be {whole} or {parts}, nothing in the file says "
                "which; write it without separators of thousands and with a decimal point"
            )
        values[:, j] = meaning.values
        if meaning.group:
            thousands.setdefault(meaning.group, []).append(j)
        elif len(column.meanings) > 1 and not decimals and separator != ",":
            points.append(j)
    for group, found_in in thousands.items():
        j = found_in[0]
        i = numbers[j].first_grouped(group)
        text, value = columns[j][i].strip(), values[i, j]
        sign = f"the {_SIGNS[group]} separates thousands"
        table.remarks.append(f"numbers like {text} in {_labelled(table, found_in)} are read as {value:.15g}: {sign}")
    if points:
        text = next(text.strip() for text in columns[points[0]] if "." in text)
        table.remarks.append(
            f"numbers like {text} in {_labelled(table, points)} are read with a decimal point; thousands would have to "
            "be written without it"
        )
    if separator == ALONE and decimals == {","}:
        table.remarks.append("one column: the comma is read as the sign of the decimals")
    table.values = values
    return table


def _labelled(table: Table, columns: Sequence[int]) -> str:
    names = [table.columns[j] for j in columns]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
