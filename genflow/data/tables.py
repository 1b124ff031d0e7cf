"""Tables in files: read whatever a path names, say precisely what is wrong with it.

=========================================  =====================================================================
ending                                     what is read
=========================================  =====================================================================
.csv .tsv .txt .dat .data .text .tab .psv  text: comma, semicolon, tab, bar, colon or blanks; with a header or without
.parquet .pq .feather .arrow .ipc          Parquet and Arrow
.xlsx .xlsm                                a sheet of an Excel file
.npy .npz                                  NumPy arrays, `(rows, columns)` or `(rows,)`
.gz .bz2 .xz .zip                          any of these, compressed
=========================================  =====================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from genflow.data.conditions import Encoding
from genflow.data.kinds import Schema
from genflow.data.reading import Table, read_table
from genflow.data.rows import condition_hints, split_condition
from genflow.errors import Remark
from genflow.extras import extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read", "read_columns", "read_with_condition"]


def read(path: str | PathLike[str], columns: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """The numbers of a table and the names of its columns.

    Args:
        path: The file; see the endings above.
        columns: The columns that are wanted, such as those a model was trained on. A file that has columns of these
            names may have others too; in one without names, the number of columns has to be the same.

    Warns:
        Remark: What was guessed, such as the notation of numbers, or left out.

    Raises:
        InputError: No such file, an empty one, an unsupported ending, text in a column, a missing or infinite value,
            rows of different length, wrong columns: one line, with row and column.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("height,weight\\n1.7,65\\n1.8,80\\n")
        >>> read(path)
        (array([[ 1.7, 65. ],
               [ 1.8, 80. ]]), ['height', 'weight'])
    """
    table = read_table(path, columns)
    if columns is not None:
        table = table.expect(columns)
    _warn(table)
    return table.numbers().checked().values, table.columns


def read_with_condition(
    path: str | PathLike[str], columns: Sequence[str], encoding: Encoding, schema: Schema | None = None
) -> tuple[np.ndarray, Any]:
    """The numbers of a table and the conditions of its rows, as `genflow.data.Conditions` has them.

    Args:
        path: The file.
        columns: The columns of numbers that are wanted; none of them, for the conditions alone.
        encoding: The encoding, for the condition's columns.
        schema: What these were in the table of the training, in which units dates.

    Raises:
        InputError: As `read`.
    """
    names = [*columns, *encoding.columns]
    table = read_table(path, names, condition_hints(encoding, schema)).expect(names).checked()
    _warn(table)
    return split_condition(table, encoding, schema)


def read_columns(path: str | PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Columns of a table as they stand in it, whatever they hold: names and numbers of its rows, for one.

    Args:
        path: The file.
        columns: Their names, by default all.

    Raises:
        InputError: As `read`.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("name,age\\nAda Lovelace,36\\nEmmy Noether,53\\n")
        >>> read_columns(path, ["name"])["name"].tolist()
        ['Ada Lovelace', 'Emmy Noether']
    """
    with extra("data"):
        import pandas as pd

    table = read_table(path, columns).select(columns)
    as_words = lambda kind: replace(kind, kind="class") if kind.kind == "identifier" and kind.classes else kind
    kinds = [as_words(kind) for kind in table.kinds]
    return pd.concat([kind.series(values) for kind, values in zip(kinds, table.values.T, strict=True)], axis=1)


def _warn(table: Table) -> None:
    for remark in table.remarks:
        warnings.warn(f"{table.origin}: {remark}", Remark, stacklevel=3)
