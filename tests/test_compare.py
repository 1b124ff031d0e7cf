"""A comparison: equal terms for all, failures that stay alone, differences that are paired, files that say it all."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.metrics import wasserstein2
from genflow.studies import Board, compare
from genflow.studies.comparison.columns import COLUMNS
from genflow.studies.comparison.evaluation import evaluate

MODELS = '''
import os
import torch
from genflow.model import GenerativeModel
from genflow.training import Stage


class Gaussian(GenerativeModel):
    """N(m, s^2): quick, and its best likelihood is known."""

    def __init__(self, dim, shift=0.0):
        super().__init__()
        self.dim = dim
        self.mean = torch.nn.Parameter(torch.full((dim,), shift))
        self.log_scale = torch.nn.Parameter(torch.zeros(dim))

    def _law(self):
        return torch.distributions.Normal(self.mean, self.log_scale.exp())

    def log_prob(self, x, condition=None, generator=None):
        return self._law().log_prob(x).sum(-1)

    def sample(self, shape, condition=None, generator=None):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        z = torch.randn(*shape, self.dim, generator=generator)
        return self.mean + self.log_scale.exp() * z

    def encode(self, x, condition=None):
        return (x - self.mean) / self.log_scale.exp()

    def decode(self, z, condition=None):
        return self.mean + self.log_scale.exp() * z

    def next_stage(self, data, history):
        if history:
            return None
        print("a model that talks")
        return Stage(
            "fit",
            list(self.parameters()),
            data.train,
            data.validation,
            lambda batch, generator: -self.log_prob(batch).mean(),
            lambda rows, generator: -self.log_prob(rows),
        )


class Shifted(Gaussian):
    whiten = True

    def __init__(self, dim):
        super().__init__(dim, shift=3.0)


class Broken(Gaussian):
    def next_stage(self, data, history):
        raise RuntimeError("the dog ate\\nthe gradient")


class Dies(Gaussian):
    def next_stage(self, data, history):
        os.kill(os.getpid(), 9)


def mean_gap(samples, test):
    return (samples.mean(0) - test.mean(0)).norm().item()
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table and models of the user's own."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "compared_models.py").write_text(MODELS)
    rows = np.random.default_rng(1).normal([170.0, 70.0], [10.0, 5.0], (400, 2))
    pd.DataFrame(rows, columns=["height", "weight"]).to_csv(folder / "people.csv", index=False)
    wide = np.random.default_rng(2).normal(size=(400, 3))
    np.save(folder / "wide.npy", wide)
    return folder


@pytest.fixture(scope="module")
def board(place):
    """Two models that work and two that do not, on two tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return compare(
            ["people.csv", "wide.npy"],
            [f"compared_models:{name}" for name in ("Dies", "Gaussian", "Broken", "Shifted")],
            iterations=60,
            threads=1,
            out="board",
            progress=False,
            metrics=["compared_models:mean_gap"],
            points=200,
        )


def test_the_leaderboard_has_the_columns_that_were_promised(board):
    frame = pd.read_csv(board.folder / "leaderboard.csv")
    assert list(frame.columns) == [*COLUMNS, "mean_gap"]
    assert len(frame) == 8
    fine = frame[frame["status"] == "ok"]
    assert sorted(fine["model"].unique()) == ["Gaussian", "Shifted"]
    assert fine.drop(columns=["nfe", "places"]).notna().all(axis=None)
    assert (fine["train_steps"] == 60).all()


def test_a_model_that_fails_gets_its_reason_and_the_others_go_on(board):
    status = board.frame.set_index(["data", "model"])["status"]
    for data in ("people", "wide"):
        assert status[data, "Broken"] == "failed: RuntimeError: the dog ate the gradient"
        assert "SIGKILL" in status[data, "Dies"]
        assert status[data, "Gaussian"] == "ok"


def test_the_nll_is_in_the_units_of_the_file(board):
    rows = board.frame[board.frame["data"] == "people"].set_index("model")
    entropy = math.log(2 * math.pi * math.e) + math.log(10.0 * 5.0)
    assert rows["nll"]["Gaussian"] == pytest.approx(entropy, abs=0.4)
    parts, _ = board.data("people")
    scale = np.log(parts["train"].std(0)).sum()
    for model in ("Gaussian", "Shifted"):  # the second whitens: its own units are no other model's
        assert rows["nll"][model] - rows["nll_standardized"][model] == pytest.approx(scale, abs=1e-2)


def test_figures_are_in_standardized_units_whatever_a_model_does_to_its_rows():
    rng = np.random.default_rng(0)
    data = gf.data.load(rng.normal(size=(1000, 2)) @ np.array([[3.0, 2.9], [0.0, 0.3]]) + [5.0, -1.0])
    whiten = gf.data.Compose([data.preprocessor, gf.data.Whiten.fit(data.preprocessor(data.train)[0])])
    model = Transformed(gf.models.CNF(2), whiten)  # the zero field: the Gaussian of the data's moments
    found = evaluate(model, data, points=100)
    z = data.preprocessor(found.samples)[0], data.preprocessor(data.test)[0]
    assert found.figures["w2"] == pytest.approx(wasserstein2(*z), rel=1e-6)
    assert found.figures["inversion_error"] < 1e-9
    covariance = data.preprocessor(data.train)[0].T.cov()
    entropy = 1 + math.log(2 * math.pi) + 0.5 * torch.logdet(covariance).item()
    assert found.figures["nll_standardized"] == pytest.approx(entropy, abs=4 * found.figures["nll_standardized_se"])


def test_paired_differences_are_those_of_the_rows(board):
    rows = board.row_log_prob["people"]
    difference = rows["Shifted"][0] - rows["Gaussian"][0]
    pair = board.paired.query("data == 'people' and model == 'Gaussian' and other == 'Shifted'").iloc[0]
    assert pair["difference"] == pytest.approx(difference.mean())
    assert pair["se"] == pytest.approx(difference.std(ddof=1) / math.sqrt(len(difference)))
    back = board.paired.query("data == 'people' and model == 'Shifted' and other == 'Gaussian'").iloc[0]
    assert back["difference"] == pytest.approx(-pair["difference"])
    assert len(pd.read_csv(board.folder / "paired.csv")) == 4


def test_the_best_is_marked_once_for_each_data_set(board):
    best = board.summary[board.summary["best"]]
    assert best["data"].tolist() == ["people", "wide"]
    assert set(best["model"]) == {"Gaussian"}


def test_the_report_stands_alone(board):
    text = (board.folder / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("<script") == 1
    assert text.count("<svg ") >= 10
    assert "src=" not in text
    assert "the dog ate the gradient" in text
    assert not list(board.folder.rglob(".*"))


@pytest.mark.slow
def test_what_is_needed_to_repeat_it_is_kept(board, place, monkeypatch):
    config = json.loads((board.folder / "config.json").read_text())
    assert config["arguments"]["seeds"] == [0]
    assert config["arguments"]["iterations"] == 60
    assert {"python", "torch", "genflow", "platform"} <= config["environment"].keys()
    runs = json.loads((board.folder / "runs.json").read_text())
    assert all(run["history"] for run in runs if run["status"] == "ok")

    from genflow.cli import main

    monkeypatch.chdir(place)
    code = main(["compare", "--config", "board/repeat.json", "--models", "compared_models:Gaussian", "--out", "again"])
    assert code == 0
    again = Board("again").frame
    first = board.frame[board.frame["model"] == "Gaussian"]
    assert again["nll"].tolist() == first["nll"].tolist()  # the same seed, the same result


def test_a_board_is_read_again_copied_and_keeps_its_models(board, tmp_path):
    copy = Board(board.save(tmp_path / "copy"))
    pd.testing.assert_frame_equal(copy.frame, board.frame)
    model = copy.model("people", "Gaussian")
    parts, _ = board.data("people")
    log_p = model.log_prob(torch.from_numpy(parts["test"])).detach().numpy()
    np.testing.assert_allclose(log_p, board.row_log_prob["people"]["Gaussian"][0], rtol=1e-5)
    assert "Gaussian" in str(board)
    with pytest.raises(InputError, match="failed"):
        copy.model("people", "Broken")
    with pytest.raises(InputError, match="no comparison there"):
        Board(tmp_path)


@pytest.mark.slow
def test_a_class_of_this_process_and_several_seeds(place, monkeypatch):
    monkeypatch.chdir(place)
    from genflow.naming import registry

    known = registry.lookup("model", "compared_models:Gaussian")

    class Local(known):  # type: ignore[misc, valid-type]
        pass

    board = gf.compare(
        np.load(place / "wide.npy"), [known, Local], iterations=5, seeds=[0, 1], threads=1, progress=False, points=50
    )
    frame = board.frame
    assert len(frame) == 4
    fine = frame[frame["model"] == "Gaussian"]
    assert (fine["status"] == "ok").all()
    assert board.summary["seeds"].max() == 2
    assert board.paired["seed_sd"].notna().any()
    assert board.folder.is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ["jko-flow"]}, "did you mean"),
        ({"models": []}, "none came"),
        ({"models": ["nsf", "nsf"]}, "twice"),
        ({"budget": "soon"}, "budget"),
        ({"budget": "1s", "iterations": 1}, "both"),
        ({"iterations": 0}, "a whole number from 1 on"),
        ({"threads": 0}, "threads"),
        ({"options": {"nsf": {"transformz": 3}}}, "did you mean transforms"),
        ({"options": {"maf": {"transforms": 3}}}, "not among"),
        ({"data": []}, "data"),
        ({"data": "no-such-data"}, "no-such-data"),
        ({"metrics": ["nothing"]}, "metric"),
        ({"seeds": [1, 1]}, "seeds"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        compare(**{"data": "two-moons", "models": ["nsf"], "out": tmp_path / "board", **arguments})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_documentation_explains_every_column():
    page = (Path(__file__).parent.parent / "docs" / "comparison.md").read_text(encoding="utf-8")
    table = page[page.index("## leaderboard.csv") : page.index("### NLL and the paired table")]
    explained = [
        name
        for line in table.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(explained) == sorted(COLUMNS)
