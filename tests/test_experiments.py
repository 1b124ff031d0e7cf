"""The paper's experiments: every file is sound, one runs to its end, and what is missing is said in a line."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest

from genflow import InputError
from genflow.cli import main
from genflow.data import downloads
from genflow.data import names as data_names
from genflow.experiments import names, read, run
from genflow.experiments.configuration import FIGURES
from genflow.models import JKOiFlow
from genflow.naming import registry
from genflow.naming.options import build
from genflow.studies import Board
from genflow.studies.comparison.columns import COLUMNS
from genflow.training import parse_seconds

pytestmark = pytest.mark.usefixtures("few_rows")

_named = pytest.mark.parametrize("name", names())
DIMS = {
    "power": 6,
    "gas": 8,
    "miniboone": 43,
    "bsds300": 63,
    "digits": 64,
    "sensors": 12,
    "mnist": 784,
    "fashion-mnist": 784,
}


@_named
def test_every_configuration_is_sound(name):
    experiment = read(name)
    assert experiment.data in [*data_names(), *downloads()]
    assert experiment.metric in COLUMNS
    assert "https://" in experiment.reference
    assert {"small", "full"} <= set(experiment.scales)
    for key, scale in experiment.scales.items():
        assert parse_seconds(scale.budget) <= {"small": 600}.get(key, 12 * 3600)
        assert set(scale.options) <= set(experiment.models)
        for model, options in experiment.options(key).items():
            build(registry.lookup("model", model), DIMS.get(experiment.data, 2), options)
    assert len(experiment.title) < 70
    assert "\n" not in experiment.title


def test_the_published_figures_are_those_of_the_paper():
    best = {
        name: min(row["nll"] for row in read(name).published if row["model"] == "JKO-iFlow" and "nll" in row)
        for name in ("rose", "power", "gas", "miniboone", "bsds300")
    }
    assert best == {"rose": 2.64, "power": -0.40, "gas": -9.43, "miniboone": 10.55, "bsds300": -157.75}
    assert all(set(row) <= {"model", "note", *FIGURES} for name in names() for row in read(name).published)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment") / "rose"
    words = f"experiment rose --scale small --iterations 6 --threads 1 --seed 2 --out {folder}"
    assert main(words.split()) == 0
    return folder


@pytest.mark.slow
def test_an_experiment_leaves_a_comparison_with_the_papers_figures_beside_it(ran):
    board = Board(ran)
    assert board.data_names == ["rose"]
    assert board.seeds == [2]
    figures = pd.read_csv(ran / "figures.csv")
    assert list(figures["source"]) == ["published"] * 5 + ["this run"]
    assert figures["nll"].iloc[0] == 2.64
    assert figures["nll"].iloc[-1] == pytest.approx(board.summary["nll"].iloc[0])
    assert figures["batches"].iloc[-1] == board.summary["train_steps"].iloc[0]
    assert (ran / "plots" / "published.png").stat().st_size > 1000
    report = (ran / "report.html").read_text()
    assert "Beside the paper" in report
    assert "OT-Flow" in report
    command = json.loads((ran / "config.json").read_text())["command"]
    assert command == "genflow experiment rose --scale small --iterations 6 --seed 2 --out NEW"
    assert command in report


def test_the_report_of_a_comparison_alone_has_no_such_section(ran, tmp_path):
    board = Board(ran)
    del board.config["experiment"]
    assert "Beside the paper" not in board.report(tmp_path / "report.html").read_text()


def test_the_options_of_the_scale_come_on_top():
    assert read("rose").options("full")["jko-iflow"]["blocks"] == 8
    assert read("mnist-latent").options("full")["latent"]["latent"] == 16


@pytest.mark.slow
def test_a_table_is_held_against_the_paper_in_the_published_units(tmp_path):
    np.save(tmp_path / "data.npy", 3 * np.random.default_rng(0).normal(size=(300, 43)) + 5)
    (tmp_path / "own.yaml").write_text(
        "title: mine\nreference: https://example.org\ndata: miniboone\nmetric: nll_standardized\n"
        "models: {maf: {transforms: 1, width: 8}}\nscales: {small: {budget: 1min, rows: 200, points: 20}}\n"
        "published: [{model: A, nll: 10.5}]\n"
    )
    board = run(
        str(tmp_path / "own.yaml"), folder=tmp_path, iterations=5, threads=1, out=tmp_path / "out", progress=False
    )
    figures = pd.read_csv(tmp_path / "out" / "figures.csv").set_index("source")
    ours, row = figures.loc["this run"], board.summary.iloc[0]
    assert ours["nll"] == pytest.approx(row["nll_standardized"])
    assert row["nll"] - row["nll_standardized"] == pytest.approx(43 * np.log(3), abs=1.5)
    assert board.config["data"]["miniboone"]["rows"]["test"] == 20
    assert any("none is on record" in remark for remark in board.config["data"]["miniboone"]["remarks"])


def test_figures_in_standardized_units_are_in_those_of_the_data_set():
    from genflow.data import load
    from genflow.studies.comparison.evaluation import evaluate

    rng = np.random.default_rng(0)
    data = load(rng.normal(size=(300, 2)) @ np.array([[1.0, 0.99], [0.0, 0.1]]))
    model = JKOiFlow(2, blocks=1, width=8)
    assert model.whiten
    found = evaluate(model.fit(data, iterations=8), data, points=30).figures
    assert found["nll"] - found["nll_standardized"] == pytest.approx(data.preprocessor.std.log().sum().item(), abs=1e-6)


# The command line


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    np.save(tmp_path / "wrong" / "data.npy", np.random.default_rng(0).normal(size=(50, 43)))
    (tmp_path / "wrong" / "SHA256SUMS").write_text("0" * 64 + "  data.npy\n")
    (tmp_path / "cut").mkdir()
    for part in ("train", "t10k"):
        content = bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(300)
        (tmp_path / "cut" / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    (tmp_path / "odd.yaml").write_text("title: odd\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("power", "the archive of DOI 10.5281/zenodo.1161203"),
        ("power --folder nowhere", "nowhere is no folder"),
        ("gas --folder empty", "ethylene_CO.csv or ethylene_CO.txt"),
        ("miniboone --folder wrong", "has 000"),
        ("mnist-latent --folder cut", "truncated"),
        ("rose --folder empty", "needs none"),
        ("roses", "did you mean rose"),
        ("rose --scale huge", "small or full"),
        ("rose --budget soon", "budget"),
        ("rose --budget 3s --iterations 4", "give one of them"),
        ("odd.yaml", "has no 'reference'"),
        ("none.yaml", "no such file"),
    ],
)
def test_what_is_missing_gets_one_line_and_nothing_is_written(place, capsys, words, said):
    before = sorted(os.listdir())
    assert main(["experiment", *words.split(), "--out", "new"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("genflow: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert sorted(os.listdir()) == before


def test_an_output_that_exists_is_kept(place, capsys):
    assert main(["experiment", "rose", "--out", "empty"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["experiment", "list experiments"])
def test_they_are_listed_with_a_line_each(capsys, words):
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "no YAML"),
        ("- 1", "list came"),
        ("{title: a, reference: b, data: c, models: {}, scales: {}, extra: 1}", "has 'extra'"),
        ("{title: a, reference: b, data: c, models: [d], scales: {}}", "models: list came"),
        ("{title: a, reference: b, data: c, models: {}, scales: {small: {rows: 1}}}", "no 'budget'"),
        ("{title: a, reference: b, data: c, models: {}, scales: {}, metric: w2}", "metric 'w2'"),
        ("{title: a, reference: b, data: c, models: {}, scales: {}, published: [{model: d, nll: 1e-3}]}", "a number"),
        ("{title: a, reference: b, data: c, models: {}, scales: {}, published: [{nll: 1}]}", "has no model"),
        ("{title: a, reference: b, data: c, models: {}, scales: {}, published: [{model: d, auc: 1}]}", "has 'auc'"),
    ],
)
def test_a_file_of_ones_own_that_is_no_experiment(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read(str(path))
    assert "\n" not in str(error.value)
