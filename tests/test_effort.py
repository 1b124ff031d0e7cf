"""Samples against work: the ways that are tried, what each costs, and that they end in one law."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow.metrics import wasserstein2
from genflow.studies.comparison.effort import ONE_PASS, Effort, efforts, from_array, to_array
from genflow.studies.comparison.ration import Ration
from genflow.training import Budget


@pytest.fixture(scope="module")
def moons() -> gf.data.Dataset:
    return gf.data.load("two-moons")


def ways(model: gf.fitted.Transformed, data: gf.data.Dataset, budget: Budget | None = None) -> list[Effort]:
    def distance(way: gf.fitted.Transformed) -> float:
        drawn = way.sample(100, generator=torch.Generator().manual_seed(0))
        return wasserstein2(drawn.double(), data.test[:100].double())

    return efforts(model, distance, Ration(budget, lambda what: None))


@pytest.mark.parametrize(
    "model",
    [gf.models.FlowMatching(2, width=16), gf.models.JKOiFlow(2, blocks=2, width=8, tolerance=0.0)],
    ids=["one piece", "two pieces"],
)
def test_each_way_costs_what_it_says_and_many_steps_end_alike(moons: gf.data.Dataset, model: gf.Flow) -> None:
    fitted = model.fit(moons, iterations=60)
    found = ways(fitted, moons)
    assert [one.nfe for one in found] == sorted(one.nfe for one in found)
    assert {one.solver for one in found} == {"euler", "rk4"}
    for one in found[:4]:
        solver = {"euler": gf.solvers.Euler, "rk4": gf.solvers.RK4}[one.solver]
        flow = fitted.model.replace(integrator=solver(), scheduler=fitted.model.scheduler.with_steps(one.steps))
        assert flow.integrate(moons.test[:3].float(), reverse=True, log_det=False).nfe == one.nfe
    by = {(one.solver, one.steps): one.w2 for one in found}
    exact = by["rk4", max(one.steps for one in found if one.solver == "rk4")]
    # The noise is the same, so that the distance between two ways is at most that between two solutions of one
    # equation, which falls as 1 / steps: a quarter of what one step leaves is eight times what 32 should.
    assert abs(by["euler", 32] - exact) <= max(abs(by["euler", 1] - exact) / 4, 1e-3)
    assert from_array(to_array(found)) == found


def test_a_model_without_a_solver_has_one_way(moons: gf.data.Dataset) -> None:
    (only,) = ways(gf.baselines.NSF(2, width=8, transforms=1).fit(moons, iterations=2), moons)
    assert (only.solver, only.nfe) == (ONE_PASS, 1)
    assert math.isfinite(only.w2)


def test_ways_that_there_is_no_time_for_are_left_out(moons: gf.data.Dataset) -> None:
    ticks = iter(range(100_000))
    fitted = gf.models.FlowMatching(2, width=16).fit(moons, iterations=5)
    found = ways(fitted, moons, Budget(40.0, clock=lambda: float(next(ticks))))
    assert 0 < len(found) < 12
    assert ways(fitted, moons, Budget(1.0, clock=lambda: float(next(ticks)))) == []


@pytest.mark.usefixtures("few_rows")
@pytest.mark.slow
def test_the_report_shows_samples_against_work() -> None:
    board = gf.compare("two-moons", ["flow-matching", "nsf"], iterations=4, points=50, progress=False)
    assert "two-moons-effort" in board.pictures.pictures
    rows = from_array(board.arrays("two-moons", "flow-matching")["efforts"])
    assert {one.steps for one in rows if one.solver == "euler"} == {1, 2, 4, 8, 16, 32}
