"""The command line on tables as they come: described, trained on, sampled, scored; what is wrong is one line."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.cli import main

N = 80
QUICK = "--model nsf --set width=8 transforms=1 --iterations 3"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a table of many kinds, and one of the same rows without a header."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "ticket": [f"A {k:03d}" for k in range(N)],
        "height": rng.normal(170, 9, N).round(1),
        "city": rng.choice(["Graz", "Oslo", "Rome"], N),
        "day": pd.date_range("2020-01-20", periods=N).strftime("%d/%m/%Y"),
        "member": rng.random(N) < 0.5,
        "children": rng.integers(0, 5, N),
        "country": "AT",
        "weight": rng.normal(70, 9, N).round(2),
    })  # fmt: skip
    frame.to_csv(tmp_path / "people.csv", index=False)
    frame[["height", "weight", "children"]].to_csv(tmp_path / "bare.csv", index=False, header=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: str) -> int:
    return main(shlex.split(words))


def refused(capsys, words: str) -> str:
    assert run(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("genflow: error: ")
    return error


def test_a_table_is_described_before_anything_is_trained(place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert run("describe people.csv --drop weight --kind children=class") == 0
    out, err = capsys.readouterr()
    assert f"{N} rows" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.split()}
    for name, kind in (
        ("ticket", "identifier, left out"), ("height", "continuous"), ("city", "class"), ("day", "date (days)"),
        ("member", "boolean"), ("children", "class"), ("country", "constant"),
    ):  # fmt: skip
        assert kind in lines[name]
    assert "20/01/2020 to 08/04/2020" in lines["day"]
    assert "weight" not in lines
    assert "constant: country (AT)" in err
    assert "--kind ticket=class keeps it" in err
    assert len(out.splitlines()) < 24


def test_whole_numbers_are_written_whole(place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code = np.random.default_rng(0).integers(518476, 5305629, 60)
    code[:2], code[2:8] = (518476, 5305629), -99999999
    frame = pd.DataFrame({"code": code, "year": 20240131, "x": np.random.default_rng(1).normal(size=60)})
    frame.to_csv("codes.csv", index=False)
    assert run("describe codes.csv") == 0
    out, err = capsys.readouterr()
    assert "-99999999 to 5305629" in out
    assert "--missing-values -99999999 says so" in err
    assert "constant: year (20240131)" in err
    assert run("describe codes.csv --missing-values -99999999") == 0
    assert "518476 to 5305629" in capsys.readouterr().out


@pytest.mark.parametrize("gone", ["weight", "city", "city, weight"])
def test_the_columns_of_a_condition_that_are_missing_are_named(place, capsys, gone):
    assert run(f"fit people.csv --drop ticket day --condition city weight {QUICK} -o run") == 0
    frame = pd.read_csv("people.csv").drop(columns=gone.split(", "))
    frame.to_csv("less.csv", index=False)
    for words in ("score run less.csv -o new.csv", "impute run less.csv -o new.csv"):
        assert refused(capsys, words).endswith(f"less.csv: missing columns of the condition: {gone}")
    assert refused(capsys, "sample run --condition-from less.csv -o new.csv").partition(";")[0].endswith(f": {gone}")


def test_samples_look_like_the_table(place):
    assert run(f"fit people.csv {QUICK} -o run") in (0, 1)  # three steps may leave a row without a finite density
    people = pd.read_csv("people.csv")
    for ending in (".csv", ".parquet", ".xlsx"):
        assert run(f"sample run -n 30 -o samples{ending}") == 0
    samples = pd.read_csv("samples.csv")
    assert samples.columns.tolist() == people.columns.drop("ticket").tolist()
    assert samples.dtypes.drop(["member", "children"]).equals(people.dtypes.drop(["ticket", "member", "children"]))
    assert set(samples.city.dropna()) <= set(people.city)
    assert set(samples.country) == {"AT"}
    np.testing.assert_array_equal(samples.height.round(1), samples.height)
    pd.to_datetime(samples.day, format="%d/%m/%Y")
    assert pd.read_parquet("samples.parquet").columns.tolist() == samples.columns.tolist()
    assert pd.read_excel("samples.xlsx").columns.tolist() == samples.columns.tolist()


def test_samples_have_gaps_where_the_table_has(place):
    rng = np.random.default_rng(1)
    people = pd.read_csv("people.csv")[["height", "city", "children", "day"]]
    for column in people:
        people[column] = people[column].where(rng.random(N) < 0.7)
    people.to_csv("gaps.csv", index=False)
    assert run("fit gaps.csv --model gaussian --iterations 1 -o run") == 0
    for ending in (".csv", ".parquet", ".npy"):
        assert run(f"sample run -n 60 -o samples{ending}") == 0
    assert pd.read_csv("samples.csv").isna().any().all()
    assert run("score run samples.csv -o scores.csv") == 0


def test_a_wrong_file_is_blamed_for_what_is_missing(place, capsys):
    assert run(f"fit people.csv --columns height weight {QUICK} -o run") == 0
    pd.read_csv("people.csv").drop(columns="weight").to_csv("wrong.csv", index=False)
    assert "missing columns: weight" in refused(capsys, "score run wrong.csv -o scores.csv")
    assert run("score run people.csv -o scores.csv") == 0  # whatever else is in it
    assert len(pd.read_csv("scores.csv")) == N


@pytest.mark.parametrize(
    ("condition", "given", "value"),
    [
        ("day", "day=21/02/2020", "21/02/2020"),
        ("day", "day=2020-02-21", "21/02/2020"),
        ("member", "member=True", True),
        ("city", "Rome", "Rome"),
        ("children", "7.5", 7.5),
    ],
)
def test_conditions_of_every_kind_come_back_in_their_place(place, condition, given, value):
    assert run(f"fit people.csv --columns height weight --condition {condition} {QUICK} -o run") == 0
    assert run(f"sample run -n 5 --condition {given} -o samples.csv") == 0
    samples = pd.read_csv("samples.csv")
    assert samples[condition].tolist() == [value] * 5
    assert run("score run people.csv -o scores.csv") == 0
    assert run("sample run --condition-from people.csv -o each.csv") == 0
    assert pd.read_csv("each.csv")[condition].tolist() == pd.read_csv("people.csv")[condition].tolist()


def test_the_condition_of_a_table_without_names_is_a_position(place):
    assert run(f"fit bare.csv --condition 1 {QUICK} -o run") == 0
    assert gf.load("run").columns == ["x1", "x3"]
    assert run("sample run -n 5 --condition 70.5 -o samples.csv") == 0
    assert pd.read_csv("samples.csv").columns.tolist() == ["x1", "x2", "x3"]


@pytest.mark.slow
def test_a_run_finds_its_table_again(place, capsys):
    words = "--drop ticket day city member --kind children=integer --missing drop --missing-values 0"
    assert run(f"fit people.csv {words} {QUICK} -o run") == 0
    assert run("evaluate run --points 20 --json") == 0
    board = f"compare people.csv {words} --models nsf --set nsf.width=8 nsf.transforms=1 --iterations 2 --points 20"
    assert run(f"{board} --out board") == 0
    assert run("compare --config board/repeat.json --out again") == 0
    assert "--kind" in refused(capsys, "describe people.csv --kind children")
