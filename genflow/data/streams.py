"""Training rows that need not fit into memory: read while a model trains, by processes of their own.

Statistics, validation and test are of rows that are read once and kept; the training rows come in batches of a
`torch.utils.data.DataLoader`. What is kept for validation and test is never trained on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Sampler
from torch.utils.data import Dataset as Items

from genflow.data.dataset import FEWEST_ROWS, Dataset, assemble, conditions
from genflow.data.grey_levels import LABEL, dequantize
from genflow.data.items import Iterated, Mapped, item_of, stacked
from genflow.data.picture_folders import PictureFiles
from genflow.data.reading import from_array
from genflow.data.selection import Selection, select
from genflow.draws import check_count
from genflow.errors import InputError
from genflow.storage.documents import printable

__all__ = ["Source", "stream"]

_HELD_OUT = 2000  # most rows of validation and of test, each
_KEPT, _HELD = 50_000_000, 10_000_000  # most numbers in the sample, and in validation and test, each
Batch = tuple[Tensor, Any]
"""Rows in the user's units, float64, and the condition of each, or `None`."""


@dataclass(frozen=True)
class Source:
    """Training rows in the user's units, read in batches.

    Attributes:
        name: What an error calls them.
        items: `Mapped` or `Iterated` items.
        places: The places of those that are trained on; `None` of an iterable.
        workers: Processes that read.
        columns: The places of the columns that are modelled.
        gaps: Which of them may miss values.
        classes: The names of the classes that the items' labels are, none where a label is not asked for.
        grey: Whether an item is a picture of bytes, which gets noise of one level.
    """

    name: str
    items: Mapped | Iterated
    places: np.ndarray | None
    workers: int
    columns: Sequence[int]
    gaps: np.ndarray
    classes: Sequence[str] = ()
    grey: bool = False

    @property
    def count(self) -> int | None:
        """Rows in a pass; `None` of an iterable."""
        return None if self.places is None else len(self.places)

    def batches(self, size: int, seed: int, skip: int = 0) -> Iterator[Batch]:
        """Batches without an end, pass after pass: shuffled, or in the order of an iterable.

        Args:
            size: Rows in a batch.
            seed: Seed of the order, and of the noise of pictures.
            skip: Batches that are behind.

        Raises:
            InputError: A row that is not of the kind of those that are kept.
        """
        options: dict[str, Any] = {
            "num_workers": self.workers,
            "collate_fn": stacked,
            "generator": torch.Generator().manual_seed(seed),
        }
        if self.places is None:
            loader: Iterator[Any] = itertools.islice(DataLoader(self.items, batch_size=size, **options), skip, None)
        else:
            loader = iter(DataLoader(self.items, batch_sampler=_Order(self.places, size, seed, skip), **options))
        for number, found in enumerate(loader, skip):
            if isinstance(found, InputError):
                raise found
            x = self._rows(found[0])
            if self.grey:
                x += np.random.default_rng((seed, number)).random(x.shape)
            yield torch.from_numpy(x), self._labels(found[1]) if self.classes else None

    def _rows(self, found: np.ndarray) -> np.ndarray:
        rows = found.reshape(len(found), -1)
        if max(self.columns) >= rows.shape[1]:
            raise InputError(f"data: a row of {rows.shape[1]} numbers of {self.name} came; rows of one length would do")
        x = rows[:, list(self.columns)].astype(np.float64)
        strange = ~(np.isfinite(x) | (np.isnan(x) & self.gaps))
        if strange.any():
            i, j = np.argwhere(strange)[0]
            raise InputError(
                f"data: {x[i, j]} came in column {self.columns[j] + 1} of a row of {self.name}, where rows that are "
                "kept have none; finite numbers, or a larger sample, would do"
            )
        return x

    def _labels(self, labels: Sequence[str | None]) -> np.ndarray:
        for name in labels:
            if name not in self.classes:
                raise InputError(
                    f"condition: the label {name!r} of a row of {self.name} came, which no row has that is kept; a "
                    "larger sample would do"
                )
        return np.array([[name] for name in labels], dtype=object)


def stream(
    source: Any,
    *,
    name: str | None = None,
    sample: int = 20_000,
    condition: str | Sequence[str] = (),
    workers: int = 0,
    seed: int = 0,
) -> Dataset:
    """A data set whose training rows are read while a model trains.

    Of a map-style dataset a tenth of the rows, 2000 at most, are validation, as many are the test part, and all others
    are trained on, shuffled anew in every pass. Of an iterable the first rows are kept for both, in every pass, and the
    others are trained on in its own order: it has to begin again with each pass.

    What a model asks of its training rows beside batches (scales, pushed samples, grids) it asks of a sample of them,
    which holds 50 million numbers at most. What takes no batches at all, such as a mixture that is estimated, is
    estimated of the sample.

    Args:
        source: A dataset of torch, map-style or iterable: of rows of numbers, or of pictures of bytes `(height, width)`
            or `(channels, height, width)`, or of PIL; or of pairs of such an item and its class. Or a folder of
            pictures.
        name: What tables call it.
        sample: Training rows in the sample.
        condition: `"label"`: the items' labels are the condition, classes by their numbers or names.
        workers: Processes that read; 0 reads where the training runs. Of an iterable 1 at most.
        seed: Seed of the noise of pictures.

    Raises:
        InputError: Something else; too few rows; items of different shapes.

    Example:
        >>> import torch, genflow as gf
        >>> class Walk(torch.utils.data.Dataset):
        ...     def __len__(self):
        ...         return 100_000
        ...
        ...     def __getitem__(self, i):
        ...         return torch.randn(2, generator=torch.Generator().manual_seed(i)).cumsum(0)
        >>> data = gf.data.stream(Walk(), sample=1000)
        >>> data, data.stream.count
        (Dataset('Walk', dim=2, train=1000, validation=2000, test=2000), 96000)
        >>> gf.baselines.MAF(2, width=8).fit(data, iterations=3).sample(4).shape
        torch.Size([4, 2])
    """
    check_count(sample, "sample")
    if sample < FEWEST_ROWS:
        raise InputError(f"sample: {sample} came; at least {FEWEST_ROWS} would do")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers: {workers!r} came; a number of processes, or 0, would do")
    wanted = [condition] if isinstance(condition, str) else list(condition or ())
    if wanted not in ([], [LABEL]):
        raise InputError(f"condition: {wanted[0]!r} came; {LABEL!r}, the label of an item, would do")
    if isinstance(source, str | PathLike):
        name = name or printable(Path(source).resolve().name)
        source = PictureFiles(Path(source))
        if wanted and not source.classes:
            raise InputError("condition: the folder has no sub-folders, of which each would be a class; leave it out")
    if not isinstance(source, Items) or not isinstance(source, IterableDataset | Sized):
        kind = type(source).__name__
        raise InputError(f"data: a {kind} came; a torch.utils.data.Dataset with a length, or a folder, would do")
    if isinstance(source, IterableDataset) and workers > 1:
        raise InputError(f"workers: {workers} came for an iterable, whose first rows are kept; 1 or 0 would do")
    name = name or type(source).__name__
    items, places, parts = _kept(source, sample)
    rows, labels = (parts[0][0], parts[1][0], parts[2][0]), [part[1] for part in parts]
    grey = rows[0].ndim > 2
    if grey:
        data = dequantize(name, rows, seed)
        columns, gaps = list(range(math.prod(rows[0].shape[1:]))), np.zeros(1, bool)
    else:
        data, columns = _table(name, rows, seed)
        modelled = data.schema.modelled if data.schema is not None else ()
        gaps = np.array([column.missing for column in modelled] or [False])
    classes: list[str] = []
    if wanted:
        if any(label is None for part in labels for label in part):
            raise InputError(f"condition: items of {name} have no labels; pairs (row, label) would do")
        classes = source.classes if isinstance(source, PictureFiles) else _classes(labels)
        found = [np.array([[classes.index(label)] for label in part]) for part in labels]
        data.condition = conditions((found[0], found[1], found[2]), [LABEL], [classes])
    data.stream = Source(name, items, places, workers, columns, gaps, classes, grey)
    return data


def _kept(source: Any, sample: int) -> tuple[Mapped | Iterated, np.ndarray | None, list[Any]]:
    """The items; the places of those that are trained on; those of the sample, of validation and of test."""
    iterable = isinstance(source, IterableDataset)
    first = next(iter(source), None) if iterable else source[0] if len(source) else None
    entries = item_of(first)[0].size if first is not None else 1
    sample, most = min(sample, max(_KEPT // entries, FEWEST_ROWS)), min(_HELD_OUT, max(_HELD // entries, 1))
    if iterable:
        begin = list(itertools.islice(iter(source), sample + 2 * most))
        few = min(most, len(begin) // 10)
        kept, places = begin, None
        items: Mapped | Iterated = Iterated(source, 2 * few)
    else:
        order = np.random.default_rng(0).permutation(len(source))
        few = min(most, len(order) // 10)
        kept = [source[place] for place in order[: 2 * few + sample].tolist()]
        items, places = Mapped(source), np.sort(order[2 * few :])
    if few < 1:
        raise InputError(f"data: {len(kept)} rows came; at least {FEWEST_ROWS} would do")
    parts = []
    for part in (kept[2 * few : 2 * few + sample], kept[:few], kept[few : 2 * few]):
        found = stacked([item_of(item) for item in part])
        if isinstance(found, InputError):
            raise found
        parts.append(found)
    return items, places, parts


def _table(name: str, rows: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> tuple[Dataset, list[int]]:
    """Rows of numbers, and the places of the columns that are modelled."""
    counts = np.cumsum([len(part) for part in rows])[:-1]
    table = from_array(np.concatenate(rows), "data")
    known = list(table.columns)
    table, schema, _ = select(table, Selection())
    first, second, third = np.split(table.values, counts)
    left_out = [column for column in known if column not in table.columns]
    remarks = (
        [f"{name}: {', '.join(left_out)} left out, which the rows that are kept don't vary in"] if left_out else []
    )
    data = assemble(name, (first, second, third), table.columns, remarks=remarks, seed=seed, schema=schema)
    return data, [known.index(column) for column in table.columns]


def _classes(labels: Sequence[Sequence[str]]) -> list[str]:
    """The names of classes: numbers by their size, then words."""
    names = {label for part in labels for label in part}
    return sorted(names, key=lambda each: (not each.lstrip("-").isdigit(), int(each) if each.isdigit() else 0, each))


class _Order(Sampler[list[int]]):
    """Batches of places without an end, each pass in an order of its own."""

    def __init__(self, places: np.ndarray, size: int, seed: int, skip: int):
        self.places, self.size, self.seed, self.skip = places, min(size, len(places)), seed, skip

    def __iter__(self) -> Iterator[list[int]]:
        each = len(self.places) // self.size  # batches in a pass; the rows behind the last come in another pass
        for number in itertools.count(self.skip):
            if number % each == 0 or number == self.skip:
                order = np.random.default_rng((self.seed, number // each)).permutation(self.places)
            begin = number % each * self.size
            yield order[begin : begin + self.size].tolist()
