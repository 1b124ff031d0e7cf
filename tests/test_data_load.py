"""Loading: the split, what is remarked on and what is done about it."""

from __future__ import annotations

import math
import re
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow import InputError
from genflow.data import load, names, split
from genflow.data.atoms import grid_width, grid_widths, repeats
from genflow.data.reading import from_array
from genflow.data.selection import Selection, select


def parts(data) -> torch.Tensor:
    return torch.cat([data.train, data.validation, data.test])


@given(n=st.integers(10, 5000))
def test_split_is_that_of_the_published_figures(n):
    train, validation, test = split(np.arange(n)[:, None])
    order = np.random.default_rng(0).permutation(n)
    assert np.array_equal(np.concatenate([train, validation, test])[:, 0], order)
    assert len(train) == n * 8 // 10
    assert len(train) + len(validation) == n * 9 // 10
    assert min(len(train), len(validation), len(test)) >= 1


@pytest.mark.parametrize("name", names())
def test_every_built_in_name(name):
    data = load(name)
    again = load(name)
    assert data.name == name
    assert len(data.columns) == data.dim == data.test.shape[1]
    assert len(set(data.columns)) == data.dim
    for part, same in zip((data.train, data.validation, data.test), (again.train, again.validation, again.test)):
        assert part.dtype == torch.float64
        assert part.isfinite().all()
        assert torch.equal(part, same)
    z, ladj = data.preprocessor.spread(data.train, torch.Generator().manual_seed(0))
    assert ladj.shape == (len(data.train),)
    if data.preprocessor.random:
        assert z.isfinite().all()
        torch.testing.assert_close(data.preprocessor.inverse(z), data.train, rtol=1e-9, atol=1e-12)
    else:
        torch.testing.assert_close(z.mean(0), torch.zeros(data.dim, dtype=torch.float64), rtol=0, atol=1e-9)
        torch.testing.assert_close(z.std(0, correction=0), torch.ones(data.dim, dtype=torch.float64))
    assert all("\n" not in remark and remark.startswith(name) for remark in data.remarks)
    if data.true_log_prob is not None:
        log_p = data.true_log_prob(data.test)
        assert log_p.shape == (len(data.test),)
        assert log_p.isfinite().all()
        # No Gaussian beats the truth.
        gauss = torch.distributions.MultivariateNormal(data.train.mean(0), data.train.mT.cov())
        assert log_p.mean() > gauss.log_prob(data.test).mean()


def test_the_seed_draws_other_rows():
    one, other = load("rings", seed=1), load("rings", seed=2)
    assert not torch.equal(one.train, other.train)
    assert torch.equal(one.train, load("rings", seed=1).train)
    assert (one.seed, other.seed) == (1, 2)


def test_rows_and_name():
    data = load("spirals", rows=200, name="two arms")
    assert (len(data.train), len(data.validation), len(data.test), data.name) == (160, 20, 20, "two arms")
    assert load(data) is data


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_mixtures_of_any_dimension(dim):
    assert load(f"gaussian-mixture-{dim}", rows=100).dim == dim


def test_digits_are_grey_levels():
    from sklearn.datasets import load_digits

    levels = torch.from_numpy(load_digits().data[np.random.default_rng(0).permutation(1797)])
    data = load("digits")
    assert torch.equal(parts(data), levels)
    assert data.images(data.test).shape == (180, 8, 8)
    assert data.preprocessor.random
    assert torch.equal(parts(load("digits", atoms="dequantize")).floor(), levels)
    assert torch.equal(parts(load("digits", atoms="keep")), levels)
    with pytest.raises(InputError, match="atoms: 'drop' came for digits"):
        load("digits", atoms="drop")


def test_patches_are_prepared_as_bsds300():
    data = load("photo-patches", rows=5000)
    images = data.images(parts(data))
    assert data.dim == 63
    assert images.shape == (5000, 8, 8)
    torch.testing.assert_close(images.mean((1, 2)), torch.zeros(5000, dtype=torch.float64), rtol=0, atol=1e-12)
    assert images.abs().max() < 1
    # Neighbouring pixels of natural images are alike: the mean square of independent ones would be twice the variance.
    assert (images[:, :, 1:] - images[:, :, :-1]).square().mean() < images.square().mean()


def test_patches_of_different_parts_share_no_pixel():
    """Every patch of a part lies in its tiles: whole grey levels of test patches do not occur in training patches."""
    data = load("photo-patches")
    levels = [{row.tobytes() for row in ((part[:, :-1] - part[:, 1:]) * 256).round().numpy() if row.std() > 8}
              for part in (data.train, data.test)]  # fmt: skip
    assert not levels[0] & levels[1]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("two-moon", {}, "'two-moon' is neither a file nor a built-in name; did you mean two-moons?"),
        ("zzz", {}, "built in are two-moons, eight-gaussians"),
        ("gaussian-mixture-0", {}, "dimension 0"),
        ("two-moons", {"atoms": "smooth"}, "atoms: 'smooth' came; give 'cells', 'keep', 'dequantize' or 'drop'"),
        ("two-moons", {"rows": 5}, "rows: 5 came; at least 10"),
        ("two-moons", {"test": np.zeros((3, 2))}, "test: it goes with a table, not with two-moons"),
        ("digits", {"rows": 50}, "rows: 50 came for digits"),
        ("breast-cancer", {"rows": 50}, "rows: 50 came for breast-cancer"),
        ("photo-patches", {"rows": 10**7}, "rows: 10000000 came; photo-patches has between 10 and"),
        (np.eye(20), {"rows": 50}, "rows: 50 came for a table"),
    ],
)
def test_wrong_arguments(source, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)


NORMAL = np.random.default_rng(0).normal(size=(3000, 3))


def test_smooth_rows_leave_nothing_to_remark():
    data = load(NORMAL)
    assert data.remarks == []
    assert torch.equal(parts(data), torch.from_numpy(NORMAL[np.random.default_rng(0).permutation(3000)]))


@given(seed=st.integers(0, 1000), copies=st.integers(1, 500))
@settings(max_examples=10)
def test_copies_are_dropped_and_counted(seed, copies):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(1000, 2))
    data = load(np.concatenate([rows, rows[rng.integers(1000, size=copies)]]))
    assert torch.equal(parts(data), torch.from_numpy(rows[np.random.default_rng(0).permutation(1000)]))
    assert f"{copies} row{'s' * (copies > 1)} of {1000 + copies} repeated exactly: dropped" in data.remarks[0]


@pytest.mark.parametrize("atoms", ["keep", "dequantize"])
def test_rows_of_few_values_meet_by_chance_and_are_kept(atoms):
    dice = np.random.default_rng(0).choice(6, size=(3000, 2), p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    data = load(dice, atoms=atoms)
    assert len(parts(data)) == 3000
    assert float((parts(data).round() == 0).double().mean()) == pytest.approx(0.5, abs=0.05)


@given(
    width=st.sampled_from([1.0, 0.5, 0.25, 0.01, 0.05, 20.0, 1 / 64, 1e-6, 0.3]),
    origin=st.integers(-1000, 1000),
    single=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_grid_of_a_column_is_found(width, origin, single, seed):
    steps = origin + np.random.default_rng(seed).integers(0, 500, size=200)
    values = steps * width
    values = values.astype(np.float32).astype(np.float64) if single else values
    assert grid_width(values) == pytest.approx(width, rel=1e-3)
    assert (grid_widths(values) == grid_width(values)).all() or width * 500 > 10


@given(decimals=st.integers(0, 3), atoms=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 1000))
def test_dequantized_values_round_to_those_recorded(decimals, atoms, seed):
    rng = np.random.default_rng(seed)
    recorded = rng.normal(size=(2000, 2)).round(decimals)
    recorded[rng.random(2000) < atoms, 0] = 0
    smooth = rng.normal(size=(2000, 1))  # keeps rows apart
    rows = np.concatenate([recorded, smooth], 1)
    data = load(rows, atoms="dequantize")
    expected = rows[np.random.default_rng(0).permutation(2000)]
    values = parts(data).numpy()
    np.testing.assert_allclose(values[:, :2].round(decimals), expected[:, :2], atol=1e-12)
    np.testing.assert_array_equal(values[:, 2], expected[:, 2])
    assert len(np.unique(values[:, 0])) == 2000
    noise = (values[:, :2] - expected[:, :2]) * 10**decimals
    assert noise.mean() == pytest.approx(0, abs=5 * math.sqrt(1 / 12 / 4000))
    assert noise.var() == pytest.approx(1 / 12, rel=0.1)
    assert any("uniform noise" in remark for remark in data.remarks)


def test_a_number_of_few_digits_has_a_coarser_grid_the_larger_it_is():
    values = np.array([float(f"{value:.4g}") for value in 10 ** np.random.default_rng(0).uniform(0, 4, 5000)])
    widths = grid_widths(values)
    expected = 10.0 ** (np.floor(np.log10(values)) - 3)
    assert np.isclose(widths, expected).mean() > 0.999  # but for 10000 itself


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (NORMAL[:, 0], False),
        (NORMAL[:, 0].round(3), False),  # 6 rows to a value at most: rounded, nothing stands out
        (NORMAL[:, 0].round(1), True),  # 60 values
        (np.maximum(NORMAL[:, 0], -1.5), True),  # 7 % at the limit of an instrument
        (np.where(NORMAL[:, 0] > 2.5, 0.0, NORMAL[:, 1]), False),  # 0.6 %
        ((NORMAL[:, 0] > 0).astype(float), True),
        (np.exp(NORMAL[:, 0]).round(3), False),
    ],
)
def test_atoms_are_told_from_rounding(column, expected):
    assert repeats(column).atoms is expected


def test_spikes_that_noise_of_the_grid_leaves_are_remarked_on():
    rng = np.random.default_rng(0)
    gauges = rng.choice(rng.choice(5000, 50, replace=False) / 100, 3000)  # 50 of 5000 points of the grid
    rounded = rng.normal(size=3000).round(1)
    data = load(np.column_stack([NORMAL, gauges, rounded]), atoms="dequantize")
    assert any("spikes as narrow as the grid remain in x4: atoms=drop is safer" in remark for remark in data.remarks)


def test_columns_with_atoms_can_be_dropped():
    rows = np.column_stack([NORMAL, NORMAL[:, 0].round(1)])
    cells, keep, drop = (load(rows, atoms=atoms) for atoms in ("cells", "keep", "drop"))
    assert cells.dim == keep.dim == 4
    assert cells.preprocessor.random
    assert not keep.preprocessor.random
    assert any("x4" in remark and "log p is that of counts" in remark for remark in cells.remarks)
    assert any("x4" in remark and "atoms=cells, dequantize or drop" in remark for remark in keep.remarks)
    assert drop.columns == ["x1", "x2", "x3"]
    assert torch.equal(drop.train, keep.train[:, :3])
    with pytest.raises(InputError, match="atoms=drop leaves none"):
        load(rows[:, 3:], atoms="drop")


def test_a_column_that_follows_from_others_is_remarked_on():
    data = load(np.column_stack([NORMAL, NORMAL @ [1, -2, 3]]))
    assert any("x4" in remark and "linear function" in remark for remark in data.remarks)


def test_only_a_density_has_no_bound_where_a_column_follows_from_others():
    hours, minutes = np.random.default_rng(0).integers([24, 12], size=(3000, 2)).T
    rows = np.column_stack([hours, minutes, 100 * hours + 5 * minutes, NORMAL[:, 0], 2 * NORMAL[:, 0]])
    smooth, counted, follow = load(rows).remarks[-3:]
    assert "functions of the columns before them: x5; a likelihood there has no bound" in smooth
    assert "functions of the columns before them: x3; samples keep to it" in counted
    assert re.search(r"modelled given them: x1 (in part )?from x3, x2 (in part )?from x3$", follow)
    assert "x3, x5; a likelihood there has no bound" in load(rows, atoms="keep").remarks[-1]


def test_a_date_that_comes_again_is_named_as_it_is_written(tmp_path):
    rng = np.random.default_rng(0)
    born = pd.Series(pd.Timestamp("1990-01-01") + pd.to_timedelta(rng.integers(0, 9000, 400), unit="D"))
    born[:40] = pd.Timestamp("1900-01-01")
    table = pd.DataFrame({"born": born.dt.strftime("%d.%m.%Y"), "x": rng.normal(size=400)})
    table.to_csv(tmp_path / "people.csv", index=False)
    assert "repeated values in born (40 rows at 01.01.1900)" in load(tmp_path / "people.csv").remarks[0]


def test_own_test_rows_stay_as_they_are():
    own = np.random.default_rng(1).normal(size=(50, 3))
    data = load(np.concatenate([NORMAL, own[:7]]), test=own)
    assert torch.equal(data.test, torch.from_numpy(own))
    assert len(data.train) + len(data.validation) == 3000
    assert len(data.train) == 3000 * 8 // 9
    assert any("7 rows repeated in the test rows" in remark for remark in data.remarks)


def test_own_test_rows_go_through_the_same_steps():
    rows = np.column_stack([NORMAL, NORMAL[:, 0].round(1)])
    own = np.random.default_rng(1).normal(size=(50, 4)).round(1)
    assert load(rows, test=own, atoms="drop").test.shape == (50, 3)
    test = load(rows, test=own, atoms="dequantize").test
    np.testing.assert_allclose(test[:, 3].numpy().round(1), own[:, 3], atol=1e-12)
    assert len(test[:, 3].unique()) == 50


@pytest.mark.parametrize("rows", [NORMAL, np.round(NORMAL), np.where(NORMAL > 2, math.nan, NORMAL)])
def test_the_rows_that_are_trained_on_are_no_test_rows(rows):
    with pytest.raises(InputError, match="test: the very rows that are trained on came; other rows would do"):
        load(rows, test=rows.copy())


@pytest.mark.parametrize("argument", ["columns", "drop", "condition", "classes"])
@pytest.mark.parametrize("column", [1.5, None, True, [0, 1.5]])
def test_what_is_no_column_is_one_line(argument, column):
    if column is None and argument == "columns":
        return
    with pytest.raises(InputError, match=f"{argument}: .* came; the name of a column or its position from 0 would do"):
        load(NORMAL, **{argument: column})


DENSE = torch.from_numpy(NORMAL[:60])
LAYOUTS = {
    "the layout sparse_coo": DENSE.to_sparse,
    "the layout mkldnn": DENSE.float().to_mkldnn,
    "the layout nested": lambda: torch.nested.nested_tensor([DENSE[:3], DENSE[:4]]),
    "a meta tensor": lambda: DENSE.to("meta"),
    "a quantized tensor": lambda: torch.quantize_per_tensor(DENSE.float(), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:torch.quantize", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("what", LAYOUTS)
def test_a_tensor_without_numbers_one_by_one_is_one_line(what):
    fitted = gf.baselines.Gaussian(3).fit(NORMAL[:60], iterations=1)
    asked = {
        "data": lambda x: load(x),
        "test": lambda x: load(NORMAL, test=x),
        "x": fitted.log_prob,
    }
    for argument, ask in asked.items():
        with pytest.raises(InputError, match=f"^{argument}: .*{what} .*would do$"):
            ask(LAYOUTS[what]())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_numbers_of_few_digits_are_numbers(dtype):
    rows = (20 * DENSE).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fitted = gf.baselines.Gaussian(3).fit(rows, iterations=1)
        assert fitted.log_prob(rows).isfinite().all()
    assert torch.equal(load(rows, atoms="keep").train, load(rows.double(), atoms="keep").train)


def test_numbers_near_the_largest_are_looked_at_without_a_warning():
    rows = np.where(NORMAL > 0, 1e308, -1e308) * (1 - np.abs(NORMAL) / 100)
    rows[:50, 0] = -9e307
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        select(from_array(rows, "data"), Selection())


def test_a_position_of_numpy_is_one():
    assert load(NORMAL, columns=np.int64(1)).columns == load(NORMAL, columns=np.array([1])).columns == ["x2"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (NORMAL[:5, :2], "test: 2 columns came, 3 are wanted: x1, x2, x3"),
        (NORMAL[:5] * math.nan, "test: row 1, column 1: a missing value"),
    ],
)
def test_own_test_rows_that_do_not_fit(own, message):
    with pytest.raises(InputError, match=message):
        load(NORMAL, test=own)


def test_a_column_constant_in_the_training_part_only():
    rows = NORMAL[:20].copy()
    rows[:, 1] = 0
    rows[np.random.default_rng(0).permutation(20)[-1], 1] = 1
    with pytest.raises(InputError, match="column 'x2': constant in the training part"):
        load(rows, atoms="keep")
    data = load(rows)  # what the training rows never had has half of half a row's probability, at the upper end
    (low, high, *_), unseen = data.preprocessor.pieces(data.test), data.test[:, 1] == 1
    mass = (torch.special.ndtr(-low) - torch.special.ndtr(-high))[unseen, 1]
    assert mass.tolist() == pytest.approx([0.5 * 0.5 / (len(data.train) + 1)])
    assert data.preprocessor(data.test)[0].isfinite().all()


@pytest.mark.parametrize(
    ("name", "rows", "dim", "gauss"),
    [("power-plant-smooth.txt", 9527, 4, 4.009), ("protein-smooth.txt", 44018, 7, 5.569)],
)
def test_smooth_tables_give_the_figures_that_are_known_of_them(shared_tables, name, rows, dim, gauss):
    """The full Gaussian's test NLL in standardized units, as it stands beside the tables."""
    load(NORMAL)  # imports do not count
    start = time.process_time()  # nor does what else the machine does
    data = load(shared_tables / name, atoms="keep")
    assert time.process_time() - start < 3
    assert (len(parts(data)), data.dim, data.remarks) == (rows, dim, [])
    train, test = data.preprocessor(data.train)[0], data.preprocessor(data.test)[0]
    model = torch.distributions.MultivariateNormal(train.mean(0), train.mT.cov())
    assert -model.log_prob(test).mean().item() == pytest.approx(gauss, abs=6e-4)


def test_recorded_tables_are_remarked_on(shared_tables):
    plant = load(shared_tables / "power-plant.txt")
    assert any("x2 (634 values)" in remark for remark in plant.remarks)
    assert any("41 rows of 9568 repeated exactly" in remark for remark in plant.remarks)
    assert len(parts(plant)) == 9527
    protein = load(shared_tables / "protein-tertiary-structure.txt")
    assert any("x8 (341 values)" in remark for remark in protein.remarks)
    assert load(shared_tables / "power-plant.txt", atoms="drop").columns == ["x1", "x3", "x4", "x5"]
