"""The view of a trained model as a distribution of torch."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Distribution, TransformedDistribution
from torch.distributions.transforms import ExpTransform, IndependentTransform

import genflow as gf

MOVING = {
    "cnf": lambda: gf.models.CNF(2, width=8),
    "flow-matching": lambda: gf.models.FlowMatching(2, width=8, steps=4),
    "score-sde": lambda: gf.baselines.ScoreSDE(2, width=8, steps=4),
    "nsf": lambda: gf.baselines.NSF(2, width=8, transforms=2),
    "maf": lambda: gf.baselines.MAF(2, width=8, transforms=2),
    "naf": lambda: gf.baselines.NAF(2, width=8, transforms=1),
    "gaussian": lambda: gf.baselines.Gaussian(2),
}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(200, 2)) * [1, 10] + [0, 5]


@pytest.fixture(scope="module")
def fitted(rows):
    return {name: build().fit(rows, iterations=3) for name, build in MOVING.items()}


@pytest.fixture(scope="module")
def conditional():
    rng = np.random.default_rng(0)
    city = np.repeat(["Graz", "Oslo"], 100)
    frame = pd.DataFrame({"a": rng.normal(5 * (city == "Oslo")), "b": rng.normal(size=200), "city": city})
    data = gf.data.load(frame, condition="city")
    return gf.models.FlowMatching(2, width=16, steps=4, condition_dim=2).fit(data, iterations=60)


@pytest.mark.parametrize("name", MOVING)
def test_it_is_a_distribution_of_the_models_law(name, fitted, rows):
    model = fitted[name]
    law = model.distribution()
    assert isinstance(law, Distribution)
    assert law.event_shape == (2,)
    assert law.batch_shape == ()
    x = torch.as_tensor(rows[:12]).reshape(3, 4, 2)
    torch.testing.assert_close(law.log_prob(x).detach(), model.log_prob(x), rtol=1e-4, atol=1e-4)
    torch.manual_seed(3)
    drawn = law.sample((3, 4))
    assert drawn.shape == (3, 4, 2)
    assert not drawn.requires_grad
    torch.manual_seed(3)
    assert torch.equal(law.sample((3, 4)), drawn)
    assert not torch.equal(law.sample((3, 4)), drawn)
    assert law.sample().shape == (2,)


@pytest.mark.parametrize("name", ["cnf", "flow-matching", "score-sde", "nsf", "maf", "naf"])
def test_its_draws_have_the_derivative_of_the_weights(name, fitted):
    """Along a direction in the space of weights, against central differences of the draws of one seed."""
    model = fitted[name].distribution().fitted
    model = gf.fitted.Transformed(**{**model.config(), "model": model.model.double()})
    law = model.distribution()
    assert law.has_rsample
    weights = [weight for weight in model.model.parameters() if weight.requires_grad]
    generator = torch.Generator().manual_seed(0)
    along = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]

    def drawn() -> torch.Tensor:
        torch.manual_seed(1)
        return law.rsample((5,)).sum()

    @torch.no_grad()
    def moved(step: float) -> float:
        for weight, move in zip(weights, along):
            weight += step * move
        found = drawn().item()
        for weight, move in zip(weights, along):
            weight -= step * move
        return found

    gradient = torch.autograd.grad(drawn(), weights, allow_unused=True)
    derivative = sum((g * move).sum().item() for g, move in zip(gradient, along) if g is not None)
    step = 1e-7  # so short that no weight of naf changes its sign on it, nor an activation its branch
    difference = (moved(step) - moved(-step)) / (2 * step)
    # Draws of some tens, good to 1e-14 of that and the solve's stretching: 1e-5 when they are divided by the step.
    assert derivative == pytest.approx(difference, rel=1e-3, abs=1e-3)
    assert derivative != 0


def test_its_log_density_is_differentiable_in_the_values(fitted, rows):
    law, x = fitted["nsf"].distribution(), torch.as_tensor(rows[:5]).requires_grad_()
    gradient = torch.autograd.grad(law.log_prob(x).sum(), x)[0]
    torch.testing.assert_close(gradient, fitted["nsf"].score(x.detach()), rtol=1e-5, atol=1e-6)
    assert law.log_prob(x.detach()).requires_grad  # in the weights


def test_a_model_that_does_not_move_noise_says_so(rows):
    law = gf.baselines.GaussianMixture(2).fit(rows, iterations=3).distribution()
    assert not law.has_rsample
    assert law.sample((3,)).shape == (3, 2)
    with pytest.raises(NotImplementedError, match="does not move noise"):
        law.rsample((3,))


def test_rows_of_the_condition_are_its_batch(conditional):
    law = conditional.distribution(["Graz", "Oslo", "Oslo"])
    assert law.batch_shape == (3,)
    x = law.sample((200,))
    assert x.shape == (200, 3, 2)
    means = x[..., 0].mean(0)
    # Deviations of some 1 within a class, in 200 draws: 0.07 each; the classes are 5 apart, and little was learned.
    assert means[1] - means[0] > 1
    assert abs(means[1] - means[2]) < 1
    log_p = law.log_prob(x[:4])
    assert log_p.shape == (4, 3)
    for j, city in enumerate(["Graz", "Oslo", "Oslo"]):
        alone = conditional.distribution(city)
        assert alone.batch_shape == ()
        torch.testing.assert_close(alone.log_prob(x[:4, j]), log_p[:, j], rtol=1e-4, atol=1e-4)
    one = x[0, 0]
    assert law.log_prob(one).shape == (3,)  # a value for all
    with pytest.raises(gf.InputError, match="none came"):
        conditional.distribution()
    with pytest.raises(gf.InputError, match="'Rome' came"):
        conditional.distribution("Rome")


def test_it_expands_and_composes(conditional, fitted):
    law = conditional.distribution("Oslo").expand((4, 3))
    assert law.batch_shape == (4, 3)
    assert law.sample((2,)).shape == (2, 4, 3, 2)
    assert law.log_prob(torch.zeros(2, 4, 3, 2)).shape == (2, 4, 3)
    batch = conditional.distribution(["Graz", "Oslo"]).expand((5, 2))
    assert batch.log_prob(torch.zeros(5, 2, 2)).shape == (5, 2)
    with pytest.raises(gf.InputError, match="does not broadcast"):
        batch.expand((5,))
    # log p of exp(x) is that of x minus the sum of x.
    base = fitted["nsf"].distribution()
    positive = TransformedDistribution(base, [IndependentTransform(ExpTransform(), 1)])
    x = base.sample((6,)) / 10
    torch.testing.assert_close(positive.log_prob(x.exp()), base.log_prob(x) - x.sum(-1))


def test_wrong_values_are_refused(fitted):
    law = fitted["nsf"].distribution()
    with pytest.raises(ValueError, match=r"event_shape|rows of 2 numbers"):
        law.log_prob(torch.zeros(3, 5))
    assert math.isfinite(law.log_prob(torch.zeros(2)).item())
