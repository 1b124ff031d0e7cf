r"""The four tables that density estimators are compared on: POWER, GAS, MINIBOONE, BSDS300, prepared as published.

The files are those of the archive of Papamakarios et al. (DOI 10.5281/zenodo.1161203) or of the UCI repository; people
download them themselves. Rows stay in the units of the file, and the preprocessing is the published standardization
:math:`z = (x - \mu) / s`, so that `nll_standardized` is the figure of the literature; BSDS300 is published as it is,
and there it is `nll`.

=========  ==  ==================================================================  ==============================
name       d   columns                                                             :math:`\mu, s` over
=========  ==  ==================================================================  ==============================
power      6   without reactive power and intensity; uniform noise of their grid   training and validation rows
gas        8   of each group that correlates by more than 0.98, the last sensor    all rows
miniboone  43  without those whose least value comes more than five times          training and validation rows
bsds300    63  8 x 8 patches without their mean, the last pixel left out           (training rows)
=========  ==  ==================================================================  ==============================

Each of the first three is split without a permutation: the last tenth is the test part, the last tenth of the rest is
for validation.

GAS is a pickle in the archive. Reading one can run code, and no checksum of it is published, so it is not read: turn it
into ethylene_CO.csv once, with `pandas.read_pickle("ethylene_CO.pickle").to_csv("ethylene_CO.csv", index=False)`.

The archive's record gives its MD5, `ARCHIVE_MD5`. No checksum of the single files is published: the SHA-256 of the file
that is read is computed and remarked on, and may be pinned.

| G. Papamakarios, T. Pavlakou, I. Murray, Masked autoregressive flow for density estimation, NeurIPS 2017, appendix D,
  https://arxiv.org/abs/1705.07057
| W. Grathwohl et al., FFJORD, ICLR 2019, https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genflow.data.dataset import Dataset, default_columns, pixel_columns
from genflow.data.files import Checked, find_file, verify
from genflow.data.preprocessing import Standardize
from genflow.data.sampling import Parts, fewer
from genflow.data.tables import read
from genflow.errors import InputError
from genflow.extras import extra

__all__ = ["ARCHIVE_MD5", "BENCHMARKS", "benchmark"]

_ARCHIVE = "the archive of DOI 10.5281/zenodo.1161203"
ARCHIVE_MD5 = "9b9c9b0375315ad270eba4ce80c093ab"
"""MD5 of the archive's `data.tar.gz`, https://zenodo.org/records/1161203, for `md5sum` before unpacking."""

_QUARTER = 4  # of GAS's rows, one in four is kept
_NO_SENSORS = ["Meth", "Eth", "Time"]  # GAS's columns that are no sensors, as the archive calls them


@dataclass(frozen=True)
class Read:
    """What is read of a file.

    Attributes:
        parts: Training, validation and test rows, in the units of the file.
        columns: Names of the columns.
        mean: What the published standardization subtracts; `None` where nothing is standardized.
        std: What it divides by.
        remark: What differs from the published preparation, or what was done.
    """

    parts: Parts
    columns: list[str]
    mean: np.ndarray | None
    std: np.ndarray | None
    remark: str


@dataclass(frozen=True)
class Benchmark:
    """Where a table comes from and how it is read.

    Attributes:
        dim: The published number of columns.
        files: Names of the file, that with the archive's rows first.
        home: Its folder in the archive.
        source: Where it comes from, in words.
        read: From the checked file to its rows.
        image_shape: Height and width of the picture that a row is, where it is one.
    """

    dim: int
    files: tuple[str, ...]
    home: str
    source: str
    read: Callable[[Checked], Read]
    image_shape: tuple[int, int] | None = None


def benchmark(
    name: str, folder: str | PathLike[str] | None, rows: int | None = None, checksums: Mapping[str, str] | None = None
) -> Dataset:
    """One of the four tables, from a folder that people filled themselves.

    Args:
        name: One of `BENCHMARKS`.
        folder: The folder of the file, or that of the unpacked archive.
        rows: At most so many rows in all, the same share of each part.
        checksums: SHA-256 by file, where one is on record.

    Raises:
        InputError: A file that is missing, damaged, or not the one that is pinned.
    """
    known = BENCHMARKS[name]
    places = ("", known.home, f"data/{known.home}")
    file = verify(find_file(name, folder, known.files, known.source, places), checksums)
    table = known.read(file)
    if len(table.columns) != known.dim:
        raise InputError(
            f"{file.path}: {len(table.columns)} columns are left, {name} has {known.dim}; it is not the published file"
        )
    train, validation, test = (torch.from_numpy(np.array(part, dtype=np.float64)) for part in fewer(table.parts, rows))
    if min(map(len, (train, validation, test))) == 0:
        raise InputError(f"{file.path}: too few rows for a training, a validation and a test part")
    if table.mean is None or table.std is None:
        preprocessor = Standardize.fit(train, table.columns)
    else:
        if not (table.std > 0).all():
            column = table.columns[int(np.argmin(table.std))]
            raise InputError(f"{file.path}: column {column!r} is constant; it is not the published file")
        preprocessor = Standardize(known.dim, torch.from_numpy(table.mean), torch.from_numpy(table.std))
    remarks = [f"{name}: {table.remark}", file.remark]
    return Dataset(name, train, validation, test, table.columns, preprocessor, remarks, image_shape=known.image_shape)


def _power(file: Checked) -> Read:
    """Household power: noise of the recording grid on all columns but the time."""
    remark = "prepared as published, noise of seed 42"
    if file.path.suffix == ".npy":
        x, _ = read(file.path)
    else:
        x, remark = _household_rows(file.path), "from the UCI file, prepared as published; time with noise of a minute"
    if x.shape[1] != 8:
        raise InputError(f"{file.path}: {x.shape[1]} columns came; power has 8 before its preparation")
    # The published generator, in its order of draws: with the archive's file these are the published rows.
    rng = np.random.RandomState(42)
    x = np.delete(x[rng.permutation(len(x))], [1, 3], axis=1)
    voltage, active, meters = (rng.rand(len(x), count) for count in (1, 1, 3))
    x[:, :5] += np.hstack([0.001 * active, 0.01 * voltage, meters])
    columns = ["global_active_power", "voltage", "sub_metering_1", "sub_metering_2", "sub_metering_3", "time"]
    return _split_and_standardized(x, columns, remark)


def _household_rows(path: Path) -> np.ndarray:
    """The UCI file as the archive has it: rows without gaps, time in minutes (with noise of a minute) last."""
    numbers = [
        "Global_active_power", "Global_reactive_power", "Voltage", "Global_intensity",
        "Sub_metering_1", "Sub_metering_2", "Sub_metering_3",
    ]  # fmt: skip
    frame = _text(path, sep=";", na_values="?", usecols=["Time", *numbers], dtype=dict.fromkeys(numbers, float))
    frame = frame.dropna()
    try:
        hours, minutes = (frame["Time"].str.split(":").str[i].astype(float) for i in (0, 1))
    except (AttributeError, ValueError):
        raise InputError(f"{path}: its column Time holds no times such as 17:24:00") from None
    time = 60 * hours + minutes + np.random.default_rng(42).random(len(frame))
    return np.column_stack([frame[numbers].to_numpy(), time])


def _gas(file: Checked) -> Read:
    """Sensors in a gas mixture: of sensors that say the same, one is kept."""
    path = file.path
    if path.suffix == ".pickle":
        raise InputError(
            f"{path}: reading a pickle can run code, so it is not read; if you trust it, make ethylene_CO.csv of it: "
            "pandas.read_pickle('ethylene_CO.pickle').to_csv('ethylene_CO.csv', index=False)"
        )
    if path.suffix == ".csv":
        frame = _text(path, dtype=float)
        absent = [name for name in _NO_SENSORS if name not in frame.columns]
        if absent:
            raise InputError(f"{path}: no column {absent[0]!r}; it is not the archive's table")
        frame = frame.drop(columns=_NO_SENSORS)
        remark = "prepared as published"
    else:
        frame = _text(path, sep=r"\s+", skiprows=1, header=None, usecols=range(3, 19), dtype=float).dropna()
        frame = frame.iloc[np.random.default_rng(0).permutation(len(frame))[: len(frame) // _QUARTER]]
        remark = "from the UCI file, prepared as published but for another random quarter of the rows"
    names = [f"sensor_{column}" for column in frame.columns]
    x, kept = _drop_correlated(frame.to_numpy())
    return Read(_tenths(x), [names[j] for j in kept], x.mean(0), x.std(0, ddof=1), remark)


def _drop_correlated(x: np.ndarray, most: float = 0.98) -> tuple[np.ndarray, list[int]]:
    """Columns of which no two correlate by more than `most`: the first that does goes, until none is left."""
    kept = list(range(x.shape[1]))
    close = np.corrcoef(x, rowvar=False) > most
    while (crowded := close[np.ix_(kept, kept)].sum(1) > 1).any():
        del kept[int(np.argmax(crowded))]
    return x[:, kept], kept


def _miniboone(file: Checked) -> Read:
    """Electron neutrinos: without outliers, and without columns that have a spike at their least value."""
    if file.path.suffix == ".npy":
        x, _ = read(file.path)
        return _split_and_standardized(x, default_columns(x.shape[1]), "prepared as published")
    with file.path.open(encoding="utf-8", errors="replace") as text:
        head = text.readline().split()
    if len(head) != 2 or not all(word.isdigit() for word in head):
        raise InputError(f"{file.path}: its first line should hold two counts, of signals and of background")
    frame = _text(file.path, sep=r"\s+", skiprows=1, header=None, nrows=int(head[0]), dtype=float)
    x = frame.to_numpy()
    x = x[x[:, 0] >= -100]
    kept = [j for j, column in enumerate(x.T) if (column == column.min()).sum() <= 5]
    remark = "from the UCI file: signals alone, outliers and columns with a spike at their least value left out"
    return _split_and_standardized(x[:, kept], [f"x{j + 1}" for j in kept], remark)


def _bsds300(file: Checked) -> Read:
    """Patches of photographs, in the parts of the file."""
    try:
        import h5py
    except ImportError:
        raise InputError(f"{file.path}: h5py is not installed, which reads it; install h5py") from None
    try:
        with h5py.File(file.path, "r") as document:
            parts = [np.asarray(document[part][:], dtype=np.float64) for part in ("train", "validation", "test")]
    except (OSError, KeyError) as error:
        raise InputError(f"{file.path}: it can't be read as BSDS300 ({' '.join(str(error).split())})") from None
    train, validation, test = parts
    columns = pixel_columns(8, 8)[: train.shape[1]] if train.shape[1] <= 64 else default_columns(train.shape[1])
    return Read((train, validation, test), columns, None, None, "in the published parts and units: its figure is nll")


BENCHMARKS: dict[str, Benchmark] = {
    "power": Benchmark(
        6,
        ("data.npy", "household_power_consumption.txt"),
        "power",
        f"{_ARCHIVE} (data/power) or UCI's Individual Household Electric Power Consumption",
        _power,
    ),
    "gas": Benchmark(
        8,
        ("ethylene_CO.csv", "ethylene_CO.txt", "ethylene_CO.pickle"),
        "gas",
        f"{_ARCHIVE} (data/gas, its pickle turned into CSV) or UCI's Gas Sensor Array under Dynamic Gas Mixtures",
        _gas,
    ),
    "miniboone": Benchmark(
        43,
        ("data.npy", "MiniBooNE_PID.txt"),
        "miniboone",
        f"{_ARCHIVE} (data/miniboone) or UCI's MiniBooNE Particle Identification",
        _miniboone,
    ),
    "bsds300": Benchmark(63, ("BSDS300.hdf5",), "BSDS300", f"{_ARCHIVE} (data/BSDS300)", _bsds300, (8, 8)),
}
"""The tables by name."""


def _tenths(x: np.ndarray) -> Parts:
    """The last tenth for the test, the last tenth of the rest for validation, each rounded down."""
    test = len(x) - len(x) // 10
    validation = test - test // 10
    return x[:validation], x[validation:test], x[test:]


def _split_and_standardized(x: np.ndarray, columns: list[str], remark: str) -> Read:
    parts = _tenths(x)
    known = np.concatenate(parts[:2])
    return Read(parts, columns, known.mean(0), known.std(0), remark)


def _text(path: Path, **options: Any) -> Any:
    """A table of text, by pandas, whose complaints become one line."""
    with extra("data"):
        import pandas as pd

    try:
        return pd.read_csv(path, **options)
    except (ValueError, OSError, IndexError) as error:
        raise InputError(f"{path}: it can't be read as the published file ({' '.join(str(error).split())})") from None
