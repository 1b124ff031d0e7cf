"""Blocks that are the mean of several networks, matched one after another."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import genflow as gf
from genflow.errors import InputError
from genflow.models.jko_rules import may_think_again
from genflow.models.members import first_regime, is_welcome, members_left, next_turn
from genflow.training import Optimization, Regime, Stage, TrainingData, train
from genflow.training.budget import Budget
from genflow.velocities import Mean, ResidualMLP
from tests.test_budget import Clock

ROWS = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))  # 48 of them to train on: a batch
ITERATIONS = 1000
SMALL = {"width": 32, "depth": 1, "matching_rate": 0.02}  # which learns them by heart


def fitted(iterations=ITERATIONS, **options):
    fit = {name: options.pop(name) for name in ("checkpoint", "progress", "refit") if name in options}
    return gf.models.JKOiFlow(3, **{**SMALL, **options}).fit(ROWS, iterations=iterations, **fit)


@pytest.fixture(scope="module")
def several():
    return fitted()


def matched(model):
    return [entry for entry in model.history if entry["kind"] == "local matching"]


# What comes next


@given(st.floats(0, 0.5), st.floats(0.01, 0.4), st.floats(0, 0.5), st.integers(1, 9))
def test_members_take_what_the_block_was_given_and_no_more(began, taken, room, most):
    used, due = began + taken, min(0.99, began + taken + room)
    history = [{"span": [began, used, due], "members_left": members_left([began, used, due], most)}]
    assert 0 <= history[0]["members_left"] < most
    count = history[0]["members_left"]
    lengths = []
    while (turn := next_turn(history)).block == 0:
        assert (turn.member, turn.left) == (len(history), count - len(history))
        lengths.append(turn.share * (1 - used))
        history.append({"span": [used, used + lengths[-1], used + lengths[-1]], "members_left": turn.left})
        used += lengths[-1]
    assert len(lengths) == count
    assert next_turn(history) == (1, 0, None, None)
    if lengths:
        assert used == pytest.approx(due)
        assert max(lengths) == pytest.approx(min(lengths))
        assert lengths[0] >= 0.2 * taken  # no member is a scrap


def test_histories_without_members_have_one_for_each_block():
    assert [next_turn([{"kind": "local matching"}] * k) for k in range(3)] == [(k, 0, None, None) for k in range(3)]


def test_a_member_joins_unless_the_mean_is_clearly_worse_with_it():
    before = torch.linspace(1, 2, 400)
    wobble = torch.tensor([1.0, -1.0]).repeat(200)
    error = (wobble.std() / 20).item()
    assert is_welcome(before, before - 0.1)
    assert is_welcome(before, before + wobble + 1.9 * error)
    assert not is_welcome(before, before + wobble + 2.1 * error)
    assert not is_welcome(before, before * float("nan"))
    assert not is_welcome(before[:0], before[:0])


@pytest.mark.parametrize(("dim", "rows", "most"), [(3, 900, 8), (20, 2999, 8), (3, 3000, 1), (21, 900, 8), (2, 50, 1)])
def test_blocks_have_members_where_matching_leads(dim, rows, most):
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))
    model = gf.models.JKOiFlow(dim, width=8)
    model.next_stage(TrainingData(x, x[:20]), [])
    assert model.config()["members"] == most


@pytest.mark.parametrize(("rows", "steps", "enough"), [(24, 5000, 100), (512, 5000, 200), (12_800, 10_000, 5000)])
def test_a_first_member_sees_its_rows_a_hundred_times_at_least(rows, steps, enough):
    regime = first_regime(rows, 256)
    assert (regime.steps, regime.enough) == (steps, enough)


# What comes of it


def test_a_block_is_the_mean_of_networks_that_were_matched_in_turn(several):
    first, *others = matched(several)
    best = min((loss, step) for _, step, loss in first["curve"])[1]
    assert first["abandoned"]
    assert max(100, 2 * best) <= first["steps"] <= max(100, 2 * best) + 50  # a validation further
    assert first["members_left"] == len(others) == members_left(first["span"], 8) > 1
    (block,) = several.model.velocity
    assert isinstance(block, Mean)
    assert len(block.parts()) == 1 + sum(entry["joined"] for entry in others) > 1
    weights = [member.readout.weight for member in block.parts()]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(weights, 2))
    assert sum(entry["steps"] for entry in several.history) <= ITERATIONS
    assert several.history[-1]["span"][1] <= 1
    x = ROWS[:20].double()
    there = several.double().model.encode(x)
    assert torch.allclose(several.model.decode(there), x, atol=1e-6)


def test_it_is_kept_and_read_again(several, tmp_path):
    several.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    assert torch.equal(again.log_prob(ROWS), several.log_prob(ROWS))
    assert again.model.config()["members"] == 8


def test_with_little_time_there_is_one():
    model = fitted(60)
    assert [entry["members_left"] for entry in matched(model)] == [0]
    assert isinstance(model.model.velocity[0], ResidualMLP)


def test_as_many_as_were_typed():
    assert len(matched(fitted(members=2))) == 2
    assert isinstance(fitted(members=1).model.velocity[0], ResidualMLP)
    chain = fitted(blocks=2, members=2, matching=0.9, joint=0.05)
    turns = [(entry["block"], entry["member"]) for entry in matched(chain)]
    assert turns in ([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1), (1, 0), (1, 1)])  # where the second learns for longer
    with pytest.raises(InputError, match="members: 0 came; a number of networks, 1 or more, would do"):
        gf.models.JKOiFlow(3, members=0)


class Cut(Exception):
    """What kills a training."""


@pytest.mark.parametrize("stage", [0, 1, 2, -1])
def test_a_training_that_was_cut_off_reaches_the_same_weights(several, tmp_path, stage):
    name = [entry["stage"] for entry in several.history][stage]

    def progress(event):
        if event["stage"] == name:
            raise Cut

    with pytest.raises(Cut):
        fitted(checkpoint=tmp_path, progress=progress)
    resumed = fitted(checkpoint=tmp_path)
    assert resumed.state_dict().keys() == several.state_dict().keys()
    for key, tensor in several.state_dict().items():
        assert torch.equal(tensor.double(), resumed.state_dict()[key].double()), key


def test_a_second_training_has_the_members_of_the_first():
    model = fitted(2 * ITERATIONS, refit=True)
    entries = matched(model)
    assert all(entry["replayed"] for entry in entries)
    assert len(entries) > 2
    assert len(model.model.velocity[0].parts()) == sum(entry["joined"] for entry in entries)


# A stage of so many steps


def mean_stage(clock=None, **options):
    class Mean(torch.nn.Linear):
        def next_stage(self, data, history):
            def losses(rows, generator):
                return (rows - self.bias).square().mean(1)

            def loss(batch, generator):
                return losses(batch, generator).mean()

            priced = loss if clock is None else clock.costing(loss, 0.01)
            parts = [self.bias], data.train, data.validation, priced, losses
            optimization = Optimization("adam", learning_rate=0.05)
            return None if history else Stage("mean", *parts, optimization=optimization, **options)

    return Mean(1, 1)


def test_a_stage_ends_with_its_steps_or_its_share_whichever_comes_first():
    rows = TrainingData(torch.full((64, 1), 3.0), torch.full((16, 1), 3.0))
    for steps, iterations in ((30, 100), (100, 30), (None, 40)):
        (entry,) = train(mean_stage(regime=Regime(steps=steps)), rows, Budget(iterations=iterations))
        assert entry["steps"] == min(steps or iterations, iterations)
        began, used, due = entry["span"]
        assert (began, due) == (0, 1)
        assert used == entry["steps"] / iterations
    clock = Clock()
    (entry,) = train(mean_stage(clock, regime=Regime(steps=30)), rows, Budget(10.0, clock=clock))
    assert entry["steps"] == 30
    assert entry["span"][1] == pytest.approx(0.03, abs=0.01)


# A stage that is abandoned


def curve_stage(losses, **options):
    """A stage whose validation loss after so many steps is what a function says."""
    taken = 0

    class Told(torch.nn.Linear):
        def next_stage(self, data, history):
            def loss(batch, generator):
                nonlocal taken
                taken += 1
                return self.bias.square().sum()

            def validate(rows, generator):
                return rows.new_full((len(rows),), losses(taken))

            parts = [self.bias], data.train, data.validation, loss, validate
            return None if history else Stage("told", *parts, learning_rate=1e-3, **options)

    return Told(1, 1)


ROWS_ABOUT = TrainingData(torch.zeros(64, 1), torch.zeros(16, 1))


@pytest.mark.parametrize(
    ("losses", "abandons", "expected"),
    [
        (lambda step: abs(step - 20), True, True),
        (lambda step: abs(step - 20), False, False),
        (lambda step: abs(step - 90), True, False),  # the best is yet to come, or has just come
        (lambda step: -step, True, False),
        (lambda step: step, True, False),  # it has never gained anything: the rate may have been too high for it
        (lambda step: abs(step - 20) + 20 * (step // 5 % 2), True, False),  # noise
    ],
)
def test_a_stage_is_abandoned_where_it_only_gets_worse(losses, abandons, expected):
    model = curve_stage(losses, regime=Regime(abandons=abandons))
    (entry,) = train(model, ROWS_ABOUT, Budget(iterations=100))
    assert entry["abandoned"] == expected
    assert entry["steps"] in (range(50, 60) if expected else (100,))
    assert entry["validation"] == min(loss for _, _, loss in entry["curve"])


@pytest.mark.parametrize(("enough", "ends"), [(30, 40), (60, 60), (None, 100)])
def test_a_stage_has_enough_where_its_best_weights_are_of_its_first_half(enough, ends):
    model = curve_stage(lambda step: abs(step - 20), regime=Regime(enough=enough))
    (entry,) = train(model, ROWS_ABOUT, Budget(iterations=100))
    assert entry["abandoned"] == (enough is not None)
    assert ends <= entry["steps"] <= ends + 5


def by_heart(iterations=400, fallback=True, **fit):
    """A shallow network whose likelihood has learned the rows by heart within a fraction of its steps."""
    torch.manual_seed(0)
    model = gf.models.JKOiFlow(3, width=16, depth=0, matching=0.1, joint=0.8, fallback=fallback)
    return model.fit(ROWS, iterations=iterations, **fit)


@pytest.fixture(scope="module")
def thought_again():
    return by_heart()


def test_deep_networks_take_the_place_of_what_was_learned_by_heart_if_rows_are_likelier(thought_again):
    entries = {entry["stage"]: entry for entry in thought_again.history}
    assert entries["joint likelihood"]["abandoned"]
    deep = entries["deep matching"]
    assert deep["steps"] > 0
    (block,) = thought_again.model.velocity
    networks = block.all if isinstance(block, Mean) else [block]
    assert {isinstance(network, ResidualMLP) for network in networks} == {deep["taken"]}
    likelihood = entries["joint likelihood"]["validation"]
    assert (-thought_again.model.log_prob(validation_rows(thought_again)).mean() <= likelihood + 0.02).item()


def validation_rows(model):
    data = gf.data.load(ROWS)
    return model.preprocessor(data.validation)[0].float()


def test_a_deep_stage_that_was_cut_off_goes_on(thought_again, tmp_path):
    def progress(event):
        if event["stage"] == "deep matching":
            raise Cut

    with pytest.raises(Cut):
        by_heart(checkpoint=tmp_path, progress=progress)
    resumed = by_heart(checkpoint=tmp_path)
    for key, tensor in thought_again.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


def test_without_a_fallback_the_likelihood_has_all_of_its_time():
    last = by_heart(fallback=False).history[-1]
    assert (last["stage"], last["abandoned"], last["steps"]) == ("joint likelihood", False, 320)


def test_it_is_tried_above_the_plane_and_not_far_above_it():
    assert [may_think_again(dim) for dim in (2, 3, 20, 21)] == [False, True, True, False]


def test_of_no_weight_nothing_is_asked():
    first, second = gf.velocities.Shallow(2, 4), gf.velocities.ResidualMLP(2, 4, 1)
    torch.nn.init.normal_(first.w3)
    x, t = torch.randn(5, 2), torch.tensor(0.3)
    alone = Mean([first, second], [1.0, 0.0])
    assert torch.equal(alone(x, t), first(x, t))
    assert alone.parts() == [first]
    assert alone.closed_form
    assert not Mean([first, second]).closed_form
    assert alone.on((0.0, 2.0)).weights == [1.0, 0.0]
    for weights in ([1.0], [0.5, 0.6], [-0.5, 1.5]):
        with pytest.raises(InputError, match=r"weights: .* came; 2 from 0 up that add up to 1 would do"):
            Mean([first, second], weights)


def test_the_mean_has_the_error_of_one_less_the_spread():
    fields = [gf.velocities.ResidualMLP(2, 8, 1) for _ in range(3)]
    for field in fields:
        torch.nn.init.normal_(field.readout.weight)
    x, t = torch.randn(50, 2), torch.tensor(0.5)
    target, weights = torch.randn(50, 2), torch.tensor([0.2, 0.3, 0.5])
    mean = Mean(fields, weights.tolist())(x, t)
    answers = torch.stack([field(x, t) for field in fields])

    def average(errors):
        return (weights * errors.square().sum(-1).mean(-1)).sum()

    error = (mean - target).square().sum(-1).mean()
    assert torch.allclose(error, average(answers - target) - average(answers - mean), rtol=1e-4)
