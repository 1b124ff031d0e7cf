"""Columns that follow from others: their law given those, which are found, and what samples make of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import genflow as gf
from genflow.data import Column, Compose, Schema, Standardize, functional
from genflow.data.cells import Cells
from genflow.data.choice import cells_for
from genflow.data.dataset import preprocessor_for
from genflow.data.dependencies import Dependencies, Dependency
from genflow.data.functional import dependencies_among
from genflow.data.laws import Atoms, CelledLine, Grid, Levels, Normal
from genflow.data.preprocessing import columnwise
from genflow.errors import InputError, Remark
from genflow.numerics.normal import between, log_density, log_mass
from genflow.storage.checkpoint import load, save

CLASSES = tuple("abcdefghijklmnopqrst")
ENDS = st.floats(-6, 6, allow_nan=False)
DOUBTS = st.floats(1e-6, 0.5)


def link(low: float, high: float, doubt: float) -> Dependency:
    """What says the same of every row."""
    return Dependency(1, 0, 1, doubt, [], [low], [high])


def found_among(rows: np.ndarray, kinds: list[Column]) -> list[tuple[int, int]]:
    found = dependencies_among(cells_for(rows, kinds), rows, kinds)
    return [] if found is None else [(part.source, part.follower) for part in found.links]


def words(name: str, count: int) -> Column:
    return Column(name, "class", CLASSES[:count])


@given(ends=st.tuples(ENDS, ENDS), doubt=DOUBTS)
def test_a_cell_gets_all_but_the_doubt_and_the_others_keep_their_proportions(ends, doubt):
    low, high = sorted(ends)
    if high - low < 1e-3:
        high = low + 1e-3
    ends = torch.tensor([-30.0, low, high, 30.0], dtype=torch.float64)
    moved, _ = link(low, high, doubt)(torch.zeros(4, dtype=torch.float64), ends)
    mass = log_mass(moved[:-1], moved[1:]).exp()
    before = log_mass(ends[:-1], ends[1:]).exp()
    wanted = doubt * before + (1 - doubt) * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(mass, wanted, rtol=1e-9, atol=1e-14)


@given(ends=st.tuples(ENDS, ENDS), doubt=DOUBTS, z=st.lists(st.floats(-7, 7), min_size=1, max_size=20))
def test_the_inverse_is_one_and_the_slope_is_the_ratio_of_the_densities(ends, doubt, z):
    low, high = min(ends), max(ends) + 0.01
    law, z = link(low, high, doubt), torch.tensor(z, dtype=torch.float64)
    moved, log_slope = law(torch.zeros_like(z), z)
    back = law.inverse(torch.zeros_like(z), moved)
    # z comes back as far as its mass does: a rounding of z' is one of z by the slope.
    torch.testing.assert_close(
        back, z, rtol=0, atol=float(1e-13 * (1 + (-log_slope).exp().max() + log_slope.exp().max()))
    )
    inside = (z > low) & (z < high)
    share = log_mass(*torch.tensor([low, high], dtype=torch.float64)).exp()
    ratio = doubt + (1 - doubt) / share * inside.double()
    at_an_end = (z == low) | (z == high)
    found = log_slope + log_density(moved) - log_density(z)
    torch.testing.assert_close(found[~at_an_end], ratio.log()[~at_an_end], rtol=1e-8, atol=1e-8)


def test_where_the_source_says_nothing_a_number_stays_as_it_is():
    law = Dependency(1, 0, 2, 0.01, [0.0], [-math.inf, 1.0], [math.inf, 2.0])
    z = torch.linspace(-5, 5, 11, dtype=torch.float64)
    moved, log_slope = law(torch.full_like(z, -1.0), z)
    assert torch.equal(moved, z)
    assert torch.equal(log_slope, torch.zeros_like(z))
    assert not torch.equal(law(torch.full_like(z, 1.0), z)[0], z)
    far = torch.tensor([-20.0, -9.0, 9.0, 20.0], dtype=torch.float64, requires_grad=True)
    moved, log_slope = law(torch.full_like(far, -1.0), far)
    assert torch.equal(torch.autograd.grad((moved + log_slope).sum(), far)[0], torch.ones_like(far))


@pytest.fixture
def cities() -> tuple[np.ndarray, list[Column]]:
    """Cities, the state of each, its country, and a number of its own."""
    rng = np.random.default_rng(0)
    city = rng.integers(0, 8, 2000)
    rows = np.column_stack([rng.normal(size=2000), city // 4, city // 2, city]).astype(float)
    return rows, [Column("x"), words("country", 2), words("state", 4), words("city", 8)]


def test_rows_have_the_law_of_the_follower_given_the_source(cities):
    rows, kinds = cities
    cells = cells_for(rows, kinds)
    law = dependencies_among(cells, rows, kinds)
    assert law is not None
    of = {part.follower: part for part in law.links}
    asked = torch.tensor([[0.3, 1.0, 2.0, 4.0], [0.3, 0.0, 2.0, 4.0], [0.3, 1.0, 3.0, 4.0]], dtype=torch.float64)
    piece = cells.pieces(asked)
    own = torch.where(piece.low == piece.high, 0.0, log_mass(piece.low, piece.high))
    follows = {1: torch.tensor([True, False, True]), 2: torch.tensor([True, True, False])}
    for j, right in follows.items():
        doubt = of[j].doubt
        own[:, j] = (doubt * own[:, j].exp() + (1 - doubt) * right.double()).log()
    chain = Compose([cells, law])
    for seed in range(5):  # wherever in their cells the rows are
        z, log_det = chain.spread(asked, torch.Generator().manual_seed(seed))
        log_p = log_density(z).sum(-1) + log_det
        standard = log_density(piece.low[:, 0]) + piece.log_slope[:, 0]
        torch.testing.assert_close(log_p, own.sum(-1) + standard, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(chain.inverse(z), asked)


def test_samples_of_noise_keep_to_it_up_to_the_doubt(cities):
    rows, kinds = cities
    preprocessor = preprocessor_for(torch.from_numpy(rows), Schema(tuple(kinds)), torch.from_numpy(rows[:200]))
    z = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = preprocessor.inverse(z).long()
    cells, law = preprocessor.parts
    on_lines = cells(x.double())[0]
    for part in law.links:
        wrong = int(
            (x[:, part.follower] != x[:, part.source] // (2 if part.source == 2 or part.follower == 2 else 4)).sum()
        )
        assert float(part.broken(on_lines[:, part.source], on_lines[:, part.follower])) == pytest.approx(wrong / 20_000)
        # The doubt, and where the source is beyond all that the rows had, where nothing is said: at most so many, and
        # five standard deviations of a Poisson law.
        most = 20_000 * (part.doubt + 1 - part.share)
        assert wrong <= most + 5 * math.sqrt(most)


def test_the_coarser_follows_from_the_finer_and_nothing_in_a_circle(cities):
    rows, kinds = cities
    found = found_among(rows, kinds)
    assert {follower for _, follower in found} == {1, 2}
    assert (3, 2) in found
    twice = np.column_stack([rows, rows[:, 3][::1]])
    pairs = found_among(twice, [*kinds, words("town", 8)])
    assert len(pairs) == 3
    assert {follower for _, follower in pairs} in ({1, 2, 3}, {1, 2, 4})


def test_what_follows_comes_after_what_it_follows_from(cities):
    rows, kinds = cities
    ends: list[list[float]] = [[0.0], [-9.0, 0.0], [0.0, 9.0]]
    law = Dependencies(4, [Dependency(2, 3, 2, 0.01, *ends), Dependency(1, 2, 2, 0.01, *ends)])
    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(law.inverse(law(z)[0]), z, rtol=0, atol=1e-9)
    order = [(part.source, part.follower) for part in dependencies_among(cells_for(rows, kinds), rows, kinds).links]
    known = {0, 1, 2, 3} - {follower for _, follower in order}
    for source, follower in order:
        assert source in known
        known.add(follower)


@pytest.mark.parametrize("seed", range(5))
def test_columns_without_anything_to_do_with_each_other_are_left_alone(seed):
    rng = np.random.default_rng(seed)
    pairs = np.repeat(np.arange(150), 2)  # groups of two agree by chance
    numbers = Column("n", "integer", grid=1.0)
    rows = np.column_stack([pairs, rng.integers(0, 2, 300), rng.random(300) < 0.05, rng.poisson(2.0, 300)])
    assert found_among(rows.astype(float), [numbers, words("a", 2), words("b", 2), numbers]) == []


def test_chance_is_not_believed_however_many_columns_there_are():
    # With 1 % at most a table of independent columns is told to have a dependency: of 60, five have one with 3e-4.
    found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chances = rng.random(8) * 0.1 + 0.02
        rows = np.column_stack([rng.random((120, 8)) < chances, rng.integers(0, 6, (120, 2))]).astype(float)
        kinds = [words(f"c{j}", 2) for j in range(8)] + [words("d", 6), words("e", 6)]
        kept = [j for j in range(10) if len(np.unique(rows[:, j])) > 1]
        found += bool(found_among(rows[:, kept], [kinds[j] for j in kept]))
    assert found < 5


def test_rare_marks_agree_in_most_rows_and_are_no_candidates(monkeypatch):
    looked_at = []
    monkeypatch.setattr(functional, "_deciding", lambda *pair: looked_at.append(pair))
    marks = (np.random.default_rng(0).random((4000, 12)) < 0.005).astype(float)
    assert found_among(marks, [words(f"m{j}", 2) for j in range(12)]) == []
    assert looked_at == []
    twins = np.column_stack([marks, marks[:, :1]])
    assert found_among(twins, [words(f"m{j}", 2) for j in range(13)]) == []
    assert len(looked_at) == 2  # either may follow from the other


@pytest.mark.parametrize(("exceptions", "follows"), [(0.0, True), (0.002, True), (0.05, False)])
def test_few_exceptions_are_borne(exceptions, follows):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 4, 5000)
    other = np.where(rng.random(5000) < exceptions, 1 - source // 2, source // 2)
    rows, kinds = np.column_stack([source, other]).astype(float), [words("a", 4), words("b", 2)]
    law = dependencies_among(cells_for(rows, kinds), rows, kinds)
    assert (law is not None) == follows
    if law is not None:
        wrong = (other != source // 2).sum()
        assert law.links[0].doubt == pytest.approx((wrong + 0.5) / 5001)


def test_a_gap_that_an_answer_decides_follows_in_part():
    rng = np.random.default_rng(0)
    owner = rng.integers(0, 3, 1000)
    known = (owner > 0) & (rng.random(1000) < 0.7)
    rows = np.column_stack([owner, np.where(known, rng.integers(1990, 2020, 1000), np.nan)])
    kinds = [words("owner", 3), Column("year", "integer", grid=1.0, missing=True)]
    cells = cells_for(rows, kinds)
    law = dependencies_among(cells, rows, kinds)
    assert (
        law.in_words(["owner", "year"])
        == "columns that follow from others, and are modelled given them: year in part from owner"
    )
    assert law.links[0].share == pytest.approx((owner == 0).mean(), abs=0.05)
    z = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = cells.inverse(law.inverse(z))
    assert float(x[x[:, 0] == 0][:, 1].isnan().double().mean()) > 0.99


def test_between_two_values_that_agree_so_does_a_new_one_of_numbers():
    rng = np.random.default_rng(0)
    dose = rng.choice([0.0, 1.0, 2.0, 5.0, 6.0, 8.0], 600)  # neither 3 nor 4 nor 7 was seen
    rows = np.column_stack([dose, dose >= 5])
    for kind, says in ((Column("dose", "integer", grid=1.0), True), (words("dose", 9), False)):
        kinds = [kind, words("effect", 2)]
        cells = cells_for(rows, kinds)
        law = dependencies_among(cells, rows, kinds)
        asked = torch.tensor([[7.0, 1.0], [3.0, 1.0], [20.0, 1.0]], dtype=torch.float64)
        moved = law.links[0](cells(asked)[0][:, 0], torch.zeros(3, dtype=torch.float64))[1]
        assert (moved != 0).tolist() == [says, False, False]


def test_numbers_without_a_grid_neither_follow_nor_lead():
    x = np.random.default_rng(0).normal(size=(500, 1))
    rows = np.column_stack([x, 2 * x, x > 0])
    assert found_among(rows, [Column("a"), Column("b"), words("c", 2)]) == []


@pytest.fixture
def codes() -> tuple[np.ndarray, list[Column]]:
    """Codes that are so many that a density stands for their probabilities, the state of each, and a mark at random."""
    rng = np.random.default_rng(0)
    code = rng.choice(rng.choice(np.arange(500, 99_950), 400, replace=False), 3000)
    mark = {value: rng.integers(0, 2) for value in np.unique(code)}
    rows = np.column_stack([code, code // 10_000, [mark[value] for value in code]]).astype(float)
    return rows, [Column("code", "integer", grid=1.0), words("state", 10), words("mark", 2)]


def test_what_a_density_stands_for_leads_by_its_values(codes):
    rows, kinds = codes
    cells = cells_for(rows, kinds)
    piece = cells.law(0).piece(torch.from_numpy(rows[:, 0]))
    assert torch.equal(piece.low, piece.high)
    law = dependencies_among(cells, rows, kinds)
    assert {part.follower: part.source for part in law.links} == {1: 0, 2: 0}
    drawn = cells.inverse(law.inverse(torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)).double()))
    seen = torch.isin(drawn[:, 0], torch.from_numpy(np.unique(rows[:, 0])))
    mark = dict(rows[:, [0, 2]].tolist())
    assert seen.sum() > 10
    assert all(mark[code] == found for code, found in drawn[seen][:, [0, 2]].tolist())
    # Between two codes of one state there are others of it, between two states and beyond all nothing is known; the
    # marks of two neighbours say nothing of a third.
    state, marked = (next(part for part in law.links if part.follower == j) for j in (1, 2))
    assert state.share > 0.8
    assert marked.share < 0.1
    assert float((drawn[:, 1] == drawn[:, 0].floor_divide(10_000)).double().mean()) > 0.8


@pytest.mark.parametrize(
    "law",
    [
        Levels(3, [1.0, 2.0, 5.0], [0.2, 0.3, 0.5], rest=0.01, between=0.1, grid=1.0),
        Grid(Normal(2.0, 1.5, low=-0.5), 1.0),
        Grid(Normal(2.0, 30.0), 1.0, fine=True),
        Atoms(Grid(Normal(2.0, 30.0), 1.0, fine=True), 2, [0.0, math.nan], [0.4, 0.1]),
    ],
    ids=["levels", "grid", "fine", "atoms"],
)
def test_the_numbers_of_a_cell_are_the_value(law):
    values = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0, *([math.nan] * (law.__class__ is Atoms))], dtype=torch.float64)
    if isinstance(law, Levels):
        values = values[[1, 2, 4]]
    low, high = law.cell(values)
    assert (high > low).all()
    for share in (0.01, 0.5, 0.99):
        share = torch.full_like(low, share)
        inner = between(low, high, share.log(), torch.log1p(-share))
        torch.testing.assert_close(law.value(inner), values, rtol=0, atol=1e-9, equal_nan=True)
    piece = law.piece(values)
    dense = piece.low == piece.high
    assert ((low < piece.low) & (piece.high < high))[dense].all()
    assert torch.equal(low[~dense], piece.low[~dense])


def test_wrong_arguments_get_one_line():
    one = link(0.0, 1.0, 0.1)
    for wrong in (
        lambda: link(0.0, 1.0, 0.0),
        lambda: Dependency(1, 0, 2, 0.1, [], [0.0, 0.0], [1.0, 1.0]),
        lambda: Dependency(1, 0, 1, 0.1, [], [0.0, 0.0], [1.0]),
        lambda: Dependencies(3, [one, one]),
        lambda: Dependencies(3, [Dependency(2, 1, 1, 0.1), one]),
        lambda: Dependencies(3, [one, Dependency(0, 1, 1, 0.1)]),
    ):
        with pytest.raises(InputError, match=r"^(doubt|edges, low, high|links): [^\n]* would do$"):
            wrong()


def test_one_row_with_a_density_among_many_is_seen():
    city = np.random.default_rng(0).integers(0, 4, 20_000)
    rows = np.column_stack([city, city // 2]).astype(float)
    kinds = [words("city", 4), Column("score")]
    cells = Cells([Levels(4), Atoms(Normal(0.0, 1.0), 2, [0.0, 1.0], [0.45, 0.45])])
    assert dependencies_among(cells, rows, kinds) is not None
    rows[10_001, 1] = 0.4321  # not one of the rows by which pairs are looked for
    assert dependencies_among(cells, rows, kinds) is None


def test_gradients_are_finite():
    law = Dependencies(2, [Dependency(1, 0, 2, 1e-4, [0.0], [-math.inf, 0.3], [0.3, math.inf])])
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    moved, log_det = law(z)
    (gradient,) = torch.autograd.grad(moved.sum() + log_det.sum(), z, retain_graph=True)
    assert gradient.isfinite().all()
    assert (gradient[:, 0] == 1).all()
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (law(z + torch.tensor([0.0, sign * step]).double())[0][:, 1] for sign in (1, -1))
    (slope,) = torch.autograd.grad(moved[:, 1].sum(), z)
    torch.testing.assert_close(slope[:, 1], (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope[:, 1].log(), log_det.detach(), rtol=1e-9, atol=1e-9)


def test_its_line_is_noise_and_the_others_keep_their_cells(cities):
    rows, kinds = cities
    cells = cells_for(rows, kinds)
    lines = Compose([cells, dependencies_among(cells, rows, kinds)]).celled_lines()
    assert [line == CelledLine(smooth=False, noise=True) for line in lines] == [False, True, True, False]
    assert lines[3] == cells.celled_lines()[3]


def test_it_comes_back_from_a_checkpoint(cities, tmp_path):
    rows, kinds = cities
    cells = cells_for(rows, kinds)
    chain = Compose([cells, dependencies_among(cells, rows, kinds)])
    save(chain, tmp_path / "map")
    again = load(tmp_path / "map")
    x = torch.from_numpy(rows[:50])
    for before, after in zip(chain(x), again(x), strict=True):
        assert torch.equal(before, after)


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    city = rng.integers(0, 6, 600)
    return pd.DataFrame({
        "size": rng.normal(size=600) + city, "city": np.array(list(CLASSES))[city], "coast": city % 2 == 0
    })  # fmt: skip


def test_a_table_is_loaded_with_it_and_its_samples_keep_to_it(table):
    with pytest.warns(Remark, match=r"columns that follow from others, and are modelled given them: coast from city$"):
        data = gf.data.load(table)
    fitted = gf.baselines.Copula(3).fit(data)
    drawn = fitted.sample_frame(2000, generator=torch.Generator().manual_seed(0))
    assert ((drawn["city"].isin(["a", "c", "e"])) == drawn["coast"]).mean() > 0.99
    assert fitted.log_prob(table.assign(coast=True)).isfinite().all()


@pytest.mark.filterwarnings("ignore::genflow.errors.Remark")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_what_was_fitted_is_not_rounded_with_a_model(table, dtype):
    fitted = gf.baselines.Copula(3).fit(gf.data.load(table))
    before = fitted.log_prob(table[:20])
    fitted.to(dtype)
    assert {buffer.dtype for buffer in fitted.preprocessor.buffers()} == {torch.float64}
    fitted.to(torch.float32)
    torch.testing.assert_close(
        fitted.log_prob(table[:20]), before, rtol=0, atol=0.1 if dtype == torch.bfloat16 else 1e-4
    )


@pytest.mark.filterwarnings("ignore::genflow.errors.Remark")
def test_an_entry_is_drawn_from_what_it_follows_from(table):
    data = gf.data.load(table)
    fitted = gf.baselines.Copula(3).fit(data)
    rows = table.head(40).assign(coast=None)
    found = fitted.impute_frame(rows, draws=5, generator=torch.Generator().manual_seed(0))
    assert (found["city"].isin(["a", "c", "e"]) == found["coast"].astype(bool)).mean() > 0.95


@pytest.mark.filterwarnings("ignore::genflow.errors.Remark")
def test_an_entry_is_drawn_on_its_line_where_rows_are_whitened_behind(table):
    data = gf.data.load(table)
    whitened = Compose([data.preprocessor, gf.data.Whiten.fit(data.preprocessor(data.train)[0], 0.1)])
    alone, rest = columnwise(whitened)
    assert [type(part) for part in alone.parts] == [Cells]
    assert [type(part) for part in rest.parts] == [Dependencies, gf.data.Whiten]
    data.preprocessor = whitened
    fitted = gf.baselines.Copula(3).fit(data)
    found = fitted.impute_frame(table.head(40).assign(coast=None), draws=5, generator=torch.Generator().manual_seed(0))
    assert (found["city"].isin(["a", "c", "e"]) == found["coast"].astype(bool)).mean() > 0.95


@pytest.mark.filterwarnings("ignore::genflow.errors.Remark")
def test_a_model_with_masks_has_each_column_by_itself(table):
    data = gf.data.load(table)
    fitted = gf.baselines.NSF(3, width=8, transforms=1, condition_dim=6).fit(data, iterations=3, masks=True)
    assert not fitted.preprocessor.mixes
    assert fitted.log_prob(table).isfinite().all()
    mixed = gf.data.load(table)
    mixed.preprocessor = Compose([mixed.preprocessor, gf.data.Whiten(3)])
    with pytest.raises(InputError, match=r"masks: the data's Compose mixes columns"):
        gf.baselines.NSF(3, width=8, transforms=1, condition_dim=6).fit(mixed, iterations=3, masks=True)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_what_a_user_calls_a_unit_does_not_change_it(seed, scale):
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 4, 200)
    rows = np.column_stack([rng.normal(size=200) * scale, city, city // 2]).astype(float)
    kinds = [Column("x"), words("city", 4), words("state", 2)]
    chain = preprocessor_for(torch.from_numpy(rows), Schema(tuple(kinds)), torch.from_numpy(rows[:20]))
    x = torch.from_numpy(rows)
    unit: Tensor = chain.log_unit(x)
    torch.testing.assert_close(unit, torch.full_like(unit, -math.log(rows[:, 0].std())), rtol=1e-6, atol=1e-6)
    assert isinstance(preprocessor_for(x[:, :1], Schema((kinds[0],)), x[:20, :1]), Standardize)
    assert isinstance(preprocessor_for(x[:, :2], Schema(tuple(kinds[:2])), x[:20, :2]), Cells)
