"""Noise with tails: its density, draws and map to N(0, I) against closed forms; where a training estimates it."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow import InputError

SCALES, WEIGHTS = [0.5, 1.0, 6.0], [0.2, 0.5, 0.3]


def drawn(shape: tuple[int, ...], count: int = 20_000, seed: int = 0) -> torch.Tensor:
    base = gf.ScaleMixture(shape, SCALES, WEIGHTS)
    return base.sample((count,), torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_its_density_is_that_of_normal_laws(shape):
    z = 3 * torch.randn(50, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = [math.log(w) + gf.StandardNormal(shape, s).log_prob(z) for s, w in zip(SCALES, WEIGHTS, strict=True)]
    expected = torch.logsumexp(torch.stack(parts), 0)
    torch.testing.assert_close(gf.ScaleMixture(shape, SCALES, WEIGHTS).log_prob(z), expected)


def test_a_single_scale_is_the_normal_law():
    z = torch.randn(9, 4)
    torch.testing.assert_close(gf.ScaleMixture(4, [2.0]).log_prob(z), gf.StandardNormal(4, 2.0).log_prob(z))
    assert gf.ScaleMixture(4, [1.0, 2.0]).weights == [0.5, 0.5]


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_its_draws_have_its_moments(shape):
    """E z² is the mean of s², and of its square, E (z²)² - (E z²)², follows the error of that mean."""
    z = drawn(shape)
    second = sum(w * s**2 for w, s in zip(WEIGHTS, SCALES, strict=True))
    error = z.square().flatten(1).std(0) / math.sqrt(len(z))
    assert ((z.square().flatten(1).mean(0) - second).abs() < 5 * error).all()
    assert (z.flatten(1).mean(0).abs() < 5 * math.sqrt(second / len(z))).all()


def test_standardizing_keeps_order_where_no_tail_is_a_double():
    z = torch.tensor([[1e2], [2000.0], [2400.0], [2600.0], [1e6], [1e30]], dtype=torch.float64)
    u = gf.ScaleMixture(1, [1.0, 64.0], [0.5, 0.5]).standardize(z).flatten()
    assert (u.diff() > 0).all()
    assert u[-1].item() == pytest.approx(1e30 / 64)  # as the widest law has it


@pytest.mark.parametrize("shape", [(1,), (3,), (40,)])
def test_standardized_draws_are_normal(shape):
    """Their radius has the law of chi, whose ranks are even: by Kolmogorov and Smirnov, at five in 1e6."""
    base, z = gf.ScaleMixture(shape, SCALES, WEIGHTS), drawn(shape)
    u = base.standardize(z)
    half = torch.full((len(z),), 0.5 * shape[0], dtype=torch.float64)
    ranks = torch.special.gammainc(half, 0.5 * u.square().sum(-1)).sort().values
    even = (torch.arange(len(z), dtype=torch.float64) + 0.5) / len(z)
    assert (ranks - even).abs().max() < math.sqrt(-0.5 * math.log(2.5e-6) / len(z))
    torch.testing.assert_close(u / u.norm(dim=-1, keepdim=True), z / z.norm(dim=-1, keepdim=True))


def test_standardizing_keeps_order_far_out_and_at_the_origin():
    z = torch.tensor([[0.0], [1e-8], [1.0], [20.0], [200.0]], dtype=torch.float64)
    u = gf.ScaleMixture(1, [1.0, 10.0], [0.99, 0.01]).standardize(z).flatten()
    assert u[0] == 0
    assert (u.diff() > 0).all()
    # P(|z| > 200) = 0.01 P(|N| > 20), and so is P(|u| > r) at its r.
    expected = math.log(0.01) + torch.special.log_ndtr(torch.tensor(-20.0, dtype=torch.float64))
    assert torch.special.log_ndtr(-u[-1]) == pytest.approx(expected.item(), rel=1e-6)


def test_the_weights_of_known_scales_are_found():
    z = drawn((5,))
    base = gf.ScaleMixture.of(z)
    for scale, weight in zip(SCALES, WEIGHTS, strict=True):
        near = sum(w for s, w in zip(base.scales, base.weights, strict=True) if abs(math.log(s / scale)) < 0.4)
        assert near == pytest.approx(weight, abs=5 * math.sqrt(weight * (1 - weight) / len(z)) + 0.5 / len(z))


def test_it_is_the_most_likely_of_its_form():
    """At a maximum over weights on the simplex no direction gains: E_z [N_k(z) / p(z)] <= 1 for all scales."""
    z = drawn((4,), 4000)
    base = gf.ScaleMixture.of(z)
    parts = torch.stack([gf.StandardNormal(4, s).log_prob(z) for s in base.scales])
    gains = (parts - base.log_prob(z)).exp().mean(-1)
    assert (gains < 1 + 0.01).all()  # but for the half row that was not seen, and what EM leaves in 300 rounds


def test_an_outlier_costs_some_nats_and_not_all_of_its_square():
    z = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    base, far = gf.ScaleMixture.of(z), torch.full((1, 8), 10.0)
    assert base.log_prob(far) > gf.StandardNormal(8).log_prob(far) + 300
    within = (base.log_prob(z) - gf.StandardNormal(8).log_prob(z)).mean()
    assert within > math.log(60 / 60.5)  # no less likely but for the half row


def test_what_is_wrong_is_refused():
    for scales, weights in (([], None), ([0.0], None), ([1.0, 2.0], [1.0]), ([1.0], [-1.0]), ([math.nan], None)):
        with pytest.raises(InputError, match=r"scales|weights"):
            gf.ScaleMixture(2, scales, weights)
    with pytest.raises(InputError, match="no numbers"):
        gf.ScaleMixture.of(torch.full((4, 2), math.nan))


# At the end of a training


def rows(count: int = 300, dim: int = 3) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def test_a_training_ends_with_the_law_of_its_noise(tmp_path):
    fitted = gf.models.JKOiFlow(3, width=8).fit(rows(), iterations=20)
    base = fitted.model.base
    assert isinstance(base, gf.ScaleMixture)
    fitted.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    x = rows(5)
    torch.testing.assert_close(torch.as_tensor(again.log_prob(x)), torch.as_tensor(fitted.log_prob(x)))
    assert again.model.base.weights == base.weights


def test_log_p_and_draws_are_of_one_law():
    """The density integrates to 1 over a grid that holds all but next to nothing of it."""
    fitted = gf.models.JKOiFlow(1, width=8).fit(rows(400, 1), iterations=20)
    x = torch.linspace(-300.0, 300.0, 60_001, dtype=torch.float64)[:, None]
    mass = torch.as_tensor(fitted.log_prob(x)).double().exp().sum().item() * 0.01
    assert mass == pytest.approx(1.0, abs=2e-3)


def test_a_training_that_goes_on_leads_to_the_normal_law_again():
    first = gf.models.JKOiFlow(3, width=8).fit(rows(), iterations=10)
    seen = []

    class Watched(gf.models.JKOiFlow):
        def next_stage(self, data, history):
            stage = super().next_stage(data, history)
            seen.append(type(self.base))
            return stage

    first.model.__class__ = Watched
    again = first.fit(rows(), iterations=10, warm_start=True)
    assert set(seen) == {gf.StandardNormal}
    assert isinstance(again.model.base, gf.ScaleMixture)


def test_a_second_training_on_all_rows_keeps_what_rows_that_it_had_not_seen_said():
    """As validation rows are trained on, too, where they end says nothing any more."""
    estimated = []

    class Watched(gf.models.JKOiFlow):
        def calibrate(self, x, condition=None):
            super().calibrate(x, condition)
            estimated.append(self.base.weights)

    model = Watched(3, width=8)
    fitted = model.fit(rows() + rows().roll(1, 1).square(), iterations=200, refit=True)
    assert len(estimated) == 2
    assert fitted.model.base.weights == estimated[0] != estimated[1]


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ({"tails": False}, gf.StandardNormal),
        ({"base": gf.StandardNormal(3, 2.0)}, gf.StandardNormal),
        ({"components": 2}, gf.NormalMixture),
        ({"objective": "matching"}, gf.StandardNormal),
        ({"pilot": True}, gf.StandardNormal),
        ({"block": gf.velocities.ResidualMLP(3, width=8)}, gf.StandardNormal),
    ],
)
def test_what_is_typed_stays(typed, kind):
    x = rows(1100)
    x[::2] += 9.0
    model = gf.models.JKOiFlow(3, **({"width": 8} if "block" not in typed else {}), **typed)
    assert type(model.fit(x, iterations=6).model.base) is kind


def test_a_base_that_is_typed_has_the_tails_it_has():
    with pytest.raises(InputError, match="tails: True came beside a base of scale 2; one of them would do"):
        gf.models.JKOiFlow(3, tails=True, base=gf.StandardNormal(3, 2.0))


@pytest.mark.parametrize("rows_of", ["gaussian-mixture-8", "two-moons"])
def test_a_model_with_another_base_is_loaded(rows_of, tmp_path):
    """What a rule made of `tails` stands in a checkpoint beside the base that the rows have led to."""
    data = gf.data.load(rows_of)
    fitted = gf.models.JKOiFlow(data.dim, width=8, components=4).fit(data, iterations=6)
    assert type(fitted.model.base) is gf.NormalMixture
    fitted.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    torch.testing.assert_close(again.log_prob(data.test[:5]), fitted.log_prob(data.test[:5]))


def test_few_validation_rows_say_nothing_of_tails():
    assert type(gf.models.JKOiFlow(3, width=8).fit(rows(40), iterations=6).model.base) is gf.StandardNormal
