"""Fréchet distance against its closed form, and the figures of pictures in a classifier's features."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow.metrics import PictureClassifier, frechet_distance, picture_figures


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_the_frechet_distance_is_that_of_the_normal_laws():
    """Of one sample and its image under x -> s x + c it is |c + (s - 1) m|² + (s - 1)² tr Σ, exactly."""
    x = normal(500, 4, 0) @ normal(4, 4, 1)
    c, s = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.double), 1.5
    expected = (c + (s - 1) * x.mean(0)).square().sum() + (s - 1) ** 2 * torch.cov(x.T).trace()
    value, _ = frechet_distance(s * x + c, x)
    assert value == pytest.approx(expected.item(), rel=1e-9)
    # The root of a squared distance that rounding leaves: 1e-16 of the trace, and the root of that in its factors.
    assert frechet_distance(x, x)[0] < 1e-7 * torch.cov(x.T).trace()


def test_it_is_one_number_in_one_dimension_and_blind_to_rotations():
    x, y = normal(300, 1, 0), 2 * normal(300, 1, 1) + 1
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y)[0] == pytest.approx(expected.item(), rel=1e-9)
    a, b = normal(300, 3, 2), 2 * normal(300, 3, 3)
    q = torch.linalg.qr(normal(3, 3, 4)).Q
    assert frechet_distance(a @ q, b @ q)[0] == pytest.approx(frechet_distance(a, b)[0], rel=1e-9)


def test_its_error_is_that_of_another_sample():
    """Over 200 samples the deviation of the distance is known to within 5 %; the jackknife's ten groups vary more."""
    y = normal(4000, 3, 0)
    found = [frechet_distance(normal(400, 3, seed) + 1, y) for seed in range(1, 201)]
    values, errors = (torch.tensor(column) for column in zip(*found, strict=True))
    # A variance of nine degrees of freedom has a mean that 200 of them know to within 3.3 %: 4 errors of both.
    ratio = errors.square().mean() / values.var()
    assert abs(math.log(ratio)) < 4 * math.hypot(math.sqrt(2 / 199), math.sqrt(2 / (9 * 200)))


def bright(n, seed, shape=(1, 8, 8)):
    """Pictures of two classes: bright in the upper half, or in the lower one."""
    x = 0.5 * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % 2
    x[labels == 0, :, : shape[1] // 2] += 2
    x[labels == 1, :, shape[1] // 2 :] += 2
    return x, labels


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PictureClassifier((1, 8, 8), 2, width=8).fit(*bright(200, 0), epochs=10)


def test_a_classifier_tells_unseen_pictures_apart(network):
    x, labels = bright(200, 1)
    assert network.accuracy(x, labels) > 0.95
    torch.testing.assert_close(network.features(x), network.features(x.flatten(1).double()))
    torch.testing.assert_close(network(x).argmax(-1), labels)


def test_the_same_seeds_make_the_same_classifier(network):
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    again = PictureClassifier((1, 8, 8), 2, width=8).fit(*bright(200, 0), epochs=10)
    torch.random.set_rng_state(state)
    x, _ = bright(50, 2)
    torch.testing.assert_close(again.features(x), network.features(x), rtol=0, atol=0)


def test_figures_of_pictures_see_what_is_wrong_with_them(network):
    (train, _), (test, _), (fresh, labels) = bright(400, 0), bright(400, 1), bright(400, 3)
    good = picture_figures(fresh, train, test, network)
    one_class = picture_figures(fresh[labels == 0], train, test, network)
    noise = picture_figures(torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0)), train, test, network)
    # Rows of the right law are like the training rows: by their own errors, the Fréchet distance by both of them.
    assert abs(good["frechet"].value - good["frechet"].floor) < 4 * math.sqrt(2) * good["frechet"].standard_error
    assert good["precision"].value > 0.8 < good["recall"].value
    assert one_class["precision"].value > 0.8
    assert one_class["recall"].value < 0.6  # half of the test pictures are of the other class
    assert one_class["frechet"].value > 20 * good["frechet"].value < noise["frechet"].value
    assert noise["precision"].value < 0.2


def test_pictures_of_another_shape_are_named(network):
    with pytest.raises(gf.InputError, match=r"x: the shape \(3, 1, 7, 8\) came; \(n, \*\(1, 8, 8\)\)"):
        network.features(torch.zeros(3, 1, 7, 8))
    with pytest.raises(gf.InputError, match=r"shape, classes, width, features: \(1, 8\), 2, 32, 64 came"):
        PictureClassifier((1, 8), 2)
    with pytest.raises(gf.InputError, match="20"):
        frechet_distance(torch.zeros(5, 2), torch.zeros(50, 2))
