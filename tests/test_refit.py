"""A second training on all rows, for as many steps as were best in the first."""

from __future__ import annotations

import pytest
import torch

import genflow as gf
from genflow.training import Budget, Stage, TrainingData, train
from genflow.training.replay import Recipe, complete, recipes
from tests.test_budget import Clock

ROWS = gf.data.load("gaussian-mixture-3", rows=200)


def flow(**options):
    torch.manual_seed(0)
    return gf.models.FlowMatching(3, width=16, depth=1, **options)


def test_a_closed_form_is_that_of_all_rows():
    fitted = gf.baselines.Gaussian(3).fit(ROWS, iterations=8, refit=True)
    everything = torch.cat([ROWS.train, ROWS.validation])
    mean = fitted.sample(200_000, generator=torch.Generator().manual_seed(0)).double().mean(0)
    error = everything.std(0) / 200_000**0.5
    assert ((mean - everything.mean(0)).abs() < 5 * error).all()
    assert (5 * error < (ROWS.train.mean(0) - everything.mean(0)).abs()).any(), "this would not have told the two apart"


class Located(torch.nn.Module):
    """The mean of rows, by gradient steps."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(1))

    def next_stage(self, data, history):
        def losses(rows, generator):
            return (rows - self.mean).square().mean(1)

        parts = [self.mean], data.train, data.validation
        return None if history else Stage("mean", *parts, lambda x, g: losses(x, g).mean(), losses, learning_rate=0.05)


def test_a_stage_is_replayed_to_its_best_step_and_no_further():
    # The way from 0 to the training rows' 4 passes the validation rows' 1, where it is to end.
    rows, held_out = torch.full((32, 1), 4.0), torch.ones(8, 1)
    first = train(Located(), TrainingData(rows, held_out), Budget(iterations=400))
    recipe = recipes(first)["mean"]
    assert 0 < recipe.best < recipe.steps == 400
    again = Located()
    second = train(again, TrainingData(rows, held_out), Budget(iterations=400), again={"mean": recipe})
    assert second[0]["steps"] == recipe.best
    assert second[0]["curve"] == first[0]["curve"]
    # The same rows, rates and draws: the very same weights.
    model = Located()
    train(model, TrainingData(rows, held_out), Budget(iterations=400))
    assert torch.equal(again.mean, model.mean)
    assert complete(second, recipes(first))
    assert not complete([{**second[0], "steps": recipe.best // 2}], recipes(first))


def test_a_stage_without_a_recipe_leaves_its_weights():
    model = Located()
    train(model, TrainingData(torch.ones(8, 1), torch.ones(8, 1)), Budget(iterations=5), again={"other": Recipe()})
    assert model.mean.item() == 0


@pytest.mark.parametrize("name", ["jko-iflow", "flow-matching", "nsf", "score-sde", "cnf"])
def test_what_it_says_of_itself_is_of_rows_that_it_had_not_seen(name):
    from genflow.naming import registry
    from genflow.naming.options import build

    def fitted(**limits):
        torch.manual_seed(0)
        return build(registry.lookup("model", name), 3, {"width": 16}).fit(ROWS, **limits)

    once, twice = fitted(iterations=12), fitted(iterations=24, refit=True)
    assert (twice.record.nll, twice.record.nll_se) == (once.record.nll, once.record.nll_se)
    assert torch.equal(twice.scores(), once.scores())
    assert twice.record.steps == once.record.steps + sum(entry["steps"] for entry in twice.history) <= 24
    assert not torch.equal(twice.log_prob(ROWS.test), once.log_prob(ROWS.test))
    assert twice.log_prob(ROWS.test).isfinite().all()


def test_conditions_come_with_their_rows():
    data = gf.data.load("digits", condition="digit")
    joined = data.trained_also_on("validation")
    assert len(joined.condition.train) == len(joined.train) == len(data.train) + len(data.validation)
    torch.manual_seed(0)
    model = gf.models.FlowMatching(data.dim, width=8, depth=1, condition_dim=data.condition_dim)
    assert model.fit(data, iterations=4, refit=True).sample(2, "3").shape == (2, data.dim)


def test_where_the_time_is_up_the_first_training_stays():
    clock = Clock()
    steps = []

    class Slow(gf.models.FlowMatching):
        def next_stage(self, data, history):
            stage = super().next_stage(data, history)
            if stage is not None:
                second = len(data.train) > len(ROWS.train)
                stage.loss = clock.costing(stage.loss, 2.0 if second else 0.01)
                steps.append(second)
            return stage

    model = Slow(3, width=8, depth=1)
    with pytest.warns(gf.Remark, match="no time was left to train on the validation rows"):
        fitted = model.fit(ROWS, budget=Budget(4.0, clock=clock), refit=True)
    assert steps == [False, True]
    assert not any(entry.get("replayed") for entry in fitted.history)
    assert fitted.record.seconds <= 4.0 + 0.3


@pytest.mark.parametrize("stop", [1, 4])
def test_a_second_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path, stop):
    class Cut(Exception):
        pass

    def fitted(folder, stop=0):
        calls = []

        def progress(event):
            calls.append(event)
            if len(calls) == stop:
                raise Cut

        return flow().fit(ROWS, iterations=160, refit=True, checkpoint=folder, progress=progress)

    whole = fitted(tmp_path / "whole")
    with pytest.raises(Cut):
        fitted(tmp_path / "cut", stop=4 + stop)
    resumed = fitted(tmp_path / "cut")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert resumed.record.nll == whole.record.nll


def test_what_can_not_be_trained_twice_is_refused():
    with pytest.raises(gf.InputError, match="refit: iterations=1 came; at least 2"):
        flow().fit(ROWS, iterations=1, refit=True)


def test_the_command_trains_twice_and_leaves_no_snapshot(tmp_path, capsys):
    from genflow.cli import main

    run = tmp_path / "run"
    assert (
        main(["fit", "gaussian-mixture-3", "--model", "flow-matching", "--iterations", "20", "--refit", "-o", str(run)])
        == 0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert gf.load(run).history[-1]["replayed"]
