"""A training ends at its budget, whatever of it takes how long: told on a clock that only the work itself moves on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import genflow as gf
from genflow.deadline import OutOfTime, check_time, deadline, time_left
from genflow.naming import registry
from genflow.training import Budget, Stage, TrainingData, train
from genflow.training.closing import Closing
from genflow.training.loop import StageRun
from genflow.training.selection import Selection
from tests.families import FAMILIES

SECONDS = 14.0
OVER = 0.3  # seconds: 2 % of it, or 0.3 s if that is more


class Clock:
    """A time that goes on where it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def costing(self, function, seconds):
        """The function, taking so many seconds."""

        def slow(*arguments, **named):
            self.now += seconds(*arguments) if callable(seconds) else seconds
            return function(*arguments, **named)

        return slow


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(0).normal(size=(400, 10))
    return gf.data.load(x @ np.triu(np.ones((10, 10))))


OPTIONS = {
    "jko-iflow": {"width": 8},
    "jko-iflow-published": {"width": 8, "blocks": 2, "batch_size": 64},
    "cnf": {"width": 8},
    "flow-matching": {"width": 8},
    "score-sde": {"width": 8},
    "nsf": {"width": 8, "transforms": 1},
    "maf": {"width": 8, "transforms": 1},
    "nsf-coupling": {"width": 8, "transforms": 2},
    "realnvp": {"width": 8, "transforms": 2},
    "naf": {"width": 8, "transforms": 1},
    "ot-flow": {"width": 8, "train_steps": 2},
    "ffjord": {"width": 8, "depth": 1},
    "rnode": {"width": 8, "depth": 1, "train_steps": 2},
    "ot-cfm": {"width": 8, "batch_size": 32},
    "sb-cfm": {"width": 8, "batch_size": 32},
    "latent": {"width": 8, "latent": 2, "flow": {"width": 8}},
    **{
        name: {"width": 8, "depth": 1}
        for name in (
            "score-sde-ve",
            "score-sde-subvp",
            "ddpm",
            "ddpm-cosine",
            "edm",
            "v-diffusion",
            "vdm",
            "vp-cfm",
            "lipman-cfm",
            "interpolant",
            "rectified-flow",
            "mean-flow",
            "logit-normal",
        )
    },
}


def model_on(clock, monkeypatch, name, dim, step, validation, evaluation):
    """A model whose steps, validations and evaluations of a velocity take so many seconds."""

    def evaluated():
        clock.now += evaluation
        check_time()

    monkeypatch.setattr("genflow.flow.check_time", evaluated)
    torch.manual_seed(0)
    model = registry.lookup("model", name)(dim, **OPTIONS.get(name, {}))
    kind = type(model)  # fit trains a copy
    next_stage, preprocessing, log_prob = kind.next_stage, kind.preprocessing, kind.log_prob

    def slow_stage(self, data, history):
        stage = next_stage(self, data, history)
        if stage is not None:
            work = "estimate" if isinstance(stage, Selection) else "loss"
            setattr(stage, work, clock.costing(getattr(stage, work), step))
            stage.validate = clock.costing(stage.validate, validation)
        return stage

    monkeypatch.setattr(kind, "next_stage", slow_stage)
    monkeypatch.setattr(kind, "preprocessing", clock.costing(preprocessing, 0.5))
    if not hasattr(model, "integrate"):
        monkeypatch.setattr(kind, "log_prob", clock.costing(log_prob, 50 * evaluation))
    return model


ORDINARY = (0.2, 0.05, 0.004)  # seconds of a step, a validation, an evaluation of the velocity
UNUSUAL = [
    (0.2, 0.9, 0.004),  # slow to validate
    (2.5, 0.05, 0.004),  # slow steps
    (0.1, 0.05, 0.02),  # slow solves: 40 steps take a quarter of the budget
]
# One solve is more than the budget has; an evaluation can't be given up.
ENDLESS = [(name, 0.1, 0.05, 0.4) for name in ("jko-iflow", "jko-iflow-published", "cnf", "flow-matching", "score-sde")]
DEAR = ("ffjord", "ot-flow")  # ten seconds each
BUILT_IN = [entry.name for entry in registry.entries("model") if entry.source == "genflow"]


@pytest.mark.parametrize(
    ("name", "step", "validation", "evaluation"),
    [pytest.param(name, *ORDINARY, marks=[pytest.mark.slow] if name in DEAR else []) for name in BUILT_IN]
    + [(name, *seconds) for seconds in UNUSUAL for name in FAMILIES]
    + ENDLESS,
)
def test_every_model_ends_at_its_budget(clock, monkeypatch, table, name, step, validation, evaluation):
    model = model_on(clock, monkeypatch, name, table.dim, step, validation, evaluation)
    clock.now += 50.0  # nothing has begun yet
    budget = Budget(seconds=SECONDS, clock=clock)
    clock.now += 50.0  # nor does it with the budget
    began = clock.now
    fitted = model.fit(table, budget=budget)
    took = clock.now - began
    assert took <= SECONDS + max(OVER, evaluation)
    assert fitted.record.seconds == pytest.approx(took)
    assert fitted.record.steps == sum(entry["steps"] for entry in fitted.history)
    if (step, validation, evaluation) == ORDINARY:
        # The published chain may end before, and what is estimated ends where nothing is left to be tried.
        ended = name == "jko-iflow-published" or "candidates" in fitted.history[-1]
        assert took > 0.9 * SECONDS or ended
    assert all(parameter.isfinite().all() for parameter in fitted.parameters())
    assert fitted.sample(3, generator=torch.Generator().manual_seed(0)).isfinite().all()


def test_preparing_the_data_counts_and_reading_them_does_not(clock, table, monkeypatch):
    model = gf.models.FlowMatching(table.dim, width=8)
    load = gf.data.load
    monkeypatch.setattr("genflow.data.load", clock.costing(load, 1000.0))
    monkeypatch.setattr(type(model), "preprocessing", clock.costing(type(model).preprocessing, 20.0))
    fitted = model.fit(table, budget=Budget(seconds=SECONDS, clock=clock))
    assert fitted.record.seconds == 20.0
    assert fitted.record.steps == 0
    assert any("trained for 0 steps" in remark for remark in fitted.remarks)


def test_iterations_take_what_time_they_take(clock, table, monkeypatch):
    model = model_on(clock, monkeypatch, "flow-matching", table.dim, 100.0, 100.0, 1.0)
    fitted = model.fit(table, budget=Budget(iterations=60, clock=clock))
    assert fitted.record.steps == 60
    assert fitted.record.seconds > 6000
    assert math.isfinite(fitted.record.nll)
    assert fitted.remarks == []


def test_settling_goes_on_while_there_is_time(clock, monkeypatch):
    # dx/dt = 2 sin 2x from half the steps to the steps, and on: the grid of an unlimited time, or a coarser valid one.
    velocity = gf.as_velocity(lambda x, t, condition: 2 * (2 * x).sin())
    x = torch.linspace(-1.5, 1.5, 41, dtype=torch.float64)[:, None]

    def flow():
        return gf.Flow(velocity, gf.schedulers.Uniform(2), base=gf.StandardNormal(1))

    free = flow()
    free.settle(x)

    def evaluated():
        clock.now += 1.0
        check_time()

    monkeypatch.setattr("genflow.flow.check_time", evaluated)
    found = []
    for seconds in (3, 20, 60, 1e4):
        timed, began = flow(), clock.now
        with deadline(seconds, clock):
            settled = timed.settle(x)
        assert clock.now - began <= seconds + 1  # one evaluation
        found.append(timed.scheduler.steps)
        assert (settled.remark is None) == (seconds == 1e4)
    assert found == sorted(found)
    assert found[0] == 2
    assert found[-1] == free.scheduler.steps > 8


def test_a_cheaper_estimator_is_right_in_the_mean():
    torch.manual_seed(0)
    x = torch.randn(16, 20, dtype=torch.float64)
    flow = gf.Flow(gf.velocities.ResidualMLP(20, width=16), gf.schedulers.Uniform(4)).double()
    for parameter in flow.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    cheaper = flow.cheaper(x)
    with torch.no_grad():
        exact = flow.log_prob(x).mean()
        draws = torch.stack([cheaper.log_prob(x, None, torch.Generator().manual_seed(i)).mean() for i in range(100)])
    assert abs(draws.mean() - exact) < 4 * draws.std() / 10
    assert flow.cheaper(x[:, :3]) is None  # three directions are no more work than one
    assert gf.Flow(gf.velocities.Shallow(20)).cheaper(x) is None  # nor is a closed form


class Line(gf.Component, torch.nn.Module):
    """One weight that learns the mean of the rows."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([start]))

    def stage(self, data, **settings):
        return Stage(
            name="line",
            parameters=list(self.parameters()),
            train=data.train,
            validation=data.validation,
            loss=lambda batch, generator: (batch - self.weight).square().mean(),
            validate=lambda rows, generator: (rows - self.weight).square().mean(1),
            batch_size=16,
            learning_rate=0.1,
            **settings,
        )


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return TrainingData(*(2 + torch.randn(n, 1, generator=generator) for n in (100, 1000)))


def test_a_validation_that_is_cut_off_is_compared_on_its_rows(rows, clock):
    model = Line()
    stage = model.stage(rows)
    run = StageRun(stage, Budget(seconds=100.0, clock=clock), torch.Generator().manual_seed(0), 0.0)
    run._validate(0.0)
    before = run.best[0].item()
    model.weight.data.fill_(1.5)
    stage.validate = clock.costing(stage.validate, 40.0)  # a third slice is not begun
    run._validate(0.5)
    assert len(run.fine) == 512
    assert run.best[0].item() == 1.5 != before
    assert run.validation == pytest.approx((rows.validation[:512] - 1.5).square().mean().item())


def test_a_step_that_will_not_fit_is_not_begun(rows, clock):
    model = Line()
    stage = model.stage(rows)
    stage.loss = clock.costing(stage.loss, 3.0)
    entry = StageRun(stage, Budget(seconds=10.0, clock=clock), torch.Generator().manual_seed(0), 0.0)()
    assert entry["steps"] == 3
    assert clock.now == 109.0


def test_without_time_for_any_validation_the_average_is_kept(rows, clock):
    model = Line()
    stage = model.stage(rows, average=0.9)
    stage.validate = clock.costing(stage.validate, 1e3)
    run = StageRun(stage, Budget(seconds=10.0, clock=clock), torch.Generator().manual_seed(0), 0.0)
    run.validated = -1  # as found out before
    stage.loss = clock.costing(stage.loss, 0.5)
    entry = run()
    assert entry["curve"] == []
    assert clock.now <= 110.0
    assert model.weight.item() == run.averaged[0].item() > 0.2


@pytest.mark.parametrize(("steps", "count", "remarks"), [(60, 1000, 0), (60, 40_000, 1), (20, 100, 1), (1, 100, 1)])
def test_a_training_of_few_steps_says_so(steps, count, remarks):
    from genflow.training.closing import few_steps

    said = few_steps([{"steps": steps, "batch": 512}], count)
    assert len(said) == remarks
    assert all(f"{steps} step" in line and "\n" not in line for line in said)
    assert all(("pass" in line) == (steps * 512 < count) for line in said)


def test_the_closing_has_its_time_however_long_the_last_stage_takes(clock):
    """A stage may take its slack; what the closing will need is reserved beside that."""
    budget = Budget(seconds=SECONDS, clock=clock)
    budget.start()
    flow = gf.models.JKOiFlow(2)
    flow.log_prob = clock.costing(lambda x, *rest: torch.zeros(len(x)), 0.004)
    closing = Closing(flow, TrainingData(torch.zeros(300, 2), torch.zeros(300, 2)), torch.zeros(300), budget)
    needed = 12 * 0.004  # of settling: twelve of what 64 rows take
    assert closing.reserve() == pytest.approx(needed + budget.slack)
    assert 0.3 <= closing.most == pytest.approx(0.03 * SECONDS)
    later = Budget(seconds=SECONDS, clock=clock)
    later.start()
    flow.log_prob = clock.costing(flow.log_prob, 1.0)
    slow = Closing(flow, TrainingData(torch.zeros(300, 2), torch.zeros(300, 2)), torch.zeros(300), later)
    assert slow.reserve() == pytest.approx(slow.most)  # nothing can be promised to what takes so long


# Deadlines


def test_the_earliest_of_deadlines_counts(clock):
    other = Clock()
    with deadline(5.0, clock):
        with deadline(9.0, other):
            assert time_left() == 5.0
            other.now += 7.0
            assert time_left() == 2.0
            other.now += 3.0
            with pytest.raises(OutOfTime):
                check_time()
        check_time()
        assert time_left() == 5.0
    assert time_left() == math.inf


def test_a_training_gives_up_what_prepares_a_stage(rows, clock):
    class Endless(Line):
        def next_stage(self, data, history):
            if history:
                for _ in range(10**6):
                    clock.now += 0.1
                    check_time()
            stage = self.stage(data, share=0.5)
            stage.loss = clock.costing(stage.loss, 0.1)
            return stage

    history = train(Endless(), rows, Budget(seconds=5.0, clock=clock))
    assert len(history) == 1
    assert clock.now <= 105.2
