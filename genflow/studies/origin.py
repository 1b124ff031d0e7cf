"""What a run was trained on: written down by `fit`, found again from any folder, and never taken for another table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from genflow.errors import InputError
from genflow.storage import documents

__all__ = ["describe_origin", "load_for", "reload"]

_LOADING = (  # arguments of `genflow.data.load`
    "test", "columns", "atoms", "condition", "classes", "drop", "kinds", "missing", "missing_values", "sheet",
)  # fmt: skip


class _Record(TypedDict):
    """What `run.json` has to say of the data; folders of older versions say less."""

    data: str
    test: NotRequired[str | None]
    columns: NotRequired[list[str] | None]
    atoms: NotRequired[str | None]
    condition: NotRequired[list[str] | str | None]
    classes: NotRequired[list[str] | str | None]
    drop: NotRequired[list[str] | None]
    kinds: NotRequired[dict[str, str] | None]
    missing: NotRequired[str | None]
    missing_values: NotRequired[list[str] | None]
    sheet: NotRequired[str | None]
    workers: NotRequired[int | None]
    paths: NotRequired[dict[str, str] | None]
    fingerprint: NotRequired[str | None]


def describe_origin(source: str, data: Any, loading: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of the data.

    Args:
        source: The name or path that was loaded.
        data: The `Dataset` that came of it.
        loading: The further arguments of `genflow.data.load`.
    """
    files = {name: path for name, path in (("data", source), ("test", loading.get("test"))) if path}
    return {
        "data": source,
        **{name: loading.get(name) for name in _LOADING},
        "paths": {name: str(Path(path).resolve()) for name, path in files.items() if Path(path).exists()},
        "fingerprint": data.fingerprint,
    }


def reload(run: str | PathLike[str], *, test: str | None = None) -> Any:
    """The data set that a run was trained on.

    Args:
        run: The folder that `fit` wrote.
        test: Other test rows.

    Raises:
        InputError: It does not say what it was trained on, that is gone, or other rows stand there now.
    """
    record = Path(run) / "run.json"
    if not record.is_file():
        raise InputError(f"data: {run} does not say what it was trained on; name the data set")
    kept = documents.read(record, _Record)
    source, loading = kept["data"], {name: kept.get(name) for name in _LOADING}
    # As the locale of this moment spells a name: it may know fewer characters than the one that was written in.
    places = {name: os.fsdecode(path.encode()) for name, path in (kept.get("paths") or {}).items()}
    fingerprint = kept.get("fingerprint")
    source = _find(run, source, places.get("data"))
    if test is not None or loading["test"] is not None:
        loading["test"] = test or _find(run, loading["test"], places.get("test"))
    from genflow.data import load, stream

    if kept.get("workers") is None:
        data = load(source, **{name: value for name, value in loading.items() if value})
    elif test is not None:
        raise InputError(f"test: {run} was fitted with workers, whose own test part it has; leave it out")
    else:  # the parts of a stream are others
        data = stream(source, condition=loading["condition"] or ())
    if test is None and fingerprint is not None and data.fingerprint != fingerprint:
        raise InputError(
            f"data: {source} holds another table than {run} was trained on; name the data set to take it nevertheless"
        )
    return data


def load_for(model: Any, source: Any, *, test: Any = None, atoms: str = "cells", columns: Any = None) -> Any:
    """A data set for a trained model: of a table, the columns that the model was trained on, whatever else is there.

    Args:
        model: A model in the units of its data.
        source: Anything that `genflow.data.load` takes.
        test: See `genflow.data.load`.
        atoms: See there.
        columns: Columns of a table, in the place of those that have the model's names.

    Raises:
        InputError: Columns that are missing, or another number of them.
    """
    from genflow.data import PICTURES, Dataset, load, rows_of

    encoding = model.encoding
    given: dict[str, Any] = {"test": test, "atoms": atoms, "like": model.schema}
    if encoding is not None:
        given |= {"condition": encoding.columns, "classes": encoding.class_columns}
    table = isinstance(source, str | PathLike) and Path(source).is_file() and Path(source).suffix not in PICTURES
    if isinstance(source, Dataset):
        data = source
    elif columns or not table:
        data = load(source, columns=columns or None, **given)
    else:
        try:
            data = load(source, columns=model.columns, **given)
        except InputError:
            # Either this says which columns are missing, or the file names none, or others in their place.
            rows_of(source, model.columns, encoding, "data", model.schema)
            data = load(source, **given)
    if data.dim != model.dim:
        raise InputError(
            f"data: {data.name} has {data.dim} columns ({_few(data.columns)}), "
            f"the model was trained on {model.dim} ({_few(model.columns)})"
        )
    return data


def _find(run: Any, name: str, place: str | None) -> str:
    """The file by its place when the run was made; in the current folder, if it is there no more."""
    if place is None or Path(place).exists():
        return place or name
    if Path(name).exists():
        return name
    raise InputError(f"data: {place}, which {run} was trained on, is not there any more; name the data set")


def _few(names: Any) -> str:
    shown = ", ".join(map(str, names[:6]))
    return shown if len(names) <= 6 else f"{shown}, …"
