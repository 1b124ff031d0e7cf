"""Where a chain's boundaries are to be: the flow of a mixture in closed form, and what a training makes of it."""

import math
from itertools import pairwise

import pytest
import torch

import genflow as gf
from genflow.errors import InputError
from genflow.models.local_matching import contractions
from genflow.models.pilot import diffused, pilot_boundaries, travelled

PURE = {"objective": "proximal", "joint": 0.0, "width": 8}


def mixture(dim: int = 3, scales: tuple[float, ...] = (1.0,)) -> gf.NormalMixture:
    generator = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(4, dim, generator=generator, dtype=torch.float64)
    roots = torch.randn(4, dim, dim, generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT / dim + 0.1 * torch.eye(dim, dtype=torch.float64)
    factors = torch.linalg.inv(torch.linalg.cholesky(covariances)).mT
    weights = torch.full((4, len(scales)), 0.25 / len(scales), dtype=torch.float64)
    made = gf.NormalMixture.of(weights, means, factors, scales)
    with torch.no_grad():  # as after a training
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return made


def normal(mean: torch.Tensor, deviation: float = 1.0) -> gf.NormalMixture:
    identity = torch.eye(len(mean), dtype=mean.dtype)
    return gf.NormalMixture.of(torch.ones(1, dtype=mean.dtype), mean[None], identity[None] / deviation)


def test_the_laws_of_a_mixture_are_those_that_it_adds():
    scaled = mixture(scales=(0.5, 2.0))
    weights, means, covariances = scaled.laws()
    z = 2 * torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    each = torch.distributions.MultivariateNormal(means, covariances).log_prob(z[:, None])
    torch.testing.assert_close((each + weights.log()).logsumexp(1), scaled.log_prob(z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 2.0)])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_flow_of_a_mixture_is_a_semigroup(scales, scale):
    start, x = mixture(scales=scales), torch.linspace(-4, 4, 60, dtype=torch.float64).reshape(20, 3)
    at_once = diffused(start, 0.7, scale).log_prob(x)
    torch.testing.assert_close(diffused(diffused(start, 0.3, scale), 0.4, scale).log_prob(x), at_once)
    torch.testing.assert_close(diffused(start, 0.0, scale).log_prob(x), start.log_prob(x))
    # After 20 units of time nothing is left but e^-20 of the means.
    left = gf.StandardNormal(3, scale=scale).log_prob(x) - diffused(start, 20.0, scale).log_prob(x)
    assert left.abs().max() < 1e-6


def test_the_flow_carries_the_samples_of_a_mixture():
    """The log density of a law is in the mean highest for its own draws: E log p - E log q is a divergence."""
    start, generator = mixture(), torch.Generator().manual_seed(0)
    x = start.sample((20_000,), generator, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    carried = math.exp(-0.5) * x + math.sqrt(-math.expm1(-1.0)) * noise
    own, drawn = diffused(start, 0.5), diffused(start, 0.5).sample((20_000,), generator, dtype=torch.float64)
    a, b = own.log_prob(carried), own.log_prob(drawn)
    assert abs(a.mean() - b.mean()) < 4 * math.sqrt((a.var() + b.var()).item() / len(x))


def test_a_shifted_normal_law_is_moved_by_its_shift():
    """Its velocity is -e^-γ μ everywhere, whatever was drawn; the trapezoid rule errs by h² / 12 of that."""
    mean = torch.tensor([3.0, -4.0], dtype=torch.float64)
    times = [0.01 * i for i in range(301)]
    way = travelled(normal(mean), times)
    exact = [5 * -math.expm1(-time) for time in times]
    assert max(abs(a - b) for a, b in zip(way, exact, strict=True)) < 5 * 0.01**2 / 12


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_narrow_normal_law_is_moved_as_its_deviation_grows(scale):
    """Between normal laws about one mean W₂ is √d times the difference of their deviations."""
    dim, narrow = 64, 0.2
    times = [0.002 * i for i in range(501)]
    way = travelled(normal(torch.zeros(dim, dtype=torch.float64), narrow), times, scale)[-1]
    wide = math.sqrt(math.exp(-2) * narrow**2 + scale**2 * -math.expm1(-2))
    # Means of the squares of 256 x 64 normal draws, under a root: a relative standard error of 1 / √(2 · 256 · 64).
    assert abs(way / (math.sqrt(dim) * (wide - narrow)) - 1) < 4 / math.sqrt(2 * 256 * dim)


@pytest.mark.parametrize("blocks", [1, 2, 4, 20])
def test_later_blocks_have_less_of_the_way(blocks):
    rows = 6 + torch.randn(600, 1, generator=torch.Generator().manual_seed(0))
    times = pilot_boundaries(rows[:500], rows[500:], blocks)
    assert len(times) == blocks + 1
    gammas = [0.0]
    for gamma in contractions([b - a for a, b in pairwise(times)], gf.StandardNormal(1)):
        gammas.append(gammas[-1] + gamma)
    ends = [-math.expm1(-gamma) for gamma in gammas]  # of the way that the mean goes
    parts = [b - a for a, b in pairwise(ends)]
    shares = [*range(blocks, 1, -1), 0.9]
    # The grid of the pilot is 4 (i / 32)²; between its points the way is taken for straight.
    for part, share in zip(parts, shares, strict=True):
        assert part / parts[0] == pytest.approx(share / shares[0], abs=0.02)


def test_a_pilot_says_where_the_blocks_are(tmp_path):
    data = gf.data.load("two-moons")
    fitted = gf.models.JKOiFlow(2, 3, pilot=True, **PURE).fit(data, iterations=12)
    config = fitted.model.config()
    assert config["free_block"]
    assert 0 < config["boundaries"][1] < 0.1  # near at hand: a cloud about two thin curves is widened first
    assert config["boundaries"][: len(fitted.model.velocity) + 1] == tuple(fitted.model.velocity.boundaries())
    fitted.save(tmp_path / "run")
    loaded = gf.load(tmp_path / "run")
    assert loaded.model.config()["boundaries"] == config["boundaries"]
    assert torch.equal(loaded.log_prob(data.test), fitted.log_prob(data.test))


def test_a_pilot_leads_a_chain_to_a_normal_law():
    """By default these rows have a mixture for a base, and one block."""
    model = gf.models.JKOiFlow(2, width=8, pilot=True).fit("two-moons", iterations=40).model
    assert model.plan.blocks == len(model.config()["boundaries"]) - 1 == 4
    assert isinstance(model.base, gf.StandardNormal)


def test_boundaries_that_are_typed_stay():
    times = (0.0, 0.05, 0.4)
    model = gf.models.JKOiFlow(2, boundaries=times, **PURE).fit("two-moons", iterations=40).model
    assert model.velocity[0].interval == times[:2]
    assert not model.plan.proximal.free_block
    matched = gf.models.JKOiFlow(2, boundaries=times, objective="matching", width=8).fit("two-moons", iterations=6)
    assert matched.model.velocity.boundaries() == list(times)


@pytest.mark.parametrize("times", [(), (0.0,), (0.1, 0.2), (0.0, 0.2, 0.2), (0.0, math.inf), (0.0, math.nan)])
def test_boundaries_increase_from_0(times):
    with pytest.raises(InputError, match="increasing times from 0 on"):
        gf.models.JKOiFlow(2, boundaries=times)


def test_boundaries_are_one_more_than_blocks():
    with pytest.raises(InputError, match="boundaries: 2 blocks' came with blocks=3"):
        gf.models.JKOiFlow(2, blocks=3, boundaries=(0.0, 0.1, 0.2))


def test_towards_a_mixture_there_is_no_pilot():
    with pytest.raises(InputError, match="pilot: True came with a NormalMixture as base"):
        gf.models.JKOiFlow(2, blocks=2, components=4, pilot=True, width=8).fit("two-moons", iterations=2)


def test_a_training_that_was_cut_off_keeps_its_boundaries(tmp_path):
    class Cut(Exception):
        pass

    def look(progress):
        if progress["stage"] == "block 2" and progress["step"] >= 3:
            raise Cut

    def train(folder=None, progress=None):
        torch.manual_seed(0)
        model = gf.models.JKOiFlow(2, blocks=2, pilot=True, **PURE)
        return model.fit("two-moons", iterations=20, checkpoint=folder, progress=progress).model

    whole = train()
    with pytest.raises(Cut):
        train(tmp_path, look)
    resumed = train(tmp_path)
    assert resumed.velocity.boundaries() == whole.velocity.boundaries()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
