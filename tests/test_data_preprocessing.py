"""Preprocessing: exact inverses with the log-determinant of their Jacobian, in float64 whatever happens around them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genflow import InputError
from genflow.data import Compose, Logit, Preprocessor, Standardize

DIMENSIONS = st.integers(1, 6)
SEEDS = st.integers(0, 2**31)


def rows(seed: int, n: int, dim: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(n, dim, generator=generator, dtype=torch.float64)


def standardize(seed: int, dim: int, exponent: float) -> Standardize:
    offset = rows(seed + 1, 1, dim, -5, 5)
    return Standardize.fit((rows(seed, 50, dim) + offset) * 10.0**exponent)


def build(kind: str, seed: int, dim: int) -> tuple[Preprocessor, torch.Tensor]:
    """A preprocessor and points in its domain."""
    x = rows(seed + 2, 7, dim, 0.01, 16.99)
    if kind == "standardize":
        return Standardize.fit(rows(seed, 50, dim, -3, 40)), x
    if kind == "logit":
        return Logit(0, 17), x
    logit = Logit(0, 17, alpha=1e-3)
    return Compose([logit, Standardize.fit(logit(rows(seed, 50, dim, 0, 17))[0])]), x


KINDS = pytest.mark.parametrize("kind", ["standardize", "logit", "compose"])


@KINDS
@given(seed=SEEDS, dim=DIMENSIONS)
@settings(max_examples=20, deadline=None)
def test_inverse_returns_the_input(kind, seed, dim):
    preprocessor, x = build(kind, seed, dim)
    z, _ = preprocessor(x)
    torch.testing.assert_close(preprocessor.inverse(z), x, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(preprocessor(preprocessor.inverse(z))[0], z, rtol=1e-9, atol=1e-9)


@KINDS
@given(seed=SEEDS, dim=DIMENSIONS)
@settings(max_examples=15, deadline=None)
def test_log_determinant_is_that_of_the_jacobian(kind, seed, dim):
    preprocessor, x = build(kind, seed, dim)
    _, ladj = preprocessor(x)
    assert ladj.shape == x.shape[:-1]
    for row, expected in zip(x, ladj, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: preprocessor(y)[0], row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, expected, rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, dim=DIMENSIONS, exponent=st.floats(-8, 8))
@settings(max_examples=30, deadline=None)
def test_standardized_rows_have_mean_zero_and_deviation_one_at_any_scale(seed, dim, exponent):
    x = (rows(seed, 50, dim) + rows(seed + 1, 1, dim, -5, 5)) * 10.0**exponent
    scale = Standardize.fit(x)
    z, _ = scale(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(dim, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(dim, dtype=torch.float64), rtol=1e-10, atol=0)
    torch.testing.assert_close(scale.inverse(z), x, rtol=1e-12, atol=1e-12 * 10.0**exponent)


@KINDS
@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 4, 2), (0, 2)])
def test_any_batch(kind, shape):
    preprocessor, _ = build(kind, 0, 2)
    x = torch.full(shape, 3.0, dtype=torch.float64)
    z, ladj = preprocessor(x)
    assert z.shape == shape
    assert ladj.shape == shape[:-1]
    assert preprocessor.inverse(z).shape == shape


@KINDS
@pytest.mark.parametrize("cast", [torch.nn.Module.float, torch.nn.Module.half, lambda m: m.to(torch.bfloat16)])
def test_a_model_cast_to_less_precision_keeps_what_was_fitted(kind, cast):
    preprocessor, x = build(kind, 0, 3)
    before = preprocessor(x)
    model = torch.nn.ModuleDict({"net": torch.nn.Linear(3, 3), "preprocessor": preprocessor})
    cast(model)
    assert model["net"].weight.dtype != torch.float64
    for one, other in zip(before, preprocessor(x), strict=True):
        assert torch.equal(one, other)


@KINDS
def test_single_precision_input_is_computed_in_double(kind):
    preprocessor, x = build(kind, 0, 3)
    z, ladj = preprocessor(x.float())
    assert z.dtype == ladj.dtype == preprocessor.inverse(z.float()).dtype == torch.float64
    torch.testing.assert_close(z, preprocessor(x.float().double())[0], rtol=0, atol=0)


@KINDS
def test_config_and_state_build_it_again(kind):
    preprocessor, x = build(kind, 0, 3)
    arguments = preprocessor.config()
    if kind == "compose":
        arguments = {"parts": [type(part)(**part.config()) for part in arguments["parts"]]}
    again = type(preprocessor)(**arguments)
    again.load_state_dict(preprocessor.state_dict())
    for same in (again, copy.deepcopy(preprocessor), pickle.loads(pickle.dumps(preprocessor))):
        assert torch.equal(same(x)[0], preprocessor(x)[0])


def test_a_column_that_does_not_vary_is_named():
    x = torch.stack([torch.arange(9.0), torch.full((9,), 5.0)], -1)
    with pytest.raises(InputError, match="column 'b': constant"):
        Standardize.fit(x, ["a", "b"])


@pytest.mark.parametrize("arguments", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0, 0.5), (0.0, 1.0, 0.0)])
def test_logit_refuses_bounds_that_are_none(arguments):
    with pytest.raises(InputError, match="Logit"):
        Logit(*arguments)
