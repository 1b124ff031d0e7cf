"""The loop: budgets, schedule, best weights, non-finite losses, and trainings that are cut off and go on."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import genflow as gf
from genflow import InputError
from genflow.numerics.products import fast_products
from genflow.numerics.tuning import tuned_process
from genflow.training import Budget, Regime, Stage, TrainingData, TrainingError, parse_seconds, train
from genflow.training.loop import StageRun, _schedule


class Line(gf.Component, nn.Module):
    """One weight that learns the mean of the rows, in as many stages as wished."""

    def __init__(self, start: float = 0.0, shares: list[float] | None = None, average: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([start]))
        self.shares, self.average = shares or [1.0], average

    def loss(self, batch, generator):
        return (batch - self.weight).square().mean()

    def validate(self, rows, generator):
        return (rows - self.weight).square().mean(1)

    def next_stage(self, data, history):
        if len(history) == len(self.shares):
            return None
        return Stage(
            name=f"line {len(history) + 1}",
            parameters=list(self.parameters()),
            train=data.train,
            validation=data.validation,
            loss=self.loss,
            validate=self.validate,
            share=self.shares[len(history)],
            batch_size=16,
            learning_rate=0.1,
            average=self.average,
        )


class Clock:
    """A clock that stands still unless it is moved: no other work of the machine counts."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(Line):
    """A line whose steps take 0.02 s of a clock."""

    clock = Clock()

    def loss(self, batch, generator):
        self.clock.now += 0.02
        return super().loss(batch, generator)


class Stubborn(Line):
    """A line whose loss is not a number between two steps, or in all of them."""

    def __init__(self, first: int = 0, last: int = 10**9):
        super().__init__()
        self.first, self.last, self.calls = first, last, 0

    def loss(self, batch, generator):
        self.calls += 1
        return super().loss(batch, generator) * (math.nan if self.first < self.calls <= self.last else 1.0)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return TrainingData(*(2 + torch.randn(n, 1, generator=generator) for n in (100, 40)))


# Budgets


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2min", 120), ("1.5h", 5400), (" .5 m ", 30), ("7", 7), (3, 3), (0.25, 0.25)]
)
def test_a_budget_is_read(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-3s", "0s", 0, "1 day", "1e3s", "nan", math.inf, "2min30s"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"budget: .* came; a time such as") as error:
        parse_seconds(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"seconds": 1.0, "iterations": 1}, {"iterations": 0}, {"iterations": 1, "evaluations": 9}],
)
def test_exactly_one_limit_is_given(arguments):
    with pytest.raises(InputError, match="iterations"):
        Budget(**arguments)


def test_a_time_budget_is_kept_within_a_step(rows):
    began = Slow.clock.now
    history = train(Slow(shares=[0.5, 1.0]), rows, Budget(seconds=0.5, clock=Slow.clock))
    step = 0.02 + 1e-9  # and the rounding of the sum of 25 of them
    assert Slow.clock.now - began == pytest.approx(0.5, abs=step)
    assert history[0]["seconds"] == pytest.approx(0.25, abs=step)
    assert sum(entry["steps"] for entry in history) == pytest.approx(25, abs=1)


def test_a_time_that_is_over_at_once_leaves_the_model_as_it_was(rows):
    model = Line(start=1.0)
    (entry,) = train(model, rows, Budget(seconds=1e-6))
    assert entry["steps"] == 0
    assert model.weight.item() == 1.0


@pytest.mark.parametrize("iterations", [1, 7, 50, 101])
@pytest.mark.parametrize("shares", [[1.0], [0.3, 0.5, 1.0], [0.01, 0.01, 1.0]])
def test_iterations_are_exact_across_stages(rows, iterations, shares):
    history = train(Line(shares=shares), rows, Budget(iterations=iterations))
    assert sum(entry["steps"] for entry in history) == iterations
    if iterations == 101 and len(shares) == 3:
        assert history[0]["steps"] == max(1, round(shares[0] * iterations))


@pytest.mark.parametrize("model", [gf.models.JKOiFlow(2, blocks=2, width=8), gf.models.CNF(2, width=8)])
def test_models_take_the_iterations_they_were_given(moons, model):
    history = model.fit(moons, iterations=53).history
    assert len(history) >= 2
    assert sum(entry["steps"] for entry in history) == 53


def test_evaluations_are_those_of_every_row_and_time(moons):
    model = gf.models.CNF(2, width=8, batch_size=100, train_steps=3)
    matching, likelihood = model.fit(moons, evaluations=40_000).history
    stages = 4 * 3  # of RK4, in each of its steps
    assert matching["evaluations"] == 100 * matching["steps"]
    assert likelihood["evaluations"] == 100 * stages * likelihood["steps"]
    total = matching["evaluations"] + likelihood["evaluations"]
    assert 40_000 <= total < 40_000 + 100 * stages  # the step that reaches it is the last
    (nsf,) = gf.baselines.NSF(2, transforms=1, width=8, batch_size=100).fit(moons, evaluations=1000).history
    assert nsf["steps"] == 10
    (free,) = gf.baselines.GaussianMixture(2).fit(moons, evaluations=1).history  # without a network
    assert free["candidates"] > 1


@pytest.mark.slow
def test_a_training_of_so_many_evaluations_goes_on_to_the_same_weights(moons, tmp_path):
    def trained(**options):
        torch.manual_seed(0)
        return gf.models.CNF(2, width=8, batch_size=100).fit(moons, evaluations=150_000, seed=5, **options)

    whole = trained()
    with pytest.raises(Cut):
        trained(checkpoint=tmp_path, progress=cut_at(3))
    resumed = trained(checkpoint=tmp_path)
    assert same(whole, resumed)
    assert without_seconds(whole.history) == without_seconds(resumed.history)


# What a step and a stage do


def test_the_learning_rate_rises_and_falls_like_a_cosine():
    assert _schedule(0.0, 0.02) == pytest.approx(0.05, abs=1e-3)
    assert _schedule(0.5, 0.02) == pytest.approx(0.5)
    assert _schedule(0.25, 0.0) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert _schedule(1.0, 0.02) == pytest.approx(0.0)
    values = [_schedule(i / 100, 0.02) for i in range(101)]
    peak = values.index(max(values))
    assert peak <= 3
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_every_row_is_drawn_once_in_an_epoch(rows):
    run = StageRun(Line().next_stage(rows, []), Budget(iterations=10), torch.Generator().manual_seed(0), 0.0)
    drawn = torch.cat([run._batch() for _ in range(6)])  # 6 x 16 of 100: the last 4 wait for the next epoch
    assert len(drawn.unique()) == 96
    assert all((rows.train == value).any() for value in drawn)


def test_the_weights_that_validate_best_are_kept(rows):
    class Leaving(Line):
        """Trains away from what validation asks for."""

        def loss(self, batch, generator):
            return -super().loss(batch, generator)

    model = Leaving(start=8.0)  # every batch of sixteen pushes away from its mean, on one side
    history = train(model, rows, Budget(iterations=60))
    assert model.weight.item() == 8.0  # those it began with
    curve = [value for _, _, value in history[0]["curve"]]
    assert history[0]["validation"] == min(curve) == curve[0]
    assert curve[-1] > curve[0] + 1
    assert [step for _, step, _ in history[0]["curve"]] == sorted(step for _, step, _ in history[0]["curve"])


@pytest.mark.parametrize(("gain", "noise", "kept"), [(0.15, 1.0, False), (0.25, 1.0, True), (0.15, 0.01, True)])
def test_what_a_stage_begins_with_stays_unless_it_is_beaten_by_two_standard_errors(rows, gain, noise, kept):
    """A hundred rows whose losses fall by `gain` in the mean, and by more or less each: the error is noise / 10."""
    model = Line(start=0.0)
    stage, away = model.next_stage(rows, []), torch.linspace(-1, 1, 100)
    away = noise * away / away.std()
    stage.validation, stage.regime = torch.zeros(100, 1), Regime(settled=True)
    stage.validate = lambda x, generator: -(gain + away) * (model.weight.detach() != 0.0)
    run = StageRun(stage, Budget(iterations=3), torch.Generator().manual_seed(0), 0.0)
    entry = run()
    assert (model.weight.item() != 0.0) == kept
    assert entry["validation"] == pytest.approx(-gain if kept else 0.0, abs=1e-6)
    stage.regime, before = Regime(), model.weight.item()
    StageRun(stage, Budget(iterations=3), torch.Generator().manual_seed(0), 0.0)()
    assert (model.weight.item() != before) or kept  # else whatever is better in the mean


def test_validations_are_early_first_and_then_regular(rows):
    """A thousand steps: the distances grow by a quarter of what is over, up to a twentieth of the stage."""
    history = train(Line(), rows, Budget(iterations=1000))
    steps = [step for _, step, _ in history[0]["curve"]]
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    for before, after in itertools.pairwise(steps[:-1]):  # the last one is where the training ends
        assert 0 <= after - before - min(max(before / 4, 1), 50) < 1 + 1e-9  # rounded up to a step


@pytest.mark.parametrize("start", [-1.0, 5.0])
def test_a_sharp_step_takes_the_gradient_up_the_hill(rows, start):
    model, mean = Line(start), rows.train.mean().item()
    stage = model.next_stage(rows, [])
    stage.batch_size, stage.sharpness, stage.sharp_after = len(rows.train), 0.25, 2.0
    run = StageRun(stage, Budget(iterations=10), torch.Generator().manual_seed(0), 0.0)
    for seen in range(4):
        weight = model.weight.item()
        run._step(0.5)
        climbed = weight + (math.copysign(0.25, weight - mean) if seen >= 2 else 0.0)
        assert model.weight.grad.item() == pytest.approx(2 * (climbed - mean), rel=1e-5)


# Half of the stage is left to a single row that takes half of it: then there is no validation.
@pytest.mark.parametrize(
    ("cost", "expected"), [(0.0, 1000), (1e-5, 1000), (4e-5, 500), (2e-4, 256), (1e-3, 200), (1.0, 0)]
)
def test_on_a_clock_a_validation_takes_a_hundredth_of_the_stage(cost, expected):
    now, generator = [0.0], torch.Generator().manual_seed(0)
    data = TrainingData(*(torch.randn(n, 1, generator=generator) for n in (100, 1000)))
    stage = Line().next_stage(data, [])
    validate, counts = stage.validate, []

    def slow(x, generator):
        now[0] += cost * len(x)
        counts.append(len(x))
        return validate(x, generator)

    stage.validate = slow
    run = StageRun(stage, Budget(seconds=2.0, clock=lambda: now[0]), generator, 0.0)
    run._validate(0.0)
    assert max(0, run.validated) == pytest.approx(expected, abs=1)
    tried = len(counts)
    run._validate(0.5)
    assert sum(counts[tried:]) == max(0, run.validated)  # in slices, between which the clock is looked at
    assert now[0] <= max(0.5 * 2.0, cost)


def test_averaged_weights_are_what_is_validated_and_kept(rows):
    model = Line(average=0.9)
    run = StageRun(model.next_stage(rows, []), Budget(iterations=30), torch.Generator().manual_seed(0), 0.0)
    expected, trail = model.weight.detach().clone(), []
    original = run._average

    def average():
        trail.append(model.weight.detach().clone())
        original()

    run._average = average
    run()
    for step, weight in enumerate(trail, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(run.averaged[0], expected)
    assert len(trail) == 30
    assert not torch.equal(trail[-1], run.averaged[0])
    torch.testing.assert_close(model.weight.detach(), run.best[0])


def test_progress_tells_where_the_training_stands(rows):
    events = []
    train(Line(shares=[0.5, 1.0]), rows, Budget(iterations=80), progress=events.append)
    assert {"stage", "fraction", "step", "seconds", "loss", "validation"} == set(events[0])
    fractions = [event["fraction"] for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {event["stage"] for event in events} == {"line 1", "line 2"}


# Losses that are no numbers


def test_a_step_with_a_loss_that_is_no_number_is_skipped(rows):
    model = Stubborn(first=10, last=13)
    (entry,) = train(model, rows, Budget(iterations=100))
    assert entry["steps"] == 97
    assert entry["learning_rate"] == 0.1
    assert abs(model.weight.item() - 2) < 0.3


def test_after_a_few_of_them_the_stage_retreats_with_a_smaller_rate(rows):
    model = Stubborn(first=50, last=57)
    (entry,) = train(model, rows, Budget(iterations=200))
    assert entry["steps"] == 193
    assert entry["learning_rate"] == pytest.approx(0.1 / 3)
    assert abs(model.weight.item() - 2) < 0.3


def test_a_loss_that_stays_without_a_number_ends_the_training_with_its_reason(rows):
    with pytest.raises(TrainingError, match="line 1: the loss stayed non-finite at step 3") as error:
        train(Stubborn(first=3), rows, Budget(iterations=200))
    assert "\n" not in str(error.value)


# One seed, one result


def fresh(kind: str, seed: int = 0):
    torch.manual_seed(seed)
    if kind == "jko-short":  # it ends behind its first block, and what is left is the joint stage's
        return gf.models.JKOiFlow(2, blocks=3, width=8, train_steps=1, steps=2, batch_size=32, tolerance=1e9)
    if kind.startswith("jko"):
        settings = {"reparameterize": 1, "refine": 1} if kind == "jko-rounds" else {}
        return gf.models.JKOiFlow(
            2, blocks=2, width=8, train_steps=1, steps=2, batch_size=32, matching=0.25, joint=0.3, **settings
        )
    if kind == "cnf-hutchinson":
        divergence = gf.divergences.Hutchinson(1)
        return gf.models.CNF(2, width=8, train_steps=1, steps=2, batch_size=32, divergence=divergence, jacobian=0.01)
    return gf.models.CNF(2, width=8, train_steps=1, steps=2, batch_size=32)


@pytest.fixture(scope="module")
def moons():
    return gf.data.load(gf.data.load("two-moons").train[:500].numpy())


def without_seconds(history):
    kept = [{k: v for k, v in entry.items() if k not in ("seconds", "ends", "curve")} for entry in history]
    for entry, original in zip(kept, history, strict=True):
        entry["curve"] = [point[1:] for point in original["curve"]]
    return kept


def same(first, second) -> bool:
    a, b = first.model.state_dict(), second.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["jko", "cnf-hutchinson"])
def test_one_seed_gives_one_result(moons, kind):
    first, again, other = (fresh(kind).fit(moons, iterations=30, seed=seed) for seed in (3, 3, 4))
    assert same(first, again)
    assert without_seconds(first.history) == without_seconds(again.history)
    assert not same(first, other)


# Trainings that are cut off


class Cut(Exception):
    """What kills a training."""


def cut_at(call: int):
    """A progress callback that raises when it is called for the n-th time."""
    calls = 0

    def progress(event):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Cut

    return progress


ITERATIONS = 48
KINDS = ["jko", "jko-rounds", "jko-short", "cnf", "cnf-hutchinson"]


@pytest.fixture(scope="module")
def uninterrupted(moons):
    """The whole training of each kind, and how often it reports."""
    results = {}
    for kind in KINDS:
        events = []
        results[kind] = fresh(kind).fit(moons, iterations=ITERATIONS, seed=5, progress=events.append), events
    return results


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_training_that_was_cut_off_reaches_the_same_weights(moons, uninterrupted, tmp_path, kind):
    whole, events = uninterrupted[kind]
    stages = [event["stage"] for event in events]
    assert len(set(stages)) >= 2  # it is cut in each of several stages
    # In every stage once, and once more in the middle of the last.
    for call in {*(stages.index(stage) + 1 for stage in stages), len(stages) - 1}:
        folder = tmp_path / f"{call}"
        with pytest.raises(Cut):
            fresh(kind).fit(moons, iterations=ITERATIONS, seed=5, checkpoint=folder, progress=cut_at(call))
        # Other initial weights: what counts is what the checkpoint says.
        resumed = fresh(kind, seed=9).fit(moons, iterations=ITERATIONS, seed=5, checkpoint=folder)
        assert same(whole, resumed), f"cut in {stages[call - 1]}"
        assert without_seconds(whole.history) == without_seconds(resumed.history)


def test_a_training_may_be_cut_off_again_and_again(moons, uninterrupted, tmp_path):
    whole, _ = uninterrupted["jko"]
    model = fresh("jko")
    for _ in range(40):
        try:
            # The same object goes on, as it would in a notebook.
            result = model.fit(moons, iterations=ITERATIONS, seed=5, checkpoint=tmp_path, progress=cut_at(2))
        except Cut:
            continue
        break
    else:
        pytest.fail("it never came to an end")
    assert same(whole, result)
    assert without_seconds(whole.history) == without_seconds(result.history)


def test_a_training_that_was_finished_is_not_trained_further(moons, tmp_path):
    first = fresh("jko").fit(moons, iterations=3, checkpoint=tmp_path)  # too few for all stages
    again = fresh("jko").fit(moons, iterations=3, checkpoint=tmp_path)
    assert same(first, again)
    assert first.history == again.history


@pytest.mark.slow
def test_a_cut_between_two_stages_of_many(rows, tmp_path):
    def trained(**options):
        return train(Line(shares=[0.2, 0.2, 0.5, 1.0]), rows, Budget(iterations=200), **options)

    whole = trained()
    for call in range(1, 14):
        with pytest.raises(Cut):
            trained(checkpoint=tmp_path / str(call), progress=cut_at(call))
        assert without_seconds(trained(checkpoint=tmp_path / str(call))) == without_seconds(whole)


def test_seconds_spent_before_a_cut_count(rows, tmp_path):
    def budget():
        return Budget(seconds=1.0, clock=Slow.clock)

    began = Slow.clock.now
    with pytest.raises(Cut):
        train(Slow(), rows, budget(), checkpoint=tmp_path, progress=cut_at(3))
    Slow.clock.now += 100  # until somebody takes it up again
    assert Slow.clock.now - began > 100.04
    (entry,) = train(Slow(), rows, budget(), checkpoint=tmp_path)
    # What came since the last snapshot, a twentieth of the stage and a step at most, is done again.
    assert Slow.clock.now - began == pytest.approx(101.0, abs=0.05 + 2 * 0.02)
    assert entry["seconds"] == pytest.approx(1.0, abs=0.02 + 1e-9)
    assert entry["ends"] == pytest.approx(1.0, abs=0.02 + 1e-9)
    times = [seconds for seconds, _, _ in entry["curve"]]
    assert times == sorted(times)


@pytest.mark.parametrize(("budget", "least", "most"), [({"seconds": 20.0}, 2, 5), ({"iterations": 1000}, 20, 25)])
def test_a_snapshot_is_worth_a_hundredth_of_the_time_on_a_clock(rows, tmp_path, monkeypatch, budget, least, most):
    written = []

    def write(path, *arguments):
        written.append(path)
        Slow.clock.now += 0.05  # a hundred times that is a quarter of the training
        path.touch()

    monkeypatch.setattr("genflow.training.snapshots.tensors.write", write)
    train(Slow(), rows, Budget(**budget, clock=Slow.clock), checkpoint=tmp_path)
    assert least <= len(written) <= most


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "seed 5, now 6"),
        ({"iterations": 121}, "budget 120 iterations, now 121 iterations"),
        ({"budget": "60s", "iterations": None}, "budget 120 iterations, now 60s"),
        ({"model": gf.models.FlowMatching(2)}, "model CNF, now FlowMatching"),
        ({"model": gf.models.CNF(2, width=16)}, "model.width 8, now 16"),
        ({"data": "two-moons"}, "data "),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(moons, tmp_path, change, named):
    with pytest.raises(Cut):
        fresh("cnf").fit(moons, iterations=120, seed=5, checkpoint=tmp_path, progress=cut_at(2))
    before = (tmp_path / "training.safetensors").read_bytes()
    options = {"iterations": 120, "seed": 5, "checkpoint": tmp_path, **change}
    model, data = options.pop("model", fresh("cnf")), options.pop("data", moons)
    with pytest.raises(InputError, match=f"a training with {named}.*; name another folder") as error:
        model.fit(data, **options)
    assert "\n" not in str(error.value)
    assert (tmp_path / "training.safetensors").read_bytes() == before


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(moons, tmp_path, keep):
    with pytest.raises(Cut):
        fresh("cnf").fit(moons, iterations=120, checkpoint=tmp_path, progress=cut_at(2))
    path = tmp_path / "training.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError, match=r"training.safetensors: damaged .*; remove it to begin again") as error:
        fresh("cnf").fit(moons, iterations=120, checkpoint=tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_in_the_making_does_not_harm_the_last_one(moons, uninterrupted, tmp_path):
    with pytest.raises(Cut):
        fresh("jko").fit(moons, iterations=ITERATIONS, seed=5, checkpoint=tmp_path, progress=cut_at(3))
    killed = (
        "import os, sys; from genflow.storage import atomic\n"
        "with atomic.file(sys.argv[1]) as part: part.write_bytes(b'half'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "training.safetensors")], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    resumed = fresh("jko").fit(moons, iterations=ITERATIONS, seed=5, checkpoint=tmp_path)
    assert same(uninterrupted["jko"][0], resumed)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_the_history_is_json(uninterrupted):
    for model, _ in uninterrupted.values():
        assert json.loads(json.dumps(model.history)) == model.history


# Products


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="an older torch")
def test_a_precision_chosen_for_one_backend_is_left_alone():
    chosen = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    try:
        log_p = gf.Flow(gf.velocities.Shallow(2)).log_prob(torch.zeros(3, 2))
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert log_p.shape == (3,)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = chosen


def test_fast_products_are_as_good_as_exact_ones_and_leave_no_trace():
    a, b = (torch.randn(300, 200, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double().mT
    rounding = 200 * torch.finfo(torch.float32).eps * (a.abs() @ b.abs().mT).max()
    with fast_products():
        assert ((a @ b.mT) - exact).abs().max() < rounding
    with pytest.raises(KeyError), fast_products():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
    with fast_products("meta"):  # another device, where the same setting would lower the precision
        assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("high")  # somebody's own choice
    try:
        with fast_products():
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_only_a_tuned_process_changes_its_settings(monkeypatch):
    asked = []
    monkeypatch.setattr("genflow.numerics.tuning.fast_products", lambda device: asked.append(device) or nullcontext())
    flow, x = gf.Flow(gf.velocities.Shallow(2)), torch.zeros(3, 2)
    flow.log_prob(x)
    assert not asked
    with tuned_process():
        flow.log_prob(x)
    assert asked
    asked.clear()
    flow.log_prob(x)
    assert not asked
