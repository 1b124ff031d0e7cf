"""From a name, a path or an array to a data set, with remarks on what a likelihood on it can't say."""

from __future__ import annotations

import difflib
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genflow.data import bundled
from genflow.data.benchmarks import BENCHMARKS, benchmark
from genflow.data.cleaning import ATOMS, check_size, from_table
from genflow.data.dataset import FEWEST_ROWS, Dataset, assemble, split
from genflow.data.grey_levels import LABEL
from genflow.data.idx import idx_images
from genflow.data.kinds import Schema
from genflow.data.mixtures import GaussianMixture
from genflow.data.picture_folders import folder_images, has_pictures
from genflow.data.pictures import PICTURES, Picture
from genflow.data.reading import (
    NO_HINTS,
    PACKED,
    TABLES,
    Hints,
    Table,
    as_pandas,
    confirm_kinds,
    from_array,
    from_frame,
    read_table,
)
from genflow.data.rows import check_dense
from genflow.data.selection import Selection, select
from genflow.data.sensors import sensors
from genflow.data.toys import TOYS, Density
from genflow.errors import InputError, Remark
from genflow.storage.documents import printable

__all__ = ["downloads", "holds_pictures", "load", "names"]

_ROWS = 20_000  # of what is generated
_OWN_TEST = "test: the very rows that are trained on came; other rows would do, or leave it out"
_MIXTURE = re.compile(r"gaussian-mixture-(\d+)")
_OTHERS = ("digits", "breast-cancer", "photo-patches", "sensors")
_IDX = {
    "mnist": "the MNIST database of handwritten digits",
    "fashion-mnist": "the Fashion-MNIST repository",
}


def names() -> list[str]:
    """The built-in data sets; any dimension may follow the last hyphen of `gaussian-mixture-8`.

    Example:
        >>> names()[:3]
        ['two-moons', 'eight-gaussians', 'checkerboard']
    """
    return [*TOYS, "gaussian-mixture-8", *_OTHERS]


def downloads() -> list[str]:
    """The data sets that are read from a folder which people filled themselves.

    Example:
        >>> downloads()
        ['power', 'gas', 'miniboone', 'bsds300', 'mnist', 'fashion-mnist']
    """
    return [*BENCHMARKS, *_IDX]


def holds_pictures(source: Any) -> bool:
    """Whether a path is that of a folder whose pictures are rows: as files of their own or as IDX files."""
    folder = Path(source) if isinstance(source, str | PathLike) else None
    return folder is not None and folder.is_dir() and (has_pictures(folder) or any(folder.glob("*-ubyte*")))


def _warn_of_remarks(load: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Warns of what is remarked on, where the data set was not there before."""

    @functools.wraps(load)
    def loaded(source: Any, **options: Any) -> Dataset:
        data = load(source, **options)
        for remark in [] if data is source else data.remarks:
            warnings.warn(remark, Remark, stacklevel=2)
        return data

    return loaded


@_warn_of_remarks
def load(
    source: Any,
    *,
    test: Any = None,
    atoms: str = "cells",
    name: str | None = None,
    columns: Sequence[str | int] | None = None,
    drop: str | int | Sequence[str | int] = (),
    kinds: Mapping[str | int, str] | None = None,
    missing: str = "value",
    missing_values: float | str | Sequence[float | str] = (),
    sheet: str | int | None = None,
    like: Schema | None = None,
    condition: str | int | Sequence[str | int] = (),
    classes: str | int | Sequence[str | int] = (),
    rows: int | None = None,
    seed: int = 0,
    folder: str | PathLike[str] | None = None,
    checksums: Mapping[str, str] | None = None,
) -> Dataset:
    """A data set, split and with its standardization.

    Rows are permuted by `numpy.random.default_rng(0)`; the first 80 % are trained on, the next 10 % are for validation,
    the last 10 % for the test. Exact duplicates are dropped, columns with repeated values are remarked on.

    Args:
        source: A built-in name (see `names`), one of `downloads`, a path to a table, a picture, a folder of pictures or
            of IDX files, a frame (pandas, Polars, Arrow, …), an array or a tensor `(rows, columns)`, or a `Dataset`,
            which is returned as it is.
        test: The user's own test rows, of the same columns: a path, a frame or an array; of a folder of pictures
            another one. The source is then split into training and validation as 8 to 1.
        atoms: What to do about repeated values: `"cells"`, the default; for numbers without gaps also `"keep"` them;
            `"dequantize"`, add uniform noise of the width of the recording grid to every column that repeats values;
            `"drop"` the columns that have atoms.
        name: What tables and plots call it; the file's name without its ending where it is not given.
        columns: Columns of a table to keep, by name (x1, x2, … where there are none) or position from 0.
        drop: Columns of a table to leave out.
        kinds: What columns hold, where their values don't say it: `{"code": "class"}`; one of `continuous`, `integer`,
            `class`, `boolean`, `date` or `identifier`, which leaves it out of the model.
        missing: What to do about missing values: `"value"`, they are one more value of their column; `"drop"` the rows;
            `"refuse"` them with an error.
        missing_values: Values that stand for missing ones, such as -200.
        sheet: The sheet of an Excel file, by name or place from 0; the first that holds a table.
        like: The columns of another table, such as that of a trained model: columns of their names hold what those do,
            whatever this one would be taken for, and their classes have the same places.
        condition: Columns of a table, by name or position, that the others are conditioned on: numbers, dates as
            numbers, or words, each of which is a class. They become `condition`, and come on top of `columns`. Of
            pictures the class `"label"`: the name of the sub-folder, or what the IDX file of labels says; of `"digits"`
            also `"digit"`.
        classes: Those of the condition's columns that hold classes although they look like numbers.
        rows: How many rows to draw, for what is generated: 20 000 where it is not given. Of a download or a folder, at
            most so many in all.
        seed: Seed of what is generated and of the noise; the split does not depend on it.
        folder: Where the files of a download are.
        checksums: SHA-256 of a download's files by name, where they are on record; see `genflow.data.files`.

    Warns:
        Remark: Each of the data set's `remarks`.

    Raises:
        InputError: An unknown name, or anything wrong with the table: one line.

    Example:
        >>> data = load("gaussian-mixture-3", rows=1000)
        >>> data
        Dataset('gaussian-mixture-3', dim=3, train=800, validation=100, test=100)
        >>> z, ladj = data.preprocessor(data.test)
        >>> best = -data.true_log_prob(data.test).mean()  # no model can do better, up to the standard error
    """
    condition, classes = _columns(condition, "condition"), _columns(classes, "classes")
    if isinstance(source, Dataset):
        if condition:
            raise InputError(f"condition: {source.name} is loaded already; give the condition where that is done")
        return source
    values = [missing_values] if isinstance(missing_values, int | float | str) else list(missing_values)
    selection = Selection(
        None if columns is None else _columns(columns, "columns"), _columns(drop, "drop"), dict(kinds or {}),
        condition, classes, missing, values, sheet, like,
    )  # fmt: skip
    if atoms not in ATOMS:
        raise InputError(f"atoms: {atoms!r} came; give 'cells', 'keep', 'dequantize' or 'drop'")
    if folder is None and isinstance(source, str) and (source in names() or _MIXTURE.fullmatch(source)):
        return _load_built_in(source, test, atoms, name, selection, rows, seed)
    if isinstance(source, str) and source in downloads() and not (folder is None and Path(source).exists()):
        labelled = source in _IDX and condition == [LABEL]
        _only_for_tables(source, test, selection, labelled)
        return _load_downloaded(source, name, rows, seed, folder, checksums, labelled)
    path = isinstance(source, str | PathLike)
    if folder is not None:
        raise InputError(f"folder: it goes with {', '.join(downloads())}; for other files give their path")
    if path and not str(source).strip():
        raise InputError("data: an empty name came; the path of a table or a picture, or a built-in name, would do")
    if path and Path(source).is_dir():
        if not holds_pictures(source):
            raise _folder_error(Path(source))
        return _folder(source, test, selection, name, rows, seed)
    if path and Path(source).suffix.lower() in PICTURES:
        density = Picture.read(source)
        _only_for_tables("a picture", test, selection)
        return _generate(name or printable(Path(source).stem), density, rows, seed)
    if rows is not None:
        raise InputError(f"rows: {rows} came for a table, which has as many rows as it has; leave it out")
    if (
        isinstance(source, str)
        and Path(source).name == source
        and not Path(source).suffix
        and not Path(source).exists()
    ):
        raise InputError(f"data: {source!r} is neither a file nor a built-in name; {_suggestion(source)}")
    label = name or (_name_of(Path(fspath(source))) if path else "table")
    table = confirm_kinds(_table(source, "data", selection), selection.hints)
    return _from_table(table, test, atoms, label, selection, seed)


def _name_of(path: Path) -> str:
    """The name of a file without its endings."""
    return printable(Path(path.stem).stem if path.suffix.lower() in PACKED else path.stem)


def _folder(source: Any, test: Any, selection: Selection, name: str | None, rows: int | None, seed: int) -> Dataset:
    """A folder of pictures, as files of their own or as IDX files."""
    condition = selection.condition
    label, labelled = name or printable(Path(source).resolve().name), condition == [LABEL]
    if condition and not labelled:
        raise InputError(f"condition: {condition[0]!r} came; {LABEL!r}, the class of a picture, would do")
    if has_pictures(source):
        if test is not None and not isinstance(test, str | PathLike):
            raise InputError(f"test: a {type(test).__name__} came; a folder of pictures would do")
        if test is not None and Path(test).exists() and Path(test).samefile(source):
            raise InputError(_OWN_TEST)
        _only_for_tables("pictures", None, selection, labelled)
        return folder_images(label, source, test=test, condition=labelled, rows=rows, seed=seed)
    _only_for_tables("a folder of pictures", test, selection, labelled)
    return idx_images(label, source, "a data set such as MNIST", rows, seed, condition=labelled)


def _folder_error(folder: Path) -> InputError:
    """The error of a folder without pictures, which may hold a model, or tables."""
    if (folder / "model.json").is_file():
        return InputError(f"data: {folder} is the folder of a model, no data; genflow.load reads it")
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in TABLES)
    advice = f"a file in it, such as {tables[0]}, would do" if tables else "one with pictures, or a file, would do"
    return InputError(f"data: {folder} is a folder without pictures; {advice}")


def _from_table(table: Table, test: Any, atoms: str, name: str, selection: Selection, seed: int) -> Dataset:
    """A data set of the columns of a table that are asked for, the condition's behind the others."""
    whole = table.columns
    check_size(len(table.values), table.origin, "", test is None)
    table, schema, given = select(table, selection)
    other = None
    if test is not None:
        hints: Hints = {column.name: column for column in table.kinds}
        other = _table(test, "test", replace(selection, columns=table.columns, condition=()), hints)
        if len(other.columns) == len(whole) and not set(table.columns) <= set(other.columns):
            other = other.expect(whole)  # by position, the columns that were left out among them
        other = other.expect(table.columns).recoded(table.kinds)
        if np.array_equal(other.values, table.values, equal_nan=True):
            raise InputError(_OWN_TEST)
        other = _fitting(other, given)
    return from_table(table, other, atoms, name, seed, given, schema)


def _fitting(test: Table, given: int) -> Table:
    """Test rows, if a model of the others can take them.

    Raises:
        InputError: A class that the others have not, or an infinite value.
    """
    for j, column in enumerate(test.kinds):
        strange = test.values[:, j] == len(column.classes) if column.classes else np.zeros(len(test.values), bool)
        if strange.any() and j >= len(test.kinds) - given:
            i = int(strange.argmax())
            names = ", ".join(column.classes[:8]) + (", …" if len(column.classes) > 8 else "")
            raise InputError(f"{test.place(i, j)}: a class that is none of {names}")
        if not column.missing and np.isnan(test.values[:, j]).any():
            i = int(np.isnan(test.values[:, j]).argmax())
            raise InputError(f"{test.place(i, j)}: a missing value (NaN), and no row of the data misses it; fill it")
    return test.checked(gaps=True)


def _load_built_in(
    source: str,
    test: Any,
    atoms: str,
    name: str | None,
    selection: Selection,
    rows: int | None,
    seed: int,
) -> Dataset:
    label, condition = name or source, selection.condition
    if source == "breast-cancer":
        if rows is not None:
            raise InputError(f"rows: {rows} came for breast-cancer, which has as many rows as it has; leave it out")
        values, titles = bundled.breast_cancer()
        table = Table(values, titles, True, source)
        return _from_table(table, test, atoms, label, selection, seed)
    labelled = source == "digits" and condition in (["digit"], [LABEL])
    _only_for_tables(source, test, selection, labelled)
    if source == "digits":
        if rows is not None:
            raise InputError(f"rows: {rows} came for digits, which has as many rows as it has; leave it out")
        data = bundled.digits(seed, str(condition[0]) if labelled else None, atoms)
    elif source == "sensors":
        data = sensors(rows, seed)
    elif source == "photo-patches":
        data = bundled.photo_patches(rows, seed)
    else:
        found = _MIXTURE.fullmatch(source)
        density = GaussianMixture.random(int(found[1])) if found else TOYS[source]()
        return _generate(label, density, rows, seed)
    data.name = label
    return data


def _load_downloaded(
    source: str,
    name: str | None,
    rows: int | None,
    seed: int,
    folder: Any,
    checksums: Mapping[str, str] | None,
    labelled: bool,
) -> Dataset:
    if source in BENCHMARKS:
        data = benchmark(source, folder, rows, checksums)
    else:
        data = idx_images(source, folder, _IDX[source], rows, seed, checksums, labelled)
    data.name = name or source
    return data


def _generate(name: str, density: Density, rows: int | None, seed: int) -> Dataset:
    rows = _ROWS if rows is None else rows
    if rows < FEWEST_ROWS:
        raise InputError(f"rows: {rows} came; at least {FEWEST_ROWS} are needed for the split into 80, 10 and 10 %")
    x = density.sample(rows, np.random.default_rng(seed))
    columns = ["x", "y"] if density.dim == 2 else ()
    return assemble(name, split(x), columns, true_log_prob=density.log_prob, seed=seed)


def _table(source: Any, argument: str, selection: Selection, hints: Hints = NO_HINTS) -> Table:
    wanted, hints = selection.wanted, hints or selection.hints
    if isinstance(source, str | PathLike):
        return read_table(source, wanted, hints, selection.sheet)
    if selection.sheet is not None:
        raise InputError(f"sheet: {selection.sheet!r} came for what is no Excel file; leave it out")
    check_dense(source, argument)
    if isinstance(source, list | tuple | Tensor) or (isinstance(source, np.ndarray) and source.dtype.names is None):
        return from_array(source, argument, hints)
    frame = None if isinstance(source, Mapping | int | float | None) else as_pandas(source)
    if frame is not None:
        return from_frame(frame, argument, wanted, hints)
    kind = type(source).__name__
    raise InputError(f"{argument}: an object of the type {kind} came; give a name, a path, a frame or an array")


def _only_for_tables(what: str, test: Any, selection: Selection, labelled: bool = False) -> None:
    plain, said = vars(Selection()), dict(vars(selection))
    if labelled:  # a label is a class, and may be said to be one
        said |= {"condition": plain["condition"], "classes": plain["classes"]}
    said["like"] = plain["like"]
    unlike = [name for name, value in said.items() if (value or None) != (plain[name] or None)]
    for argument in [*(["test"] if test is not None else []), *unlike]:
        raise InputError(f"{argument}: it goes with a table, not with {what}; leave it out")


def _columns(given: Any, argument: str) -> list[str | int]:
    """Columns by name or position, one or several."""
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for column in listed:
        if not isinstance(column, str | Integral) or isinstance(column, bool):
            raise InputError(f"{argument}: {column!r} came; the name of a column or its position from 0 would do")
    return [column if isinstance(column, str) else int(column) for column in listed]


def _suggestion(source: str) -> str:
    near = difflib.get_close_matches(source, [*names(), *downloads()], n=3, cutoff=0.5)
    known = f"built in are {', '.join(names())}; with a folder also {', '.join(downloads())}"
    return f"did you mean {' or '.join(near)}? {known}" if near else known
