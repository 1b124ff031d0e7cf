"""The distributional transform: every value owns its piece of the line, and what owns a piece comes back."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import genflow as gf
from genflow.data.cells import Cells
from genflow.data.choice import cells_for, law_of
from genflow.data.dataset import Dataset
from genflow.data.kinds import Column
from genflow.data.laws import Atoms, ColumnLaw, Grid, Levels, Normal, celled_line
from genflow.data.seriation import class_order
from genflow.data.smoothing import smooth
from genflow.draws import stratified_draws
from genflow.numerics.normal import log_density, log_mass, quantile
from genflow.storage.checkpoint import load, save

SIZE = 1200


@functools.cache
def columns() -> dict[str, tuple[np.ndarray, Column]]:
    """Columns of every kind, with what they hold."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=SIZE)
    counts = rng.poisson(3.0, SIZE).astype(float)
    money = np.rint(rng.lognormal(8, 1, SIZE))
    gaps = rng.random(SIZE) < 0.2
    return {
        "smooth": (normal, Column("a")),
        "positive": (rng.exponential(size=SIZE), Column("a")),
        "zeros": (np.where(gaps, 0.0, rng.exponential(size=SIZE)), Column("a")),
        "counts": (counts, Column("a", "integer", grid=1.0)),
        "ages": (np.rint(np.abs(rng.normal(40, 15, SIZE))), Column("a", "integer", grid=1.0)),
        "money": (money, Column("a", "integer", grid=1.0)),
        "money with zeros": (np.where(gaps, 0.0, money), Column("a", "integer", grid=1.0)),
        "tenths": (normal.round(1), Column("a", grid=0.1)),
        "hundredths": (normal.round(2), Column("a", grid=0.01)),
        "thousandths": (normal.round(3), Column("a", grid=0.001)),
        "gaps": (np.where(gaps, np.nan, normal), Column("a", missing=True)),
        "counts with gaps": (np.where(gaps, np.nan, counts), Column("a", "integer", grid=1.0, missing=True)),
        "piles at both ends": (normal.clip(-1, 1), Column("a")),
        "classes": (np.where(gaps, np.nan, counts.clip(0, 4)), Column("a", "class", tuple("vwxyz"), missing=True)),
    }


@functools.cache
def law(name: str) -> tuple[ColumnLaw, np.ndarray]:
    x, column = columns()[name]
    order = class_order(x[:, None], [column], 0) if column.kind == "class" else None
    return law_of(x[:1000], column, x[1000:], order), x


NAMES = list(columns())


@pytest.mark.parametrize("name", NAMES)
def test_a_value_comes_back_from_wherever_in_its_cell_it_is(name: str) -> None:
    fitted, x = law(name)
    rows = torch.from_numpy(x[:1000])[:, None]  # those that it was fitted to
    cells = Cells([fitted])
    for seed in range(3):
        z, log_det = cells.spread(rows, torch.Generator().manual_seed(seed))
        assert z.isfinite().all()
        assert log_det.isfinite().all()
        # In the tails the line has fewer digits: those of 1 / phi(z), at z = 6 seven less than a double.
        torch.testing.assert_close(cells.inverse(z), rows, rtol=1e-8, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_line_is_a_value_that_the_column_can_have(name: str) -> None:
    fitted, x = law(name)
    _, column = columns()[name]
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    value = fitted.value(z)
    known = value[~value.isnan()]
    assert column.missing or len(known) == len(z)
    if column.grid:
        steps = known / column.grid
        torch.testing.assert_close(steps, steps.round(), rtol=1e-9, atol=1e-6)
    if np.nanmin(x) >= 0:
        assert (known >= 0).all()
    if name == "piles at both ends":
        assert (known.min(), known.max()) == (-1, 1)
    if column.classes:
        assert set(known.tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("name", NAMES)
def test_the_mass_of_a_value_is_the_share_of_the_line_that_comes_back_as_it(name: str) -> None:
    """Under the standard normal law: P(x) and f(x) as `piece` has them, against the line cut into small pieces."""
    fitted, x = law(name)
    _, column = columns()[name]
    size = 200_001
    edges = torch.linspace(-9, 9, size + 1, dtype=torch.float64)
    middle, mass = (edges[1:] + edges[:-1]) / 2, log_mass(edges[:-1], edges[1:]).exp()
    value = fitted.value(middle)
    probe = torch.from_numpy(x[:12])
    piece = fitted.piece(probe)
    for k, wanted in enumerate(probe.tolist()):
        if piece.low[k] == piece.high[k]:  # a density: the mass of a small interval around the value, by its width
            near = 20.5 * column.grid if column.grid else 1e-3 * (1 + abs(wanted))
            found = mass[(value - wanted).abs() < near].sum() / (2 * near)
            stated = (log_density(piece.low[k]) + piece.log_slope[k]).exp()
            if column.kind == "integer":
                stated = stated / column.grid
            # The interval's ends fall between the line's small pieces, and the density changes across it.
            assert abs(found / stated - 1) < 0.05
        else:
            same = value.isnan() if math.isnan(wanted) else (value - wanted).abs() < 1e-9
            stated = log_mass(piece.low[k], piece.high[k]).exp()
            step = 2 * float(mass.max())
            # Beyond the last value stands the mass of what the training rows never had.
            assert abs(float(mass[same].sum() - stated)) < step + 0.5 / 1000


def test_the_line_is_the_normal_law_of_what_a_column_is() -> None:
    """Spread over their cells, the training rows of a column of levels are as normal as their number allows."""
    for name in ("counts", "classes", "ages", "tenths", "counts with gaps"):
        fitted, x = law(name)
        z, _ = Cells([fitted]).spread(torch.from_numpy(x)[:, None], torch.Generator().manual_seed(0))
        u = torch.special.ndtr(z[:, 0]).sort().values
        distance = (u - (torch.arange(SIZE) + 0.5) / SIZE).abs().max()
        assert distance < 1.95 / math.sqrt(SIZE)  # Kolmogorov's distribution, 1 in 1000


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.floats(0, 20), st.lists(st.floats(0.01, 0.1), min_size=1, max_size=4)
)  # fmt: skip
def test_atoms_between_other_values(mean: float, std: float, low: float, shares: list[float]) -> None:
    """The masses of atoms are theirs, and the order of the line is that of the values."""
    rest = Normal(mean, std, low=mean - low * std)
    atoms = torch.tensor([mean + (k - 1) * std for k in range(len(shares))], dtype=torch.float64)
    atoms = atoms.clamp(min=rest.low).unique()
    fitted = Atoms(rest, len(atoms), atoms, torch.tensor(shares[: len(atoms)], dtype=torch.float64))
    piece = fitted.piece(atoms)
    masses = log_mass(piece.low, piece.high).exp()
    torch.testing.assert_close(masses, torch.tensor(shares[: len(atoms)], dtype=torch.float64), rtol=1e-6, atol=1e-9)
    z = torch.linspace(-6, 6, 301, dtype=torch.float64)
    value = fitted.value(z)
    # As far as the differences of the values' own rounding.
    assert (value.diff() >= -1e-12 * (abs(mean) + std)).all()


def test_what_the_training_rows_never_had_has_a_finite_log_p() -> None:
    for name in NAMES:
        fitted, _ = law(name)
        odd = torch.tensor([[-1e9], [1e9], [0.123], [-0.5], [7.0]], dtype=torch.float64)
        z, log_det = Cells([fitted]).spread(odd, torch.Generator().manual_seed(0))
        assert z.isfinite().all(), name
        assert log_det.isfinite().all(), name
    levels = Levels(2, [0.0, 1.0], [0.5, 0.5], rest=0.02)
    piece = levels.piece(torch.tensor([5.0], dtype=torch.float64))
    torch.testing.assert_close(log_mass(piece.low, piece.high).exp(), torch.tensor([0.01], dtype=torch.float64))


def test_the_density_of_decimals_does_not_depend_on_how_they_count() -> None:
    """A density per unit: a column in other units has the same log p but for the logarithm of the unit."""
    x = np.random.default_rng(0).normal(size=1000).round(2)
    first, second = (law_of(x * f, Column("a", grid=0.01 * f)) for f in (1.0, 100.0))
    for law_, values in ((first, x), (second, x * 100)):
        assert isinstance(law_, Grid)
        z, log_det = Cells([law_]).spread(torch.from_numpy(values)[:, None], torch.Generator().manual_seed(0))
        log_p = log_density(z[:, 0]) + log_det
        if values is x:
            before = log_p
        else:
            torch.testing.assert_close(log_p + math.log(100), before, rtol=1e-6, atol=1e-6)


def test_the_bound_tightens_towards_the_truth() -> None:
    """Two coins that depend on each other: under an independent normal model the truth is a sum over four cells."""
    rows = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    coin = [0.0, 1.0], [0.5, 0.5]
    # A number on each row, independent of the coins, gives each its own draws; whatever they are, it adds log 1/2000.
    cells = Cells([Levels(2, *coin), Levels(2, *coin), Levels(2000)])

    class Correlated(gf.baselines.Gaussian):
        """A normal law whose first two columns have the correlation 0.8."""

        def log_prob(self, x: Tensor, condition: object = None, generator: object = None) -> Tensor:
            covariance = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]])
            return torch.distributions.MultivariateNormal(torch.zeros(3), covariance).log_prob(x)

    fitted = gf.fitted.Transformed(Correlated(3), cells, ["a", "b", "number"])
    # The orthant probability of a bivariate normal law, 1/4 + arcsin(rho) / 2 pi.
    same = 0.25 + math.asin(0.8) / (2 * math.pi)
    truth = torch.tensor([same, same, 0.5 - same, 0.5 - same], dtype=torch.float64).log()
    means = []
    many = torch.cat([rows.repeat(2000, 1), torch.arange(2000.0).repeat_interleave(4)[:, None]], 1)
    for draws in (1, 4, 16, 64):
        log_p, error = fitted.log_prob_with_error(many, draws=draws)
        log_p = log_p.reshape(2000, 4) + math.log(2000)
        assert (log_p.mean(0) < truth + 4 * log_p.std(0) / math.sqrt(2000)).all()  # a lower bound
        means.append(log_p.mean(0))
        assert (error > 0).all() == (draws > 1)
    for less, more in itertools.pairwise(means):
        assert (more > less).all()
    # Its distance falls as the variance of a mean does: at 64 draws below a hundredth.
    assert (means[-1] - truth).abs().max() < 0.01


def test_a_row_without_cells_has_one_place() -> None:
    """Rows of a density alone are mapped to one point: taken sixteen times, they would be sixteen times the same."""
    taken: list[int] = []

    class Counted(gf.baselines.Gaussian):
        def log_prob(self, x: Tensor, condition: object = None, generator: object = None) -> Tensor:
            taken.append(len(x))
            return super().log_prob(x, condition, generator)

    frame = pd.DataFrame(
        {"a": np.random.default_rng(0).normal(size=300), "b": np.random.default_rng(1).normal(size=300)}
    )
    frame.loc[:99, "b"] = 0.0
    fitted = Counted(2).fit(frame, iterations=1)
    x = torch.tensor(frame[80:120].to_numpy())
    taken.clear()
    log_p, error = fitted.log_prob_with_error(x)
    assert sum(taken) == 20 * 16 + 20
    assert (error[:20] > 0).all()
    assert not error[20:].any()
    assert fitted.owns_cells(x).tolist() == [True] * 20 + [False] * 20
    torch.testing.assert_close(torch.cat([fitted.log_prob(x[:20]), fitted.log_prob(x[20:])]), log_p)
    gradient = fitted.score(x)
    torch.testing.assert_close(torch.cat([fitted.score(x[:20]), fitted.score(x[20:])]), gradient)


def test_shares_of_few_rows_are_those_under_which_rows_are_likely() -> None:
    counts = np.array([50, 0, 50])
    p, _ = smooth(counts, False)
    assert (p > 0).all()
    assert p[1] < 0.02
    assert abs(p.sum() - 1) < 1e-12
    rng = np.random.default_rng(0)
    truth = np.exp(-0.5 * ((np.arange(60) - 30) / 10) ** 2)
    truth /= truth.sum()
    counts = rng.multinomial(300, truth)
    p, width = smooth(counts, True)
    assert width > 1
    raw = (counts + 0.5) / (300 + 30)
    assert (truth * np.log(truth / p)).sum() < 0.5 * (truth * np.log(truth / raw)).sum()


def test_classes_stand_beside_those_that_are_alike() -> None:
    rng = np.random.default_rng(0)
    place = rng.integers(6, size=900)
    names = np.array([3, 0, 5, 1, 4, 2])  # the class at each place of the hidden scale
    rows = np.column_stack([place + 0.3 * rng.normal(size=900), names[place].astype(float)])
    order = class_order(rows, [Column("size"), Column("name", "class", tuple("abcdef"))], 1)
    assert order.tolist() in (names.tolist(), names[::-1].tolist())


def test_a_checkpoint_holds_the_cells(tmp_path) -> None:
    rows = np.column_stack([x for x, _ in columns().values()])
    cells = cells_for(rows[:1000], [column for _, column in columns().values()], rows[1000:])
    save(cells, tmp_path / "cells")
    again = load(tmp_path / "cells")
    x = torch.from_numpy(rows)
    for first, second in zip(cells(x), again(x), strict=True):
        assert torch.equal(first, second)
    z = torch.randn(50, x.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cells.inverse(z), again.inverse(z), rtol=0, atol=0, equal_nan=True)


def mixed(n: int = 1500) -> tuple[Dataset, Tensor]:
    """A class that decides a normal law, and the log density of its test rows."""
    rng = np.random.default_rng(1)
    place = rng.choice(3, size=n, p=(0.5, 0.3, 0.2))
    means, stds = np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 0.7])
    value = means[place] + stds[place] * rng.normal(size=n)
    log_p = (
        np.log(np.array([0.5, 0.3, 0.2]))[place]
        + torch.from_numpy(
            -0.5 * ((value - means[place]) / stds[place]) ** 2 - np.log(stds[place]) - 0.5 * math.log(2 * math.pi)
        ).numpy()
    )
    rows = np.column_stack([place.astype(float), value])
    kinds = [Column("class", "class", ("a", "b", "c")), Column("value")]
    first, second = n * 8 // 10, n * 9 // 10
    parts = (torch.from_numpy(part.copy()) for part in (rows[:first], rows[first:second], rows[second:]))
    preprocessor = cells_for(rows[:first], kinds, rows[first:second])
    return Dataset("mixed", *parts, ["class", "value"], preprocessor), torch.from_numpy(log_p[second:])


def test_a_model_of_classes_and_numbers() -> None:
    """No model is better than the truth, and a spline flow learns most of what independent columns leave."""
    data, truth = mixed(4000)
    fitted = gf.baselines.NSF(2, width=32, transforms=2).fit(data, iterations=300)
    log_p = fitted.log_prob(data.test)
    gap = truth - log_p
    assert gap.mean() > -3 * gap.std() / math.sqrt(len(gap))
    # Independent columns lose what the class says of the value: 0.8 nats here.
    assert gap.mean() < 0.3
    samples = fitted.sample(500, generator=torch.Generator().manual_seed(0))
    assert set(samples[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    x, log_q = fitted.sample_with_log_prob(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_q, fitted.log_prob(x), rtol=0, atol=1.0)
    torch.testing.assert_close(fitted.decode(fitted.encode(x)), x, rtol=1e-3, atol=1e-3)


@functools.cache
def survey(words: str = "bc", rows: int = 300) -> pd.DataFrame:
    """A class, a count, a number, and one that is zero for many."""
    rng = np.random.default_rng(0)
    spent = np.where(rng.random(rows) < 0.3, 0.0, rng.exponential(size=rows))
    word = rng.choice(list(words), rows)
    return pd.DataFrame({"word": word, "count": rng.poisson(2.0, rows), "x": rng.normal(size=rows), "spent": spent})


def test_the_score_is_the_gradient_of_log_p_where_there_is_a_density() -> None:
    data = gf.data.load(survey())
    fitted = gf.baselines.NSF(4, width=8, transforms=1).fit(data, iterations=3)
    fitted.model.double()
    x = data.test[:8]
    asked = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fitted.log_prob(asked).sum(), asked)
    torch.testing.assert_close(fitted.score(x), gradient)
    assert (gradient[:, :2] == 0).all()  # a class and a count have probabilities
    assert (gradient[x[:, 3] == 0, 3] == 0).all()
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    for j, rows in ((2, x == x), (3, x > 0)):
        difference = (fitted.log_prob(x + step[j]) - fitted.log_prob(x - step[j])) / 2e-5
        moves = rows[:, j]
        # Of the second order: 1e-10 times a third derivative of log p, and the rounding 1e-15 / 1e-5.
        torch.testing.assert_close(gradient[moves, j], difference[moves], rtol=1e-4, atol=1e-4)
    counts = gf.baselines.NSF(2, width=8).fit(survey()[["word", "count"]], iterations=2)
    assert (counts.score(survey()[["word", "count"]]) == 0).all()


def test_log_p_of_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    fitted = gf.baselines.Gaussian(4).fit(survey(), iterations=1)
    fitted.model.double()
    x = gf.data.load(survey()).test
    log_p = fitted.log_prob(x)
    torch.testing.assert_close(fitted.log_prob(x.flip(0)).flip(0), log_p, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.stack([fitted.log_prob(row) for row in x[:5]]), log_p[:5], rtol=1e-9, atol=1e-9)
    seeds = [fitted.log_prob(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], seeds[2])


def test_draws_are_uniform_one_in_each_stratum_and_independent_of_row_and_column() -> None:
    values = torch.arange(4000, dtype=torch.float64).reshape(2000, 2)
    draws = torch.stack(list(stratified_draws(values, 4)))
    assert torch.equal((4 * draws).floor().long().sort(0).values, torch.arange(4)[:, None, None].expand(4, 2000, 2))
    for u in draws:
        assert (u.mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 2000)
        assert (u.var(0) - 1 / 12).abs().max() < 5 * math.sqrt(1 / 180 / 2000)  # the variance of (u - 1/2)^2 is 1/180
        assert abs(float(torch.corrcoef(u.T)[0, 1])) < 5 / math.sqrt(2000)
        assert abs(float(torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0]]))[0, 1])) < 5 / math.sqrt(2000)


def test_a_warm_start_knows_classes_by_their_names() -> None:
    fitted = gf.baselines.NSF(4, width=8, transforms=1).fit(survey("bc"), iterations=2)
    other = survey("ac")
    further = fitted.fit(other, iterations=2, warm_start=True)
    assert further.schema == fitted.schema
    # The word that is not known is behind the others, and not in the place of the first.
    likewise = gf.data.load(other, like=fitted.schema)
    assert set(likewise.train[:, 0].tolist()) == {1.0, 2.0}
    assert torch.equal(further.log_prob(other), fitted.fit(likewise, iterations=2, warm_start=True).log_prob(other))
    with pytest.raises(gf.InputError, match="data: column 'word' holds other classes"):
        fitted.fit(gf.data.load(other), iterations=2, warm_start=True)
    gaps = other.assign(x=other["x"].where(other["x"] > -1))
    with pytest.raises(gf.InputError, match="data: column 'x' misses values"):
        fitted.fit(gaps, iterations=2, warm_start=True)


def test_normal_tails_in_logarithms() -> None:
    """The quantile of a logarithm of a probability that is no double."""
    z = torch.tensor([-300.0, -50.0, -38.5, -8.0, 5.0, 60.0], dtype=torch.float64)
    back = quantile(torch.special.log_ndtr(z), torch.special.log_ndtr(-z))
    # log Phi has 16 digits, and a relative change of it is twice that of z.
    torch.testing.assert_close(back, z, rtol=1e-12, atol=1e-12)


# Numbers that no training row has


@pytest.mark.parametrize("grid", [1.0, 1e-6])
def test_what_is_between_two_levels_has_its_part_of_the_mass(grid):
    """However many points share it, each of them alike."""
    law = Levels(3, [1.0, 2.0, 5.0], [0.5, 0.3, 0.2], rest=0.02, between=0.1, grid=grid)
    piece = law.piece(torch.tensor([3.0, 4.0], dtype=torch.float64))
    points = round(3 / grid) - 1
    log_p = log_mass(piece.low, piece.high) + piece.log_slope
    torch.testing.assert_close(log_p, torch.full_like(log_p, math.log(0.05 / points)), rtol=1e-9, atol=0)
    low, high = law.intervals()
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    torch.testing.assert_close(mass, torch.tensor([0.44, 0.264, 0.176], dtype=torch.float64))
    torch.testing.assert_close(torch.special.ndtr(low[1:]) - torch.special.ndtr(high[:-1]), mass.new_full((2,), 0.05))


@pytest.mark.parametrize(("grid", "possible"), [(1.0, {1.0, 2.0, 3.0, 4.0, 5.0}), (0.0, {1.0, 2.0, 5.0})])
def test_numbers_between_levels_are_of_the_grid_or_a_level(grid, possible):
    law = Levels(4, [1.0, 2.0, 5.0, math.nan], [0.4, 0.2, 0.1, 0.3], rest=0.02, between=0.3, grid=grid)
    found = law.value(torch.linspace(-4, 4, 2001, dtype=torch.float64))
    assert set(found[~found.isnan()].tolist()) == possible
    assert (found.nan_to_num(nan=9.0).diff() >= 0).all()


def test_draws_of_a_space_are_its_points_alike():
    law = Levels(2, [0.7, 1.2], [0.5, 0.5], between=0.4, grid=0.1)
    low, high = law.intervals()
    share = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    ends = torch.special.ndtr(torch.stack([high[0], low[1]]))
    drawn = law.value(torch.special.ndtri(ends[0] + share * (ends[1] - ends[0])))
    values, counts = drawn.mul(10).round().unique(return_counts=True)
    assert values.tolist() == [8, 9, 10, 11]
    assert counts.tolist() == [1000] * 4


def test_levels_without_an_order_have_no_between():
    """Nor those of a checkpoint that knows of none: what is unknown stands at an end."""
    x = torch.tensor([3.0], dtype=torch.float64)
    for law in (Levels(3, [5.0, 1.0, 2.0], [0.5, 0.3, 0.2], between=0.1), Levels(3, [1.0, 2.0, 5.0], [0.5, 0.3, 0.2])):
        assert law.piece(x).high == math.inf


@pytest.mark.parametrize("missing", [0.0, 0.9])
def test_new_numbers_of_a_column_stand_between_their_neighbours(missing):
    """Amounts in hundreds, and a few odd ones far apart: as probable as what was seen once."""
    rng = np.random.default_rng(0)
    known = np.concatenate([rng.integers(0, 30, 960) * 1000.0, rng.choice(10**6, 40, replace=False)])
    gone = np.full(round(len(known) * missing / (1 - missing)), np.nan)
    law = law_of(np.concatenate([known, gone]), Column("debt", "integer", grid=1.0))
    assert type(law) is Levels
    values, counts = np.unique(known, return_counts=True)
    share = (len(gone) + 0.5) / (len(known) + len(gone) + 1) if len(gone) else 0.0
    new = (counts == 1).sum() / (len(known) + 1) * (1 - share)
    low, high = law.intervals()
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    assert 1 - mass.sum().item() == pytest.approx(new, rel=0.05)
    x = np.array([1500.0])
    piece = law.piece(torch.from_numpy(x))
    at = np.searchsorted(values, x)[0]
    assert high[at - 1] <= piece.low < piece.high <= low[at]


def test_a_grid_whose_points_all_have_levels_has_hardly_anything_between():
    """Half a row in all: of a new file's numbers one may be off the grid, and it stands between its neighbours."""
    law = law_of(np.repeat([0.0, 1.0], 100), Column("flag", "integer", grid=1.0))
    assert len(celled_line(law).edges) == 1
    low, high = law.intervals()
    piece = law.piece(torch.tensor([0.5], dtype=torch.float64))
    assert high[0] == piece.low < piece.high == low[1]
    assert log_mass(piece.low, piece.high).exp().item() < 0.5 / 200
    assert set(law.value(torch.linspace(-4, 4, 999, dtype=torch.float64)).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("width", [0.1, 0.3, 0.05, 1 / 3])
def test_a_point_of_the_grid_that_no_row_has_is_known_by_its_decimals(width):
    """The sum of a grid's steps has other last digits than the number that is read, and is the same point."""
    points = np.random.default_rng(0).normal(scale=9.0, size=3000).round()
    gone = [-3, 1, 3, 7]
    x = np.array([float(f"{k * width:.6g}") for k in points if k not in gone])
    law = law_of(x, Column("degrees", grid=width))
    assert type(law) is Levels
    asked = torch.tensor([[float(f"{(k + step) * width:.6g}") for k in gone] for step in (-1, 0, 1)])
    asked = asked.to(torch.float64)
    before, own, after = (law.piece(row) for row in asked)
    assert (own.low < own.high).all()
    assert (before.high <= own.low).all()
    assert (own.high <= after.low).all()
    # About as much as what was seen of such points, far more than what is off the grid.
    off = law.piece(asked[1] + 0.4 * width)
    assert (log_mass(own.low, own.high) > log_mass(off.low, off.high) + 1).all()
    torch.testing.assert_close(law.value(0.5 * (own.low + own.high)), asked[1], rtol=1e-5, atol=1e-5)


def test_new_numbers_stand_between_their_neighbours_where_none_was_seen_once():
    law = law_of(np.repeat([6.59, 8.2, 9.7, 12.96], 50), Column("wage"))
    low, high = law.intervals()
    piece = law.piece(torch.tensor([9.5], dtype=torch.float64))
    assert high[1] == piece.low < piece.high == low[2]


@pytest.mark.parametrize("zeros", [1, 20])
def test_rows_on_a_bound_are_an_atom(zeros):
    """However few they are: there a density says nothing of them."""
    shares = np.append(np.random.default_rng(0).beta(2.0, 5.0, size=2000), np.zeros(zeros))
    law = law_of(shares, Column("share"))
    assert type(law) is Atoms
    piece = law.piece(torch.zeros(1, dtype=torch.float64))
    assert log_mass(piece.low, piece.high).exp().item() == pytest.approx(zeros / (2000 + zeros), rel=1e-9)
    assert piece.low == -math.inf
    beside = law.piece(torch.tensor([1e-6], dtype=torch.float64))
    assert beside.low == beside.high >= piece.high


def test_new_whole_numbers_beside_round_ones_share_half_a_row():
    """Salaries in thousands that are recorded in units: 40 001 is no 40 000, and all together have no more than 1."""
    known = 1000.0 * np.random.default_rng(0).integers(20, 60, size=500)
    law = law_of(known, Column("salary", "integer", grid=1.0))
    x = torch.arange(law.values.min().item(), law.values.max().item() + 1, dtype=torch.float64)
    piece = law.piece(x)
    p = (log_mass(piece.low, piece.high) + piece.log_slope).exp()
    assert p.sum().item() == pytest.approx(1 - law.rest, rel=1e-6)
    new = ~torch.isin(x, law.values)
    assert p[new].sum().item() == pytest.approx(law.between, rel=1e-6)
    assert p[new].max() < 1e-6 < p[~new].min()
