"""Toys, mixtures and pictures: they integrate to one, and samples fall where the density says."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genflow import InputError
from genflow.data import GaussianMixture, Picture, load
from genflow.data.toys import TOYS, NoisyCurves, fractal_tree

SIDE = 4.0 + 0.5  # all toys but for their tails; a multiple of the pixel of a picture


def masses(density, cells: int) -> tuple[np.ndarray, float]:
    """The mass in 12 x 12 boxes of the plane, by the midpoint rule."""
    step = 2 * SIDE / cells
    axis = -SIDE + step * (torch.arange(cells, dtype=torch.float64) + 0.5)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    p = torch.cat([density.log_prob(part).exp() for part in grid.split(32)]) * step**2
    return p.reshape(12, cells // 12, 12, cells // 12).sum((1, 3)).numpy(), float(p.sum())


@pytest.mark.parametrize("name", TOYS)
def test_toys_integrate_to_one_and_samples_follow_the_density(name):
    density = TOYS[name]()
    # Midpoints of pixels and squares for what is constant on them; half the noise for what is smooth.
    cells = 576 if name in ("rose", "fractal-tree") else 216
    expected, total = masses(density, cells)
    assert total == pytest.approx(1, abs=1e-3)
    n = 20_000
    x = density.sample(n, np.random.default_rng(0))
    assert x.shape == (n, 2)
    assert np.isfinite(density.log_prob(torch.from_numpy(x)).numpy()).all()
    edges = np.linspace(-SIDE, SIDE, 13)
    counts, _, _ = np.histogram2d(*x.T, bins=[edges, edges])
    # 144 binomial counts: five standard deviations, and a row for boxes that are nearly empty.
    assert (np.abs(counts - n * expected) <= 5 * np.sqrt(n * expected) + 1).all()


@pytest.mark.parametrize("name", [name for name in TOYS if isinstance(TOYS[name](), NoisyCurves)])
def test_quadrature_along_curves_has_converged(name):
    density = TOYS[name]()
    finer = NoisyCurves(density.curves, density.noise, nodes=64)
    x = torch.from_numpy(density.sample(500, np.random.default_rng(1)))
    torch.testing.assert_close(density.log_prob(x), finer.log_prob(x), rtol=0, atol=1e-5)


def test_checkerboard_is_uniform_on_half_of_the_board():
    x = torch.from_numpy(TOYS["checkerboard"]().sample(1000, np.random.default_rng(0)))
    assert torch.equal(TOYS["checkerboard"]().log_prob(x), torch.full((1000,), -math.log(32), dtype=torch.float64))


def test_tree_is_a_tree():
    """A trunk below, at both sides the same, and the mass in the crown grows with the generations."""
    mass = fractal_tree(depth=8).mass
    assert np.abs(mass - mass[:, ::-1]).sum() < 0.1  # left and right, but for the rounding of strokes to pixels
    height = len(mass)
    low = mass[int(0.85 * height) : int(0.93 * height)].sum(0)
    assert (low > 0).sum() < 0.1 * height  # one trunk
    assert (np.diff((mass[int(0.25 * height)] > 0).astype(int)) == 1).sum() > 8  # many branches
    crown = [fractal_tree(depth).mass[: height // 2].sum() for depth in (5, 7, 9)]
    assert crown == sorted(crown)


@given(dim=st.integers(1, 12), components=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_mixture_agrees_with_torch_distributions(dim, components, seed):
    mixture = GaussianMixture.random(dim, components, seed)
    x = torch.from_numpy(mixture.sample(20, np.random.default_rng(seed)))
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.from_numpy(mixture.weights)),
        torch.distributions.MultivariateNormal(
            torch.from_numpy(mixture.means), scale_tril=torch.from_numpy(mixture.factors)
        ),
    )
    torch.testing.assert_close(mixture.log_prob(x), reference.log_prob(x), rtol=1e-10, atol=1e-10)
    assert mixture.log_prob(x.reshape(4, 5, dim)).shape == (4, 5)


@pytest.mark.parametrize("dim", [1, 2, 8, 30])
def test_mixture_samples_have_its_moments(dim):
    mixture, n = GaussianMixture.random(dim, seed=3), 100_000
    x = mixture.sample(n, np.random.default_rng(0))
    mean = mixture.weights @ mixture.means
    centred = mixture.means - mean
    within = np.einsum("k,kij,klj->il", mixture.weights, mixture.factors, mixture.factors)
    covariance = within + np.einsum("k,ki,kj->ij", mixture.weights, centred, centred)
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(x.mean(0) - mean) < 5 * deviation / math.sqrt(n)).all()
    # A mixture's products have at most a few times the variance of a Gaussian's.
    scale = np.outer(deviation, deviation)
    assert (np.abs(np.atleast_2d(np.cov(x.T)) - covariance) / scale < 15 / math.sqrt(n)).all()


@pytest.mark.parametrize(
    ("weights", "means", "covariances"),
    [
        (np.ones(2), np.zeros((2, 3)), np.zeros((2, 3, 3))),
        (np.array([1.0, -1.0]), np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1))),
        (np.ones(2), np.zeros((2, 3)), np.eye(3)),
    ],
)
def test_mixture_refuses_what_is_none(weights, means, covariances):
    with pytest.raises(InputError, match="GaussianMixture"):
        GaussianMixture(weights, means, covariances)


@pytest.fixture
def picture(tmp_path):
    """40 wide, 20 high: black in the upper left corner (10 x 5), grey (half) in the lower right one."""
    from PIL import Image

    shade = np.full((20, 40), 255, dtype=np.uint8)
    shade[:5, :10], shade[15:, 30:] = 55, 155
    path = tmp_path / "corners.png"
    Image.fromarray(shade).save(path)
    return path


def test_dark_is_dense_up_is_up_and_the_aspect_is_kept(picture):
    data = load(picture, rows=6000)
    x = torch.cat([data.train, data.validation, data.test])
    black, grey = (x[:, 0] < 0) & (x[:, 1] > 0), (x[:, 0] > 0) & (x[:, 1] < 0)
    assert (black | grey).all()
    # Darkness 200 against 100, on areas of the same size.
    assert float(black.double().mean()) == pytest.approx(2 / 3, abs=5 * math.sqrt(2 / 9 / 6000))
    # The longer side spans [-4, 4], so a pixel is 0.2 wide and high.
    assert x[black].min(0).values == pytest.approx([-4, 1], abs=0.02)
    assert x[black].max(0).values == pytest.approx([-2, 2], abs=0.02)
    density = data.true_log_prob(x).exp()
    torch.testing.assert_close(density[black], torch.full_like(density[black], 2 / 3 / 2))
    torch.testing.assert_close(density[grey], torch.full_like(density[grey], 1 / 3 / 2))


def test_points_are_uniform_within_a_pixel(picture):
    x = Picture.read(picture).sample(20_000, np.random.default_rng(0)) / 0.2
    fraction = x - np.floor(x)
    counts = np.histogram(fraction, bins=10, range=(0, 1))[0]
    assert (np.abs(counts - 4000) < 5 * math.sqrt(4000)).all()


def test_what_is_transparent_counts_as_white(tmp_path):
    from PIL import Image

    layers = np.zeros((10, 10, 4), dtype=np.uint8)  # black, but transparent
    layers[2, 3, 3] = 255
    Image.fromarray(layers).save(tmp_path / "dot.png")
    mass = Picture.read(tmp_path / "dot.png").mass
    assert mass[2, 3] == 1


def test_a_large_picture_is_made_smaller(tmp_path):
    from PIL import Image

    shade = np.full((2500, 3000), 255, dtype=np.uint8)
    shade[:, :1500] = 0
    Image.fromarray(shade).save(tmp_path / "large.png")
    mass = Picture.read(tmp_path / "large.png").mass
    assert mass.size <= 4_000_000
    assert mass.shape[0] / mass.shape[1] == pytest.approx(2500 / 3000, rel=1e-2)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_of_one_shade_is_refused(tmp_path, shade):
    from PIL import Image

    Image.new("L", (8, 8), shade).save(tmp_path / "plain.png")
    with pytest.raises(InputError, match=r"plain\.png: the picture has a single shade"):
        load(tmp_path / "plain.png")


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_a_picture_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png: (no such file|it can't be read as a picture)"):
        load(path)


@pytest.mark.parametrize("name", [*TOYS, "gaussian-mixture-5"])
def test_known_densities_stay_known_in_another_process(name):
    data = load(name, rows=100)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again.true_log_prob(again.test), data.true_log_prob(data.test))
