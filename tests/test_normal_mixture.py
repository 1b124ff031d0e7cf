"""The mixture that JKO-iFlow leads to: its law, its estimate against the truth, its place in a training."""

import math

import pytest
import torch
from torch import distributions

import genflow as gf
from genflow.deadline import deadline
from genflow.errors import InputError
from genflow.normal_mixture import NormalMixture, fit_mixture

WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def law(seed: int = 0, dim: int = 3) -> tuple[NormalMixture, distributions.Distribution]:
    """A mixture of three, and the same of torch's."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(3, dim, generator=generator, dtype=torch.float64)
    roots = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT / dim + 0.1 * torch.eye(dim, dtype=torch.float64)
    lower = torch.linalg.cholesky(covariances)
    factors = torch.linalg.inv(lower).mT
    of_torch = distributions.MixtureSameFamily(
        distributions.Categorical(WEIGHTS), distributions.MultivariateNormal(means, covariances)
    )
    return NormalMixture.of(WEIGHTS, means, factors), of_torch


def moved(base: NormalMixture) -> NormalMixture:
    """The same after a training that has moved all of its parameters."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return base


def test_its_density_is_that_of_the_mixture():
    base, of_torch = law()
    z = 3 * torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    # Squares of up to 10³ of coordinates that roots of condition 10² give to some 10² units of the last place.
    torch.testing.assert_close(base.log_prob(z), of_torch.log_prob(z), rtol=0, atol=1e-9)


def test_it_stays_a_density_when_it_is_trained():
    base = NormalMixture.of(
        WEIGHTS,
        torch.tensor([[-2.0], [0.0], [1.0]], dtype=torch.float64),
        torch.tensor([[[1.0]], [[3.0]], [[0.5]]], dtype=torch.float64),
    )
    z = torch.linspace(-60, 60, 200_001, dtype=torch.float64)[:, None]
    mass = torch.trapezoid(moved(base).log_prob(z).exp(), z[:, 0])
    assert abs(mass.item() - 1) < 1e-9  # of a smooth integrand whose ends vanish the trapezoid rule errs by less


def test_its_samples_have_its_moments():
    base = moved(law()[0]).requires_grad_(False)
    z = base.sample((40_000,), torch.Generator().manual_seed(2), dtype=torch.float64)
    # E log p(z) of draws is minus the entropy; two samples have it within the error of both.
    other = base.sample((40_000,), torch.Generator().manual_seed(3), dtype=torch.float64)
    a, b = base.log_prob(z), base.log_prob(other)
    assert abs(a.mean() - b.mean()) < 4 * math.sqrt(a.var() / len(a) + b.var() / len(b))
    # The mean by importance: draws of a wider law, weighted, against the draws.
    wide = distributions.MultivariateNormal(z.mean(0), 3 * z.mT.cov())
    with torch.random.fork_rng():
        torch.manual_seed(4)
        x = wide.sample((40_000,))
    weights = (base.log_prob(x) - wide.log_prob(x)).exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(x))
    by_weights = weights[:, None] * x
    error = (by_weights.var(0) / len(x) + z.var(0) / len(z)).sqrt()
    assert ((by_weights.mean(0) - z.mean(0)).abs() < 4 * error).all()


def test_standardized_points_of_it_are_standard_normal():
    base = moved(law()[0])
    z = base.standardize(base.sample((20_000,), torch.Generator().manual_seed(2), dtype=torch.float64))
    assert (z.mean(0).abs() < 4 / math.sqrt(len(z))).all()
    assert ((z.mT.cov() - torch.eye(3, dtype=torch.float64)).abs() < 4 * math.sqrt(2 / len(z))).all()
    u = torch.special.gammainc(torch.tensor(1.5, dtype=torch.float64), z.square().sum(1) / 2)  # of chi2 with three
    ranks = torch.arange(1, len(u) + 1) / len(u)
    assert (u.sort().values - ranks).abs().max() < 1.95 / math.sqrt(len(u))  # Kolmogorov's law: 1 in 1000


def test_the_density_is_that_of_the_standardization():
    """log p(z) = log N(T(z); 0, I) + log |det dT/dz|, of the triangular T by finite differences."""
    base = moved(law()[0])
    z = base.sample((5,), torch.Generator().manual_seed(2), dtype=torch.float64)
    h = 1e-5
    slopes = torch.stack([
        (base.standardize(z + h * unit) - base.standardize(z - h * unit))[:, j] / (2 * h)
        for j, unit in enumerate(torch.eye(3, dtype=torch.float64))
    ])  # fmt: skip
    standard = gf.StandardNormal(3).log_prob(base.standardize(z)) + slopes.log().sum(0)
    torch.testing.assert_close(standard, base.log_prob(z), rtol=1e-6, atol=1e-6)


def test_the_estimate_is_as_likely_as_the_truth():
    base, of_torch = law()
    x = base.sample((6000,), torch.Generator().manual_seed(1), dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0)
    found = fit_mixture(x[:4000], x[4000:5000])
    assert found.components >= 3
    # The truth in the same units; p parameters more cost p / 2n nats at the estimate (Wilks), the floor some as well.
    scale = base.sample((6000,), torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = of_torch.log_prob(scale[5000:]) + scale.std(0).log().sum()
    difference = truth - found.log_prob(x[5000:])
    parameters = found.components * (1 + 3 + 6)
    assert difference.mean() < parameters / 4000 + 0.02 + 3 * difference.std() / math.sqrt(len(difference))


def test_rows_of_one_normal_law_have_one_component():
    x = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    assert fit_mixture(x[:3000], x[3000:]).components == 1


@pytest.mark.parametrize(
    "rows",
    [torch.zeros(50, 2), torch.ones(50, 1).cumsum(0), torch.eye(2).repeat(40, 1), torch.full((9, 3), 2.0)],
    ids=["a point", "a line", "two points", "few"],
)
def test_any_rows_have_an_estimate(rows):
    found = fit_mixture(rows, rows)
    assert found.log_prob(rows).isfinite().all()
    assert found.sample((7,)).isfinite().all()


def test_no_time_is_one_component():
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) + 9 * (torch.arange(4000) % 2)[:, None]
    now = iter(range(10**6))
    with deadline(3.0, lambda: float(next(now))):
        assert fit_mixture(x, x).components <= 2


def test_a_mixture_has_a_component():
    with pytest.raises(InputError, match="components: 0 came; at least 1 would do"):
        NormalMixture(2, 0)


def trained(**options):
    return gf.models.JKOiFlow(2, blocks=1, width=8, **options).fit("two-moons", iterations=60)


def test_where_rows_are_many_the_scheme_leads_to_a_mixture(tmp_path):
    fitted = trained()
    base = fitted.model.base
    assert isinstance(base, NormalMixture)
    assert base.components > 1
    # The joint stage has trained it.
    assert any(parameter.abs().max() > 0 for parameter in (base.shifts, base.triangles))
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    x = torch.tensor([[0.0, 0.5], [1.0, -0.2]])
    assert torch.equal(again.log_prob(x), fitted.log_prob(x))
    draws = [each.sample(4, generator=torch.Generator().manual_seed(1)) for each in (again, fitted)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "options",
    [
        {"components": 1},
        {"base": gf.StandardNormal(2)},
        {"base": gf.StandardNormal(2), "components": 8},
        {"objective": "proximal"},
    ],
    ids=str,
)
def test_a_base_that_is_asked_for_stays(options):
    assert isinstance(trained(**options).model.base, gf.StandardNormal)


def test_few_rows_and_conditions_have_a_normal_base():
    few = gf.data.load("two-moons", rows=900)
    assert isinstance(gf.models.JKOiFlow(2, blocks=1, width=8).fit(few, iterations=4).model.base, gf.StandardNormal)
    given = gf.data.load(gf.data.load("two-moons").train[:4000].numpy(), condition=[0])
    model = gf.models.JKOiFlow(1, blocks=1, width=8, condition_dim=given.condition_dim)
    assert isinstance(model.fit(given, iterations=4).model.base, gf.StandardNormal)


def test_it_begins_no_worse_than_the_mixture():
    """The blocks begin at rest: what they are trained from is the mixture's own likelihood."""
    data = gf.data.load("two-moons")
    fitted = gf.models.JKOiFlow(2, blocks=1, width=8).fit(data, iterations=6)
    alone = gf.models.JKOiFlow(2, blocks=1, width=8, components=1).fit(data, iterations=6)
    assert fitted.log_prob(data.test).mean() > alone.log_prob(data.test).mean()


def test_a_training_that_was_cut_off_finds_its_mixture_again(tmp_path):
    class Cut(Exception):
        pass

    def cut(at):
        def look(progress):
            if progress["step"] >= at and progress["stage"].startswith("joint"):
                raise Cut

        return look

    def train(folder=None, progress=None):
        torch.manual_seed(0)
        model = gf.models.JKOiFlow(2, blocks=1, width=8)
        return model.fit("two-moons", iterations=60, checkpoint=folder, progress=progress).model.state_dict()

    whole = train()
    with pytest.raises(Cut):
        train(tmp_path, cut(20))
    resumed = train(tmp_path)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


SCALES = (0.25, 1.0, 3.0)


def scaled(dim: int = 3) -> tuple[NormalMixture, distributions.Distribution]:
    """Two laws at three scales, and the same of torch's."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    roots = torch.randn(2, dim, dim, generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT / dim + 0.1 * torch.eye(dim, dtype=torch.float64)
    weights = torch.tensor([[0.1, 0.2, 0.1], [0.3, 0.1, 0.2]], dtype=torch.float64)
    squares = torch.tensor(SCALES, dtype=torch.float64).square()
    of_torch = distributions.MixtureSameFamily(
        distributions.Categorical(weights.flatten()),
        distributions.MultivariateNormal(
            means.repeat_interleave(3, 0), (squares[:, None, None] * covariances[:, None]).flatten(0, 1)
        ),
    )
    factors = torch.linalg.inv(torch.linalg.cholesky(covariances)).mT
    return NormalMixture.of(weights, means, factors, SCALES), of_torch


def test_components_at_several_scales_are_a_mixture_of_their_products():
    base, of_torch = scaled()
    z = 3 * torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(base.log_prob(z), of_torch.log_prob(z), rtol=0, atol=1e-9)
    x = base.sample((40_000,), torch.Generator().manual_seed(2), dtype=torch.float64)
    error = x.std(0) / math.sqrt(len(x))
    assert ((x.mean(0) - of_torch.mean).abs() < 4 * error).all()
    fourth = (x - x.mean(0)).pow(4).mean(0)
    variance_error = (fourth - x.var(0).square()).sqrt() / math.sqrt(len(x))
    assert ((x.var(0) - of_torch.variance).abs() < 4 * variance_error).all()
    places = base.standardize(x)
    ranks = torch.arange(1, len(x) + 1, dtype=torch.float64) / len(x)
    for column in places.mT:  # Kolmogorov's law: 1 in 1000
        assert (torch.special.ndtr(column.sort().values) - ranks).abs().max() < 1.95 / math.sqrt(len(x))
    assert ((places.mT.corrcoef() - torch.eye(3)).abs() < 4 / math.sqrt(len(x))).all()


def test_scales_are_found_where_tails_are_heavy_and_left_alone_where_they_are_not():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(6000, 5, generator=generator, dtype=torch.float64)
    # Student's law with 3 degrees of freedom: normal at a scale whose inverse square is Gamma(3/2, 3/2).
    inverse = torch.randn(6000, 3, generator=generator, dtype=torch.float64).square().sum(1) / 3
    heavy = normal / inverse.sqrt()[:, None] / math.sqrt(3)  # of unit variance
    found = fit_mixture(heavy[:4000], heavy[4000:5000])
    assert len(found.scales) > 1
    assert len(fit_mixture(normal[:4000], normal[4000:5000]).scales) == 1
    q = heavy[5000:].square().sum(1)  # of that law, whose scale matrix is I / 3, log p = c - 4 log(1 + q)
    constant = math.lgamma(4) - math.lgamma(1.5) - 2.5 * math.log(math.pi)
    difference = constant - 4 * torch.log1p(q) - found.log_prob(heavy[5000:])
    # Six scales from 1/8 to 4 hold a law of all scales within some hundredths; p parameters cost p / 2n.
    parameters = found.components * (5 + 5 + 15)
    assert difference.mean() < parameters / 4000 + 0.05 + 3 * difference.std() / math.sqrt(len(difference))


def test_scales_are_numbers_above_0():
    with pytest.raises(InputError, match=r"scales: \(0.0,\) came"):
        NormalMixture(2, 1, (0.0,))
