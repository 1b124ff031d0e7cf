"""Names of columns in text: written so that they are read back, whatever they are, and no spreadsheet computes them.

Spreadsheets run a cell that begins with `=`, `+`, `-` or `@` as a formula, even a quoted one. Such a cell is written
with an apostrophe before it, as spreadsheets themselves mark text, and that apostrophe is taken away on reading.

| OWASP, CSV injection, https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from genflow.data.reading.notation import is_missing, is_number

__all__ = ["cell", "distinct", "escape", "name_all", "unescape"]

_START = r"[=+\-@\t\r\n＝＋－＠]."  # one sign alone is no formula
_FORMULA = re.compile(rf"'*{_START}", re.DOTALL)
_ESCAPED = re.compile(rf"'+{_START}", re.DOTALL)
_SIMPLE = re.compile(r"[^\W\d_](?:[\w ./()-]*[\w./()-])?")


def escape(text: str) -> str:
    """Text that no spreadsheet takes for a formula; numbers stay as they are.

    Example:
        >>> [escape(text) for text in ("=1+1", "'=1+1", "-1", "age")]
        ["'=1+1", "''=1+1", '-1', 'age']
    """
    return f"'{text}" if _FORMULA.match(text) and not is_number(text) else text


def unescape(text: str) -> str:
    """The inverse of `escape`.

    Example:
        >>> unescape("'=1+1"), unescape("'70s")
        ('=1+1', "'70s")
    """
    return text[1:] if _ESCAPED.match(text) else text


def cell(text: str) -> str:
    """A cell of text for a file: in quotes unless it is a plain word, so that it is neither number nor comment.

    Example:
        >>> [cell(text) for text in ("age", "2019", "a#b", 'say "x"', "=1+1")]
        ['age', '"2019"', '"a#b"', '"say ""x""\"', '"\\'=1+1"']
    """
    if _SIMPLE.fullmatch(text) and not is_number(text) and not is_missing(text):
        return text
    return '"' + escape(text).replace('"', '""') + '"'


def distinct(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that differ, and a remark where they did not: the second `a` is called `a.2`.

    Example:
        >>> distinct(["a", "a", "a.2"])
        (['a', 'a.3', 'a.2'], ["2 columns have the same name 'a': they are called a, a.3"])
    """
    taken = set(names)
    result: list[str] = []
    given: dict[str, list[str]] = {}
    for name in names:
        own = name
        count = 1
        while own in result or (own != name and own in taken):
            count += 1
            own = f"{name}.{count}"
        result.append(own)
        given.setdefault(name, []).append(own)
    remarks = [
        f"{len(called)} columns have the same name {name!r}: they are called {', '.join(called)}"
        for name, called in given.items()
        if len(called) > 1
    ]
    return result, remarks


def name_all(names: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """Names that differ, also of columns that have none, and remarks: those are called by their place.

    Args:
        names: The names, `None` where a column has none.

    Example:
        >>> name_all(["height", None, "balance"])
        (['height', 'x2', 'balance'], ['1 column without a name: called x2, by its place'])
        >>> name_all(["x2", None])[0]
        ['x2', 'x2.2']
    """
    taken = {name for name in names if name is not None}
    found: list[str] = []
    made: list[str] = []
    for place, name in enumerate(names, 1):
        if name is None:
            own, count = f"x{place}", 1
            while own in taken:
                count += 1
                own = f"x{place}.{count}"
            made.append(own)
            taken.add(own)
        found.append(own if name is None else name)
    titles, remarks = distinct(found)
    if made:
        some = ", ".join(made[:6]) + (", …" if len(made) > 6 else "")
        what = "1 column without a name" if len(made) == 1 else f"{len(made)} columns without names"
        remarks.insert(0, f"{what}: called {some}, by {'its' if len(made) == 1 else 'their'} place")
    return titles, remarks
