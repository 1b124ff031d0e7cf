"""Models without a neural network: against closed forms and scikit-learn, their sizes chosen on validation rows."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

import genflow as gf
from genflow import InputError
from genflow.baselines.classical.estimated import log_sum_exp
from genflow.baselines.classical.marginals import Marginals, normal_scores
from genflow.deadline import OutOfTime, deadline
from genflow.errors import Remark
from genflow.metrics import mean_and_se
from genflow.training import Budget, TrainingData, TrainingError, train
from genflow.training.closing import few_steps, work
from genflow.training.selection import Selection, SelectionRun, Trial


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


MIXING = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.3, 0.5, 0.4]], dtype=torch.float64)


def gaussian_rows(n: int, seed: int) -> Tensor:
    return draws(n, 3, seed=seed) @ MIXING.mT + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def two_clusters(n: int, seed: int) -> Tensor:
    side = torch.randint(2, (n, 1), generator=generator(seed)) * 2.0 - 1
    return 0.3 * draws(n, 2, seed=seed + 100) + side


def trained(model, train_rows: Tensor, validation: Tensor, iterations: int = 50, seed: int = 0):
    """In the rows' own units, in double precision."""
    model = model.double()
    history = train(model, TrainingData(train_rows, validation), Budget(iterations=iterations), seed=seed)
    return model, history


KINDS = {
    "gaussian": lambda dim=2: gf.baselines.Gaussian(dim),
    "gaussian-mixture": lambda dim=2: gf.baselines.GaussianMixture(dim, covariance="full"),
    "kde": lambda dim=2: gf.baselines.KernelDensity(dim),
    "copula": lambda dim=2: gf.baselines.Copula(dim, knots=32),
}


@pytest.fixture(scope="module")
def clusters():
    """One model of each kind, on two clusters."""
    rows = two_clusters(800, 0), two_clusters(300, 1)
    return {name: trained(build(), *rows, iterations=8) for name, build in KINDS.items()}


# ------------------------------------------------------------------------------------------------------ closed forms


def test_a_gaussian_has_the_likelihood_of_the_exact_law():
    """What estimating 9 numbers of 4000 rows loses is 9 / 8000 nats, a twentieth of the standard error."""
    model, _ = trained(gf.baselines.Gaussian(3), gaussian_rows(4000, 1), gaussian_rows(500, 2))
    x = gaussian_rows(4000, 3)
    exact = torch.distributions.MultivariateNormal(x.new_tensor([1.0, -2.0, 0.5]), scale_tril=MIXING).log_prob(x)
    excess, se = mean_and_se(exact - model.log_prob(x))
    assert abs(excess) < 5 * se + 5 * 9 / 8000
    # The parts of a Cholesky factor are as wrong as 1 / sqrt(n): six deviations.
    assert torch.allclose(model.factor, MIXING, atol=6 / math.sqrt(4000))


def test_a_conditional_gaussian_is_the_joint_one_conditioned():
    joint = gaussian_rows(3000, 0)
    x, c = joint[:, :2], joint[:, 2:]
    model = gf.baselines.Gaussian(2, shrinkage=0.0, condition_dim=1).double()
    train(model, TrainingData(x, x[:300], c, c[:300]), Budget(iterations=1))
    mean, covariance = joint.mean(0), torch.cov(joint.mT, correction=0)
    whole = torch.distributions.MultivariateNormal(mean, covariance).log_prob(joint)
    marginal = torch.distributions.Normal(mean[2], covariance[2, 2].sqrt()).log_prob(joint[:, 2])
    assert torch.allclose(model.log_prob(x, c), whole - marginal, atol=1e-9)
    one = model.log_prob(x[:5], c[0])
    assert torch.allclose(one[0], model.log_prob(x[:1], c[:1])[0])
    assert torch.allclose(model.decode(model.encode(x, c), c), x, atol=1e-10)
    assert not torch.allclose(model.sample(5, c[:5], generator()), model.sample(5, c[5:10], generator()))


def test_classes_are_a_condition_whose_covariance_is_singular():
    label = torch.randint(3, (600,), generator=generator(4))
    x = draws(600, 2, seed=5) + 5.0 * label[:, None]
    c = torch.nn.functional.one_hot(label, 3).double()
    model = gf.baselines.Gaussian(2, condition_dim=3).double()
    train(model, TrainingData(x[:500], x[500:], c[:500], c[500:]), Budget(iterations=7))
    means = model._centre(torch.eye(3, dtype=torch.float64))
    # Some 170 rows a class: a mean is known to 1 / sqrt(170), six of them.
    assert torch.allclose(means, 5.0 * torch.arange(3.0).double()[:, None].expand(3, 2), atol=6 / math.sqrt(130))


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_a_mixture_is_that_of_scikit_learn(covariance):
    from sklearn.mixture import GaussianMixture

    x = two_clusters(400, 0)
    found = GaussianMixture(3, covariance_type=covariance, random_state=0).fit(x.numpy())
    model = gf.baselines.GaussianMixture(2, components=3, covariance=covariance).double()
    model.weights.copy_(torch.as_tensor(found.weights_))
    model.means.copy_(torch.as_tensor(found.means_))
    model.factors.copy_(torch.as_tensor(found.precisions_cholesky_).reshape(model.factors.shape))
    y = two_clusters(200, 7)
    assert torch.allclose(model.log_prob(y), torch.as_tensor(found.score_samples(y.numpy())), rtol=1e-10, atol=1e-10)


def test_a_mixture_is_estimated_to_the_likelihood_of_scikit_learn():
    """Rounds of a few iterations are the same iterations; both stop where a step gains less than 1e-3."""
    from sklearn.mixture import GaussianMixture

    x = two_clusters(800, 0)
    model, _ = trained(gf.baselines.GaussianMixture(2, components=2, covariance="full"), x, two_clusters(100, 1))
    found = GaussianMixture(2, random_state=0).fit(x.numpy())
    assert model.log_prob(x).mean().item() == pytest.approx(found.score(x.numpy()), abs=1e-2)


def test_a_kernel_estimate_is_that_of_scikit_learn():
    from sklearn.neighbors import KernelDensity

    x, y = two_clusters(300, 0), two_clusters(50, 1)
    model, _ = trained(gf.baselines.KernelDensity(2, bandwidth=0.1), x, y, iterations=1)
    found = KernelDensity(bandwidth=0.1).fit(x.numpy())
    far = torch.cat([y, y + 20])  # also where every term vanishes
    expected = torch.as_tensor(found.score_samples(far.numpy()))
    assert torch.allclose(model.log_prob(far), expected, rtol=1e-9, atol=1e-9)
    # In single precision what is left of squares that cancel keeps seven digits, of exponents up to some ten.
    near = model.float().log_prob(y.float()).double()
    assert torch.allclose(near, expected[:50], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sum_of_exponentials_is_torchs(dtype):
    exponent = (300 * draws(7, 50)).to(dtype)
    expected = torch.logsumexp(exponent, -1)
    assert torch.allclose(log_sum_exp(exponent), expected, rtol=8 * torch.finfo(dtype).eps)
    weights = [
        torch.autograd.grad(function(exponent.requires_grad_()).sum(), exponent)[0]
        for function in (log_sum_exp, lambda e: torch.logsumexp(e, -1))
    ]
    assert torch.allclose(*weights, atol=1e-6)


def test_a_copula_of_independent_columns_is_the_sum_of_its_marginals():
    x = draws(500, 3) ** 3
    model, _ = trained(gf.baselines.Copula(3, knots=32, shrinkage=1.0), x, x[:100], iterations=1)
    assert torch.allclose(model.log_prob(x), model.marginals(x)[1].sum(-1), atol=1e-9)


def test_a_copula_of_gaussian_columns_nears_the_gaussian():
    """In the mean, smooth marginals of 4000 rows lose some hundredths of a nat each, whatever ties them together."""
    x = gaussian_rows(4000, 1)
    model, _ = trained(gf.baselines.Copula(3), x, gaussian_rows(500, 2))
    y = gaussian_rows(4000, 3)
    exact = torch.distributions.MultivariateNormal(y.new_tensor([1.0, -2.0, 0.5]), scale_tril=MIXING).log_prob(y)
    loss, se = mean_and_se(exact - model.log_prob(y))
    alone = sum(torch.distributions.Normal(m, s).log_prob(y[:, j]) for j, (m, s) in enumerate(zip(x.mean(0), x.std(0))))
    gain = (exact - alone).mean().item()
    assert -5 * se < loss < 0.25 * gain


def test_marginals_are_laws_with_an_inverse():
    x = torch.stack([draws(500).exp(), draws(500), (draws(500) > 0) * 10 + draws(500, seed=1)], -1)
    marginals = Marginals(3, 32).double()
    marginals.estimate(x[:400], x[400:])
    score, log_density = marginals(x)
    assert torch.allclose(marginals.inverse(score), x, atol=1e-8)
    derivative = torch.autograd.functional.jacobian(lambda rows: marginals(rows)[0].sum(0), x)
    slope = torch.stack([derivative[j, :, j] for j in range(3)], -1)
    assert torch.allclose(slope.log(), log_density + 0.5 * score**2 + 0.5 * math.log(2 * math.pi))
    grid = torch.linspace(-40, 60, 200_001, dtype=torch.float64)  # cells of 5e-4, a tenth of the least width
    mass = torch.stack([marginals.log_density(part).exp().sum(0) for part in grid[:, None].expand(-1, 3).split(9999)])
    assert torch.allclose(mass.sum(0) * 5e-4, torch.ones(3, dtype=torch.float64), atol=1e-6)


def test_normal_scores_are_those_of_ranks():
    x = torch.tensor([[5.0, 1.0], [-1.0, 2.0], [9.0, 0.0]])
    expected = torch.special.ndtri(torch.tensor([[3.0, 3.0], [1.0, 5.0], [5.0, 1.0]], dtype=torch.float64) / 6)
    assert torch.allclose(normal_scores(x), expected)


# ----------------------------------------------------------------------------------------------- what all of them do


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one(clusters, kind):
    model, _ = clusters[kind]
    axis = torch.linspace(-5, 5, 300, dtype=torch.float64)
    mass = model.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    # The rectangle rule is exact to exp(-2 π² (h / cell)²), and the least width is two cells.
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_density(clusters, kind):
    """The mean of -log p over samples is the entropy, that is the integral of -p log p."""
    model, _ = clusters[kind]
    x = model.sample((2, 2000), generator=generator(3))
    assert x.shape == (2, 2000, 2)
    assert x.dtype == torch.float64
    assert torch.equal(x, model.sample((2, 2000), generator=generator(3)))
    axis = torch.linspace(-5, 5, 300, dtype=torch.float64)
    log_p = model.log_prob(torch.cartesian_prod(axis, axis))
    p = log_p.exp() * (axis[1] - axis[0]) ** 2
    found, se = mean_and_se(-model.log_prob(x).reshape(-1))
    assert abs(found + (p * log_p).sum().item()) < 5 * se + 1e-3
    # Kolmogorov's distance of n samples exceeds sqrt(log(2 / α) / 2n) with probability α (Massart): α = 1e-6.
    for j in range(2):
        marginal = p.reshape(300, 300).sum(1 - j).cumsum(0) - p.reshape(300, 300).sum(1 - j) / 2
        column = x.reshape(-1, 2)[:, j].contiguous()
        empirical = torch.searchsorted(column.sort().values, axis) / len(column)
        bound = math.sqrt(math.log(2 / 1e-6) / (2 * len(column)))
        assert (empirical - marginal).abs().max() < bound + p.reshape(300, 300).sum(1 - j).max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_log_p_is_that_of_finite_differences(clusters, kind):
    model, _ = clusters[kind]
    x = two_clusters(5, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: model.log_prob(rows), (x,))
    assert model.sample(0, generator=generator()).shape == (0, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_said_in_one_line(clusters, kind):
    model, _ = clusters[kind]
    with pytest.raises(InputError, match=r"events of shape \(2,\)"):
        model.log_prob(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="condition"):
        model.sample(4, torch.zeros(4, 1))
    if kind != "gaussian":
        with pytest.raises(InputError, match="gaussian, nsf or flow-matching would do") as error:
            type(model)(2, condition_dim=3)
        assert "\n" not in str(error.value)


def test_wrong_options_are_named():
    b = gf.baselines
    for build, name in (
        (lambda: b.Gaussian(0), "dim"),
        (lambda: b.Gaussian(2, shrinkage=1.5), "shrinkage"),
        (lambda: b.GaussianMixture(2, components=0), "components"),
        (lambda: b.GaussianMixture(2, covariance="spherical"), "covariance"),
        (lambda: b.GaussianMixture(2, floor=-1.0), "floor"),
        (lambda: b.KernelDensity(2, bandwidth=0.0), "bandwidth"),
        (lambda: b.KernelDensity(2, centres=0), "centres"),
        (lambda: b.Copula(2, knots=1), "knots"),
    ):
        with pytest.raises(InputError, match=f"^{name}: "):
            build()


# ------------------------------------------------------------------------------------ what validation rows decide


def test_two_clusters_are_found_by_a_mixture(clusters):
    model, history = clusters["gaussian-mixture"]
    assert model.components >= 2
    assert history[0]["curve"][0][2] - history[0]["validation"] > 0.5  # one Gaussian covers both, with the gap
    # A second Gaussian that 300 rows don't need loses some 6 / 600 nats, ten standard errors of 4000 rows.
    one, _ = trained(gf.baselines.GaussianMixture(2, covariance="full"), draws(300, 2), draws(4000, 2, seed=1))
    assert one.components == 1


def test_the_bandwidth_lies_between_two_that_are_worse(clusters):
    model, _ = clusters["kde"]
    x, y = two_clusters(800, 0), two_clusters(300, 1)

    def loss(factor: float) -> float:
        other = gf.baselines.KernelDensity(2, bandwidth=factor * model.bandwidth)
        return -trained(other, x, y, iterations=1)[0].log_prob(y).mean().item()

    assert loss(1.0) < min(loss(0.5), loss(2.0))


def test_correlated_columns_are_not_shrunk_and_independent_ones_are():
    shares = []
    for mixing in (torch.eye(20), torch.eye(20) + 0.5):
        x, y = (draws(60, 20, seed=seed) @ mixing.double() for seed in (0, 1))
        shares.append(trained(gf.baselines.Gaussian(20), x, y)[0].shrinkage)
    assert shares[0] > shares[1]


def test_a_number_of_kernels_bounds_them():
    x = two_clusters(300, 0)
    model, _ = trained(gf.baselines.KernelDensity(2, centres=100), x, x[:50], iterations=5)
    assert model.centres.shape == (100, 2)
    assert model.config()["centres"] == 100
    assert set(map(tuple, model.centres.tolist())) <= set(map(tuple, x.tolist()))


def test_a_singular_covariance_is_no_candidate_and_the_next_one_is():
    x = draws(50, 1).expand(-1, 2).contiguous()  # two equal columns
    model, history = trained(gf.baselines.Gaussian(2), x[:40], x[40:])
    assert 0 < model.shrinkage < 1
    assert history[0]["candidates"] == 7
    with pytest.raises(TrainingError, match="none of 1 candidates could be estimated"):
        trained(gf.baselines.Gaussian(2, shrinkage=0.0), torch.ones(40, 2).double(), x[40:])


@pytest.fixture
def fits(monkeypatch):
    """The number of rows and the components of every iteration of EM that is begun."""
    from sklearn.mixture import GaussianMixture

    found: list[tuple[int, int]] = []
    fit = GaussianMixture.fit

    def noted(self, rows):
        found.append((len(rows), self.n_components))
        return fit(self, rows)

    monkeypatch.setattr(GaussianMixture, "fit", noted)
    monkeypatch.setattr(gf.baselines.GaussianMixture, "_draft_rows", 200)
    return found


def test_counted_candidates_see_some_rows_and_the_best_one_all(fits):
    rows = two_clusters(800, 0), two_clusters(300, 1)
    model, history = trained(gf.baselines.GaussianMixture(2, covariance="full"), *rows, iterations=4)
    counts = [count for count, _ in fits]
    first = counts.index(800)
    assert set(counts[:first]) == {200}
    assert set(counts[first:]) == {800}
    assert {size for _, size in fits[:first]} == {1, 2, 4, 8}
    assert {size for _, size in fits[first:]} == {model.components}
    assert history[0]["candidates"] == 4
    # What is kept is the estimate on all rows, whose validation loss the history tells.
    assert history[0]["validation"] == pytest.approx(-model.log_prob(rows[1]).mean().item())
    assert history[0]["validation"] < min(loss for _, _, loss in history[0]["curve"])
    again, _ = trained(gf.baselines.GaussianMixture(2, covariance="full"), *rows, iterations=4)
    assert torch.equal(again.means, model.means)


def test_on_a_clock_and_of_few_rows_every_candidate_sees_all(fits):
    rows = two_clusters(800, 0), two_clusters(300, 1)
    build = lambda: gf.baselines.GaussianMixture(2, components=2, covariance="full").double()
    train(build(), TrainingData(*rows), Budget(seconds=1.0, clock=Clock(0.001)))
    assert {count for count, _ in fits} == {800}
    fits.clear()
    train(build(), TrainingData(rows[0][:200], rows[1]), Budget(iterations=4))
    assert {count for count, _ in fits} == {200}
    assert fits == [(200, 2)] * len(fits)


def test_sizes_end_though_every_doubling_pays():
    model, trials = gf.baselines.GaussianMixture(2), []
    while (options := model.propose(trials, 10**6)) is not None:
        trials.append(Trial(options, -float(options["components"])))
    assert max(trial.options["components"] for trial in trials) == 256
    assert len(trials) == 3 * 9 - 1  # 1, 2, 4, … 256 of each kind; one that is tied is one that is full


def test_a_selection_that_was_cut_off_drafts_the_same_rows(fits, tmp_path):
    rows = gf.data.load(two_clusters(500, 0).numpy())
    model = gf.baselines.GaussianMixture(2, covariance="full")
    whole = model.fit(rows, iterations=3, seed=3)

    def stop(event):
        if event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, iterations=3, seed=3, checkpoint=tmp_path, progress=stop)
    again = model.fit(rows, iterations=3, seed=3, checkpoint=tmp_path)
    assert torch.equal(again.log_prob(rows.test), whole.log_prob(rows.test))


# ------------------------------------------------------------------------------------------------------------ stages


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_was_cut_off_goes_on_to_the_same_model(kind, tmp_path):
    rows = gf.data.load(two_clusters(300, 0).numpy())
    whole = KINDS[kind]().fit(rows, iterations=5, seed=3)

    class Stop(Exception):
        pass

    def stop(event):
        if event["step"] == 3:
            raise Stop

    with pytest.raises(Stop):
        KINDS[kind]().fit(rows, iterations=5, seed=3, checkpoint=tmp_path, progress=stop)
    again = KINDS[kind]().fit(rows, iterations=5, seed=3, checkpoint=tmp_path)
    assert torch.equal(again.log_prob(rows.test), whole.log_prob(rows.test))
    assert again.history[0]["candidates"] == whole.history[0]["candidates"]


class Clock:
    """Each look at it takes some time."""

    def __init__(self, tick: float):
        self.tick, self.now = tick, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_clock_a_model_is_estimated_and_stops(kind):
    rows = gf.data.load(two_clusters(300, 0).numpy())
    budget = Budget(seconds=1.0, clock=Clock(0.01))
    fitted = KINDS[kind]().fit(rows, budget=budget)
    assert fitted.log_prob(rows.test).isfinite().all()
    assert fitted.history[0]["candidates"] >= 1
    assert budget.seconds < 2


@pytest.mark.parametrize("kind", ["kde", "copula"])
def test_a_density_of_many_rows_is_given_up_at_a_deadline(clusters, kind):
    with pytest.raises(OutOfTime), deadline(0.0):
        clusters[kind][0].log_prob(two_clusters(10, 0))


def test_what_is_said_of_a_model_without_steps():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Remark)
        fitted = gf.baselines.Gaussian(2).fit("two-moons", iterations=2)
    assert fitted.remarks == []
    assert "2 candidates in" in repr(fitted)
    assert work(fitted.history) == "2 candidates"
    assert few_steps([{"stage": "estimate", "candidates": 0}], 100) == ["no time was left to estimate it"]
    assert few_steps([{"stage": "estimate", "steps": 2}], 100) != []


def test_a_selection_keeps_the_best_and_passes_over_what_fails():
    kept: list[str] = []

    def estimate(candidate, generator):
        if candidate.bias.item() == 1:
            raise ValueError("no such thing")

    def build(options):
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.bias, options["bias"])
        return model

    stage = Selection(
        name="bias",
        train=torch.zeros(4, 1),
        validation=torch.zeros(3, 1),
        propose=lambda trials: {"bias": float(len(trials))} if len(trials) < 4 else None,
        build=build,
        estimate=estimate,
        validate=lambda model, rows: (model.bias - 2.2).abs().expand(len(rows)),
        keep=lambda model: kept.append(model.bias.item()),
    )
    run = SelectionRun(stage, Budget(iterations=10), generator(), 0.0)
    entry = run()
    assert kept == [2.0]
    assert entry["candidates"] == 4
    assert run.trials[1] == Trial({"bias": 1.0}, math.inf)
    assert np.isfinite([point[2] for point in entry["curve"]]).all()
