"""Missing entries drawn from their law given the seen ones: kernels, chains, masks, and fitted models."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import genflow as gf
from genflow.assembly import Density
from genflow.cli import main
from genflow.data.cells import Cells
from genflow.data.laws import Levels, Normal
from genflow.fitted import Transformed
from genflow.imputation import Chains, KernelLaw, Masked, random_masks

NAN = math.nan


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covariance(dim: int) -> Tensor:
    root = torch.randn(dim, dim, generator=seeded(5), dtype=torch.float64)
    return root @ root.mT / dim + 0.3 * torch.eye(dim, dtype=torch.float64)


def conditional(mean: Tensor, covariance: Tensor, row: Tensor) -> torch.distributions.MultivariateNormal:
    """The law of the missing entries of a Gaussian row given the others."""
    m = row.isnan()
    slope = covariance[m][:, ~m] @ torch.linalg.inv(covariance[~m][:, ~m])
    return torch.distributions.MultivariateNormal(
        mean[m] + slope @ (row[~m] - mean[~m]), covariance[m][:, m] - slope @ covariance[~m][:, m]
    )


def assert_draws_of(found: Tensor, law: torch.distributions.MultivariateNormal) -> None:
    """Independent draws have mean and covariance of a normal law, to five standard errors.

    That of an entry of the covariance is the root of (S_ii S_jj + S_ij²) / n.
    """
    n, exact = len(found), law.covariance_matrix
    deviation = exact.diagonal().sqrt()
    assert ((found.mean(0) - law.mean).abs() < 5 * deviation / math.sqrt(n)).all()
    error = ((deviation[:, None] * deviation).square() + exact.square()).sqrt() / math.sqrt(n)
    assert ((torch.atleast_2d(found.mT.cov()) - exact).abs() < 5 * error).all()


# The parts


def test_masks_leave_something_to_learn():
    seen = random_masks((20_000, 5), seeded())
    counts = seen.sum(-1).bincount(minlength=6) / 20_000
    # A fifth sees nothing; the others from none to four entries alike: 5 standard errors of a share are 0.018.
    expected = torch.tensor([0.2 + 0.16, 0.16, 0.16, 0.16, 0.16, 0.0])
    assert ((counts - expected).abs() < 0.018).all()
    each = seen.double().mean(0)
    assert ((each - 0.8 * 0.4).abs() < 0.018).all()  # no entry is favoured


class Oracle(Density):
    """The Gaussian's conditional laws in closed form, as a model with masks has to learn them."""

    dim, condition_dim = 4, 8
    autocasts = settles = stepped = False

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.covariance = torch.arange(4.0).double(), covariance(4)

    def _laws(self, condition: Tensor):
        rows = condition.expand(-1, 8) if condition.ndim > 1 else condition[None]
        for known, seen in zip(rows[:, :4], rows[:, 4:] > 0, strict=True):
            yield conditional(self.mean, self.covariance, torch.where(seen, known, NAN)), seen

    def log_prob(self, x, condition=None, generator=None):
        laws = list(self._laws(condition))
        laws = laws * len(x) if len(laws) == 1 else laws
        noise = torch.distributions.Normal(0.0, 1.0)
        pairs = zip(x, laws, strict=True)
        return torch.stack([law.log_prob(z[~seen]) + noise.log_prob(z[seen]).sum() for z, (law, seen) in pairs])

    def sample(self, shape, condition=None, generator=None):
        z = torch.randn(*shape, 4, generator=generator, dtype=torch.float64)
        for k, (law, seen) in enumerate(self._laws(condition)):
            z[k, ~seen] = law.mean + law.scale_tril @ z[k, ~seen]
        return z


def test_a_model_with_masks_is_all_conditional_laws():
    """The noise in the place of seen entries leaves no trace: densities are exact, and with nothing seen the row's."""
    oracle = Oracle()
    model = Masked(oracle)
    assert model.condition_dim == 0
    x = torch.randn(6, 4, generator=seeded(), dtype=torch.float64)
    whole = torch.distributions.MultivariateNormal(oracle.mean, oracle.covariance)
    torch.testing.assert_close(model.log_prob(x), whole.log_prob(x))
    seen = random_masks((6, 4), seeded(1))
    wanted = []
    for row, mask in zip(x, seen, strict=True):
        law = conditional(oracle.mean, oracle.covariance, torch.where(mask, row, NAN))
        wanted.append(law.log_prob(row[~mask]))
    found = model.log_prob_missing(x, seen, generator=seeded(2))
    torch.testing.assert_close(found, torch.stack(wanted))
    z, vectors = model.varied(x, None, seeded(3))
    mask = vectors[:, 4:] > 0
    assert torch.equal(z[~mask], x[~mask])
    assert torch.equal(vectors[:, :4], torch.where(mask, x, 0.0))
    assert not (z[mask] == x[mask]).any()


def test_the_kernel_estimate_has_its_conditional_laws():
    """For every mask the draws' density integrates to a number that does not depend on what is seen."""
    samples = torch.cat([torch.randn(300, 3, generator=seeded(), dtype=torch.float64) * 0.3 + c for c in (-2.0, 1.5)])
    law = KernelLaw(samples[torch.randperm(600, generator=seeded(1))])
    assert law.bandwidth < 0.5  # two clusters are no Gaussian
    grid = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    for j in range(3):
        seen = torch.ones(1, 3, dtype=torch.bool)
        seen[0, j] = False
        given, integrals = law.given(seen), []
        for row in ([-2.0, -1.8, -2.2], [1.0, 1.5, 2.0], [-2.0, 0.0, 1.0]):
            z = torch.tensor(row, dtype=torch.float64).repeat(len(grid), 1)
            z[:, j] = grid
            density = given.log_prob(z, torch.zeros(len(grid), dtype=torch.long)).exp()
            integrals.append(torch.trapezoid(density, grid))
        # The rule of trapezoids is exact for Gaussians wider than its step; single precision leaves 6e-8 of logarithms
        # of up to a thousand.
        torch.testing.assert_close(torch.stack(integrals), integrals[0].expand(3), rtol=1e-4, atol=0)
    # The draws are of that density: the mean of one entry.
    n = 20_000
    z = torch.tensor([[-2.0, NAN, 1.0]], dtype=torch.float64).nan_to_num(9.0).expand(n, 3)
    given = law.given(torch.tensor([[True, False, True]]))
    zeros = torch.zeros(n, dtype=torch.long)
    draws = given.draw(z, zeros, seeded(2))[:, 1]
    line = torch.tensor([[-2.0, 0.0, 1.0]], dtype=torch.float64).repeat(len(grid), 1)
    line[:, 1] = grid
    density = given.log_prob(line, torch.zeros(len(grid), dtype=torch.long)).exp()
    density = density / torch.trapezoid(density, grid)
    mean = torch.trapezoid(density * grid, grid)
    assert (draws.mean() - mean).abs() < 5 * draws.std() / math.sqrt(n)


def test_chains_have_the_law_of_the_density_whatever_they_are_offered():
    """Proposals of another Gaussian; every chain is a draw of its own."""
    mean, exact = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64), covariance(3)
    whole = torch.distributions.MultivariateNormal(mean, exact)
    other = torch.randn(1000, 3, generator=seeded(), dtype=torch.float64) * 1.3
    rows = torch.tensor([[0.7, NAN, NAN], [NAN, NAN, -1.0]], dtype=torch.float64)
    n = 2000
    row = torch.arange(2).repeat(n)
    missing = rows.isnan()[row]
    given = KernelLaw(other).given(~rows.isnan())
    chains = Chains(whole.log_prob, given, row, missing, None, seeded(3))
    start = given.draw(rows[row].nan_to_num(0.0), row, seeded(4))
    z, acceptance = chains.run(start, 40)
    assert 0.1 < acceptance.rate_global < 1
    assert 0.2 < acceptance.rate_local < 0.5  # the goal is 0.35
    assert acceptance.still == 0
    for k, values in enumerate(rows):
        assert_draws_of(z[row == k][:, values.isnan()], conditional(mean, exact, values))


# Fitted models


def known(dim: int = 5) -> tuple[Transformed, Tensor, Tensor]:
    """A Gaussian model with parameters that are set, in units of its own; its mean and covariance in the user's."""
    mean, exact = torch.arange(float(dim)).double(), covariance(dim)
    model = gf.baselines.Gaussian(dim).double()
    model.factor.copy_(torch.linalg.cholesky(exact))
    model.mean.copy_(mean)
    scale = torch.linspace(0.5, 20.0, dim).double()
    shift = torch.linspace(100.0, -3.0, dim).double()
    preprocessor = gf.data.Standardize(dim, shift, scale)
    names = [f"x{j}" for j in range(dim)]
    return Transformed(model, preprocessor, names), shift + scale * mean, scale[:, None] * exact * scale


@pytest.mark.parametrize("whitened", [False, True])
def test_draws_of_a_gaussian_have_its_conditional_law(whitened):
    fitted, mean, exact = known()
    whole = torch.distributions.MultivariateNormal(mean, exact)
    if whitened:  # entries of what the model sees are no columns then: a rotation, under which the law is the same
        z = fitted.preprocessor(whole.sample((3000,)))[0]
        white = gf.data.Whiten.fit(z, shrinkage=0.5)
        model = gf.baselines.Gaussian(5).double()
        model.factor.copy_(torch.linalg.cholesky(white.root.mT @ covariance(5) @ white.root))
        model.mean.copy_(white(torch.arange(5.0).double())[0])
        fitted = Transformed(model, gf.data.Compose([fitted.preprocessor, white]), fitted.columns)
    x = whole.sample((3,))
    torch.testing.assert_close(fitted.log_prob(x), whole.log_prob(x))
    x[0, [1, 3]] = x[1, 0] = x[2, [0, 1, 2, 4]] = NAN
    draws = fitted.impute(x, draws=1500, generator=seeded())
    assert draws.shape == (1500, 3, 5)
    for k, row in enumerate(x):
        seen = ~row.isnan()
        assert (draws[:, k][:, seen] == row[seen]).all()  # to the last digit
        assert_draws_of(draws[:, k][:, ~seen], conditional(mean, exact, row))


class Correlated(gf.baselines.Gaussian):
    """A bivariate normal law with the correlation 0.8."""

    def __init__(self) -> None:
        super().__init__(2)
        self.factor.copy_(torch.tensor([[1.0, 0.0], [0.8, 0.6]]))


class Breaking(gf.baselines.Gaussian):
    """N(0, I), whose density can't be had for rows beyond 2, nor for any that come with one."""

    def log_prob(self, x, condition=None, generator=None):
        if (x.abs() > 2).any():
            raise gf.SolverError("the state is not finite")
        return super().log_prob(x, condition, generator)


def test_what_can_not_be_solved_is_not_drawn():
    """The law that is left is N(0, 1) cut off at -2 and 2; without an end of all by one proposal."""
    fitted = Transformed(Breaking(2).double(), gf.data.Standardize(2), ["a", "b"])
    draws = fitted.impute([[0.5, NAN], [NAN, -1.0]], draws=1500, generator=seeded())
    found = torch.cat([draws[:, 0, 1], draws[:, 1, 0]])
    assert (found.abs() <= 2).all()
    cut = 2 * math.exp(-2.0) / math.sqrt(2 * math.pi) * 2 / math.erf(math.sqrt(2.0))  # of the variance 1
    assert abs(found.mean()) < 4 / math.sqrt(len(found))
    assert abs(found.var() - (1 - cut)) < 4 * math.sqrt(2 / len(found))


def test_classes_have_the_probabilities_of_their_cells():
    """Two coins: given one, the other is the same with the orthant probability of a bivariate normal law, doubled."""
    coins = Cells([Levels(2, [0.0, 1.0], [0.5, 0.5]), Levels(2, [0.0, 1.0], [0.5, 0.5])])
    fitted = Transformed(Correlated(), coins, ["a", "b"])
    draws = fitted.impute([[0.0, NAN], [NAN, 1.0]], draws=2000, generator=seeded())
    same = 0.5 + math.asin(0.8) / math.pi
    for found in (draws[:, 0, 1] == 0.0, draws[:, 1, 0] == 1.0):
        assert abs(found.double().mean() - same) < 5 * math.sqrt(same * (1 - same) / 2000)


def test_what_is_drawn_is_never_missing():
    """A column that was missing in most rows: its law is that of the values, given that it is none of the gaps."""
    cells = Cells([Levels(3, [0.0, NAN, 1.0], [0.2, 0.7, 0.1]), Normal(0.0, 1.0)])
    fitted = Transformed(Correlated(), cells, ["a", "b"])
    draws = fitted.impute([[NAN, NAN]], draws=2000, generator=seeded())
    assert draws.isfinite().all()
    share = (draws[:, 0, 0] == 0.0).double().mean()  # the marginal law of a is standard normal, so 0.2 / 0.3
    assert abs(share - 2 / 3) < 5 * math.sqrt(2 / 9 / 2000)


def test_a_table_comes_back_whole():
    rng = np.random.default_rng(0)
    place = rng.integers(3, size=600)
    number = place + 0.3 * rng.normal(size=600)
    table = pd.DataFrame({
        "city": np.array(["Graz", "Oslo", "Wien"])[place], "a": number.round(2), "n": rng.poisson(np.exp(0.4 * place))
    })  # fmt: skip
    table.loc[::7, "a"] = NAN
    fitted = gf.baselines.NSF(3, width=16, transforms=1).fit(table, iterations=40)
    gaps = pd.DataFrame({"n": [1.0, None, 4.0], "city": ["Oslo", None, None], "a": [None, 0.25, None]})
    found = fitted.impute_frame(gaps, draws=4, steps=6, generator=seeded())
    assert found.columns.tolist() == ["city", "a", "n", "draw"]
    assert found["draw"].tolist() == np.repeat([1, 2, 3, 4], 3).tolist()
    assert not found.isna().any().any()
    assert set(found["city"]) <= {"Graz", "Oslo", "Wien"}
    assert found["n"].dtype == np.int64
    assert (found["n"] >= 0).all()
    assert (found.loc[found.index % 3 == 1, "a"] == 0.25).all()
    assert (found.loc[found.index % 3 == 0, "city"] == "Oslo").all()
    again = fitted.impute_frame(gaps, draws=4, steps=6, generator=seeded())
    pd.testing.assert_frame_equal(found, again)
    with pytest.warns(gf.Remark, match="no entry is missing"):
        whole = fitted.impute_frame(table.dropna().head(5), draws=1)
    pd.testing.assert_frame_equal(whole, table.dropna().head(5).reset_index(drop=True), check_dtype=False)


# A model that ignored what is seen would be off by 1.6 deviations of the conditional law in its mean, and have 1.9
# times its deviation: the bounds are less than a third of that.
LEARNED = {
    "nsf": (gf.baselines.NSF, {"width": 32, "transforms": 2}, 400),
    "flow-matching": (gf.models.FlowMatching, {"width": 48}, 2000),
    "score-sde": (gf.baselines.ScoreSDE, {"width": 48}, 2000),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "masks"),
    [("nsf", False), ("nsf", True), ("flow-matching", False), ("flow-matching", True), ("score-sde", True)],
)
@pytest.mark.slow
def test_models_learn_the_conditional_laws(name, masks):
    cls, options, iterations = LEARNED[name]
    exact = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 1.0]]).double()
    mean = torch.tensor([3.0, -1.0, 0.0]).double()
    root = torch.linalg.cholesky(exact)
    x = mean + torch.randn(3000, 3, generator=seeded(), dtype=torch.float64) @ root.mT
    rows = mean + torch.randn(12, 3, generator=seeded(1), dtype=torch.float64) @ root.mT
    rows[:, 1] = NAN
    model = cls(3, condition_dim=6 if masks else 0, **options)
    fitted = model.fit(x, iterations=iterations, masks=masks)
    draws = fitted.impute(rows, draws=60, steps=8, generator=seeded())[..., 1]
    laws = [conditional(mean, exact, row) for row in rows]
    deviation = laws[0].stddev.item()
    off = (draws.mean(0) - torch.cat([law.mean for law in laws])) / deviation
    assert off.square().mean().sqrt() < 0.5
    assert abs(draws.std(0).mean() / deviation - 1) < 0.3
    # With nothing seen it is a density of whole rows.
    nll = -fitted.log_prob(x[:500]).mean()
    best = -torch.distributions.MultivariateNormal(mean, exact).log_prob(x[:500]).mean()
    assert nll - best < 0.25


def test_masks_beside_a_condition(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=400), "y": rng.normal(size=400), "c": rng.choice(["u", "v"], 400)})
    table["x"] += np.where(table["c"] == "u", 4.0, -4.0)
    data = gf.data.load(table, condition=["c"])
    model = gf.baselines.NSF(2, width=16, transforms=1, condition_dim=data.condition_dim + 4)
    for fitted in (
        model.fit(data, iterations=120, masks=True),
        gf.baselines.NSF(2, width=16, transforms=1, condition_dim=data.condition_dim).fit(data, iterations=120),
    ):
        fitted.save(tmp_path / type(fitted.model).__name__)
        again = gf.load(tmp_path / type(fitted.model).__name__)
        gaps = pd.DataFrame({"x": [None, None], "y": [0.5, None], "c": ["u", "v"]})
        found = again.impute_frame(gaps, draws=40, steps=6, generator=seeded())
        assert found["c"].tolist() == ["u", "v"] * 40
        means = found.groupby("c")["x"].mean()
        assert means["u"] > 2
        assert means["v"] < -2
        assert torch.equal(again.log_prob(table.head(5)), fitted.log_prob(table.head(5)))
        assert again.sample(3, ["u"]).shape == (3, 2)


def test_a_model_without_a_density_draws_from_its_samples():
    fitted, mean, exact = known(3)
    fitted.model.has_log_prob = False
    row = mean.clone()
    row[1] = NAN
    with pytest.warns(gf.Remark, match="rows have no density under this model"):
        draws = fitted.impute(row[None], draws=2000, generator=seeded())[:, 0, 1]
    law = conditional(mean, exact, row)
    # The kernel estimate has the law of 1024 samples: their regression's error is 1/32 of a deviation.
    assert abs(draws.mean() - law.mean) < 5 * law.stddev * (1 / 32 + 1 / math.sqrt(2000))


def test_what_does_not_fit_is_one_line():
    fitted, _, _ = known(3)
    for options in ({"draws": 0}, {"draws": 1.5}, {"steps": 0}):
        with pytest.raises(gf.InputError, match=r"(draws|steps): .* came; a whole number from 1 on"):
            fitted.impute([[1.0, NAN, 2.0]], **options)
    with pytest.raises(gf.InputError, match="row 1, column 'x0': inf"):
        fitted.impute([[math.inf, NAN, 2.0]])
    with pytest.raises(gf.InputError, match=r"masks: the model was built with condition_dim=0; build it with .*=4"):
        gf.baselines.NSF(2, width=8).fit("two-moons", iterations=1, masks=True)
    with pytest.raises(gf.InputError, match=r"masks: condition_dropout=0\.1"):
        gf.models.FlowMatching(2, condition_dim=4, condition_dropout=0.1).fit("two-moons", iterations=1, masks=True)


def test_chains_that_stand_still_are_remarked_on():
    fitted, mean, _ = known(3)
    log_prob = fitted.model.log_prob
    fitted.model.log_prob = lambda x, *rest: 400 * log_prob(x, *rest)  # a law much narrower than the samples
    x = mean.clone()
    x[:2] = NAN
    with pytest.warns(gf.Remark, match="of the draws never moved"):
        fitted.impute(x[None], draws=50, steps=2, generator=seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.impute(x[None], draws=50, steps=60, generator=seeded())


# Percentiles


def test_percentiles_are_even_on_rows_of_the_same_law(tmp_path):
    rows = torch.randn(12_000, 2, generator=seeded(), dtype=torch.float64)
    fitted = gf.baselines.Gaussian(2).fit(rows[:10_000], iterations=1)
    found = fitted.percentile(rows[10_000:])
    assert found.shape == (2000,)
    scores = len(fitted.scores())
    assert scores == 1000
    distance = (found.sort().values / 100 - (torch.arange(2000) + 0.5) / 2000).abs().max()
    # Kolmogorov's distribution of two samples, 1 in 10 000; and the step of a rank.
    assert distance < 2.23 * math.sqrt(1 / 2000 + 1 / scores) + 1 / scores
    order = fitted.log_prob(rows[:50]).argsort()
    assert (fitted.percentile(rows[:50])[order].diff() >= 0).all()
    fitted.save(tmp_path / "run")
    assert torch.equal(gf.load(tmp_path / "run").percentile(rows[:9]), fitted.percentile(rows[:9]))


def test_bounds_are_compared_with_bounds(tmp_path):
    """Scores by one place of a row in its cells, for lack of time: other rows are compared by one place, too."""
    counts = torch.poisson(torch.full((600, 5), 2.0), generator=seeded()).double()
    rows = counts[:, 1:] + 2 * counts[:, :1]  # what they share makes the weights of the places differ
    fitted = gf.baselines.Gaussian(4).fit(rows[:400], iterations=1)
    bounds = fitted.log_prob(rows[400:], draws=1)
    fitted.keep_scores(bounds, draws=1)
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert (fitted.places, again.score_draws) == (16, 1)
    assert torch.equal(again.percentile(rows[400:]), fitted.percentile_of(bounds))
    assert again.percentile(rows[400:]).mean().item() == pytest.approx(50.0)
    pd.DataFrame(rows[400:].numpy(), columns=fitted.columns).to_csv(tmp_path / "rows.csv", index=False)
    words = [str(tmp_path / "run"), str(tmp_path / "rows.csv"), "-o", str(tmp_path / "s.csv")]
    assert main(["score", *words]) == 0
    seen = pd.read_csv(tmp_path / "s.csv")
    assert abs(seen["percentile"].mean() - 50.0) < 100 / math.sqrt(12 * 200)  # other places: by a standard error
    assert seen["log_prob"].mean() > bounds.mean()


def test_scores_with_a_random_error_are_compared_with_such(tmp_path):
    """Else a tenth of all rows may be below the fifth percentile."""
    rows = torch.randn(400, 5, generator=seeded(), dtype=torch.float64) @ torch.randn(5, 5, generator=seeded()).double()
    fitted = gf.models.FlowMatching(5, width=16).fit(rows[:300], iterations=20)
    noisy = fitted.replace(divergence=gf.divergences.Hutchinson(4))  # which has the rows yet, and scores them anew
    assert len(noisy.scores()) == len(fitted.scores())
    assert noisy.scores().equal(fitted.scores()) is False
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run").replace(divergence=gf.divergences.Hutchinson(4))
    with pytest.raises(gf.InputError, match=r"percentile: log p is by Hutchinson\(.*by an exact divergence; the same"):
        again.percentile(rows[300:])
    again.keep_scores(again.log_prob(rows[300:], generator=seeded()))
    assert again.percentile(rows[300:], generator=seeded()).mean().item() == pytest.approx(50.0)
    with pytest.raises(gf.InputError, match=r"percentile: log p is by an exact divergence, .* by Hutchinson\("):
        again.replace(divergence=gf.divergences.Exact()).percentile(rows[300:])
    pd.DataFrame(rows[300:].numpy(), columns=fitted.columns).to_csv(tmp_path / "rows.csv", index=False)
    words = ["score", str(tmp_path / "run"), str(tmp_path / "rows.csv"), "--divergence", "hutchinson,n=4"]
    assert main([*words, "-o", str(tmp_path / "s.csv")]) == 0
    seen = pd.read_csv(tmp_path / "s.csv")
    assert list(seen.columns) == ["log_prob", "log_prob_se"]
    assert (seen["log_prob_se"] > 0).all()
    assert main([*words, "--flag", "5%", "-o", str(tmp_path / "t.csv")]) != 0


def test_the_error_of_log_p_is_that_of_its_probes():
    """Its square is the variance of a row's log p over generators, in the mean over rows; one probe says nothing."""
    rows = torch.randn(300, 4, generator=seeded(), dtype=torch.float64) @ torch.randn(4, 4, generator=seeded()).double()
    fitted = gf.models.FlowMatching(4, width=16).fit(rows, iterations=20)
    assert (fitted.log_prob_with_error(rows[:9])[1] == 0).all()
    assert fitted.replace(divergence=gf.divergences.Hutchinson(1)).log_prob_with_error(rows[:9])[1].isnan().all()
    noisy = fitted.replace(divergence=gf.divergences.Hutchinson(8, distribution="gaussian"))
    draws = 60
    log_p, error = map(torch.stack, zip(*(noisy.log_prob_with_error(rows, generator=seeded(k)) for k in range(draws))))
    ratio = error.square().mean(0) / log_p.var(0)
    # Of each row by its own probes: the ratio's logarithm has a deviation of sqrt(2 / (draws - 1)) at most.
    assert ratio.log().mean().abs() < 5 * math.sqrt(2 / (draws - 1) / len(rows)) + 1 / draws


def test_a_model_without_scores_says_so():
    fitted, mean, _ = known(3)
    with pytest.raises(gf.InputError, match="percentile: this model keeps no scores"):
        fitted.percentile(mean[None])


@pytest.mark.parametrize("form", [list, np.array, lambda rows: {"c": [row[0] for row in rows]}])
def test_a_frame_of_several_draws_has_the_condition_of_each_in_any_form(form):
    table = {"a": [0.1 * i * i for i in range(60)], "b": [float(i % 7) for i in range(60)], "c": list("xyz" * 20)}
    data = gf.data.load(pd.DataFrame(table), condition=["c"])
    fitted = gf.baselines.Gaussian(2, condition_dim=data.condition_dim).fit(data, iterations=1)
    frame = fitted.impute_frame([[1.0, float("nan")], [2.0, 3.0]], 3, form([["z"], ["x"]]), steps=2)
    assert frame["c"].tolist() == ["z", "x"] * 3
    assert frame["a"].tolist() == [1.0, 2.0] * 3
