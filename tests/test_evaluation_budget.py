"""An evaluation ends in its time: fewer rows, a cheaper estimator, fewer points, and a word about each."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.deadline import check_time
from genflow.errors import InputError
from genflow.studies.comparison.evaluation import evaluate
from genflow.studies.comparison.ration import ONE_PLACE, RANDOM, Ration, evaluation_seconds
from genflow.studies.comparison.records import Terms, Trial
from genflow.studies.comparison.trial import run_trial
from genflow.training import Budget


class Clock:
    """A time that goes on where it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def table():
    return gf.data.load(np.random.default_rng(0).normal(size=(4000, 12)))


@pytest.fixture(scope="module")
def fitted(table):
    return gf.models.FlowMatching(12, width=8, steps=4).fit(table, iterations=5)


def costing(monkeypatch, clock, fitted, row=0.0, probed=0.0, sample=0.0, plain=0.0, call=0.0):
    """Rows of log p that take so many seconds, under the exact divergence or one probe; samples, others; a call."""
    integrate = gf.Flow.integrate

    def slow(self, x, **named):
        if named.get("log_det", True):
            each = row if isinstance(self.divergence, gf.divergences.Exact) else probed
        else:
            each = sample if named.get("reverse") else plain
        clock.now += call
        for _ in range(len(x)):
            clock.now += each
            check_time()
        return integrate(self, x, **named)

    monkeypatch.setattr(gf.Flow, "integrate", slow)


def test_with_time_enough_nothing_changes(fitted, table, clock, monkeypatch):
    whole = evaluate(fitted, table, points=200)
    costing(monkeypatch, clock, fitted, row=1e-3, sample=1e-3)
    timed = evaluate(fitted, table, points=200, budget=Budget(100.0, clock=clock))
    assert timed.remarks == []
    assert timed.scored.all()
    torch.testing.assert_close(timed.log_prob, whole.log_prob, rtol=1e-4, atol=1e-4)  # other parts of float32
    torch.testing.assert_close(timed.samples, whole.samples)
    for name in ("nll", "w2", "mmd", "c2st", "inversion_error", "nfe"):
        assert timed.figures[name] == pytest.approx(whole.figures[name], rel=1e-4)


def test_fewer_rows_first(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, row=0.2, probed=0.01)
    found = evaluate(fitted, table, points=50, budget=Budget(100.0, clock=clock))
    count = int(found.scored.sum())
    assert 100 <= count <= 250  # half of the time at 0.2 s a row
    assert clock.now <= 100
    assert (found.log_prob.isnan() == ~found.scored).all()
    known = -found.log_prob[found.scored]
    assert found.figures["nll"] == pytest.approx(known.mean().item())
    assert found.figures["nll_se"] == pytest.approx(known.std().item() / math.sqrt(count))
    assert found.remarks == [f"log p of {count} of 400 rows, for lack of time"]


def test_then_a_cheaper_estimator(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, row=2.0, probed=0.01)
    found = evaluate(fitted, table, points=50, budget=Budget(100.0, clock=clock))
    assert clock.now <= 100
    assert found.scored.all()
    assert len(found.remarks) == 1
    assert "one random probe a row (Hutchinson)" in found.remarks[0]
    assert found.cheaper
    exact = fitted.log_prob(table.test.double())
    assert abs(found.figures["nll"] + exact.mean().item()) < 4 * found.figures["nll_se"]


def test_then_fewer_rows_of_it(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, row=8.0, probed=0.5)
    found = evaluate(fitted, table, points=50, budget=Budget(100.0, clock=clock))
    assert clock.now <= 101
    assert 40 <= found.scored.sum() <= 100
    assert len(found.remarks) == 2


def test_fewer_samples_and_points(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, sample=0.5, plain=0.01)
    found = evaluate(fitted, table, points=400, budget=Budget(100.0, clock=clock))
    count = len(found.samples)
    assert clock.now <= 101
    assert 50 <= count < 150
    assert any(f"{count} of 400 samples" in remark for remark in found.remarks)
    assert any("inversion error" in remark for remark in found.remarks)
    assert all(math.isfinite(found.figures[name]) for name in ("w2", "mmd"))


def test_what_there_is_no_time_for_is_empty_and_said(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, row=1e3, probed=1e3, sample=1e3, plain=1e3)
    found = evaluate(fitted, table, points=50, budget=Budget(100.0, clock=clock))
    assert not found.scored.any()
    assert math.isnan(found.figures["nll"])
    assert math.isnan(found.figures["w2"])
    assert len(found.remarks) >= 3
    assert all("\n" not in remark for remark in found.remarks)


def test_progress_is_told_row_by_row(fitted, table, clock, monkeypatch):
    costing(monkeypatch, clock, fitted, row=0.1)
    said, times = [], [0.0]

    def notify(what):
        said.append(what)
        times.append(clock.now)

    ration = Ration(Budget(400.0, clock=clock), notify)
    ration.log_prob(fitted, table.test, None, torch.Generator)
    assert said[-1] == "log p 400/400"
    counts = [int(what.split()[2].partition("/")[0]) for what in said]
    assert counts == sorted(counts)
    assert len(counts) >= 3


def test_few_rows_have_all_places_where_most_of_the_time_is_for_calls(counts, clock, monkeypatch):
    table, fitted = counts
    costing(monkeypatch, clock, fitted, row=1e-3, call=1.0)
    ration = Ration(Budget(20.0, clock=clock))
    ration.log_prob(fitted, table.test[:25], None, torch.Generator)
    # Two calls for one place, two for all; after the first two a row has taken .06 s, of which 400 would be 24.
    assert ration.places == 16
    assert clock.now < 10


def test_few_rows_may_take_all_of_the_time_for_all_places(counts, clock, monkeypatch):
    table, fitted = counts
    costing(monkeypatch, clock, fitted, row=0.04)  # 7 rows at 17 places: 4.8 s
    ration = Ration(Budget(6.0, clock=clock))
    ration.log_prob(fitted, table.test[:7], None, torch.Generator)
    assert ration.places == 16


def test_two_models_meet_on_the_same_rows(fitted, table, clock, monkeypatch):
    found = []
    for row in (0.1, 0.3):
        monkeypatch.undo()
        costing(monkeypatch, clock, fitted, row=row)
        ration = Ration(Budget(40.0, clock=clock))
        ration.log_prob(fitted, table.test, None, torch.Generator)
        found.append(ration.reached)
    assert found[0].sum() > found[1].sum() >= 100
    assert (found[0] | ~found[1]).all()  # the fewer rows are among the more
    assert found[1][:200].any()  # whatever the order of the file
    assert found[1][200:].any()


@pytest.fixture(scope="module")
def counts():
    """A table of whole numbers, whose rows have as many places as one likes, and a model of it."""
    counts = gf.data.load(np.random.default_rng(0).poisson(3.0, size=(2000, 3)).astype(float))
    return counts, gf.models.FlowMatching(3, width=8, steps=4).fit(counts, iterations=5)


def test_all_places_of_a_row_where_there_is_time_and_one_where_there_is_not(counts, clock, monkeypatch):
    table, fitted = counts
    found = []
    for row in (1e-3, 0.1):  # 200 rows at 17 places take 3.4 or 340 of 50 seconds
        monkeypatch.undo()
        clock.now = 0.0
        costing(monkeypatch, clock, fitted, row=row)
        found.append(evaluate(fitted, table, points=20, budget=Budget(100.0, clock=clock)))
        assert clock.now <= 100
    quick, slow = found
    assert (quick.figures["places"], slow.figures["places"]) == (16, 1)
    assert (quick.remarks, slow.remarks) == ([], [ONE_PLACE])
    assert quick.scored.all()
    assert slow.scored.all()
    # Rows have the same places in whatever parts they were taken, so that the bounds are a pair.
    torch.testing.assert_close(quick.bound, slow.bound, rtol=1e-4, atol=1e-4)
    assert torch.equal(slow.log_prob, slow.bound)
    assert quick.log_prob.mean() > quick.bound.mean()  # by Jensen's inequality, in the mean


def test_rows_without_cells_have_no_places(fitted, table):
    found = evaluate(fitted, table, points=20)
    assert math.isnan(found.figures["places"])
    assert torch.equal(found.bound, found.log_prob)


@pytest.mark.slow
def test_models_are_compared_by_places_that_all_of_them_have(counts, tmp_path):
    out = tmp_path / "board"
    table = counts[0]
    board = gf.compare(table, ["maf", "nsf"], iterations=3, points=30, progress=False, out=out)
    assert board.frame["places"].tolist() == [16, 16]
    assert not any("one place" in remark for remark in board.remarks(table.name))
    runs = json.loads((out / "runs.json").read_text())
    for run in runs:
        if run["label"] == "maf":  # as if it had been slow
            run["figures"]["places"] = 1.0
    (out / "runs.json").write_text(json.dumps(runs))
    again = gf.studies.Board(out)
    assert again.frame["places"].tolist() == [1, 1]
    assert again.remarks(table.name)[-1].endswith("under maf")
    for _, row in again.frame.iterrows():
        bound = again.arrays(table.name, row["model"])["bound"]
        assert row["nll"] == pytest.approx(-bound.mean())
        assert row["nll_se"] == pytest.approx(bound.std(ddof=1) / math.sqrt(len(bound)))
        assert np.array_equal(again.row_log_prob[table.name][row["model"]][0], bound)
    difference = {model: frame["nll"].item() for model, frame in again.frame.groupby("model")}
    pair = again.paired.set_index(["model", "other"]).loc[("nsf", "maf")]
    assert pair["difference"] == pytest.approx(difference["nsf"] - difference["maf"])
    moved = again.frame.set_index("model")["nll_standardized"] - board.frame.set_index("model")["nll_standardized"]
    assert (moved - (again.frame.set_index("model")["nll"] - board.frame.set_index("model")["nll"])).abs().max() < 1e-9
    assert "one place of each row" in str(again)
    for run in runs:
        run["status"] += f"; {RANDOM}" * (run["label"] == "maf")
    (out / "runs.json").write_text(json.dumps(runs))
    assert gf.studies.Board(out).remarks(table.name)[-1].endswith("the divergence is random under maf")


def test_a_random_divergence_is_the_reason_for_one_place(counts):
    table, fitted = counts
    noisy = evaluate(fitted.replace(divergence=gf.divergences.Hutchinson(2)), table, points=20)
    assert (noisy.figures["places"], noisy.remarks) == (1, [RANDOM])
    assert not noisy.cheaper


@pytest.mark.slow
def test_pairs_are_taken_of_the_rows_that_both_have(tmp_path):
    board = gf.compare("two-moons", ["maf", "nsf"], iterations=3, points=30, progress=False, out=tmp_path / "board")
    whole = board.paired.iloc[0]
    place = board.folder / "evaluation" / "two-moons" / "maf.npz"
    arrays = board.arrays("two-moons", "maf")
    arrays["scored"][7:] = False
    arrays["log_prob"][7:] = np.nan
    np.savez_compressed(place, **arrays)
    pair = gf.studies.Board(board.folder).paired.iloc[0]
    own, other = (board.row_log_prob["two-moons"][name][0][:7] for name in (whole.model, whole.other))
    assert pair.rows == 7
    assert pair.difference == pytest.approx(np.mean(other - own))
    assert whole.rows == len(arrays["scored"])


@pytest.mark.slow
def test_a_model_that_had_time_for_easy_rows_alone_does_not_lead_by_that(tmp_path):
    board = gf.compare(
        "two-moons", ["maf", "nsf", "gaussian"], iterations=3, points=30, progress=False, out=tmp_path / "board"
    )
    first, *_, last = board.standings("two-moons")
    place = board.folder / "evaluation" / "two-moons" / f"{last['model']}.npz"
    arrays, anchor = board.arrays("two-moons", last["model"]), board.row_log_prob["two-moons"][first["model"]][0]
    easy, hard = np.split(np.argsort(-anchor), [300])
    arrays["scored"][hard], arrays["log_prob"][hard], arrays["bound"][hard] = False, np.nan, np.nan
    np.savez_compressed(place, **arrays)
    partly = gf.studies.Board(board.folder)
    leader, *others = partly.standings("two-moons")
    row = next(row for row in others if row["model"] == last["model"])
    assert -arrays["log_prob"][easy].mean() < leader["nll"]  # a mean over these would lead
    behind = anchor[easy] - arrays["log_prob"][easy]
    assert row["nll"] == pytest.approx(behind.mean() - anchor.mean())
    ses = behind.std(ddof=1) / math.sqrt(300), anchor.std(ddof=1) / math.sqrt(len(anchor))
    assert row["nll_se"] == pytest.approx(math.hypot(*ses))
    assert row["nll_standardized"] - row["nll"] == pytest.approx(last["nll_standardized"] - last["nll"])
    assert (leader["model"], leader["nll"]) == (first["model"], first["nll"])
    said = partly.remarks("two-moons")[-1]
    assert f"{last['model']} (300): that of {first['model']}, and what they are behind it" in said


@pytest.mark.parametrize(
    ("given", "budget", "seconds"), [(None, None, 60), (None, 5, 30), (None, 90.0, 90), ("2min", 5, 120), (7, None, 7)]
)
def test_as_long_as_the_training_and_half_a_minute_at_least(given, budget, seconds):
    assert evaluation_seconds(given, budget) == seconds


def test_a_time_that_is_none_is_refused_before_anything_runs(capsys):
    with pytest.raises(InputError, match="evaluation: 'soon' came"):
        gf.compare("two-moons", ["maf"], iterations=1, evaluation="soon", progress=False)


@pytest.mark.slow
def test_the_commands_take_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "compare --data two-moons --models maf --iterations 3 --points 30 --evaluation-budget 20s --out board"
    assert main(words.split()) == 0
    board = gf.studies.Board("board")
    assert board.runs[0]["evaluation"] == 20
    assert "--evaluation-budget 20s" in board.config["command"]
    assert json.loads((tmp_path / "board" / "repeat.json").read_text())["evaluation_budget"] == "20s"
    assert main(["compare", "--config", "board/repeat.json", "--out", "again"]) == 0
    assert gf.studies.Board("again").runs[0]["evaluation"] == 20
    capsys.readouterr()
    assert (
        main(["evaluate", "board/models/two-moons/maf", "two-moons", "--points", "30", "--evaluation-budget", "9s"])
        == 0
    )
    assert (
        main(["fit", "two-moons", "--model", "maf", "--iterations", "3", "--evaluation-budget", "9s", "-o", "run"]) == 0
    )
    said = capsys.readouterr()
    assert "trained for 3 steps only" in said.err
    assert "test NLL" in said.out


def test_a_trial_says_what_its_training_left_undone(tmp_path, table):
    trial = Trial("table", "table", "maf", "maf", "maf", {}, 0, Terms(0.2, None, 30.0, points=30))
    found = run_trial(trial, table, tmp_path)
    steps = round(found.figures["train_steps"])
    assert (f"trained for {steps} step" in found.status) == (steps < 50 or steps * 512 < 3200)
    assert found.figures["train_seconds"] > 0


def divided(samples, test):
    return 1 / 0


def worded(samples, test):
    return "near\nenough"


def too_few(samples, test):
    raise InputError("samples: 50 came; 60 would do")


def test_a_metric_that_fails_loses_its_own_figure_alone(fitted, table):
    whole = evaluate(fitted, table, points=50)
    metrics = {"divided": divided, "worded": worded, "too_few": too_few, "mean": lambda x, y: x.mean()}
    found = evaluate(fitted, table, points=50, metrics=metrics)
    assert {name: figure for name, figure in found.figures.items() if math.isnan(figure)}.keys() == {
        "places",
        "divided",
        "worded",
        "too_few",
    }
    for name in ("nll", "w2", "mmd", "c2st", "inversion_error"):
        assert found.figures[name] == whole.figures[name]
    assert found.remarks == [
        "no divided (ZeroDivisionError: division by zero)",
        "no worded (ValueError: could not convert string to float: 'near\\nenough')",
        "no too_few (samples: 50 came; 60 would do)",
    ]


def test_an_interrupt_in_a_metric_interrupts(fitted, table):
    def interrupted(samples, test):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(fitted, table, points=50, metrics={"interrupted": interrupted})


def test_a_metric_that_looks_at_the_time_runs_out_of_it(fitted, table, clock):
    def slow(samples, test):
        clock.now += 200.0
        check_time()

    found = evaluate(fitted, table, points=50, metrics={"slow": slow}, budget=Budget(100.0, clock=clock))
    assert math.isnan(found.figures["slow"])
    assert "no time for slow" in found.remarks
