"""Whitening believes correlations as far as so many rows tell them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import genflow as gf
from genflow import InputError
from genflow.data import Whiten
from genflow.data.shrinkage import shrinkage
from genflow.fitted import Transformed


def normal(n: int, covariance: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, len(covariance), dtype=torch.float64, generator=generator)
    return z @ torch.linalg.cholesky(covariance).mT


def equicorrelated(dim: int, rho: float) -> Tensor:
    return torch.full((dim, dim), rho, dtype=torch.float64).fill_diagonal_(1)


def excess(white: Whiten, covariance: Tensor) -> float:
    """Expected nats above the truth, N(0, covariance), of N(0, I) behind the map: in closed form."""
    map_, mean = white.root, white.mean
    shift = (mean @ map_).square().sum()
    log_det = torch.linalg.slogdet(map_)[1]
    quadratic = (map_.mT @ covariance @ map_).trace() + shift
    return 0.5 * float(quadratic - len(covariance) - torch.linalg.slogdet(covariance)[1]) - float(log_det)


@pytest.mark.parametrize("rows", [15, 60, 100, 300])
def test_independent_columns_are_left_alone(rows):
    # The sample correlations of independent columns are all estimation error.
    covariance = torch.eye(60, dtype=torch.float64)
    for seed in range(3):
        x = normal(rows, covariance, seed)
        assert shrinkage(x) > 0.9
        assert excess(Whiten.fit(x), covariance) < excess(Whiten.fit(x, 1.0), covariance) + 0.1


def test_correlations_are_believed_in_the_end():
    # The best share falls as 1/n: what it costs is of the order of its square, what it spares of its share over n.
    covariance = equicorrelated(5, 0.6)
    shares = [shrinkage(normal(n, covariance)) for n in (30, 300, 3000, 30000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.005


STRUCTURES = {
    "equicorrelated": lambda d: equicorrelated(d, 0.9),
    "autoregressive": lambda d: 0.9 ** (torch.arange(d)[:, None] - torch.arange(d)).abs().double(),
    "pairs": lambda d: torch.block_diag(*[equicorrelated(2, 0.99)] * (d // 2)),
    "duplicates up to noise": lambda d: torch.block_diag(*[equicorrelated(2, 1 - 5e-9)] * (d // 2)),
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("rows", "dim"), [(20, 6), (50, 30), (25, 30), (400, 30)])
def test_never_worse_than_the_better_of_both(structure, rows, dim):
    # Means over seeds; what is allowed is what a likelihood of so few rows can't tell apart: 0.1 nats.
    covariance = STRUCTURES[structure](dim)
    x = [normal(rows, covariance, seed) for seed in range(5)]
    chosen, alone, full = (
        sum(excess(Whiten.fit(part, share), covariance) for part in x) / len(x) for share in (None, 1.0, 0.0)
    )
    assert chosen < min(alone, full) + 0.1


def test_fewer_rows_than_columns_leave_a_map_that_generalizes():
    covariance = equicorrelated(40, 0.8)
    x = normal(20, covariance)
    assert 0 < shrinkage(x) < 1
    assert excess(Whiten.fit(x), covariance) < 0.5 * excess(Whiten.fit(x, 1.0), covariance)


@given(seed=st.integers(0, 2**31), scales=st.lists(st.floats(-8, 8), min_size=4, max_size=4))
@settings(max_examples=20, deadline=None)
def test_scales_of_the_columns_do_not_matter(seed, scales):
    x = normal(40, equicorrelated(4, 0.7), seed)
    s = 10.0 ** torch.tensor(scales, dtype=torch.float64)
    one, other = Whiten.fit(x), Whiten.fit(x * s + s)
    assert shrinkage(x) == shrinkage(x * s + s)
    (z, log_det), (z_s, log_det_s) = one(x), other(x * s + s)
    torch.testing.assert_close(z_s, z, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(log_det_s, log_det - s.log().sum(), rtol=1e-9, atol=1e-7)


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 5), rows=st.integers(2, 40), share=st.none() | st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_inverse_and_log_determinant(seed, dim, rows, share):
    x = normal(rows, equicorrelated(dim, 0.5), seed)
    white = Whiten.fit(x, share)
    z, log_det = white(x)
    # Where there are fewer rows than columns and nothing is shrunk, directions are stretched by 1e6.
    torch.testing.assert_close(white.inverse(z), x, rtol=1e-6, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(lambda y: white(y)[0], x[0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[0], rtol=1e-6, atol=1e-6)


def test_all_shrunk_is_every_column_by_itself():
    x = normal(50, torch.diag(torch.tensor([4.0, 9.0], dtype=torch.float64)))
    z, log_det = Whiten.fit(x, 1.0)(x)
    std = x.std(0, correction=0)
    torch.testing.assert_close(z, (x - x.mean(0)) / std)
    torch.testing.assert_close(log_det, -std.log().sum().expand(50))


def test_nothing_shrunk_makes_the_covariance_the_identity():
    x = normal(50, equicorrelated(6, 0.9))
    z, _ = Whiten.fit(x, 0.0)(x)
    torch.testing.assert_close(torch.cov(z.T, correction=0), torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_in_part_the_covariance_is_a_power_of_the_correlations(power):
    x = normal(300, equicorrelated(6, 0.9)) * torch.arange(1, 7)
    white = Whiten.fit(x, 0.0, power=power)
    z, log_det = white(x)
    values, vectors = torch.linalg.eigh(torch.corrcoef(x.T))
    wanted = (vectors * values ** (1 - power)) @ vectors.T
    wanted /= wanted.diagonal().mean()
    torch.testing.assert_close(torch.cov(z.T, correction=0), wanted)
    torch.testing.assert_close(white.inverse(z), x)
    jacobian = torch.autograd.functional.jacobian(lambda y: white(y)[0], x[0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[0])


@pytest.mark.parametrize("power", [-0.1, 1.5, math.nan])
def test_a_power_that_is_none(power):
    with pytest.raises(InputError, match="power"):
        Whiten.fit(normal(20, equicorrelated(2, 0.5)), power=power)


def test_columns_with_shapes_of_their_own_are_left_alone():
    # Pixels, most of them empty most of the time, and correlated: whitened, every column is a mixture of all.
    data = gf.data.load("digits", atoms="dequantize")
    z = data.preprocessor(data.train)[0]
    assert shrinkage(z) == 1
    assert gf.models.CNF(64).preprocessing(data) is data.preprocessor
    # Of the same correlations but normal, they are believed.
    assert 0 < shrinkage(normal(len(z), torch.cov(z.T))) < 0.2


def test_a_repeated_value_is_no_reason_to_whiten_or_not():
    # Rounded to a quarter of a deviation every value is an atom; what is correlated is so as before.
    x = normal(400, equicorrelated(4, 0.8))
    assert shrinkage((4 * x).round()) == pytest.approx(shrinkage(x), abs=0.02)


def test_the_same_rows_give_the_same_map():
    x = normal(70, equicorrelated(8, 0.3))
    one, other = Whiten.fit(x), Whiten.fit(x.clone())
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 3, 9, 11])
def test_a_handful_of_rows(rows):
    white = Whiten.fit(normal(rows, equicorrelated(5, 0.9)))
    z, log_det = white(normal(20, equicorrelated(5, 0.9), 1))
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    assert z.abs().max() < 1e4


def test_a_column_that_one_row_alone_moves():
    # Within the folds that miss the row the column is constant.
    x = normal(60, equicorrelated(3, 0.5))
    x[:, 2] = 0
    x[7, 2] = 1
    z, log_det = Whiten.fit(x)(x)
    assert z.isfinite().all()
    assert log_det.isfinite().all()


def test_a_table_that_follows_from_fewer_columns():
    x = normal(100, equicorrelated(3, 0.2))
    x = torch.cat([x, x.sum(1, keepdim=True)], 1)
    white = Whiten.fit(x)
    z, _ = white(x)
    assert z.isfinite().all()
    torch.testing.assert_close(white.inverse(z), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_share_that_is_none(share):
    with pytest.raises(InputError, match="shrinkage"):
        Whiten.fit(normal(20, equicorrelated(2, 0.5)), share)


def test_a_checkpoint_of_before_loads(tmp_path):
    # Its root was symmetric: that of the covariance as it is.
    data = gf.data.load("gaussian-mixture-3", rows=200)
    z = data.preprocessor(data.train)[0]
    values, vectors = torch.linalg.eigh(torch.cov(z.T, correction=0))
    white = Whiten(3)
    white.load_state_dict(
        {
            "mean": z.mean(0),
            "root": vectors / values.sqrt() @ vectors.mT,
            "unroot": vectors * values.sqrt() @ vectors.mT,
        }
    )
    model = Transformed(gf.models.CNF(3), gf.data.Compose([data.preprocessor, white]), data.columns)
    model.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(again.log_prob(data.test), model.log_prob(data.test))
    assert set(white.state_dict()) == set(Whiten.fit(z).state_dict())
