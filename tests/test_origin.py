"""A run knows what it was trained on: it is found from any folder, and another table is not taken for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.cli import main

FIT = "--model maf --iterations 2 --set transforms=1 width=8 -o run"


def table(path: Path, seed: int = 0, columns: str = "abc", rows: int = 60) -> pd.DataFrame:
    frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, len(columns))), columns=list(columns))
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a table and a model of it, and another one with another table of that name."""
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "t.csv")
    (tmp_path / "elsewhere").mkdir()
    table(tmp_path / "elsewhere" / "t.csv", seed=1)
    assert main(f"fit t.csv {FIT}".split()) == 0
    return tmp_path


def nll(capsys, words: str) -> float:
    capsys.readouterr()
    assert main(f"evaluate {words} --points 20 --json".split()) == 0
    return json.loads(capsys.readouterr().out)["nll"]


def refused(capsys, words: str) -> str:
    capsys.readouterr()
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_the_table_is_found_from_another_folder(home, capsys, monkeypatch):
    expected = nll(capsys, "run")
    monkeypatch.chdir(home / "elsewhere")
    assert nll(capsys, "../run") == expected
    assert nll(capsys, "../run t.csv") != expected  # named: it is taken


def test_another_table_in_its_place_is_refused(home, capsys):
    shutil.copy("elsewhere/t.csv", "t.csv")
    assert "another table" in refused(capsys, "evaluate run")
    assert "another table" in refused(capsys, "divergences run --rows 4")
    assert np.isfinite(nll(capsys, "run t.csv"))
    os.remove("t.csv")
    assert "not there any more" in refused(capsys, "evaluate run")


def test_a_moved_table_is_found_by_its_name(home, capsys, monkeypatch):
    expected = nll(capsys, "run")
    (home / "new").mkdir()
    (home / "t.csv").rename(home / "new" / "t.csv")
    monkeypatch.chdir(home / "elsewhere")  # where another one has that name
    assert "another table" in refused(capsys, "evaluate ../run")
    monkeypatch.chdir(home / "new")
    assert nll(capsys, "../run") == expected


def test_a_run_without_a_fingerprint_is_read_as_before(home, capsys):
    expected = nll(capsys, "run")
    record = json.loads(Path("run/run.json").read_text())
    for name in ("paths", "fingerprint", "columns"):
        del record[name]
    Path("run/run.json").write_text(json.dumps(record))
    assert nll(capsys, "run") == expected


def test_ones_own_test_rows_and_columns_are_remembered(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "t.csv")
    own = table(tmp_path / "own.csv", seed=2, rows=30)
    assert main(f"fit t.csv --test own.csv --columns c a {FIT}".split()) == 0
    model = gf.load("run")
    assert model.columns == ["c", "a"]
    expected = -model.log_prob(torch.tensor(own[["c", "a"]].to_numpy().tolist())).mean().item()
    os.chdir("/")
    assert nll(capsys, str(tmp_path / "run")) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("ab", "missing columns: c"),
        ("abz", "missing columns: c; not asked for: z"),
        ("xyz", "missing columns: a, b, c; not asked for: x, y, z"),
        ("abyz", "missing columns: c; not asked for: y, z"),
    ],
)
def test_what_is_missing_is_told_from_what_is_too_much(home, capsys, columns, said):
    table(home / "other.csv", columns=columns)
    for words in ("evaluate run other.csv", "score run other.csv -o s.csv"):
        assert refused(capsys, words).rstrip().endswith(said)


def test_further_columns_and_another_order_do_no_harm(home, capsys):
    frame = table(home / "same.csv")
    frame.assign(word="tall")[["word", "c", "b", "a"]].to_csv(home / "wide.csv", index=False)
    assert nll(capsys, "run wide.csv") == pytest.approx(nll(capsys, "run same.csv"), rel=1e-5)


def test_the_fingerprint_is_that_of_the_rows():
    rows = np.random.default_rng(0).normal(size=(50, 2))
    print_of = lambda rows, **options: gf.data.load(rows, **options).fingerprint
    assert print_of(rows) == print_of(pd.DataFrame(rows, columns=["a", "b"]))
    assert print_of(rows) == print_of(rows * (1 + 2**-52))  # the last digit may differ from processor to processor
    moved = rows.copy()
    moved[7, 1] += 1e-3
    assert print_of(rows) != print_of(moved)
    assert print_of(rows) != print_of(rows[::-1].copy())
    assert print_of(rows) != print_of(rows, condition=[1])
    words = pd.DataFrame({"a": rows[:, 0], "k": ["x", "y"] * 25})
    other = words.assign(k=["y", "x"] * 25)
    assert print_of(words, condition="k") != print_of(other, condition="k")
    assert gf.data.load("two-moons", rows=100).fingerprint == gf.data.load("two-moons", rows=100).fingerprint
