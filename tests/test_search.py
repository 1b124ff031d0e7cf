"""The search for settings: what models declare, what a trial makes of it, and that a search goes on after a kill."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import genflow as gf
from genflow.naming import registry
from genflow.naming.options import build
from genflow.naming.search import Between, OneOf, space_of
from genflow.studies.comparison.records import Recalled
from genflow.studies.comparison.tries import Try, best_try

pytest.importorskip("optuna")

SPACE = {"rate": Between(1e-4, 1e-1, log=True), "width": OneOf((8, 16)), "count": Between(1, 9)}
CLASSICAL = ("gaussian", "gaussian-mixture", "kde", "copula")  # they choose on validation rows themselves


@pytest.mark.parametrize("name", registry.names("model"))
def test_a_model_can_be_built_at_the_ends_of_its_ranges(name: str) -> None:
    cls = registry.lookup("model", name)
    for setting, values in space_of(cls).items():
        for value in values.values if isinstance(values, OneOf) else (values.low, values.high):
            build(cls, 3, {setting: value})
    assert (2 <= len(space_of(cls)) <= 5) == (name not in CLASSICAL)


def test_a_range_is_one() -> None:
    for wrong in (lambda: Between(2, 1), lambda: Between(0, 1, log=True), lambda: Between(0, math.inf)):
        with pytest.raises(gf.InputError, match="low"):
            wrong()
    with pytest.raises(gf.InputError, match="values"):
        OneOf((1,))


class Trainings:
    """Trains a Gaussian, whatever the settings, and judges it by them; ends, or fails, where it is told to."""

    def __init__(self, cut_in: int = 0, failing: tuple[int, ...] = ()):
        self.made: list[Try] = []
        self.cut_in, self.failing = cut_in, failing

    def train(self, attempt: Try, snapshot: Path) -> Any:
        self.made.append(attempt)
        if attempt.number == self.cut_in:
            raise KeyboardInterrupt
        if attempt.number in self.failing:
            raise RuntimeError("it does not work")
        snapshot.mkdir(parents=True)
        return gf.baselines.Gaussian(2).fit("two-moons", iterations=1)

    def loss_of(self, fitted: Any) -> float:
        settings = self.made[-1].settings
        return (math.log(settings["rate"]) + 5) ** 2 + settings["width"] if settings else 40.0

    def search(self, folder: Path, count: int = 5) -> tuple[Any, list[Try]]:
        return best_try(SPACE, count, folder, 0, self.train, self.loss_of)


def test_the_first_try_has_the_models_own_settings_and_the_best_is_kept(tmp_path: Path) -> None:
    trainings = Trainings()
    fitted, tries = trainings.search(tmp_path)
    assert [made.number for made in tries] == [1, 2, 3, 4, 5]
    assert not tries[0].settings
    for made in tries[1:]:
        assert 1e-4 <= made.settings["rate"] <= 1e-1
        assert made.settings["width"] in (8, 16)
        assert made.settings["count"] in range(1, 10)
    best = min(tries, key=lambda made: made.loss)
    assert [path.parent.name for path in tmp_path.glob("*/model")] == [str(best.number)]
    assert not list(tmp_path.glob("*/snapshot"))
    assert fitted.sample(2).shape == (2, 2)


@pytest.mark.parametrize("cut_in", [1, 3, 5])
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path, cut_in: int) -> None:
    _, whole = Trainings().search(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Trainings(cut_in=cut_in).search(tmp_path / "cut")
    again = Trainings()
    _, tries = again.search(tmp_path / "cut")
    assert [made.number for made in again.made] == list(range(cut_in, 6))  # none is made twice
    assert [(made.settings, made.loss) for made in tries] == [(made.settings, made.loss) for made in whole]
    _, more = again.search(tmp_path / "cut", count=6)
    assert more[:5] == tries


def test_a_trial_that_is_recalled_leaves_its_tries_as_they_are(tmp_path: Path) -> None:
    class Away(Trainings):
        def train(self, attempt: Try, snapshot: Path) -> Any:
            if attempt.number == 2:
                raise Recalled("the comparison has ended")
            return super().train(attempt, snapshot)

    with pytest.raises(Recalled):
        Away().search(tmp_path)
    _, tries = Trainings().search(tmp_path)
    assert [made.status for made in tries] == ["ok"] * 5


def test_a_try_that_can_not_be_judged_has_failed(tmp_path: Path) -> None:
    class Unjudged(Trainings):
        def loss_of(self, fitted: Any) -> float:
            if self.made[-1].number == 1:
                raise gf.SolverError("no finite state", 0.0, None)
            return super().loss_of(fitted)

    _, tries = Unjudged().search(tmp_path, count=2)
    assert [made.status.partition(":")[0] for made in tries] == ["failed", "ok"]


def test_settings_that_do_not_work_cost_their_try_alone(tmp_path: Path) -> None:
    _, tries = Trainings(failing=(1, 3)).search(tmp_path)
    assert [made.status.partition(":")[0] for made in tries] == ["failed", "ok", "failed", "ok", "ok"]
    with pytest.raises(RuntimeError, match="it does not work"):
        Trainings(failing=(1, 2, 3)).search(tmp_path / "all", count=3)


@pytest.mark.usefixtures("few_rows")
def test_a_comparison_tunes_every_model_alike_and_shows_the_search(tmp_path: Path) -> None:
    few = {"iterations": 4, "points": 50, "progress": False, "trials": 3}
    board = gf.compare("two-moons", ["nsf", "gaussian"], out=tmp_path / "b", options={"nsf": {"width": 8}}, **few)
    runs = {run["label"]: run for run in json.loads((tmp_path / "b" / "runs.json").read_text())}
    assert "tries" not in runs["gaussian"]
    tries = [Try.from_json(row) for row in runs["nsf"]["tries"]]
    assert len(tries) == 3
    assert all(made.steps == 4 for made in tries)
    assert all(set(made.settings) == {"learning_rate", "transforms", "bins"} for made in tries[1:])  # width was asked
    best = min(tries, key=lambda made: made.loss)
    model = board.model("two-moons", "nsf").model
    for setting, value in best.settings.items():
        assert model.config()[setting] == pytest.approx(value)
    assert model.config()["width"] == 8
    assert best.loss <= tries[0].loss
    report = (tmp_path / "b" / "report.html").read_text()
    assert "The search for settings" in report
    assert "each of 3 tries" in report
    with pytest.raises(gf.InputError, match="trials 3 is there, 1 came"):
        gf.compare("two-moons", ["nsf", "gaussian"], out=tmp_path / "b", resume=True, **few | {"trials": 1})
    with pytest.raises(gf.InputError, match="trials: 0 came"):
        gf.compare("two-moons", ["nsf"], trials=0)
