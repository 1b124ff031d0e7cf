"""The published recipe of JKO-iFlow: its objective is the proximal one, estimated with a probe for each third."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow.models import PublishedJKOiFlow
from genflow.training import Budget, TrainingData, train


@pytest.fixture(scope="module")
def rows():
    g = torch.Generator().manual_seed(0)
    x = torch.tensor([1.0, -0.5]) + torch.randn(1200, 2, generator=g) * torch.tensor([0.5, 1.5])
    return TrainingData(x[:1000], x[1000:])


def test_its_loss_is_an_unbiased_estimate_of_the_proximal_objective(rows):
    torch.manual_seed(0)
    model = PublishedJKOiFlow(2, blocks=1, width=16, first=0.7)
    stage = model.next_stage(rows, [])
    with torch.no_grad():
        x = stage.train
        losses = torch.stack([stage.loss(x, torch.Generator().manual_seed(seed)) for seed in range(200)])
        # On [0, 1], with h in the proximal term alone.
        flow = gf.Flow(model.velocity, gf.schedulers.Uniform(3), base=model.base)
        moved = flow.integrate(x)
        exact = (-model.base.log_prob(moved.x) - moved.log_det + (moved.x - x).square().sum(-1) / 1.4).mean()
    assert model.velocity.interval == (0.0, 1.0)
    assert abs((losses.mean() - exact).item()) < 4 * (losses.std() / math.sqrt(len(losses))).item() + 1e-3


def test_its_training_rows_are_diffused_and_its_validation_rows_are_not(rows):
    model = PublishedJKOiFlow(2, blocks=1, width=8)
    stage = model.next_stage(rows, [])
    noise = stage.train - math.exp(-1e-3) * rows.train
    assert noise.std().item() == pytest.approx(math.sqrt(-math.expm1(-2e-3)), rel=0.1)
    cached = rows.cache["diffused"]
    assert torch.equal(cached.validation, rows.validation)


def test_its_network_does_not_know_the_time_and_its_rate_is_fixed(rows):
    model = PublishedJKOiFlow(2, blocks=1, width=8)
    stage = model.next_stage(rows, [])
    x, block = rows.validation, model.velocity[0]
    assert torch.equal(block(x, torch.tensor(0.0)), block(x, torch.tensor(0.9)))
    assert not stage.annealed
    assert (stage.learning_rate, stage.batch_size, stage.clip, stage.average) == (1e-4, 2000, 1.0, 0.0)


def test_it_trains_saves_and_loads(rows, tmp_path):
    torch.manual_seed(0)
    model = PublishedJKOiFlow(2, blocks=2, width=8, batch_size=100, learning_rate=1e-2, steps=3)
    history = train(model, rows, Budget(iterations=40))
    assert [entry["h"] for entry in history] == pytest.approx([0.25, 0.35])
    assert history[-1]["nll"] < -model.base.log_prob(rows.validation).mean()
    model.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    torch.testing.assert_close(again.log_prob(rows.validation), model.log_prob(rows.validation))
