"""The mixture that JKO-iFlow leads to: its law, its estimate against the truth, its place in a training."""

import math

import pytest
import torch
from torch import distributions

import genflow as gf
from genflow import normal_mixture
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
    assert not isinstance(trained(**options).model.base, NormalMixture)


def test_few_rows_and_conditions_have_no_mixture():
    few = gf.data.load("two-moons", rows=900)
    assert not isinstance(gf.models.JKOiFlow(2, blocks=1, width=8).fit(few, iterations=4).model.base, NormalMixture)
    given = gf.data.load(gf.data.load("two-moons").train[:4000].numpy(), condition=[0])
    model = gf.models.JKOiFlow(1, blocks=1, width=8, condition_dim=given.condition_dim)
    assert not isinstance(model.fit(given, iterations=4).model.base, NormalMixture)


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


def ring(count: int, seed: int, width: float = 0.02) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    radius = 1 + width * torch.randn(count, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def test_thin_things_in_the_plane_are_seen_by_many_narrow_laws():
    # The law of the ring has log 2π + ½ log 2πe σ² nats, but for E log r = -σ² / 2. A piece of it of the angle 2 δ that
    # one normal law takes for straight is bent by δ² / 2: below σ for 32 pieces, which are right to some percent then.
    mixture = fit_mixture(ring(6000, 0), ring(2000, 1))
    truth = math.log(2 * math.pi) + 0.5 * math.log(2 * math.pi * math.e * 0.02**2)
    log_p = mixture.log_prob(ring(4000, 2))
    assert mixture.components >= 16
    assert -log_p.mean().item() < truth + 0.15
    assert fit_mixture(ring(6000, 0), ring(2000, 1), most=8, most_thin=8).components <= 8
    assert -log_p.mean().item() > truth - 4 * log_p.std().item() / math.sqrt(len(log_p))


def test_thick_ones_keep_wide_laws():
    mixture = fit_mixture(ring(6000, 0, width=0.3), ring(2000, 1, width=0.3))
    assert mixture.components <= 64
    assert mixture.factors.diagonal(dim1=-2, dim2=-1).max() < 10 + 1  # 1 / √.01, with what a triangle adds to it


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_round_of_em_by_moments_is_that_by_rows(dim):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, dim, generator=generator, dtype=torch.float64)
    by_rows = by_moments = normal_mixture._Law.around_centres(x, 4, normal_mixture._NARROW)
    moments = normal_mixture._moments(x)
    for _ in range(3):
        logs, others = by_rows.log_parts(x), by_moments.log_parts_of(moments)
        # x' P x is a difference of numbers of size P |x|² + P |μ|², at most 10⁴ · 10² here.
        torch.testing.assert_close(others, logs, rtol=0, atol=1e-9)
        by_rows, by_moments = (
            by_rows.of_rows(x, logs.softmax(0)),
            by_moments.of_moments(moments, others.softmax(0)),
        )
        for found, wanted in zip(by_moments[:3], by_rows[:3], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_few_narrow_laws_above_the_plane():
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(4, 5, generator=generator)

    def rows(count):
        which = torch.randint(4, (count,), generator=generator)
        return centres[which] + 0.02 * torch.randn(count, 5, generator=generator)

    mixture = fit_mixture(rows(4000), rows(1000))
    assert mixture.components == 4
    log_p = mixture.log_prob(rows(4000)).mean().item()
    truth = -math.log(4) - 2.5 * math.log(2 * math.pi * math.e * 0.02**2)
    # A floor of 10⁻⁴ beside variances of 4 · 10⁻⁴ costs ½ (log 1.25 + 1 / 1.25 - 1) = .012 nats in each direction.
    assert log_p == pytest.approx(truth - 5 * 0.012, abs=0.1)
