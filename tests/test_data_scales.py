"""Columns of any scale that doubles have are standardized alike, or refused in one line."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import genflow as gf
from genflow import InputError
from genflow.cli import main
from genflow.data import Compose, Encoding, Logit, Standardize, Whiten
from genflow.data.atoms import dependent_columns, grid_widths, isolated_share
from genflow.data.scales import far_row, moments

LARGEST = 1.7976931348623157e308
SEEDS = st.integers(0, 2**31)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def normal(seed: int, rows: int = 60, dim: int = 2) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def times_power(x: Tensor, k: int) -> Tensor:
    return torch.from_numpy(np.ldexp(x.numpy(), k))


@given(seed=SEEDS, k=st.integers(-990, 1015), offset=st.sampled_from([0.0, 3.0, -1e6]))
@settings(max_examples=60, deadline=None)
def test_a_power_of_two_changes_nothing_but_the_log_determinant(seed, k, offset):
    # Multiplying by a power of two is exact away from the subnormal numbers (below 2^-1022): those of a column whose
    # values are above 2^-30 are 2^-1020 at least. 2^1024 is the end; the values stay below 2^4, or at 2^20.
    x = normal(seed) + offset
    assume(float(x.abs().min()) > 2.0**-30)
    k = k if offset >= 0 else min(k, 1000)
    one, other = Standardize.fit(x), Standardize.fit(times_power(x, k))
    z, log_det = one(x)
    z_k, log_det_k = other(times_power(x, k))
    assert torch.equal(z, z_k)
    assert torch.equal(times_power(one.inverse(z), k), other.inverse(z_k))
    # The sum of two logarithms below 710 is rounded by less than 2^-53 2048, in both.
    torch.testing.assert_close(log_det_k, log_det - 2 * k * math.log(2), rtol=0, atol=1e-12)


@given(seed=SEEDS, exponent=st.floats(-307, 306.9))
@settings(max_examples=60, deadline=None)
def test_moments_over_the_whole_range(seed, exponent):
    x = normal(seed)
    scale = 10.0**exponent
    fitted = Standardize.fit(x * scale)
    z, log_det = fitted(x * scale)
    torch.testing.assert_close(z.mean(0), z.new_zeros(2), rtol=0, atol=1e-10)
    # Values below 2.2e-308 have fewer digits: of 1e-307 they are a hundredth at most, each off by 5e-324.
    torch.testing.assert_close(z.std(0, correction=0), z.new_ones(2), rtol=1e-12, atol=0)
    torch.testing.assert_close(fitted.inverse(z) / scale, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det[0], -(x.std(0, correction=0).log() + math.log(scale)).sum())


@pytest.mark.parametrize("k", [-1060, -1050, -1030])
def test_subnormal_columns(k):
    # Their values are whole multiples of 2^-1074, and so is the deviation that can be kept: of it a half may be lost.
    x = times_power(normal(0), k)
    z, log_det = Standardize.fit(x)(x)
    lost = 2.0 ** (-1074 - k)
    torch.testing.assert_close(z.std(0, correction=0), z.new_ones(2), rtol=2 * lost, atol=0)
    torch.testing.assert_close(log_det[0], -moments(x)[1].log().sum())


def test_mean_and_deviation_whose_squares_sums_and_differences_are_no_doubles():
    x = torch.tensor([[LARGEST], [-LARGEST], [LARGEST], [-LARGEST]], dtype=torch.float64)
    mean, std = moments(x)
    assert (mean.item(), std.item()) == (0, LARGEST)
    mean, std = moments(x.abs() * torch.tensor([[1.0], [0.5], [1.0], [0.5]], dtype=torch.float64))
    assert (mean.item(), std.item()) == (0.75 * LARGEST, 0.25 * LARGEST)
    mean, std = torch.tensor([[-0.9 * LARGEST], [0.5 * LARGEST]], dtype=torch.float64)
    far = Standardize(1, mean, std)
    assert far(torch.tensor([[0.9 * LARGEST]], dtype=torch.float64))[0].item() == pytest.approx(3.6)
    assert far.inverse(torch.tensor([[3.6]], dtype=torch.float64)).item() == pytest.approx(0.9 * LARGEST)


@given(seed=SEEDS, offset=st.sampled_from([1e8, 1e12, 1e15, 1e17]))
@settings(max_examples=20, deadline=None)
def test_a_huge_mean_beside_a_small_deviation(seed, offset):
    deviation = 100 * np.spacing(offset)
    whole = np.rint(normal(seed, rows=500).numpy() * 100) * np.spacing(offset)
    x = torch.from_numpy(offset + whole)  # exactly
    z, log_det = Standardize.fit(x)(x)
    # The mean is a double, too: off by half a spacing, a two-hundredth of the deviation.
    torch.testing.assert_close(z.mean(0), z.new_zeros(2), rtol=0, atol=0.01)
    torch.testing.assert_close(log_det[0].exp() * deviation**2, torch.ones(()).double(), rtol=0.3, atol=0)
    expected = torch.from_numpy(whole).std(0, correction=0)
    torch.testing.assert_close(moments(x)[1], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("offset", [1e16, -1e16, 1e300])
def test_a_deviation_that_is_rounding_is_refused(offset):
    x = offset * (1 + 1e-16 * normal(0, rows=300))
    with pytest.raises(InputError, match=r"column 'b': its deviation of .* is rounding, since doubles near"):
        Standardize.fit(torch.stack([normal(1, 300)[:, 0], x[:, 0]], -1), ["a", "b"])
    with pytest.raises(InputError, match=r"condition: column 'b': its deviation of .* is rounding"):
        Encoding.fit(x[:, :1].numpy(), ["b"], [[]])


def test_a_column_at_the_end_of_the_range_is_refused():
    assert Standardize.fit(normal(0) * 1e307).std.isfinite().all()
    for x in (normal(0) * 4e307, normal(0) * 1e306 + 0.99 * LARGEST):
        with pytest.raises(InputError, match=r"column 1: .* samples would pass the largest double, 1\.8e308"):
            Standardize.fit(x)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-160, 1e160, 1e300, 1e307])
def test_one_scale_for_all_columns(scale):
    x = normal(0) * torch.tensor([1.0, 4.0], dtype=torch.float64)
    z, log_det = Standardize.fit_one_scale(x * scale)(x * scale)
    tolerance = max(1e-12, 5e-324 / scale)
    torch.testing.assert_close(z.var(0, correction=0).mean(), torch.ones(()).double(), rtol=3 * tolerance, atol=0)
    assert log_det.isfinite().all()


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e200, 1e307])
def test_conditions_of_any_scale(scale):
    x = normal(0, 50, 1).numpy()
    encoding = Encoding.fit(x * scale, ["c"], [[]])
    tolerance = max(1e-12, 10 * 5e-324 / scale)
    expected = torch.from_numpy((x - x.mean()) / x.std())
    torch.testing.assert_close(encoding(x * scale, (50,)), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("low", "high"), [(-1.5e308, 1.5e308), (0, 1e-310), (1e200, 3e200), (0, 17), (-1e-300, 0)])
def test_bounds_of_any_scale(low, high):
    logit = Logit(low, high)
    share = torch.tensor([[0.0, 0.25, 0.9, 1.0]], dtype=torch.float64)
    x = low + share * (high / 2 - low / 2) * 2 if high - low < math.inf else low * (1 - share) + share * high
    z, log_det = logit(x)
    reference, reference_log_det = Logit(0, 1)(share)
    # At the bounds z is 14 and its slope 1e6: of 1e-310, the rounding of a subnormal number is 5e-14.
    torch.testing.assert_close(z, reference, rtol=0, atol=1e-7)
    width = math.log(high / 2 - low / 2) + math.log(2)
    torch.testing.assert_close(log_det, reference_log_det - 4 * width, rtol=0, atol=1e-6)
    torch.testing.assert_close(logit.inverse(z) / high if high else logit.inverse(z) / low, x / (high or low))


@pytest.mark.parametrize("k", [-1000, -700, 500, 1000])
def test_what_is_said_of_a_column_does_not_depend_on_its_scale(k):
    x = normal(0, 200, 3).numpy()
    rows = np.column_stack([x, x[:, 0] - 2 * x[:, 1]])
    assert dependent_columns(np.ldexp(rows, k), list("abcd")) == ["d"]
    column = np.round(x[:, 0] * 4)  # whole numbers, some alone
    width = np.ldexp(1.0, k)
    assert (grid_widths(np.ldexp(column, k)) == width).all()
    assert isolated_share(np.ldexp(column, k), np.full(200, width)) == isolated_share(column, np.ones(200))


def test_distances_that_are_no_doubles():
    column = np.array([-LARGEST, LARGEST, 0.0])
    assert isolated_share(column, np.ones(3)) == 1
    assert grid_widths(column[:2]).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("scale", [1e-318, 1e-300, 1e-200, 1e200, 1e300, 1e307])
@pytest.mark.parametrize("atoms", ["keep", "dequantize"])
def test_a_model_of_columns_at_the_ends_of_double(scale, atoms):
    torch.manual_seed(0)
    unit = gf.data.load(normal(0, 300).numpy(), name="t")
    data = gf.data.load(normal(0, 300).numpy() * scale, name="t", atoms=atoms)
    model = gf.baselines.NSF(2, width=8).fit(data, iterations=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        samples = model.sample(200, generator=generator)
        log_p = model.log_prob(data.test)
    assert samples.isfinite().all()
    assert 0.1 * scale < samples.abs().median() < 10 * scale
    # log p moves by the logarithm of the unit; the two trainings see rows that differ by rounding (or noise) alone.
    shift = 2 * math.log(scale)
    torch.manual_seed(0)
    reference = gf.baselines.NSF(2, width=8).fit(unit, iterations=3)
    with torch.no_grad():
        expected = reference.log_prob(unit.test) - shift
    torch.testing.assert_close(log_p, expected, rtol=0, atol=0.05)


def test_scores_of_tiny_columns_are_large():
    data = gf.data.load(normal(0, 300).numpy() * 1e-200, name="t")
    model = gf.fitted.Transformed(gf.models.CNF(2), Compose([data.preprocessor, Whiten(2)]), data.columns)
    # The zero field: a normal density, whose score is -(x - mean) / variance.
    x = data.test
    expected = -(data.preprocessor(x)[0] / data.preprocessor.std)
    torch.testing.assert_close(model.score(x) * 1e-200, expected * 1e-200, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("far", [1e200, -1e200, 1e12, LARGEST])
def test_a_value_beside_which_all_others_are_one_is_refused_by_its_place(tmp_path, capsys, far):
    x = normal(0, 300).numpy()
    x[5, 1] = far
    with pytest.raises(InputError, match=r"row 6, column 2: .* is so far out that most of the other values are the"):
        gf.data.load(x)
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b", comments="", fmt="%.17g")
    assert main(["fit", str(tmp_path / "t.csv"), "--model", "nsf", "--iterations", "2", "-o", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "row 6 (line 7), column 'b'" in said
    assert len(said.strip().splitlines()) == 1
    with pytest.raises(InputError, match=r"row 6, column 2"):
        gf.data.load(normal(1, 300).numpy(), test=x)


def test_values_that_can_be_told_apart_beside_a_far_one_stay():
    x = normal(0, 300)
    x[5, 1] = 1e6
    assert gf.data.load(x.numpy()).dim == 2
    heavy = torch.from_numpy(np.random.default_rng(0).standard_cauchy(size=20_000))
    assert far_row(heavy) is None
    assert far_row(torch.arange(2_000_000, dtype=torch.float64)) is None
    zeros = torch.cat([torch.zeros(900, dtype=torch.float64), normal(0, 100)[:, 0]])
    assert far_row(zeros) is None
    binary = torch.arange(100, dtype=torch.float64) % 2
    binary[3] = -1e20
    assert far_row(binary) == 3
