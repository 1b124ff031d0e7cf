"""Training rows that need not fit into memory: read while a model trains, by processes of their own.

Statistics, validation and test are of rows that are read once and kept; the training rows come in batches of a
`torch.utils.data.DataLoader`. What is kept for validation and test is never trained on, wherever it comes again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Sampler
from torch.utils.data import Dataset as Items

from genflow.data.conditions import class_name
from genflow.data.dataset import FEWEST_ROWS, Dataset, assemble, conditions
from genflow.data.grey_levels import LABEL, dequantize
from genflow.data.picture_folders import PictureFiles
from genflow.data.reading import from_array
from genflow.data.selection import Selection, select
from genflow.draws import check_count
from genflow.errors import InputError
from genflow.storage.documents import printable

__all__ = ["Source", "stream"]

_HELD_OUT = 2000  # most rows of validation and of test, each
Batch = tuple[Tensor, Any]
"""Rows in the user's units, float64, and the condition of each, or `None`."""


@dataclass(frozen=True)
class Source:
    """Training rows in the user's units, read in batches.

    Attributes:
        items: A map-style or an iterable dataset of torch.
        workers: Processes that read.
        columns: The places of the columns that are modelled.
        held_out: Items that are not trained on: their places, or, of an iterable, their bytes.
        classes: The names of the classes that the items' labels are, none where a label is not asked for.
        grey: Whether an item is a picture of bytes, which gets noise of one level.
    """

    items: Any
    workers: int
    columns: Sequence[int]
    held_out: frozenset[Any]
    classes: Sequence[str] = ()
    grey: bool = False

    @property
    def count(self) -> int | None:
        """Rows in a pass; `None` of an iterable."""
        return None if isinstance(self.items, IterableDataset) else len(self.items) - len(self.held_out)

    def batches(self, size: int, seed: int, skip: int = 0) -> Iterator[Batch]:
        """Batches without an end, pass after pass: shuffled, or in the order of an iterable.

        Args:
            size: Rows in a batch.
            seed: Seed of the order, and of the noise of pictures.
            skip: Batches that are behind.
        """
        for number, batch in enumerate(self._raw(size, seed, skip), skip):
            labelled = [_parted(item) for item in batch]
            x = np.stack([_flat(row) for row, _ in labelled]).astype(np.float64)[:, list(self.columns)]
            if self.grey:
                x += np.random.default_rng((seed, number)).random(x.shape)
            labels = np.array([[class_name(label)] for _, label in labelled], dtype=object) if self.classes else None
            yield torch.from_numpy(x), labels

    def _raw(self, size: int, seed: int, skip: int) -> Iterator[list[Any]]:
        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"num_workers": self.workers, "collate_fn": list, "generator": generator}
        if self.count is not None:
            places = [place for place in range(len(self.items)) if place not in self.held_out]
            order = _Order(places, size, seed, skip)
            yield from DataLoader(self.items, batch_sampler=order, **options)
            return
        kept = itertools.chain.from_iterable(self._passes(size, options))
        batches = iter(lambda: list(itertools.islice(kept, size)), [])
        yield from itertools.islice(batches, skip, None)

    def _passes(self, size: int, options: dict[str, Any]) -> Iterator[Iterator[Any]]:
        while True:
            found = [False]
            items = itertools.chain.from_iterable(DataLoader(self.items, batch_size=size, **options))
            yield _noted((item for item in items if _flat(_parted(item)[0]).tobytes() not in self.held_out), found)
            if not found[0]:
                raise InputError("data: the dataset gave no more rows to train on; one that begins again would do")


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
    are trained on, shuffled anew in every pass. Of an iterable the first rows are kept for both: it has to begin again
    with each pass, is trained on in its own order, and divides itself among several workers, as torch has it.

    What a model asks of its training rows beside batches (scales, pushed samples, grids) it asks of a sample of them.

    Args:
        source: A dataset of torch, map-style or iterable: of rows `(d,)`, or of pictures of bytes `(height, width)` or
            `(channels, height, width)`; or of pairs of such an item and its label. Or a folder of pictures.
        name: What tables call it.
        sample: Training rows in the sample.
        condition: `"label"`: the items' labels are the condition, classes by their numbers or names.
        workers: Processes that read; 0 reads where the training runs.
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
    if not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers: {workers!r} came; a number of processes, or 0, would do")
    wanted = [condition] if isinstance(condition, str) else list(condition)
    if wanted not in ([], [LABEL]):
        raise InputError(f"condition: {wanted[0]!r} came; {LABEL!r}, the label of an item, would do")
    named: Sequence[str] = ()
    if isinstance(source, str | PathLike):
        name = name or printable(Path(source).resolve().name)
        source = PictureFiles(Path(source))
        named = source.classes
        if wanted and not named:
            raise InputError("condition: the folder has no sub-folders, of which each would be a class; leave it out")
    if not isinstance(source, Items):
        raise InputError(f"data: a {type(source).__name__} came; a torch.utils.data.Dataset, or a folder, would do")
    name = name or type(source).__name__
    parts, held_out = _kept(source, sample)
    rows, labels = zip(*(_stacked(name, part) for part in parts), strict=True)
    shape, grey = rows[0].shape[1:], rows[0].dtype == np.uint8 and rows[0].ndim > 2
    classes = list(named) or list(dict.fromkeys(sorted(class_name(label) for part in labels for label in part)))
    if wanted and not len(labels[0]):
        raise InputError(f"condition: the items of {name} have no labels; pairs (row, label) would do")
    if grey:
        data = dequantize(name, rows, seed)
        columns = list(range(math.prod(shape)))
    else:
        data, columns = _table(name, rows, seed)
    if wanted:
        places = [np.array([[classes.index(class_name(label))] for label in part]) for part in labels]
        data.condition = conditions((places[0], places[1], places[2]), [LABEL], [classes])
    data.stream = Source(source, workers, columns, held_out, classes if wanted else (), grey)
    return data


def _kept(source: Any, sample: int) -> tuple[list[list[Any]], frozenset[Any]]:
    """The items of the sample, of validation and of test, and what tells the last two from all others."""
    if isinstance(source, IterableDataset):
        first = list(itertools.islice(iter(source), sample + 2 * _HELD_OUT))
        few = min(_HELD_OUT, len(first) // 10)
        items = [first[2 * few : 2 * few + sample], first[:few], first[few : 2 * few]]
        held_out = frozenset(_flat(_parted(item)[0]).tobytes() for item in first[: 2 * few])
    else:
        order = np.random.default_rng(0).permutation(len(source)).tolist()
        few = min(_HELD_OUT, len(order) // 10)
        places = [order[2 * few : 2 * few + sample], order[:few], order[few : 2 * few]]
        items = [[source[place] for place in part] for part in places]
        held_out = frozenset(order[: 2 * few])
    if few < 1 or len(items[0]) < FEWEST_ROWS - 2:
        raise InputError(f"data: {sum(map(len, items))} rows came; at least {FEWEST_ROWS} would do")
    return items, held_out


def _stacked(name: str, items: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Items of one shape, and their labels where they have some."""
    parted = [_parted(item) for item in items]
    arrays = [np.asarray(row) for row, _ in parted]
    for array in arrays:
        if array.shape != arrays[0].shape:
            raise InputError(f"data: items of {name} have the shapes {arrays[0].shape} and {array.shape}; one would do")
    labels = [label for _, label in parted if label is not None]
    return np.stack(arrays), labels


def _table(name: str, rows: Sequence[np.ndarray], seed: int) -> tuple[Dataset, list[int]]:
    """Rows of numbers, and the places of the columns that are modelled."""
    counts = np.cumsum([len(part) for part in rows])[:-1]
    table = from_array(np.concatenate([part.reshape(len(part), -1) for part in rows]), "data")
    known = list(table.columns)
    table, schema, _ = select(table, Selection())
    first, second, third = np.split(table.values, counts)
    data = assemble(name, (first, second, third), table.columns, seed=seed, schema=schema)
    return data, [known.index(column) for column in table.columns]


def _parted(item: Any) -> tuple[Any, Any]:
    """A row and its label."""
    return (item[0], item[1]) if isinstance(item, tuple | list) else (item, None)


def _flat(row: Any) -> np.ndarray:
    return np.asarray(row).reshape(-1)


def _noted(items: Iterator[Any], found: list[bool]) -> Iterator[Any]:
    for item in items:
        found[0] = True
        yield item


class _Order(Sampler[list[int]]):
    """Batches of places without an end, each pass in an order of its own."""

    def __init__(self, places: list[int], size: int, seed: int, skip: int):
        self.places, self.size, self.seed, self.skip = np.array(places), min(size, len(places)), seed, skip

    def __iter__(self) -> Iterator[list[int]]:
        each = len(self.places) // self.size  # batches in a pass; the rows behind the last come in another pass
        for number in itertools.count(self.skip):
            if number % each == 0 or number == self.skip:
                order = np.random.default_rng((self.seed, number // each)).permutation(self.places)
            begin = number % each * self.size
            yield order[begin : begin + self.size].tolist()
