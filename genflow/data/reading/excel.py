"""Excel files: a sheet as the text that it would be saved as, read like any other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

from genflow.data.dataset import FEWEST_ROWS
from genflow.data.reading.table import Hints, Table
from genflow.data.reading.text import read_text
from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["EXCEL", "read_excel"]

EXCEL = (".xlsx", ".xlsm")
"""Endings of Excel files."""


def read_excel(
    content: bytes, origin: str, wanted: Sequence[str | int] | None, hints: Hints, sheet: str | int | None = None
) -> Table:
    """The table of a sheet of an Excel file: of the first that holds one, where none is named.

    Args:
        content: What the file holds.
        origin: What an error calls it.
        wanted: Columns that will be asked for.
        hints: What is known of some columns.
        sheet: The sheet, by its name or its place from 0.

    Raises:
        InputError: It is no such file, or has no such sheet.
    """
    with extra("data"):
        import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except Exception as error:  # of whatever kind: a zip file, XML, a KeyError
        raise InputError(f"{origin}: it can't be read as an Excel file ({type(error).__name__})") from None
    names = book.sheetnames
    if sheet is not None:
        name = (
            names[int(sheet)] if str(sheet) not in names and str(sheet).isdigit() and int(sheet) < len(names) else sheet
        )
        if name not in names:
            raise InputError(f"sheet: {sheet!r} came; {', '.join(names)} would do")
        return _as_written(read_text(_text(book[name]), origin, wanted, hints))
    refused = InputError(f"{origin}: no sheet holds a table")
    small: Table | None = None  # what is no table may look like a tiny one
    for place, name in enumerate(names):
        text = _text(book[name])
        if text.count(b"\n") < 2:
            continue
        try:
            table = _as_written(read_text(text, origin, wanted, hints))
        except InputError as error:
            refused = error
            continue
        if len(names) > 1:
            table.remarks.insert(0, f"sheet {name!r} is read, {place + 1} of {len(names)}; sheet= names another")
        if len(table.values) >= FEWEST_ROWS:
            return table
        small = small or table
    if small is None:
        raise refused
    return small


def _text(sheet: Any) -> bytes:
    """A sheet as comma separated values: numbers plain, words in quotes."""
    lines = []
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row]
        lines.append("" if all(cell == "" for cell in cells) else ",".join(map(_written, cells)))
    return "\n".join([*lines, ""]).encode()


def _written(cell: Any) -> str:
    return '"' + cell.replace('"', '""') + '"' if cell and isinstance(cell, str) else str(cell)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, str) and (not value.strip() or value.startswith("#N/A"))):
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _as_written(table: Table) -> Table:
    """Dates come back as dates, which a sheet can hold, and not as words."""
    table.kinds = [
        replace(column, dtype="datetime64[us]", format="")
        if column.kind == "date" and "%Y" in column.format
        else column
        for column in table.kinds
    ]
    return table
