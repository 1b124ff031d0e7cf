"""A result that is no number is said, by every command, and is never the best."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.cli import main

# A flow whose density is lost left of its middle, and every other of whose samples is no number.
BROKEN = """
import torch
from genflow.baselines import MAF


class Broken(MAF):
    lost = float("nan")

    def log_prob(self, x, condition=None, generator=None):
        log_p = super().log_prob(x, condition, generator)
        return log_p.masked_fill(x[..., 0] < 0, self.lost) if not self.training else log_p

    def sample(self, shape, condition=None, generator=None):
        x = super().sample(shape, condition, generator)
        x[::2, 0] = float("nan")
        return x


class Boundless(Broken):
    lost = float("inf")  # an NLL of minus infinity
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table, and a run of such a model."""
    folder = tmp_path_factory.mktemp("broken")
    rows = np.random.default_rng(0).normal(size=(100, 2))
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(folder / "t.csv", index=False)
    (folder / "broken.py").write_text(BROKEN)
    return folder


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)
    yield
    sys.modules.pop("broken", None)


@pytest.fixture
def run(place, capsys):
    """The folder of such a model, fitted once."""
    if not os.path.exists("run"):
        code = main(
            [
                "fit",
                "t.csv",
                "--model",
                "broken:Broken",
                "--iterations",
                "2",
                "--set",
                "transforms=1",
                "width=8",
                "-o",
                "run",
            ]
        )
        assert code == 1
        err = capsys.readouterr().err
        assert err.splitlines()[-1].startswith("genflow: error: the NLL is not finite: ")
        assert "kept in run" in err
    return "run"


def answered(capsys, words: str) -> tuple[int, str, str]:
    code = main(f"{words} --trust broken:Broken".split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fit_says_it_and_keeps_the_run(run):
    assert gf.load(run, trust=["broken:Broken"]).dim == 2
    assert json.loads(Path(run, "run.json").read_text())["model"] == "broken:Broken"


def test_samples_that_are_no_numbers_are_not_written(run, capsys):
    code, _, err = answered(capsys, "sample run -n 10 -o samples.csv")
    assert code == 1
    assert "5 of 10 samples are not finite" in err
    assert err.count("\n") == 1
    assert not os.path.exists("samples.csv")


def test_rows_without_a_density_are_counted(run, capsys):
    code, out, err = answered(capsys, "score run t.csv -o scores.csv")
    assert code == 1
    scores = pd.read_csv("scores.csv")["log_prob"].to_numpy()
    bad = int((~np.isfinite(scores)).sum())
    assert 0 < bad < 100
    assert f"{bad} of 100 rows have no finite log density" in err
    assert f"{scores[np.isfinite(scores)].mean():.4f}" in out  # of those that have one


def test_evaluate_says_it(run, capsys):
    code, _, err = answered(capsys, "evaluate run --points 20")
    assert code == 1
    assert "have no finite log density" in err
    code, out, _ = answered(capsys, "evaluate run --points 20 --json")
    assert code == 1
    assert json.loads(out)["nll"] is None


@pytest.mark.slow
def test_a_comparison_ranks_it_last(capsys):
    words = "compare t.csv --models broken:Boundless broken:Broken maf --iterations 2 --points 20 --out board"
    assert main(words.split()) == 0
    assert "not finite" in capsys.readouterr().out
    board = gf.studies.Board("board")
    assert board.summary["model"].iloc[0] == "maf"
    status = dict(zip(board.summary["model"], board.summary["status"], strict=True))
    assert status["maf"] == "ok"
    for name in ("Boundless", "Broken"):
        assert "test rows have no finite log-likelihood" in status[name]
    assert board.summary.loc[board.summary["best"], "model"].tolist() == ["maf"]
    assert not board.summary["tied"].drop(board.summary.index[board.summary["best"]]).any()
    steps = pd.read_csv("board/leaderboard.csv", dtype=str)["train_steps"]
    assert steps.tolist() == ["2", "2", "2"]


def test_a_seed_without_a_likelihood_is_not_left_out_of_the_mean(tmp_path):
    gf.compare("two-moons", ["maf"], iterations=2, seeds=[0, 1], points=20, out=tmp_path / "board", progress=False)
    runs = json.loads((tmp_path / "board" / "runs.json").read_text())
    runs[1]["figures"]["nll"] = None
    runs[1]["status"] = "ok; 3 of 2000 test rows have no finite log-likelihood"
    (tmp_path / "board" / "runs.json").write_text(json.dumps(runs))
    (row,) = gf.studies.Board(tmp_path / "board").summary.to_dict("records")
    assert math.isnan(row["nll"])
    assert not row["best"]
    assert row["status"] == "ok; with 1 of 2 seeds 3 of 2000 test rows have no finite log-likelihood"
