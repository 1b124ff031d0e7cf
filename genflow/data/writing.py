"""Tables written so that they are read back: numbers to the last bit, any names, and nothing a spreadsheet computes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genflow.data.dataset import default_columns
from genflow.data.reading import PARQUET, as_array
from genflow.data.reading.names import cell
from genflow.errors import InputError
from genflow.extras import extra
from genflow.storage import atomic

__all__ = ["WRITABLE", "write"]

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": " "}
WRITABLE = (*_SEPARATORS, *PARQUET, ".npy")
"""Endings of files that tables are written to."""


def write(path: str | PathLike[str], array: Any, columns: Sequence[str] | None = None) -> None:
    """Writes a table, in the format of its ending: .csv, .tsv (with a header), .txt (blanks), .parquet, .npy.

    The file appears whole or not at all; one that is there is replaced. In text, a name that is more than a plain word
    stands in quotes, and one that a spreadsheet would take for a formula gets an apostrophe; `read` undoes both.

    Args:
        path: The file.
        array: Values, `(rows, columns)` or `(rows,)`, an array or a tensor; of objects, where some are words.
        columns: Names of the columns; x1, x2, … where they are not given. NPY and .txt hold none.

    Raises:
        InputError: An unsupported ending, a folder that does not exist, names that do not fit or are not all
            different, words in a file that holds numbers only.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
        >>> write(path, [[0.1, 2.0]], ["a", "2019"])
        >>> path.read_text()
        'a,"2019"\\n0.1,2.0\\n'
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in WRITABLE:
        raise InputError(f"{path}: ending {ending!r} is not supported; give one of .csv .tsv .txt .parquet .npy")
    values = np.asarray(as_array(array))
    values = values.reshape(len(values), -1)
    names = default_columns(values.shape[1]) if columns is None else [str(name) for name in columns]
    if len(names) != values.shape[1]:
        raise InputError(f"{path}: {len(names)} column names came for {values.shape[1]} columns")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: {len(twice)} columns are called {twice[0]!r}; give each a name of its own")
    words = values.dtype.kind not in "fiub"
    if words and ending in (".npy", ".txt"):
        advice = "a name that ends in .csv or .parquet would do"
        raise InputError(f"{path}: {ending} holds numbers only, and words came; {advice}")
    with atomic.file(path) as part:
        if ending == ".npy":
            np.save(part, values)
        elif ending in PARQUET:
            with extra("data"):
                import pandas as pd

            pd.DataFrame(values, columns=names).infer_objects().to_parquet(part, index=False)
        else:
            _write_text(part, values, names, ending, words)


def _write_text(path: Path, values: np.ndarray, names: Sequence[str], ending: str, words: bool) -> None:
    with extra("data"):
        import pandas as pd

    separator = _SEPARATORS[ending]
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            if ending != ".txt":
                file.write(separator.join(map(cell, names)) + "\n")
            if words:
                for row in values:
                    file.write(separator.join(_cell(value) for value in row) + "\n")
            else:
                pd.DataFrame(values).to_csv(file, sep=separator, index=False, header=False, lineterminator="\n")
    except UnicodeEncodeError as error:
        found = error.object[error.start : error.end]
        raise InputError(f"columns: {found!a} is no character that a file of text can hold; rename it") from None


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return cell(value)
    return "" if value is None or value != value else str(value.item() if isinstance(value, np.generic) else value)
