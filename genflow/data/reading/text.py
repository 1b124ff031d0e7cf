"""Text as a table: what separates its fields, which line names the columns, and what its numbers are."""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import numpy as np

from genflow.data.dataset import default_columns
from genflow.data.kinds import Column
from genflow.data.reading.bulk import beginning, bulk, line_of, may_be_grouped
from genflow.data.reading.cells import (
    Found,
    are_beyond_doubles,
    classes_of,
    codes_of,
    dates_of,
    is_padded,
    numbers_of,
    padded_width,
    separate_stray_dates,
    separate_strays,
    strip_sign,
    strip_signs,
    truth_of,
    words_of,
)
from genflow.data.reading.dialect import separator_of
from genflow.data.reading.header import Judgement, judge, same_names
from genflow.data.reading.lines import ALONE, BLANKS, MARKS, Comment, Field, Records, decode, fields_of, separator_line
from genflow.data.reading.names import name_all, unescape
from genflow.data.reading.notation import (
    Doubt,
    Meaning,
    Numbers,
    certain_decimals,
    is_integer,
    is_missing,
    is_number,
    undress,
)
from genflow.data.reading.table import NO_HINTS, NO_NUMBER, Hints, Table, hints_at, kind_said, quote, wanted_positions
from genflow.data.reading.totals import last_row_of_totals
from genflow.errors import InputError

__all__ = ["fill_table", "read_text"]

_LOOKED_AT = 200  # rows that tell whether the line above them is a header
_PREAMBLE = 30  # lines before a table, at most
_BEHIND = 10  # lines behind it, at most
_PADDED = re.compile(r"[\s,;:|\"]0\d")  # a code such as 00501: the bulk of numbers would not tell its width
_SIGNS = {",": "comma", ".": "point", " ": "blank", "'": "apostrophe"}


def read_text(content: bytes, origin: str, wanted: Sequence[str | int] | None = None, hints: Hints = NO_HINTS) -> Table:
    """The table of a file of text.

    Args:
        content: What the file holds.
        origin: What an error calls it.
        wanted: Columns that will be asked for: the others stay empty, and a line that has them all is the header.
        hints: What is known of some columns.

    Raises:
        InputError: It is no text, its rows have different lengths, or a value that is wanted is no number.
    """
    known = decode(content)
    if known is None:
        raise InputError(f"{origin}: it is not text in UTF-8, UTF-16 or Latin-1; save it as such, or as Parquet or NPY")
    text, remark = known
    table = _long(text, origin, wanted) if all(map(_is_number_hint, hints.values())) else None
    if table is None:
        table = _whole(text, origin, wanted, hints)
    table.remarks[:0] = [remark] if remark else []
    return table


def _is_number_hint(hint: str | Column) -> bool:
    return kind_said(hint) in ("ignored", "integer", "continuous")


def _whole(text: str, origin: str, wanted: Sequence[str | int] | None, hints: Hints) -> Table:
    sheet = Sheet(text, origin, wanted)
    names, lines, remarks = sheet.names, sheet.lines, list(sheet.remarks)
    columns = [list(column) for column in zip(*sheet.rows, strict=True)]
    if names is not None and not names[0] and len(columns) > 1 and "" not in (wanted or ()):
        if label := _labels(columns[0]):
            columns, names = columns[1:], names[1:]
            remarks.append(f"the first column has no name and {label}: left out")
        elif sheet.shifted:
            raise sheet.header_error(len(names) - 1)
    if (total := last_row_of_totals(columns)) is not None:
        word, sums = total
        line = f"line {lines[len(columns[0]) - 1]}{word and f', {word},'}"
        if sums:
            columns = [column[:-1] for column in columns]
            remarks.append(f"{line} holds the sums or means of the rows above it: left out")
        else:
            remarks.append(f"{line} looks like sums of the rows above it, and is not: it stays a row")
    titles, same = _titles(names, len(columns))
    table = Table(np.empty(0), titles, names is not None, origin, [*remarks, *same], lambda row: lines[row])
    if sheet.classes and len(columns) > 1:
        columns[-1] = [sheet.classes[int(text)] for text in columns[-1]]
    return fill_table(columns, table, sheet.separator, wanted, hints)


def _long(text: str, origin: str, wanted: Sequence[str | int] | None) -> Table | None:
    """The table of a long text whose numbers are plain, without a look at each field; `None` if it is another one."""
    start = beginning(text)
    if not start:
        return None
    try:
        head = Sheet(text[:start], origin, wanted, text.count("\n", start))
    except InputError:
        return None
    fields = list(zip(*head.rows, strict=True))
    if any(all(map(is_integer, column)) for column in fields) and _PADDED.search(text):
        return None
    values = bulk(text, start, head.separator, len(head.rows[0]))
    columns = [Numbers(column) for column in fields]
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

    whole = [not any("." in cell or "e" in cell for cell in column.cells) for column in columns]
    kinds = [numbers_of(name, column, plain) for name, column, plain in zip(titles, values.T, whole, strict=True)]
    return Table(values, titles, head.names is not None, origin, [*head.remarks, *same], line, kinds)


def _titles(names: Sequence[str | None] | None, count: int) -> tuple[list[str], list[str]]:
    """The names of the columns, with those that they have where there are none, and remarks."""
    return (default_columns(count), []) if names is None else name_all(names)


class Sheet:
    """The rows of a text, each of the same number of fields, and the names of its columns.

    Args:
        text: The text.
        origin: What an error calls it.
        wanted: Columns that will be asked for.
        more: Lines that stand behind this part of it.

    Attributes:
        separator: What separates fields.
        rows: The fields of each row.
        lines: The line that each row begins on.
        names: The names of the columns, `None` where there is no header; a name is `None` where it has a gap.
        shifted: Whether the header has no name for the first column, as R writes it.
        classes: The names of the classes that the last column numbers, where the first line has them, as scikit-learn
            writes it.
        remarks: What was noticed.
    """

    def __init__(self, text: str, origin: str, wanted: Sequence[str | int] | None, more: int = 0):
        self._origin, self._wanted, self._more = origin, wanted, more
        self.remarks: list[str] = []
        self.classes: list[str] = []
        self.names: list[str | None] | None = None
        self._header: list[str] = []
        self.shifted = False
        given, start = separator_line(text)
        comments = next(iter(Records(text, ALONE, start)), None) is not None  # else every line begins with a mark
        self.separator = given or separator_of(text, start, comments)
        records = Records(text, self.separator, start, comments)
        self._read(records)
        if not any(field.strip() for row in self.rows for field in row):
            raise InputError(f"{origin}: the file holds no numbers")
        self._skip_what_stands_around()
        self._name(records.comments or [])
        self._drop_names_again()
        self._name_twice()
        self._trim()
        self._note_comments(records.comments or [])

    def _read(self, records: Records) -> None:
        self.rows: list[list[str]] = []
        self.lines = array("q")
        self._written: list[list[Field]] = []
        marked: dict[int, list[Field]] = {}
        try:
            for line, fields in records:
                if len(self.rows) < _PREAMBLE + 3:
                    self._written.append(fields_of(records.raw, self.separator))
                if self.rows and "#" in records.raw:
                    marked[len(self.rows)] = fields_of(records.raw, self.separator)
                self.rows.append(fields)
                self.lines.append(line)
        except csv.Error as error:
            raise InputError(f"{self._origin}: it can't be read as a table ({error})") from None
        if self.rows:
            width = _usual_length([row for i, row in enumerate(self.rows) if i not in marked])
            for i, written in marked.items():
                self.rows[i] = self._strip_note(self.rows[i], written, width)
            self._take_rows_from(records.comments or [], width)

    def _take_rows_from(self, comments: list[Comment], width: int) -> None:
        """Takes rows from comments: those with a first field such as #N/A, or #ff0000 where it is one of words."""
        words = [row[0] for row in self.rows[1:] if len(row) == width and not is_missing(row[0])]
        numeric = 2 * sum(map(is_number, words)) > len(words)
        taken: list[tuple[int, list[str], list[Field]]] = []
        for comment in list(comments) if width > 1 else ():
            written = fields_of(comment.text, self.separator)
            row = self._strip_note([field.text for field in written], written, width)
            word = not (numeric or comment.text[1:2].isspace() or comment.line < self.lines[0])
            if len(row) == width and (word or is_missing(row[0])):
                taken.append((comment.line, row, written))
                comments.remove(comment)
        if not taken:
            return
        line, (first, *_), _ = taken[0]
        more = f", and {len(taken) - 1} more like it" if len(taken) > 1 else ""
        self.remarks.append(f"line {line} begins with {first[0]}{more}: read as a row")
        by_line = itemgetter(0)
        written_by_line = [*zip(self.lines, self._written), *((line, written) for line, _, written in taken)]
        rows_by_line = [*zip(self.lines, self.rows), *((line, row) for line, row, _ in taken)]
        self._written = [written for _, written in sorted(written_by_line, key=by_line)][: _PREAMBLE + 3]
        rows_by_line.sort(key=by_line)
        self.lines = array("q", (line for line, _ in rows_by_line))
        self.rows = [row for _, row in rows_by_line]

    def _strip_note(self, fields: list[str], written: Sequence[Field], width: int) -> list[str]:
        """A row without the note behind its numbers, `1, 2  # estimated`; what stands in quotes is none.

        A field that begins with the mark is a note if it makes the row longer than others are, else a word.
        """
        quoted = [field.quoted for field in written] if len(written) == len(fields) else [False] * len(fields)
        for j, field in enumerate(fields):
            if is_number(field) or is_missing(field):
                continue
            before, mark, _ = field.partition("#")
            if not mark or quoted[j]:
                return fields
            if before:
                noted = before[-1].isspace() and (is_number(before) or is_missing(before))
                return [*fields[:j], before] if noted else fields
            noted = len(fields) != width or (field == "#" and self.separator == BLANKS)
            return fields[:j] if j and noted else fields
        return fields

    @property
    def _first(self) -> list[Field]:
        return self._written[0]

    @property
    def _second(self) -> list[Field]:
        return self._written[1] if len(self._written) > 1 else []

    def _drop_first(self, count: int) -> None:
        del self.rows[:count], self.lines[:count], self._written[:count]

    def _drop(self, places: Sequence[int]) -> None:
        gone = set(places)
        self.rows = [row for i, row in enumerate(self.rows) if i not in gone]
        self.lines = array("q", (line for i, line in enumerate(self.lines) if i not in gone))

    def _skip_what_stands_around(self) -> None:
        """Leaves out lines before and behind the table: a title, scikit-learn's sizes, a source; and empty rows."""
        body, usual = self.rows[1:] or self.rows, _usual_length(self.rows)
        if same_names(self._first, self._wanted):
            return
        first = [field.text for field in self._first]
        while first and not first[-1]:
            first.pop()
        sizes = [int(text) for text in first[:2] if is_integer(text)]
        if len(sizes) == 2 and sizes[0] == len(body) + self._more and sizes[1] == usual - 1 and len(self.rows) > 3:
            self.remarks.append(f"the first line, {', '.join(first[:4])}, counts rows and columns: left out")
            self._drop_first(1)
            last = {row[-1] for row in self.rows}
            if len(first) > 3 and last <= {str(k) for k in range(len(first) - 2)} and not self._more:
                self.classes = [unescape(text) for text in first[2:]]
            return
        before = self._lines_before(usual)
        if before:
            lines = "the first line" if before == 1 else f"the first {before} lines"
            said = " ".join(" ".join(row) for row in self.rows[:before])
            self.remarks.append(
                f"{lines}, {said[:40].strip()}{'…' if len(said) > 40 else ''}, left out: no row of the table"
            )
            self._drop_first(before)
        behind = 0
        while (
            behind < _BEHIND
            and len(self.rows) > behind + 3
            and len(row := self.rows[-1 - behind]) < usual
            and 2 * _filled_length(row) < usual
            and not any(map(is_number, row))
        ):
            behind += 1
        if behind and not self._more:
            said = " ".join(self.rows[-behind])
            self.remarks.append(f"line {self.lines[-behind]}, {said[:40].strip()}, left out: no row of the table")
            del self.rows[-behind:], self.lines[-behind:]
        empty = [i for i, row in enumerate(self.rows) if len(row) > 1 and not any(field.strip() for field in row)]
        if empty and empty[0] > 0:
            self.remarks.append(f"{len(empty)} rows without any value: left out")
            self._drop(empty)

    def _lines_before(self, usual: int) -> int:
        """The number of lines before the table: titles and the like, with far fewer fields than its rows."""
        count = 0
        while count < min(_PREAMBLE, len(self.rows) - 3):
            row = self.rows[count]
            filled = [field for field in row if field.strip()]
            title = 2 * len(filled) < usual or (usual == 2 and len(row) == 1)
            if not title or (len(row) == usual and any(map(is_number, filled))):
                break
            count += 1
        if not count or len(self.rows[count]) < usual - 1:
            return 0
        if len(self.rows[0]) == usual or usual == 2:  # a row with gaps, or R's header of one column, looks like it
            return count if not any(map(is_number, self.rows[count])) else 0
        return count

    def _name_twice(self) -> None:
        """Takes a second line below the names: units, which are left out, or the rest of the names."""
        if self.names is None or len(self.rows) < 4:
            return
        line = [text.strip() for text in self.rows[0]]
        body = [row for row in self.rows[1:_LOOKED_AT] if len(row) == len(line)]
        if len(line) != self._width or not body:
            return
        above = among = 0  # columns of numbers with a word in this line, and all columns of numbers
        for text, column in zip(line, zip(*body)):
            known = [field.strip() for field in column if not is_missing(field)]
            numeric = sum(map(is_number, known)) > len(known) / 2
            among += numeric
            above += numeric and not is_missing(text)
            if (numeric and is_number(text)) or (not numeric and text and text in known):
                return
        if above < max(1, among / 2):
            return
        said = ", ".join(line[:4]) + (", …" if len(line) > 4 else "")
        if None in self.names or len(set(self.names)) < len(self.names):
            over = ""
            names: list[str | None] = []
            for name, text in zip(self.names, line):
                over = name or over
                names.append(f"{over} {text}".strip() or None)
            self.names = names
            self.remarks.append(f"the second line, {said}, holds names, too")
        else:
            self.remarks.append(f"the line below the names, {said}, holds units or descriptions: left out")
        self._drop_first(1)

    def _name(self, comments: list[Comment]) -> None:
        """Takes the header out of the rows, or out of the comment before them."""
        body, usual = self.rows[1:] or self.rows, _usual_length(self.rows)
        self._width = max((_filled_length(row) for row in body if len(row) <= usual), default=usual)
        cut = self._strip_note(self.rows[0], self._first, usual)
        if len(self._first) != len(cut) in (usual, len(self._second)) or len(self.rows) == 1:
            self.rows[0], self._written[0] = cut, self._first[: len(cut)]
        first = self._first[: max(self._width, _filled_length([field.text for field in self._first]))]
        self.shifted = len(first) + 1 == self._width
        first = [Field(""), *first] if self.shifted else first
        judgement = self._judge(first, self.rows[1:])
        written = self._first
        if judgement.named:
            if len(self.rows) == 1:
                raise InputError(f"{self._origin}: the file holds no rows, only a header")
            self._header = [field.text.strip() for field in written]
            self._drop_first(1)
        else:
            self.rows[0] = self._strip_note(self.rows[0], written, usual)
            first = self._names_in_comment(comments)
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
                unescape(name) if name or field.quoted else None for name, field in zip(names, first, strict=True)
            ]

    def _drop_names_again(self) -> None:
        """Leaves out the header where it stands again, as in files that were put together."""
        if len(self._header) < 2:
            return
        again = [i for i, row in enumerate(self.rows) if [text.strip() for text in row] == self._header]
        if again and len(again) < len(self.rows):
            more = f", and {len(again) - 1} more like it" if len(again) > 1 else ""
            self.remarks.append(f"line {self.lines[again[0]]} has the names of the columns again{more}: left out")
            self._drop(again)

    def _judge(self, first: Sequence[Field], rows: Sequence[Sequence[str]]) -> Judgement:
        alike = [row for row in rows[:_LOOKED_AT] if len(row) >= len(first)]
        if rows and not alike and not same_names(first, self._wanted):
            return Judgement(sum(not is_number(field.text) for field in first) > len(first) / 2)
        return judge(first, self._second, alike, self.separator == BLANKS, self._wanted)

    def _names_in_comment(self, comments: list[Comment]) -> list[Field]:
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


def _usual_length(rows: Sequence[Sequence[str]]) -> int:
    """The number of fields that most rows below the first have."""
    return Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]


def _filled_length(row: Sequence[str]) -> int:
    """The number of fields up to the last that is not empty."""
    return next((j for j in range(len(row), 0, -1) if row[j - 1].strip()), 0)


def _labels(column: Sequence[str]) -> str:
    """How a column without a name tells rows apart; '' if it does not."""
    if len(set(column)) < len(column) or any(is_missing(text) for text in column):
        return ""
    if all(map(is_integer, column)):
        return "counts the rows"
    return "names the rows" if not any(map(is_number, column)) else ""


def fill_table(
    columns: list[list[str]], table: Table, separator: str, wanted: Sequence[str | int] | None, hints: Hints
) -> Table:
    """Fills a table with numbers and the kinds of its columns; those that are not asked for stay empty."""
    said = hints_at(table.columns, hints)
    chosen = wanted_positions(table.columns, wanted, table.named) | set(said)
    chosen -= {j for j, hint in said.items() if hint == "ignored"}
    values = np.full((len(columns[0]), len(columns)), np.nan)
    kinds = [Column(name, "identifier") for name in table.columns]
    numbers: dict[int, Numbers] = {}
    for j in sorted(chosen):
        found = _read_words(table, j, columns[j], said.get(j))
        if isinstance(found, Numbers):
            numbers[j] = found
        else:
            values[:, j], kinds[j] = found.values, found.column
            if found.remark:
                table.remarks.append(f"{table.label(j)}: {found.remark}")
    for j, column in _decide_meanings(columns, table, separator, numbers).items():
        values[:, j] = column.values
        kinds[j] = numbers_of(table.columns[j], values[:, j], numbers[j].are_whole(column))
        if numbers[j].sign:
            kinds[j] = replace(kinds[j], sign=numbers[j].sign)
        if isinstance(hint := said.get(j), str) and hint in ("integer", "continuous", "identifier"):
            kinds[j] = replace(kinds[j], kind=hint)
        if kinds[j].dtype == "int64" and (digits := padded_width(columns[j])):
            kinds[j] = kinds[j].written_in(digits)
        elif not said.get(j) and kinds[j].dtype == "int64" and (code := next(filter(is_padded, columns[j]), "")):
            advice = f"kinds={{{table.columns[j]!r}: 'class'}} keeps them"
            table.remarks.append(f"{table.label(j)}: numbers like {code.strip()} lose their zeros; {advice}")
    table.values, table.kinds = values, kinds
    return table


def _read_words(table: Table, j: int, cells: list[str], hint: str | Column | None) -> Found | Numbers:
    """What a column holds if it is not numbers; else what its numbers may be.

    Raises:
        InputError: A word in a column of numbers, one that is no date in a column of dates, or another unit than is
            known.
    """
    name, kind = table.columns[j], kind_said(hint)
    if isinstance(hint, Column) and hint.sign:
        came, (cells, other) = cells, strip_sign(cells, hint.sign)
        if other is not None:
            raise _other_unit(table, j, other, came[other], hint.sign)
    numbers = Numbers(cells)
    if kind == "class":
        return classes_of(name, cells, numbers)
    if not numbers.meanings and (truth := truth_of(name, cells)) is not None:
        return truth
    if kind == "date":
        found = dates_of(name, cells, hint.format if isinstance(hint, Column) else "%Y%m%d")
        if found is None and all(map(is_missing, cells)):
            return numbers
        if found is None or found.column.kind == "constant":
            found = found and dates_of(name, [*cells, ""])  # of one date in all rows, too
        if found is None:
            i = next(i for i, cell in enumerate(cells) if dates_of(name, [cell]) is None and not is_missing(cell))
            raise InputError(f"{table.place(i, j)}: {quote(cells[i].strip())} is not a date; {NO_NUMBER}")
        return found._replace(values=found.values[: len(cells)])
    if numbers.meanings:
        if kind:
            return numbers
        return words_of(name, cells) if are_beyond_doubles(cells) else codes_of(name, cells) or numbers
    if not kind and (dated := dates_of(name, cells)) is not None:
        return dated
    if not kind and (partly := separate_stray_dates(name, cells)) is not None:
        _remark_on_strays(table, j, partly[1], "date")
        return partly[0]
    if (bare := strip_signs(cells)) is not None:
        numbers, remarks, strays = bare
        table.remarks += [f"{table.label(j)}: {remark}" for remark in remarks]
        if strays:
            _remark_on_strays(table, j, strays, "number")
        return numbers
    mended = separate_strays(cells)
    if mended is not None and mended[1]:
        numbers, strays = mended
        if numbers.meanings:
            _remark_on_strays(table, j, strays, "number")
            return numbers
    if mended is None and (kind not in ("integer", "continuous", "boolean") or hint == "boolean"):
        found = words_of(name, cells)
        return found._replace(column=replace(found.column, kind=kind)) if kind == "identifier" else found
    return numbers


def _other_unit(table: Table, j: int, i: int, cell: str, sign: str) -> InputError:
    """The error of a number in another unit than the column is known to have."""
    found = undress(cell.strip())
    own = found.sign if found is not None else ""
    return InputError(
        f"{table.place(i, j)}: {quote(cell.strip())} is in {own}, and the column is known in {sign}; write it in "
        f"{sign}, or the number alone"
    )


def _remark_on_strays(table: Table, j: int, strays: dict[int, str], what: str) -> None:
    """Words among numbers or dates are read as missing, and said."""
    table.strays |= {(i, table.columns[j]): word for i, word in strays.items()}
    i, word = next(iter(strays.items()))
    more = f", and {len(strays) - 1} more like it," if len(strays) > 1 else ""
    table.remarks.append(f"{table.place(i, j).partition(': ')[2]}: {quote(word)}{more} is no {what}: read as missing")


def _decide_meanings(
    columns: list[list[str]], table: Table, separator: str, numbers: dict[int, Numbers]
) -> dict[int, Meaning]:
    """What the numbers of each column are, told from each other's decimal signs.

    Raises:
        InputError: A word among numbers, two notations in a column, or a number that may be two.
    """
    decimals = certain_decimals(list(numbers.values()))
    told = {j: column.thousands(separator) for j, column in numbers.items() if len(column.under(decimals)) > 1}
    decimals |= {sign for meaning in told.values() if meaning for sign in meaning.decimals}
    result: dict[int, Meaning] = {}
    thousands: dict[str, list[int]] = {}
    points: list[int] = []
    for j, column in numbers.items():
        if not column.meanings:
            i = column.wrong(next(iter(decimals)) if len(decimals) == 1 else ".")
            found = quote(columns[j][i].strip())
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
        result[j] = meaning
        if meaning.group:
            thousands.setdefault(meaning.group, []).append(j)
        elif len(column.meanings) > 1 and not decimals and separator != ",":
            points.append(j)
    for group, found_in in thousands.items():
        j = found_in[0]
        i = numbers[j].first_grouped(group)
        text, value = columns[j][i].strip(), result[j].values[i]
        sign = f"the {_SIGNS[group]} separates thousands"
        table.remarks.append(
            f"numbers like {text} in {_column_label(table, found_in)} are read as {value:.15g}: {sign}"
        )
    if points:
        text = next(text.strip() for text in columns[points[0]] if "." in text)
        table.remarks.append(
            f"numbers like {text} in {_column_label(table, points)} are read with a decimal point; "
            "thousands would have to be written without it"
        )
    if separator == ALONE and decimals == {","}:
        table.remarks.append("one column: the comma is read as the sign of the decimals")
    return result


def _column_label(table: Table, columns: Sequence[int]) -> str:
    names = [table.columns[j] for j in columns]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
