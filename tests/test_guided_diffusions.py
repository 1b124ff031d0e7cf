"""Guidance of a diffusion, whose denoiser and score are linear in both branches; models without a condition."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.schedulers import EqualLogSNR, VariancePreserving
from genflow.solvers import (
    DDIM,
    RK4,
    SRK,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    Milstein,
    PredictorCorrector,
    StochasticHeun,
)
from genflow.velocities import Chain, Guided, NullCondition, OptionalCondition, ProbabilityFlow, Shallow

NOISE = VariancePreserving(t_min=1e-3)
S, MEAN, WEIGHT = 0.5, 1.5, 0.8


class Gaussians(gf.Velocity):
    """The denoiser of N(c, s²) under a condition c, of N(0, s²) without: D = α s² / N x + σ² / N c, N = α² s² + σ²."""

    dim, condition_dim, condition_optional = 1, 1, True

    def forward(self, x, t, condition=None):
        alpha, sigma = (f(t)[..., None] if t.ndim else f(t) for f in (NOISE.alpha, NOISE.sigma))
        variance = alpha**2 * S**2 + sigma**2
        denoised = alpha * S**2 / variance * x
        return denoised if condition is None else denoised + sigma**2 / variance * condition


def guided(weight=WEIGHT):
    return Guided(ProbabilityFlow(Gaussians(), NOISE, "x"), weight)


def test_the_guided_denoiser_and_score_are_those_of_the_shifted_law():
    """The branches share their variance: with (1 + w) D_c - w D_0 the mean is (1 + w) c, in closed form."""
    x, c = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None], torch.tensor([MEAN], dtype=torch.float64)
    for weight in (-1.0, 0.0, WEIGHT, 4.0):
        field, shifted = guided(weight), ProbabilityFlow(Gaussians(), NOISE, "x")
        for time in (0.01, 0.3, 0.99):
            t = torch.tensor(time, dtype=torch.float64)
            mean = (1 + weight) * c
            torch.testing.assert_close(field.denoise(t, x, c), shifted.denoise(t, x, mean))
            torch.testing.assert_close(field(x, t, c), shifted(x, t, mean))
            # The score of N(α m, α² s² + σ²).
            alpha, sigma = NOISE.alpha(t), NOISE.sigma(t)
            score = (alpha * field.denoise(t, x, c) - x) / sigma**2
            torch.testing.assert_close(score, (alpha * mean - x) / (alpha**2 * S**2 + sigma**2))


SAMPLERS = {
    "ddim": DDIM(), "ddim-half": DDIM(0.5), "ancestral": Ancestral(), "dpm": DPMSolver(), "pc": PredictorCorrector(),
    "em": EulerMaruyama(), "heun": StochasticHeun(), "milstein": Milstein(), "srk": SRK(), "rk4": RK4(),
}  # fmt: skip


@pytest.mark.parametrize("place", ["whole", "inside a chain"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_a_diffusion_can_be_guided(name, place):
    if place == "whole":
        field = guided()
    elif name in ("ddim", "dpm", "ancestral"):
        field = Chain([guided()])
    else:
        pytest.skip("one of each kind will do")
    rows, steps = 4000, 12 if name == "srk" else 60
    flow = gf.Flow(field, EqualLogSNR(NOISE, steps), SAMPLERS[name], base=gf.StandardNormal(1))
    with torch.no_grad():
        x = flow.sample(rows, torch.tensor([MEAN]), torch.Generator().manual_seed(0))
    # Five standard errors; and the bias of first-order sampling, below a hundredth at 60 steps and a twentieth at 12.
    bias = 0.05 if steps == 12 else 0.02
    law = ((1 + WEIGHT) * MEAN, S)
    assert x.mean().item() == pytest.approx(law[0], abs=5 * S / math.sqrt(rows) + bias)
    assert x.std().item() == pytest.approx(law[1], abs=5 * S / math.sqrt(2 * rows) + bias)


def test_the_stochastic_sampler_of_a_model_can_be_guided():
    model = gf.baselines.ScoreSDE(1, noise=NOISE, velocity=ProbabilityFlow(Gaussians(), NOISE, "x"), condition_dim=1)
    model = model.replace(velocity=Guided(model.velocity, WEIGHT))
    with torch.no_grad():
        x = model.sample(4000, torch.tensor([MEAN]), torch.Generator().manual_seed(0), sampler="sde", steps=100)
    assert x.mean().item() == pytest.approx((1 + WEIGHT) * MEAN, abs=0.06)  # as above
    assert x.std().item() == pytest.approx(S, abs=0.05)


def test_a_guided_model_is_saved_and_loaded(tmp_path):
    model = gf.baselines.ScoreSDE(2, width=8, condition_dim=3, condition_dropout=0.1, steps=4)
    model = model.replace(velocity=Guided(model.velocity, 1.0), integrator=DDIM())
    model.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    condition = torch.eye(3)[0]
    with torch.no_grad():
        samples = [m.sample(5, condition, torch.Generator().manual_seed(0)) for m in (model, again)]
    assert torch.equal(*samples)


# The empty condition


class Own(gf.Velocity):
    """A velocity of the user's own, which knows nothing of an empty condition."""

    def __init__(self, dim, conditions):
        super().__init__()
        self.dim = dim
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dim + 1 + conditions, 32), torch.nn.SiLU(), torch.nn.Linear(32, dim)
        )

    def forward(self, x, t, condition=None):
        condition = condition.expand(*x.shape[:-1], -1)
        return self.layers(torch.cat([x, t.expand(x.shape[:-1])[..., None], condition], -1))


def groups():
    """Two groups a distance of 8 apart."""
    generator = torch.Generator().manual_seed(0)
    upper = (torch.rand(600, generator=generator) < 0.5).double()
    x = 4 * (2 * upper - 1)[:, None] + torch.randn(600, 2, generator=generator, dtype=torch.float64)
    frame = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "c": ["up" if u else "down" for u in upper]})
    return gf.data.load(frame, condition=["c"])


def own_models():
    flow = lambda: gf.models.FlowMatching(
        2, velocity=Own(2, 2), condition_dim=2, condition_dropout=0.3, learning_rate=1e-2
    )
    noise = VariancePreserving(t_min=1e-4)
    score = lambda: gf.baselines.ScoreSDE(
        2, velocity=ProbabilityFlow(Own(2, 2), noise, "v"), condition_dim=2, condition_dropout=0.3
    )
    return {"flow matching": flow, "score-sde": score}


@pytest.mark.parametrize("name", own_models())
@pytest.mark.slow
def test_a_velocity_of_the_users_own_learns_to_do_without(name):
    torch.manual_seed(0)
    data = groups()
    fitted = own_models()[name]().fit(data, iterations=400)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        up = fitted.sample(400, ("up",), generator).mean(0)
        anyone = fitted.sample(400, None, generator)
        guided = fitted.replace(velocity=Guided(fitted.model.velocity, 0.5)).sample(50, ("up",), generator)
    assert (up > 2).all()  # 4 is the mean of this group, -4 that of the other
    share = (anyone[:, 0] > 0).double().mean().item()
    assert 0.2 < share < 0.8  # both groups; a model that took the condition for zero or one of them has one
    assert guided.isfinite().all()


def test_null_condition_owns_the_vector_that_stands_for_none():
    field = NullCondition(Own(2, 3), 3)
    x, t = torch.randn(5, 2), torch.tensor(0.2)
    torch.testing.assert_close(field(x, t), field.velocity(x, t, field.null))
    field(x, t).sum().backward()
    assert field.null.grad.abs().sum() > 0
    with pytest.raises(gf.InputError, match="condition_dim: None came"):
        NullCondition(Own(2, 3))
    with pytest.raises(gf.InputError, match=r"condition_dropout: 0\.2 came without a condition"):
        gf.models.FlowMatching(2, velocity=Own(2, 0), condition_dropout=0.2)


def test_what_can_do_without_is_not_wrapped_again():
    inner = OptionalCondition(Shallow(2, condition_dim=3))
    model = gf.models.FlowMatching(2, velocity=inner, condition_dim=2, condition_dropout=0.2)
    assert model.velocity is inner
    model = gf.baselines.ScoreSDE(2, velocity=ProbabilityFlow(inner, NOISE), condition_dim=2, condition_dropout=0.2)
    assert model.velocity.network is inner
    model = gf.models.FlowMatching(2, velocity=Own(2, 2), condition_dim=2)
    assert isinstance(model.velocity, Own)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_condition_that_is_not_a_number_is_one_line(value):
    model = gf.models.FlowMatching(2, width=8, steps=2, condition_dim=2, condition_dropout=0.1)
    condition = torch.zeros(4, 2)
    condition[2, 1] = value
    score = gf.baselines.ScoreSDE(2, width=8, steps=2, condition_dim=2, condition_dropout=0.1)
    for ask in (
        lambda: model.log_prob(torch.zeros(4, 2), condition),
        lambda: model.sample(4, condition),
        lambda: score.sample(4, condition, sampler="sde", steps=2),
        lambda: model.replace(velocity=Guided(model.velocity, 1.0)).sample(4, condition),
        lambda: gf.baselines.NSF(2, width=8, transforms=1, condition_dim=2).log_prob(torch.zeros(4, 2), condition),
    ):
        with pytest.raises(gf.InputError, match=rf"condition: {value} came at \[2, 1\]") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_diffusion_needs_a_probability_flow():
    with pytest.raises(gf.InputError, match="velocity: a Own came, which is the probability flow of no diffusion"):
        gf.baselines.ScoreSDE(2, velocity=Own(2, 2))
    model = gf.baselines.ScoreSDE(2, width=8, condition_dim=2, condition_dropout=0.1)
    with pytest.raises(gf.InputError, match="a Guided can't be trained"):
        model.replace(velocity=Guided(model.velocity, 1.0)).fit(groups(), iterations=2)
