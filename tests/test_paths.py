"""Paths × predictions on Gaussian data, where everything has a closed form; couplings, times and weightings."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow import InputError, paths
from genflow.baselines import RectifiedFlow
from genflow.models import Matching
from genflow.paths.couplings import coupling
from genflow.paths.predictions import PREDICTIONS, prediction_of
from genflow.paths.times import log_snr_range
from genflow.paths.weightings import WEIGHTINGS, weighting_of
from genflow.solvers import Adaptive, StochasticHeun
from genflow.training import Budget, TrainingData, train
from genflow.velocities import ProbabilityFlow

MEAN = torch.tensor([0.8, -0.4], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.9, 0.5], [0.5, 0.6]], dtype=torch.float64)
IDENTITY = torch.eye(2, dtype=torch.float64)

LEVELS = 32

PATHS = {
    "vp": lambda: paths.VariancePreserving(t_min=1e-4),
    "sub-vp": lambda: paths.SubVariancePreserving(t_min=1e-2),
    "ve": lambda: paths.VarianceExploding(0.01, 20.0),
    "edm": lambda: paths.EDM(0.01, 20.0),
    "cosine": lambda: paths.Cosine(t_min=1e-2),
    "ddpm": lambda: paths.DiscreteSteps("linear", LEVELS),
    "ddpm-cosine": lambda: paths.DiscreteSteps("cosine", LEVELS),
    "linear": lambda: paths.Linear(1e-2, 0.99),
    "interpolant-of-diffusions": lambda: paths.LinearInterpolant(1e-2, 0.99),
    "trigonometric": lambda: paths.Trigonometric(1e-2, 0.99),
    "lipman": lambda: paths.ConditionalOT(0.05, 0.99),
    "stochastic-interpolant": lambda: paths.Interpolant(0.5, 1e-2),
    "learned": lambda: paths.Learned(8.0, -8.0, width=3).double(),
}
# A path with a noise of its own has its rate only; one that is learned is slow.
FEWER = {"stochastic-interpolant": ["rate"], "learned": ["epsilon", "v"]}
CASES = [(name, prediction) for name in PATHS for prediction in FEWER.get(name, PREDICTIONS)]
QUICK = [
    case for i, case in enumerate(CASES) if not i % 3 or case[0] == "stochastic-interpolant"
]  # all paths, all predictions
every_path = pytest.mark.parametrize("name", PATHS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def law_at(path, t):
    """Mean and covariance of x_t."""
    noise = path.gaussian()
    t = torch.as_tensor(t, dtype=torch.float64)
    alpha, sigma = noise.alpha(t).detach(), noise.sigma(t).detach()
    return alpha[..., None] * MEAN, alpha[..., None, None] ** 2 * COVARIANCE + sigma[..., None, None] ** 2 * IDENTITY


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()) @ vectors.mT


class Exact(gf.Velocity):
    """What a network should predict of N(m, S): the target's conditional expectation, linear in x_t."""

    dim = 2

    def __init__(self, path, prediction):
        super().__init__()
        self.path, self.prediction = path, prediction

    def of(self, x, t, mean):
        noise = self.path.gaussian()
        alpha, sigma = noise.alpha(t)[..., None], noise.sigma(t)[..., None]
        gain = (
            alpha[..., None]
            * COVARIANCE
            @ torch.linalg.inv(alpha[..., None] ** 2 * COVARIANCE + sigma[..., None] ** 2 * IDENTITY)
        )
        scale = torch.as_tensor(self.prediction.scale(noise, t), dtype=x.dtype)
        y = x / (scale[..., None] if scale.ndim else scale)
        denoised = mean + (gain @ (y - alpha * mean)[..., None])[..., 0]
        z = (y - alpha * denoised) / sigma
        # With one noise of its own a path's rate has that of the merged path as its conditional expectation.
        to_x, to_z = (torch.as_tensor(c, dtype=x.dtype) for c in self.prediction.target(noise, t))
        return to_x[..., None] * denoised + to_z[..., None] * z

    def forward(self, x, t, condition=None):
        return self.of(x, t, MEAN)

    def pushforward(self, x, t, tangents, condition=None):
        return self(x, t), self.of(tangents, t, torch.zeros_like(MEAN))


def exact_flow(name, prediction="rate"):
    path = PATHS[name]()
    kind = prediction_of(prediction)
    return path, ProbabilityFlow(Exact(path, kind), path, kind)


@pytest.mark.parametrize(
    ("name", "prediction"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_the_likelihood_of_a_gaussian(name, prediction):
    """log p by the probability flow is that of the law at the earliest time, the base being that of the latest."""
    path, velocity = exact_flow(name, prediction)

    class Terminal(gf.Base):
        shape = (2,)

        def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
            raise NotImplementedError

        def log_prob(self, z):
            return torch.distributions.MultivariateNormal(*law_at(path, path.t_max)).log_prob(z)

    grid, solver = gf.schedulers.EqualLogSNR(path.gaussian(), 8), Adaptive("dopri8", 1e-7, 1e-7)
    if isinstance(path, paths.DiscreteSteps):  # the field's slope jumps at each level: so many steps between every two
        grid = gf.schedulers.Uniform(4 * round(LEVELS * (path.t_max - path.t_min)))
        solver = gf.solvers.RK4()
    flow = gf.Flow(velocity, grid, solver, base=Terminal())
    x = MEAN + torch.randn(16, 2, generator=seeded(), dtype=torch.float64) @ root(COVARIANCE)
    truth = torch.distributions.MultivariateNormal(*law_at(path, path.t_min)).log_prob(x)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(x), truth, rtol=0, atol=1e-4)
        # The map itself: all covariances commute, so that it is m_1 + C_1^(1/2) C_0^(-1/2) (x - m_0).
        (m_0, c_0), (m_1, c_1) = law_at(path, path.t_min), law_at(path, path.t_max)
        z = m_1 + (x - m_0) @ (root(c_1) @ torch.linalg.inv(root(c_0))).mT
        torch.testing.assert_close(flow.encode(x), z, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@every_path
def test_the_stochastic_sampler_has_the_laws_of_the_path_at_five_times(name):
    """Means and covariances of the reverse equation, from the exact law of the latest time on.

    Below 4.5 standard errors each: of 13 paths, 5 times and 5 moments the largest exceeds it with probability 0.002.
    The bias of Heun's 150 steps, of order 2, is below one more.
    """
    path, velocity = exact_flow(name)
    count, generator = 20_000, seeded(1)
    model = Matching(velocity, base=gf.StandardNormal(2, scale_at_end(path)))
    mean, covariance = law_at(path, path.t_max)
    x = mean + torch.randn(count, 2, generator=generator, dtype=torch.float64) @ root(covariance)
    times = gf.schedulers.EqualLogSNR(path.gaussian(), 150).times(path.t_max, path.t_min, dtype=torch.float64)
    with torch.no_grad():
        states = StochasticHeun().solve(model.reverse_dynamics(), x, times, generator=generator, save="all").states
        own = gf.Dynamics(lambda t, x: velocity(x, t))
        own.denoise, own.noise = velocity.denoise, velocity.noise
        again = StochasticHeun().solve(own, x, times[:2], generator=generator).state
    assert again.isfinite().all()
    for index in (30, 60, 90, 120, 150):
        mean, covariance = law_at(path, times[index])
        variances = covariance.diagonal()
        centred = states[index] - mean
        assert ((centred.mean(0) / (variances / count).sqrt()).abs() < 5.5).all()
        errors = ((covariance**2 + variances[:, None] * variances) / count).sqrt()
        assert (((centred.mT @ centred / count - covariance) / errors).abs() < 5.5).all()


def scale_at_end(path):
    noise = path.gaussian()
    end = torch.tensor(path.t_max, dtype=torch.float64)
    scale = math.hypot(noise.alpha(end).item(), noise.sigma(end).item())
    return 1.0 if abs(scale - 1) < 0.01 else scale


@pytest.mark.parametrize("rate", [0.0, 0.3, 3.0])
def test_every_rate_of_exchange_has_the_same_laws(rate):
    class Exchanging(paths.Trigonometric):
        def exchange(self, t):
            return torch.full_like(t, rate)

    path = Exchanging(1e-2, 0.99)
    model = Matching(ProbabilityFlow(Exact(path, paths.Rate()), path, "rate"), base=gf.StandardNormal(2))
    count, generator = 20_000, seeded(2)
    mean, covariance = law_at(path, path.t_max)
    x = mean + torch.randn(count, 2, generator=generator, dtype=torch.float64) @ root(covariance)
    times = torch.linspace(path.t_max, path.t_min, 151, dtype=torch.float64)
    with torch.no_grad():
        x = StochasticHeun().solve(model.reverse_dynamics(), x, times, generator=generator).state
    mean, covariance = law_at(path, path.t_min)
    variances = covariance.diagonal()
    assert (((x - mean).mean(0) / (variances / count).sqrt()).abs() < 5).all()
    errors = ((covariance**2 + variances[:, None] * variances) / count).sqrt()
    assert ((((x - mean).mT @ (x - mean) / count - covariance) / errors).abs() < 5).all()


@every_path
def test_the_path_ends_in_its_base(name):
    """Of data of mean 0 and covariance I: the law at the end is the base that a model takes, up to its slack."""
    path, velocity = exact_flow(name)
    model = Matching(velocity)
    noise = path.gaussian()
    end = torch.tensor(path.t_max, dtype=torch.float64)
    variance = noise.alpha(end) ** 2 + noise.sigma(end) ** 2
    # KL of N(0, a²) and N(0, b²) is about (a / b - 1)² in each dimension.
    assert (variance.sqrt() / model.base.scale - 1) ** 2 < 1e-3


@every_path
def test_rates_and_inverses_are_those_of_the_coefficients(name):
    path = PATHS[name]()
    inner = (
        path.t_min + (path.t_max - path.t_min) * torch.linspace(0.013, 0.987, 9, dtype=torch.float64)
    ).requires_grad_()
    for value, rate in ((path.alpha, path.alpha_dot), (path.sigma, path.sigma_dot), (path.gamma, path.gamma_dot)):
        out = value(inner)
        slope = torch.autograd.grad(out.sum(), inner)[0] if out.requires_grad else torch.zeros_like(inner)
        torch.testing.assert_close(rate(inner), slope, rtol=1e-9, atol=1e-12)
    noise, t = path.gaussian(), inner.detach()
    with torch.no_grad():
        log_snr = noise.log_snr(t)
        torch.testing.assert_close(log_snr, 2 * (noise.alpha(t).log() - noise.sigma(t).log()), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(noise.time_of(log_snr), t, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(gf.GaussianPath.time_of(noise, log_snr), t, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(noise.diffusion(t), gf.GaussianPath.diffusion(noise, t), rtol=1e-7, atol=1e-9)
        assert (noise.exchange(t) >= 0).all()


@pytest.mark.parametrize(("name", "prediction"), CASES)
def test_a_prediction_leads_to_both_ends(name, prediction):
    """D, the noise and the velocity of the very target of a pair are x, z and the path's rate."""
    path, kind = PATHS[name]().gaussian(), prediction_of(prediction)
    x, z = torch.randn(2, 5, dtype=torch.float64, generator=seeded())
    t = path.t_min + (path.t_max - path.t_min) * torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    with torch.no_grad():
        x_t = path.alpha(t) * x + path.sigma(t) * z
        target = sum(c * end for c, end in zip(kind.target(path, t), (x, z)))
        found = [
            pair[0] * x_t + pair[1] * target
            for pair in (kind.denoised(path, t), kind.noised(path, t), kind.velocity(path, t))
        ]
        for value, truth in zip(found, (x, z, path.alpha_dot(t) * x + path.sigma_dot(t) * z)):
            # Of one end the other is a difference, divided by its coefficient.
            room = 1e-12 * (1 + 1 / path.alpha(t).min() + 1 / path.sigma(t).min()) ** 2 * (1 + truth.abs().max())
            torch.testing.assert_close(value, truth, rtol=0, atol=room.item())


TIMES = {
    "uniform": paths.UniformTime(),
    "log-snr": paths.UniformLogSNR(),
    "log-normal": paths.LogNormal(-0.5, 0.8),
    "logit-normal": paths.LogitNormal(0.3, 0.7),
    "power": paths.PowerLaw(1.7),
}


@pytest.mark.parametrize("name", TIMES)
def test_the_density_of_times_is_that_of_their_quantiles(name):
    times, path = TIMES[name], paths.VariancePreserving(t_min=1e-4)
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    step = 1e-5
    slope = (times.quantile(u + step, path) - times.quantile(u - step, path)) / (2 * step)
    t = times.quantile(u, path)
    torch.testing.assert_close((times.density(t, path) * slope).abs(), torch.ones_like(u), rtol=1e-4, atol=0)
    assert t.min() >= path.t_min
    assert t.max() <= path.t_max


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_exact_prediction_has_the_least_loss(prediction, weighting):
    path = paths.Cosine(t_min=0.02)
    kind = prediction_of(prediction)
    exact = Exact(path, kind)
    x = MEAN + torch.randn(40_000, 2, generator=seeded(), dtype=torch.float64) @ root(COVARIANCE)
    z = torch.randn(40_000, 2, generator=seeded(1), dtype=torch.float64)
    u = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    # The likelihood's weight divides by the density of the times: one that falls to zero at the ends has heavy tails.
    times = paths.UniformLogSNR() if weighting == "likelihood" else paths.LogitNormal()

    def losses(factor):
        network = gf.as_velocity(lambda y, t, c: factor * exact(y, t))
        network.dim = 2
        model = Matching(ProbabilityFlow(network, path, kind), times=times, weighting=weighting)
        return model.losses(x, z, u)

    for factor in (0.8, 1.2):
        gap = losses(factor) - losses(1.0)
        assert gap.mean() > 4 * gap.std() / math.sqrt(len(gap))


def test_weightings_agree_where_they_should():
    path, t = paths.VariancePreserving(t_min=1e-3), torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    every = [prediction_of(name) for name in PREDICTIONS]
    times = paths.UniformLogSNR()
    for kind in every:
        simple = weighting_of("simple")(path, kind, times, t)
        torch.testing.assert_close(weighting_of("likelihood")(path, kind, times, t), simple)
        # Whatever is predicted, it is the error of the data times min(SNR, γ).
        snr = path.log_snr(t).exp()
        of_data = torch.as_tensor(kind.denoised(path, t)[1]).expand_as(t) ** 2
        torch.testing.assert_close(weighting_of("min-snr")(path, kind, times, t), snr.clamp_max(5.0) * of_data)
        noise = path.sigma(t) / path.alpha(t)
        torch.testing.assert_close(
            paths.EDMWeighting(0.5)(path, kind, times, t), (noise**2 + 0.25) / (0.5 * noise) ** 2 * of_data
        )
    torch.testing.assert_close(paths.EDMWeighting(0.5)(path, paths.Preconditioned(0.5), times, t), torch.ones_like(t))
    # Under other times the likelihood's weight makes up for their density.
    ratio = weighting_of("likelihood")(path, paths.Noise(), paths.UniformTime(), t)
    slope = -torch.func.jvp(path.log_snr, (t,), (torch.ones_like(t),))[1]
    low, high = log_snr_range(path)
    torch.testing.assert_close(ratio, slope * (path.t_max - path.t_min) / (high - low))


def test_entropic_pairs_of_gaussians_have_the_covariance_of_the_schroedinger_bridge():
    """Between N(0, a²) and N(0, b²) the plan of weight ε is normal, of covariance ½(√(4 a² b² + s⁴) - s²), s² = ε / 2.

    Janati et al. 2020, Entropic optimal transport between unbalanced Gaussian measures, https://arxiv.org/abs/2006.02572
    """
    count, a, b = 600, 1.0, 0.6
    x = a * torch.randn(count, 1, generator=seeded(), dtype=torch.float64)
    z = b * torch.randn(count, 1, generator=seeded(1), dtype=torch.float64)
    found = []
    for regularization in (0.1, 1.0, 8.0):
        plan = paths.EntropicTransport(regularization).plan(x, z)
        torch.testing.assert_close(plan.sum(1), torch.full((count,), 1 / count, dtype=torch.float64), rtol=1e-3, atol=0)
        s = regularization / 2
        # The empirical variances in the place of the true ones; a relative error of 1/√n is left, five of them allowed.
        va, vb = x.var().item(), z.var().item()
        truth = 0.5 * (math.sqrt(4 * va * vb + s**2) - s)
        covariance = (x.T @ plan @ z).item() - x.mean().item() * z.mean().item()
        assert covariance == pytest.approx(truth, abs=5 * math.sqrt(va * vb / count) / 2)
        found.append(covariance)
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_an_entropic_plan_has_its_form_and_margins_however_large_the_cost(scale):
    """π = diag(r) exp(-c / ε) diag(s) with margins 1 / n: so log π + c / ε is a sum of two potentials, wherever π is no
    zero, also where exp(-c / ε) is one in every entry."""
    x, z = (scale * torch.randn(12, 3, generator=seeded(i), dtype=torch.float64) for i in (1, 2))
    cost = torch.cdist(x, z + 10 * scale).square()
    assert (torch.exp(-cost) == 0).all() or scale == 1.0
    regularization = 0.2 * torch.cdist(x, z).square().mean().item() if scale == 1.0 else 40.0
    plan = paths.EntropicTransport(regularization).plan(x, z + 10 * scale)
    # After k iterations one margin is exact, the other has |m - 1/n|₁² <= 2 log(sum / least entry of the kernel) / k
    # (Altschuler et al. 2017, https://arxiv.org/abs/1705.09634); the kernel's exponents are at most the cost's range.
    off = sorted((plan.sum(axis) - 1 / 12).abs().sum().item() for axis in (0, 1))
    exponents = (cost.max() - cost.min()).item() / regularization + math.log(144)
    assert off[0] < 1e-9
    assert off[1] < math.sqrt(2 * exponents / 1000)
    seen = plan > 1e-12
    table = torch.where(seen, plan.clamp_min(1e-300).log() + cost / regularization, 0.0)
    i, j = seen.nonzero().T
    for k in range(12):  # of four entries that are there, the two sums over the diagonals agree
        both = seen[i, k] & seen[k, j]
        gap = table[i, j] + table[k, k] - table[i, k] - table[k, j]
        gap = gap[both & seen[k, k]]
        assert gap.numel() == 0 or gap.abs().max() < 1e-6


def test_entropic_pairs_are_drawn_from_the_plan():
    x, z = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
    pairs = paths.EntropicTransport(1.0)
    plan = pairs.plan(x, z)
    assert plan[0, 0].item() == pytest.approx(0.5 / (1 + math.exp(-1)), rel=1e-6)  # ∝ exp(-|x - z|²)
    rows, partners = zip(*(pairs(x, z, seeded(seed)) for seed in range(400)))
    share = (torch.cat(rows) == torch.cat(partners)).double().mean().item()
    truth = 2 * plan[0, 0].item()
    assert share == pytest.approx(truth, abs=4 * math.sqrt(truth * (1 - truth) / 800))
    assert coupling("entropic")(x, z, seeded())[0].shape == (2,)


def test_the_schedule_descends_on_the_square_of_the_loss():
    torch.manual_seed(0)
    path = paths.Learned(6.0, -6.0, width=4)
    model = Matching(ProbabilityFlow(gf.velocities.ResidualMLP(2, 8, 1), path, "v"), weighting="likelihood")
    x, z = torch.randn(2, 64, 2, generator=seeded())
    u = torch.rand(64, generator=seeded(1))
    weights, schedule = list(model.velocity.network.parameters()), list(path.parameters())
    losses = model.losses(x, z, u)
    by_hand = torch.autograd.grad(losses.square().mean(), schedule, retain_graph=True)
    of_mean = torch.autograd.grad(losses.mean(), weights, retain_graph=True)
    total = model._mean(losses)
    assert total.item() == pytest.approx(losses.mean().item())
    found = torch.autograd.grad(total, [*weights, *schedule])
    torch.testing.assert_close(found[: len(weights)], of_mean)
    torch.testing.assert_close(found[len(weights) :], by_hand, rtol=1e-4, atol=1e-6)


def test_reflow_makes_paths_straighter():
    """One Euler step of the second flow is closer to its fine solution than one of the first."""
    torch.manual_seed(0)
    signs = torch.randint(0, 2, (2000, 1), generator=seeded()) * 2 - 1
    x = torch.cat(
        [1.5 * signs + 0.3 * torch.randn(2000, 1, generator=seeded(1)), torch.randn(2000, 1, generator=seeded(2))], 1
    )
    model = RectifiedFlow(2, width=32, depth=2, steps=16, batch_size=256)
    z, gaps = torch.randn(500, 2, generator=seeded(3)), []

    def gap():
        with torch.no_grad():
            return (z - model.velocity(z, torch.tensor(1.0)) - model.decode(z)).square().sum(-1).mean().item()

    def watched(data, history):
        if len(history) == 1:
            gaps.append(gap())
        return RectifiedFlow.next_stage(model, data, history)

    model.next_stage = watched
    history = train(model, TrainingData(x[:1800], x[1800:]), Budget(iterations=600))
    assert [entry["stage"] for entry in history] == ["matching", "reflow 1"]
    assert gap() < 0.5 * gaps[0]


def test_a_mean_flow_of_a_gaussian_obeys_its_identity():
    """From N(0, s²) to N(0, 1) the flow is x_r = x_t σ_r / σ_t: with the mean velocity of it E[Δ | x_t] = 0."""
    s, count = 0.4, 200_000
    x = s * torch.randn(count, 1, generator=seeded(), dtype=torch.float64)
    z = torch.randn(count, 1, generator=seeded(1), dtype=torch.float64)

    def deviation(t):
        return (((1 - t) * s) ** 2 + t**2).sqrt()

    class Known(gf.baselines.MeanVelocity):
        def mean(self, x, r, t, condition=None):
            length = (t - r)[:, None]
            return x * (1 - deviation(r) / deviation(t))[:, None] / length

    model = gf.baselines.MeanFlow(1, velocity=Known(gf.velocities.ResidualMLP(1, 4, 1, 1)))
    for r, t in ((0.2, 0.9), (0.5, 0.6), (0.01, 0.99)):
        ends = [torch.full((count,), value, dtype=torch.float64) for value in (r, t)]
        x_t = (1 - t) * x + t * z
        product = (model.errors(x, z, *ends) * x_t)[:, 0]
        assert abs(product.mean().item()) < 4 * product.std().item() / math.sqrt(count)
        other = product + 0.1 * x_t[:, 0] ** 2  # it would be seen
        assert abs(other.mean().item()) > 4 * other.std().item() / math.sqrt(count)


@pytest.mark.parametrize("name", ["independent", "ot", "entropic"])
def test_the_weights_that_are_kept_are_the_best_for_the_coupling(name):
    """From N(0, 1) to N(2, 1) optimal transport moves every row by 2: for it no field is better, for independent pairs
    the field is E[z - x | x_t]. Pairs of a finite batch, and those of little entropy, are near."""
    generator = torch.Generator().manual_seed(3)
    x = 2 + torch.randn(300, 1, generator=generator)
    pairs = {"entropic": paths.EntropicTransport(0.02)}.get(name, name)
    fields = {
        "ot": lambda x, t, condition: torch.full_like(x, -2.0),
        # x_t = (1 - t) x + t z, so that Cov(z - x, x_t) = 2 t - 1 and Var x_t = (1 - t)² + t².
        "independent": lambda x, t, condition: (
            (2 * t - 1)[:, None] / ((1 - t) ** 2 + t**2)[:, None] * (x - 2 * (1 - t)[:, None]) - 2
        ),
    }
    losses = {}
    for field, function in fields.items():
        velocity = gf.as_velocity(function)
        velocity.dim = 1
        stage = Matching(velocity, coupling=pairs, batch_size=128).regression(TrainingData(x, x))
        losses[field] = stage.validate(x, torch.Generator().manual_seed(0)).mean().item()
    # Of the field of transport: E |z - x + 2|² = 2 for independent pairs; for those of 128 and 44 rows the squared
    # distance of two samples in one dimension, some (log log n) / n, and ε / 2 of the entropy.
    best = "independent" if name == "independent" else "ot"
    assert min(losses, key=losses.__getitem__) == best
    assert losses["ot"] == pytest.approx(2.0, abs=0.25) if name == "independent" else losses["ot"] < 0.2


def test_no_stochastic_equation_where_noise_depends_on_the_data():
    """A study of solvers asks, and goes on with those that serve."""
    network = gf.velocities.ResidualMLP(2, 8, 1)
    for model in (Matching(network, paths.BrownianBridge()), Matching(network, coupling="ot")):
        assert model.reverse_dynamics() is None
    found = gf.studies.solvers(model, ["euler", "euler-maruyama"], rows=16, steps=(4,), repeats=1)
    assert list(found.frame["integrator"]) == ["own", "euler"]
    assert (found.frame["status"] == "ok").all()


def test_wrong_arguments_get_one_line():
    network = gf.velocities.ResidualMLP(2, 8, 1)
    for wrong, match in (
        (lambda: paths.VarianceExploding(2.0, 1.0), "sigma_min, sigma_max: 2.0, 1.0 came"),
        (lambda: paths.Linear(0.5, 2.0), "t_min, t_max"),
        (lambda: paths.Cosine(-1.0), "offset: -1.0 came"),
        (lambda: paths.DiscreteSteps("quadratic"), "rates: 'quadratic' came"),
        (lambda: paths.BrownianBridge(0.0), "deviation: 0.0 came"),
        (lambda: Matching(network, weighting="heavy"), "weighting: 'heavy' came"),
        (lambda: Matching(ProbabilityFlow(network, paths.BrownianBridge(), "v")), "which has a noise of its own"),
        (lambda: Matching(network, paths.BrownianBridge()).sample(3, sampler="sde"), "EulerMaruyama needs a diffusion"),
        (lambda: Matching(network, coupling="ot").sample(3, sampler="sde"), "dynamics: EulerMaruyama needs"),
        (
            lambda: Matching(network, times=paths.UniformLogSNR()).losses(*torch.zeros(2, 3, 2), torch.rand(3)),
            "infinite",
        ),
        (
            lambda: Matching(ProbabilityFlow(network, paths.EDM(), "karras"), paths.Linear()),
            "path: a Linear came beside a velocity along a EDM",
        ),
        (lambda: RectifiedFlow(2, reflows=-1), "reflows: -1 came"),
        (lambda: gf.baselines.MeanFlow(2, jumps=0), "at least one jump"),
    ):
        with pytest.raises(InputError, match=match) as caught:
            wrong()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rates", "levels"), [("linear", 1000), ("cosine", 1000), ("cosine", 100), ("cosine", 4)])
def test_a_discrete_schedule_ends_without_signal_and_before_an_error_of_the_noise_is_magnified(rates, levels):
    """The authors' cosine goes from a log-SNR of -12.9 to -19.8 in one step, an error of the noise times 20 000."""
    path = paths.DiscreteSteps(rates, levels)
    last = round(path.t_max * levels)
    log_snr = path.log_snr(torch.tensor(path.t_max, dtype=torch.float64)).item()
    assert last == pytest.approx(path.t_max * levels)
    assert -11 <= log_snr <= -7
    drawn = paths.Steps(levels).quantile(torch.linspace(0, 0.9999, 3 * levels), path)
    assert drawn.min().item() == pytest.approx(1 / levels)
    assert drawn.max().item() == pytest.approx(path.t_max)
    # The law there is the base as good as exactly: KL of N(0, αC + σ²) from N(0, I), C of eigenvalues up to 4.
    variance = 1 + 3 * math.exp(log_snr) / (1 + math.exp(log_snr))
    assert 0.5 * (variance - 1 - math.log(variance)) < 1e-5
