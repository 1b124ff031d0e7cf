"""Diffusions: probability flow and reverse equation of a Gaussian, whose denoiser is known; a short training."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow import InputError
from genflow.baselines import ScoreSDE
from genflow.schedulers import EqualLogSNR, LinearInterpolant, VariancePreserving
from genflow.solvers import Adaptive, EulerMaruyama
from genflow.velocities import ProbabilityFlow, ResidualMLP, Shallow

MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.6, 0.4], [0.4, 0.5]], dtype=torch.float64)
IDENTITY = torch.eye(2, dtype=torch.float64)
NOISES = [VariancePreserving(), LinearInterpolant()]
PREDICTIONS = ["epsilon", "x", "v"]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


class GaussianPrediction(gf.Velocity):
    r"""The exact prediction for N(m, S): D = m + G (x - alpha m), G = alpha S (alpha² S + sigma²)^-1."""

    def __init__(self, noise, prediction):
        super().__init__()
        self.noise, self.prediction = noise, prediction

    def gain(self, t):
        alpha, sigma = self.noise.alpha(t)[..., None, None], self.noise.sigma(t)[..., None, None]
        return alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * IDENTITY)

    def of_denoised(self, x, denoised, t):
        alpha, sigma = self.noise.alpha(t)[..., None], self.noise.sigma(t)[..., None]
        epsilon = (x - alpha * denoised) / sigma
        return {"x": denoised, "epsilon": epsilon, "v": alpha * epsilon - sigma * denoised}[self.prediction]

    def forward(self, x, t, condition=None):
        centred = x - self.noise.alpha(t)[..., None] * MEAN
        return self.of_denoised(x, MEAN + (self.gain(t) @ centred[..., None])[..., 0], t)

    def pushforward(self, x, t, tangents, condition=None):
        return self(x, t), self.of_denoised(tangents, (self.gain(t) @ tangents[..., None])[..., 0], t)


def gaussian_flow(noise, prediction="x"):
    return ProbabilityFlow(GaussianPrediction(noise, prediction), noise, prediction)


def law_at(noise, t):
    t = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = noise.alpha(t), noise.sigma(t)
    return alpha * MEAN, alpha**2 * COVARIANCE + sigma**2 * IDENTITY


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()) @ vectors.mT


def points(count=7):
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@every_noise
@every_prediction
def test_probability_flow_of_a_gaussian_in_closed_form(noise, prediction):
    """The map is affine, z = m_1 + C_1^(1/2) C_0^(-1/2) (x - m_0): the covariances at all times commute."""
    flow = gf.Flow(
        gaussian_flow(noise, prediction),
        EqualLogSNR(noise),
        Adaptive("dopri8", 1e-9, 1e-9),
        base=gf.StandardNormal(2),
    )
    (mean_0, cov_0), (mean_1, cov_1) = law_at(noise, noise.t_min), law_at(noise, noise.t_max)
    x = points()
    slope = root(cov_1) @ torch.linalg.inv(root(cov_0))
    z = mean_1 + (x - mean_0) @ slope.mT
    log_p = -0.5 * z.square().sum(-1) - math.log(2 * math.pi) + torch.logdet(slope)
    transport = flow.integrate(x)
    assert torch.allclose(transport.x, z, atol=1e-6)
    assert torch.allclose(flow.log_prob(x), log_p, atol=1e-6)
    assert torch.allclose(flow.decode(z), x, atol=1e-6)


@every_noise
def test_fixed_steps_equal_in_log_snr_come_close(noise):
    flow = gf.Flow(gaussian_flow(noise), EqualLogSNR(noise, 32), base=gf.StandardNormal(2))
    fine = flow.replace(integrator=Adaptive("dopri8", 1e-9, 1e-9))
    assert torch.allclose(flow.log_prob(points()), fine.log_prob(points()), atol=2e-3)


@every_noise
@every_prediction
def test_all_predictions_are_one_velocity(noise, prediction):
    flow, reference = gaussian_flow(noise, prediction), gaussian_flow(noise, "x")
    x = points()
    for t in (torch.tensor(0.3, dtype=torch.float64), torch.linspace(0.1, 0.9, 7, dtype=torch.float64)):
        v = flow(x, t)
        assert torch.allclose(v, reference(x, t))
        assert torch.allclose(flow.denoise(t, x), reference.denoise(t, x))
        alpha, sigma = noise.alpha(t)[..., None], noise.sigma(t)[..., None]
        alpha_dot, sigma_dot = noise.alpha_dot(t)[..., None], noise.sigma_dot(t)[..., None]
        denoised = reference.denoise(t, x)
        assert torch.allclose(v, sigma_dot / sigma * (x - alpha * denoised) + alpha_dot * denoised)


@pytest.mark.parametrize("network", [Shallow, ResidualMLP])
@pytest.mark.parametrize("clock", ["time", "log_snr"])
@every_prediction
def test_derivatives_are_those_of_autograd(network, clock, prediction):
    torch.manual_seed(0)
    velocity = ProbabilityFlow(network(3, 16).double(), VariancePreserving(), prediction, clock)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.normal_(0, 0.4)
    x, u = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    for t in (torch.tensor(0.4, dtype=torch.float64), torch.linspace(0.01, 0.9, 5, dtype=torch.float64)):
        jacobian = torch.autograd.functional.jacobian(lambda y, t=t: velocity(y, t).sum(0), x).permute(1, 0, 2)
        v, divergence = velocity.divergence(x, t)
        assert torch.allclose(v, velocity(x, t))
        assert torch.allclose(divergence, jacobian.diagonal(dim1=1, dim2=2).sum(-1))
        assert torch.allclose(velocity.pushforward(x, t, u)[1], torch.einsum("bij,nbj->nbi", jacobian, u))
        assert torch.allclose(velocity.pullback(x, t, u)[1], torch.einsum("bji,nbj->nbi", jacobian, u))
    assert velocity.closed_form == (network is Shallow)


@pytest.mark.parametrize("sampler", ["ode", "sde"])
def test_samples_have_the_law_at_t_min(sampler):
    noise, count = VariancePreserving(), 20_000
    model = ScoreSDE(2, velocity=gaussian_flow(noise))
    with torch.no_grad():
        x = model.sample(count, generator=torch.Generator().manual_seed(0), sampler=sampler).double()
    mean, covariance = law_at(noise, noise.t_min)
    assert torch.allclose(x.mean(0), mean, atol=0.03)
    assert torch.allclose(x.mT.cov(), covariance, atol=0.03)


def test_both_samplers_answer_to_the_generator():
    model = ScoreSDE(2, width=8)
    for sampler in ("ode", "sde"):
        first, again = (model.sample((2, 3), generator=torch.Generator().manual_seed(1), sampler=sampler) for _ in "12")
        assert first.shape == (2, 3, 2)
        assert torch.equal(first, again)


@every_prediction
@pytest.mark.parametrize("weighting", ["likelihood", "simple"])
def test_the_exact_denoiser_has_the_least_loss(prediction, weighting):
    """The loss is the error of the noise, whatever is predicted; the conditional expectation minimizes it."""
    noise, count = VariancePreserving(), 4000
    generator = torch.Generator().manual_seed(0)
    x = MEAN + torch.randn(count, 2, generator=generator, dtype=torch.float64) @ root(COVARIANCE)
    epsilon = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count

    def losses(name):
        return ScoreSDE(2, velocity=gaussian_flow(noise, name), weighting=weighting).losses(x, epsilon, u)

    assert torch.allclose(losses(prediction), losses("epsilon"), rtol=1e-6, atol=1e-9)
    other = ScoreSDE(
        2,
        velocity=ProbabilityFlow(lambda x, t, c: 0.9 * gaussian_flow(noise).predict(x, t), noise, "x"),
        weighting=weighting,
    )
    assert other.losses(x, epsilon, u).mean() > losses(prediction).mean()


def test_a_short_training_finds_the_density():
    """Two narrow modes: a Gaussian of the same moments stays 0.7 nats behind."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (4000, 1), generator=generator) * 2 - 1
    x = torch.cat([signs * 0.97, torch.randn(4000, 1, generator=generator)], 1)
    x = x + torch.randn(4000, 2, generator=generator) * torch.tensor([0.2, 0.05])
    model = ScoreSDE(2, width=64, depth=2)
    fitted = model.fit(x.numpy().astype("float64"), iterations=400)
    test = torch.as_tensor(x[:500], dtype=torch.float64)
    with torch.no_grad():
        nll = -fitted.log_prob(test).mean().item()
        entropy = math.log(2) + 0.5 * math.log(2 * math.pi * math.e * 0.04) + 0.5 * math.log(2 * math.pi * math.e)
        assert entropy - 0.1 < nll < entropy + 0.3
        samples = fitted.sample(500, generator=generator, sampler="sde")
    assert samples[:, 0].abs().mean().item() == pytest.approx(0.97, abs=0.08)


def test_wrong_arguments_get_one_line():
    for wrong in (
        lambda: ScoreSDE(2, weighting="heavy"),
        lambda: ScoreSDE(2, prediction="y"),
        lambda: ScoreSDE(2).sample(3, sampler="magic"),
        lambda: ProbabilityFlow(Shallow(2), VariancePreserving(), clock="sundial"),
    ):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(InputError, match="log p needs an ODE solver"):
        ScoreSDE(2).replace(integrator=EulerMaruyama()).log_prob(torch.zeros(3, 2))
