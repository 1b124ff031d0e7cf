"""Data that people download themselves: the published preparation of each table, IDX pictures, checksums."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from genflow import InputError
from genflow.data import downloads, load, read_idx
from genflow.data.benchmarks import BENCHMARKS
from genflow.data.files import PINS, verify

N = 400
RNG = np.random.default_rng


# Small files in the published format


def household(rows: int = N) -> np.ndarray:
    """Eight columns as the archive has them: powers, voltage, intensity, three meters, minutes; on their grids."""
    rng = RNG(1)
    decimals = [3, 3, 2, 1, 0, 0, 0, 0]
    scales = [4, 0.5, 250, 20, 30, 30, 30, 1440]
    return np.stack([np.round(scale * rng.random(rows), digits) for scale, digits in zip(scales, decimals)], -1)


def write_power(folder):
    np.save(folder / "data.npy", household())


def write_power_text(folder):
    x = household()
    lines = [
        f"16/12/2006;{int(row[7]) // 60:02}:{int(row[7]) % 60:02}:00;" + ";".join(f"{v:.3f}" for v in row[:7])
        for row in x
    ]
    head = (
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
        "Sub_metering_1;Sub_metering_2;Sub_metering_3"
    )
    gap = "16/12/2006;17:24:00;?;?;?;?;?;?;"
    (folder / "household_power_consumption.txt").write_text("\n".join([head, gap, *lines]) + "\n")


def sensors(rows: int) -> np.ndarray:
    """Sixteen columns: eight, and eight that say the same."""
    x = RNG(2).normal(size=(rows, 8))
    return np.concatenate([x, 3 * x + 0.01 * RNG(3).normal(size=x.shape)], 1)


def write_gas(folder):
    frame = pd.DataFrame(RNG(4).random((N, 3)), columns=["Time", "Meth", "Eth"])
    frame = frame.join(pd.DataFrame(sensors(N), columns=[f"S{j}" for j in range(16)]))
    frame.to_csv(folder / "ethylene_CO.csv", index=False)


def write_gas_text(folder):
    rows = np.concatenate([RNG(4).random((4 * N, 3)), sensors(4 * N)], 1)
    head = "Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings (16 channels)"
    np.savetxt(folder / "ethylene_CO.txt", rows, fmt="%.4f", header=head, comments="")


def write_miniboone(folder):
    np.save(folder / "data.npy", RNG(5).normal(size=(N, 43)))


def write_miniboone_text(folder):
    x = RNG(6).normal(size=(N + 100, 50))
    x[:, 10:17] = np.maximum(x[:, 10:17], 0)  # a spike at the least value
    x[3] = -999.0
    with (folder / "MiniBooNE_PID.txt").open("w") as file:
        file.write(f" {N} 100\n")
        np.savetxt(file, x)


def write_bsds300(folder):
    (folder / "BSDS300.hdf5").write_bytes(b"stands for the file")


class FakeH5py:
    """h5py, as far as the reader uses it."""

    class File(dict):
        def __init__(self, path, mode):
            sizes = {"train": N, "validation": 20, "test": 100}
            super().__init__({part: RNG(7).normal(size=(size, 63)).astype("f4") for part, size in sizes.items()})

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass


TABLES = {
    "power": (write_power, write_power_text),
    "gas": (write_gas, write_gas_text),
    "miniboone": (write_miniboone, write_miniboone_text),
    "bsds300": (write_bsds300,),
}
CASES = [(name, write) for name, writers in TABLES.items() for write in writers]


@pytest.fixture(autouse=True)
def _h5py(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=FakeH5py.File))


@pytest.mark.parametrize(("name", "write"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_table_has_the_published_columns_and_standardization(name, write, tmp_path):
    write(tmp_path)
    data = load(name, folder=tmp_path)
    assert data.name == name
    assert (
        data.dim == len(data.columns) == BENCHMARKS[name].dim == {"power": 6, "gas": 8, "miniboone": 43}.get(name, 63)
    )
    assert len(set(data.columns)) == data.dim
    z = [data.preprocessor(part)[0] for part in (data.train, data.validation, data.test)]
    over = torch.cat({"gas": z, "bsds300": z[:1]}.get(name, z[:2]))
    assert over.mean(0).abs().max() < 1e-9
    assert (over.std(0, correction=1 if name == "gas" else 0) - 1).abs().max() < 1e-9
    assert (z[0].std(0) - 1).abs().max() < 0.1
    if name != "bsds300":
        rows = sum(map(len, z))
        assert len(z[2]) == rows // 10
        assert len(z[1]) == (rows - rows // 10) // 10


def test_power_gets_noise_within_the_grid_and_the_published_permutation(tmp_path):
    write_power(tmp_path)
    data = load("power", folder=tmp_path)
    rows = torch.cat([data.train, data.validation, data.test]).numpy()
    order = np.arange(N)
    rng = np.random.RandomState(42)
    rng.shuffle(order)  # as published: the rows themselves are shuffled, which draws the same numbers
    kept = household()[order][:, [0, 2, 4, 5, 6, 7]]
    noise = rows - kept
    widths = np.array([0.001, 0.01, 1, 1, 1, 0])
    assert (noise >= -1e-9).all()
    assert (noise <= widths + 1e-9).all()
    assert np.allclose(noise[:, :5].mean(0), widths[:5] / 2, atol=0.1 * widths[:5])
    assert np.allclose(noise[:, 1], 0.01 * rng.rand(N, 1)[:, 0])  # the voltage's noise is the first that is drawn


def test_the_text_of_power_drops_gaps_and_turns_times_into_minutes(tmp_path):
    write_power_text(tmp_path)
    data = load("power", folder=tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test) == N
    assert data.train[:, 5].min() >= 0
    assert 1000 < data.train[:, 5].max() < 1441


def test_gas_keeps_the_last_of_each_correlated_group(tmp_path):
    write_gas(tmp_path)
    assert load("gas", folder=tmp_path).columns == [f"sensor_S{j}" for j in range(8, 16)]
    (tmp_path / "text").mkdir()
    write_gas_text(tmp_path / "text")
    data = load("gas", folder=tmp_path / "text")
    assert len(data.train) + len(data.validation) + len(data.test) == N  # a quarter of what is there


class Planted:
    """What a pickle runs when it is read: it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("pinned", [False, True])
def test_nothing_in_a_pickle_is_run_even_if_it_is_pinned(tmp_path, pinned):
    (tmp_path / "ethylene_CO.pickle").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    digest = hashlib.sha256((tmp_path / "ethylene_CO.pickle").read_bytes()).hexdigest()
    if pinned:
        (tmp_path / PINS).write_text(f"{digest}  ethylene_CO.pickle\n")
    with pytest.raises(InputError, match=r"reading a pickle can run code.+ethylene_CO\.csv"):
        load("gas", folder=tmp_path, checksums={"ethylene_CO.pickle": digest})
    assert not (tmp_path / "ran").exists()


def test_another_table_is_not_that_of_the_archive(tmp_path):
    pd.DataFrame(sensors(N)).to_csv(tmp_path / "ethylene_CO.csv", index=False)
    with pytest.raises(InputError, match="no column 'Meth'; it is not the archive's table"):
        load("gas", folder=tmp_path)


def test_an_object_array_is_not_unpickled(tmp_path):
    np.save(tmp_path / "table.npy", np.array([[Planted(tmp_path / "ran")]] * 20), allow_pickle=True)
    with pytest.raises(InputError, match="can't be read as an array of numbers"):
        load(tmp_path / "table.npy")
    assert not (tmp_path / "ran").exists()


def test_miniboone_leaves_out_background_outliers_and_spikes(tmp_path):
    write_miniboone_text(tmp_path)
    data = load("miniboone", folder=tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test) == N - 1
    assert data.columns[9:12] == ["x10", "x18", "x19"]


def test_bsds300_without_h5py_says_so(tmp_path, monkeypatch):
    write_bsds300(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="h5py is not installed"):
        load("bsds300", folder=tmp_path)


def test_bsds300_is_read_by_h5py(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "h5py")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "BSDS300.hdf5", "w") as file:
        for part, rows in (("train", 50), ("validation", 10), ("test", 20)):
            file[part] = RNG(8).normal(size=(rows, 63))
    data = load("bsds300", folder=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 20)
    (tmp_path / "BSDS300.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="can't be read as BSDS300"):
        load("bsds300", folder=tmp_path)


def test_the_unpacked_archive_is_a_folder_too(tmp_path):
    (tmp_path / "data" / "miniboone").mkdir(parents=True)
    write_miniboone(tmp_path / "data" / "miniboone")
    assert load("miniboone", folder=tmp_path).dim == 43


def test_fewer_rows_keep_the_split_and_the_published_units(tmp_path):
    write_miniboone(tmp_path)
    full, part = load("miniboone", folder=tmp_path), load("miniboone", folder=tmp_path, rows=100)
    assert (len(part.train), len(part.validation), len(part.test)) == (81, 9, 10)
    assert torch.equal(part.preprocessor.mean, full.preprocessor.mean)
    tests = {tuple(row.tolist()) for row in full.test}
    assert all(tuple(row.tolist()) in tests for row in part.test)


def test_a_table_of_another_width_is_not_the_published_one(tmp_path):
    np.save(tmp_path / "data.npy", RNG(0).normal(size=(50, 5)))
    for name in ("power", "miniboone"):
        with pytest.raises(InputError, match="columns"):
            load(name, folder=tmp_path)


# Checksums


def test_a_checksum_is_computed_and_can_be_pinned(tmp_path):
    write_miniboone(tmp_path)
    digest = hashlib.sha256((tmp_path / "data.npy").read_bytes()).hexdigest()
    assert f"SHA-256 {digest}; none is on record" in load("miniboone", folder=tmp_path).remarks[1]
    (tmp_path / PINS).write_text(f"{digest} *data.npy\n")
    assert "as pinned in" in load("miniboone", folder=tmp_path).remarks[1]
    assert verify(tmp_path / "data.npy", {"data.npy": "0" * 64}).pinned.endswith(PINS)  # the user's own comes first


def test_a_wrong_checksum_is_refused(tmp_path):
    write_miniboone(tmp_path)
    with pytest.raises(InputError, match=r"the configuration has 0+; download the file again"):
        load("miniboone", folder=tmp_path, checksums={"data.npy": "0" * 64})
    (tmp_path / PINS).write_text(f"{'1' * 64}  data.npy\n")
    with pytest.raises(InputError, match=r"SHA256SUMS has 1+"):
        load("miniboone", folder=tmp_path)
    (tmp_path / PINS).write_text("what is this?\n")
    with pytest.raises(InputError, match="line 1 is no checksum"):
        load("miniboone", folder=tmp_path)


@pytest.mark.parametrize("name", downloads())
def test_a_missing_folder_or_file_says_what_is_wanted_and_where_it_comes_from(name, tmp_path):
    for folder, words in ((None, "not built in"), (tmp_path / "nowhere", "no folder"), (tmp_path, "has no")):
        with pytest.raises(InputError, match=words) as error:
            load(name, folder=folder)
        assert "from " in str(error.value)
        assert "\n" not in str(error.value)
        assert (BENCHMARKS[name].files[0] if name in BENCHMARKS else "train-images") in str(error.value)


def test_a_folder_goes_with_downloads_only(tmp_path):
    for source in ("two-moons", str(tmp_path / "table.csv")):
        with pytest.raises(InputError, match="folder: it goes with power"):
            load(source, folder=tmp_path)


# IDX


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def pictures(rows: int, side: int = 5) -> np.ndarray:
    """Pictures whose rim is always empty."""
    images = np.zeros((rows, side, side), np.uint8)
    images[:, 1:-1, 1:-1] = RNG(rows).integers(256, size=(rows, side - 2, side - 2))
    return images


@pytest.fixture
def clothes(tmp_path):
    folder = tmp_path / "clothes"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures(90))))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(pictures(30)))
    return folder


def test_idx_pictures_are_read_compressed_or_not(clothes):
    data = load("fashion-mnist", folder=clothes)
    assert (len(data.train), len(data.validation), len(data.test)) == (80, 10, 30)
    assert data.image_shape == (5, 5)
    assert np.array_equal(data.images(data.test).floor().numpy(), pictures(30))
    assert ((data.test - data.test.floor()) > 0).any(0).all()  # dequantized
    assert data.preprocessor.std.unique().numel() == 1
    z = data.preprocessor(data.train)[0]
    assert z.mean(0).abs().max() < 1e-9
    assert z.var(0, correction=0).mean() == pytest.approx(1)
    assert len(load("fashion-mnist", folder=clothes, rows=60).test) == 15


def test_a_folder_of_idx_files_is_a_data_set(clothes):
    data = load(str(clothes))
    assert data.name == "clothes"
    assert torch.equal(data.train, load("mnist", folder=clothes).train)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(pictures(20))[:-1], "truncated, 499 bytes came for 20 x 5 x 5"),
        (idx(pictures(20)) + b"0", "too long"),
        (idx(pictures(20))[:9], "truncated, it ends within its head"),
        (gzip.compress(idx(pictures(20)), mtime=0)[:-20], "truncated, the compressed file ends too early"),
        (gzip.compress(idx(pictures(20)), mtime=0)[:10] + b"\xff" * 40, "can't be read"),
        (b"\x89PNG0000", "begins with 89 50 4e 47"),
        (b"", "begins with"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "begins with 00 00 0d 01"),
        (idx(pictures(9)), "at least 10 pictures"),
        (idx(np.arange(20)), r"an array of \(20,\)"),
        (idx(pictures(20, 6)), r"pictures of \(6, 6\)"),
    ],
)
def test_damaged_idx_files_get_one_line(clothes, content, words):
    (clothes / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        load("mnist", folder=clothes)
    assert "\n" not in str(error.value)


def test_an_idx_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_idx(tmp_path / "nothing")
