"""Figures of tables against closed forms, counts by hand, and invariants."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, r2_score

from genflow.data import load
from genflow.data.kinds import Column
from genflow.errors import InputError
from genflow.metrics.tables import Figure, Gower, manifold, privacy, shapes, table_figures, trends, utility, w1
from genflow.metrics.tables.gower import distances, portions
from genflow.metrics.tables.utility import macro_f1, r_squared
from genflow.studies.comparison.evaluation import Evaluation
from genflow.studies.comparison.tables import evaluate_tables

MIXED = [
    Column("age", "integer"),
    Column("city", "class", ("Graz", "Oslo", "Rome")),
    Column("member", "boolean", ("False", "True")),
    Column("income"),
]
seeds = st.integers(0, 2**31 - 1)
NAN = math.nan


def mixed(count: int, seed: int = 0, gaps: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 3, count)
    age = rng.integers(18, 90, count)
    rows = np.column_stack([age, city, rng.integers(0, 2, count), rng.gamma(2.0, 1 + city, count)]).astype(float)
    return np.where(rng.random(rows.shape) < gaps, NAN, rows)


def gower_by_hand(a: np.ndarray, b: np.ndarray, train: np.ndarray) -> float:
    """The sum over the columns, as the definition has it."""
    total = 0.0
    for x, y, column, known in zip(a, b, MIXED, train.T):
        if np.isnan(x) or np.isnan(y):
            total += float(np.isnan(x) != np.isnan(y))
        elif column.kind in ("class", "boolean"):
            total += float(x != y)
        else:
            total += abs(x - y) / (np.nanmax(known) - np.nanmin(known))
    return total


# Gower's distance


@given(seeds)
def test_gowers_distance_is_its_sum_over_the_columns(seed: int):
    train = mixed(60, seed)
    rows = train[:20]  # within the range, where a gap is 1 from every number
    gower = Gower.fit(train, MIXED)
    expected = [[gower_by_hand(a, b, train) for b in rows[10:]] for a in rows[:10]]
    np.testing.assert_allclose(distances(gower(rows[:10]), gower(rows[10:])).numpy(), expected, atol=1e-12)


def test_a_column_without_range_or_without_values_does_not_divide_by_zero():
    train = np.array([[3.0, NAN], [3.0, NAN]])
    gower = Gower.fit(train)
    assert distances(gower(train), gower(train)).max() == 0
    assert distances(gower(train[:1]), gower(np.array([[4.0, NAN]]))).item() == 1


# W1


@given(seeds, st.floats(-2, 2), st.floats(-2, 2))
def test_w1_of_shifted_rows_is_the_sum_of_the_shifts_in_ranges(seed: int, first: float, second: float):
    rows = np.random.default_rng(seed).normal(size=(30, 2))
    span = np.ptp(rows, axis=0)
    # Under the cost |.|_1 no plan is cheaper than the difference of the means, and the shift itself attains it.
    moved = w1(rows + [first, second] * span, rows, rows)
    assert moved.value == pytest.approx(abs(first) + abs(second), abs=1e-9)
    assert moved.floor == pytest.approx(0, abs=1e-12)


def test_w1_is_that_of_the_published_code():
    """ForestDiffusion: min-max scaling by the training rows, unit vectors halved, POT's emd2 of city-block costs."""
    import ot
    from scipy.spatial.distance import cdist

    train, test, samples = (mixed(count, seed, gaps=0) for count, seed in ((40, 0), (25, 1), (40, 2)))

    def scaled(rows: np.ndarray) -> np.ndarray:
        numbers = rows[:, [0, 3]], train[:, [0, 3]]
        low, high = numbers[1].min(0), numbers[1].max(0)
        return np.hstack([(numbers[0] - low) / (high - low), rows[:, [2]], np.eye(3)[rows[:, 1].astype(int)] / 2])

    cost = cdist(scaled(samples), scaled(test), "cityblock")
    assert w1(samples, train, test, MIXED).value == pytest.approx(ot.emd2([], [], cost), rel=1e-9)


def test_w1_of_classes_is_their_total_variation():
    column = [Column("c", "class", ("a", "b", "c"))]
    samples, test = np.array([0, 0, 1, NAN])[:, None], np.array([0, 1, 2, 2])[:, None]
    # Shares of a, b, c and a gap: (1/2, 1/4, 0, 1/4) and (1/4, 1/4, 1/2, 0).
    assert w1(samples, test, test, column).value == pytest.approx(1 / 2)
    assert 1 - shapes(samples, test, test, column).value == pytest.approx(1 / 2)


def test_w1_cuts_samples_and_training_rows_to_one_size():
    train, test = mixed(200, 0), mixed(50, 1)
    assert w1(train, train, test, MIXED, max_points=20) == w1(train, train, test, MIXED, max_points=20)
    once, same = w1(train[:70], train, test, MIXED), w1(train[:70], train[:70], test, MIXED)
    assert once.floor != same.floor  # 70 of 200
    assert same.value == pytest.approx(same.floor)  # the same rows


# Shapes


def test_shapes_of_known_laws():
    n = 1000
    rows = np.arange(n)[:, None]
    # Uniform laws on [0, n) and [a, n + a): sup |F - G| = a / n.
    assert shapes(rows + 250, rows, rows).value == pytest.approx(0.75)
    assert shapes(rows + 5 * n, rows, rows).value == pytest.approx(0)
    # Uniform on [0, n) and [0, 2 n): at n, by 1/2; each sample's function has steps of 1/n.
    assert shapes(2 * rows, rows, rows).value == pytest.approx(0.5, abs=1 / n)


def test_a_missing_value_is_a_value_of_its_own():
    seen, half = np.arange(8.0)[:, None], np.array([0.0, 1, 2, 3, NAN, NAN, NAN, NAN])[:, None]
    assert shapes(seen, half, half).value == pytest.approx(0.5)
    assert shapes(half, half, half).value == 1
    letters = [Column("c", "class", ("a", "b"))]
    assert shapes(np.zeros((4, 1)), np.zeros((4, 1)), np.array([[0], [0], [NAN], [1]]), letters).value == 0.5


def test_shapes_are_told_column_by_column():
    train, test = mixed(300), mixed(300, 1)
    found = shapes(train, train, test, MIXED)
    assert list(found.parts) == ["age", "city", "member", "income"]
    assert found.value == pytest.approx(np.mean(list(found.parts.values())))
    assert found.value == found.floor


# Trends


def test_trends_of_classes_by_hand():
    columns = [Column("a", "class", ("x", "y")), Column("b", "class", ("u", "v"))]
    test = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])  # shares 1/2, 0, 0, 1/2
    samples = np.array([[0, 0], [0, 1], [1, 0], [1, NAN]])  # 1/4, 1/4, 1/4, 0, and 1/4 missing
    # 1 - (|1/4 - 1/2| + 1/4 + 1/4 + 1/2 + 1/4) / 2
    assert trends(samples, test, test, columns).value == pytest.approx(0.25)


def test_trends_of_numbers_are_those_of_their_correlations():
    rng = np.random.default_rng(0)
    test, samples = rng.normal(size=(200, 3)), rng.normal(size=(100, 3)) @ rng.normal(size=(3, 3)) + 5
    apart = np.abs(np.corrcoef(samples.T) - np.corrcoef(test.T)) / 2
    expected = [1 - apart[0, 1], 1 - apart[0, 2], 1 - apart[1, 2]]
    found = trends(samples, samples, test)
    np.testing.assert_allclose(list(found.parts.values()), expected, atol=1e-12)
    assert found.floor == pytest.approx(np.mean(expected))
    flat = samples.copy()
    flat[:, 0] = 0.1
    held = 1 - np.abs(np.corrcoef(test.T)[0, 1]) / 2
    assert trends(flat, test, test).parts["x1, x2"] == pytest.approx(held)


def test_a_number_stands_in_a_bin_beside_a_class_and_where_values_are_missing():
    columns = [Column("x"), Column("c", "class", ("a", "b"))]
    test = np.column_stack([np.arange(10.0), np.arange(10) // 5])  # a cell for each row
    assert trends(test, test, test, columns).value == 1
    swapped = np.column_stack([np.arange(10.0), 1 - np.arange(10) // 5])  # in no cell of the other
    assert trends(swapped, test, test, columns).value == pytest.approx(0)
    beyond = np.column_stack([[-100.0, 100.0], [0, 1]])  # outer bins are open
    assert trends(beyond, test, test, columns).value == pytest.approx(0.2)
    gaps = test[:, [0, 0]].copy()
    gaps[5:, 1] = NAN
    assert trends(gaps, gaps, gaps).value == 1
    assert trends(test[:, [0, 0]], gaps, gaps).value == pytest.approx(0.5)


# Precision, recall, density, coverage


def test_the_same_rows_lie_everywhere_and_distant_ones_nowhere():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    same, distant = manifold(rows, rows, rows), manifold(rows + 1000, rows, rows)
    for name in ("precision", "recall", "coverage"):
        assert same[name].value == 1
        assert distant[name].value == 0
    assert same["density"].value == pytest.approx(6 / 5)  # five neighbours, and the row itself
    assert distant["density"].value == 0


def test_a_sample_of_one_half_has_precision_and_not_recall():
    rng = np.random.default_rng(0)
    halves = np.repeat([[0, 0], [10, 0]], 100, axis=0)
    train, test = rng.random((2, 200, 2)) + halves
    found = manifold(rng.random((200, 2)), train, test)
    assert found["precision"].value > 0.9
    assert found["recall"].value <= 0.5
    assert found["coverage"].value <= 0.5
    assert found["coverage"].floor > 0.9


def test_density_and_coverage_of_equal_laws_are_their_closed_forms():
    rng, n, m, k, trials = np.random.default_rng(0), 40, 60, 3, 200
    density, coverage = [], []
    for _ in range(trials):
        drawn = manifold(rng.normal(size=(m, 2)), rng.normal(size=(m, 2)), rng.normal(size=(n, 2)), neighbours=k)
        density += [drawn["density"].value, drawn["density"].floor]
        coverage += [drawn["coverage"].value, drawn["coverage"].floor]
    expected = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    # Pairs share their test rows: the error is that of as many trials, not of twice as many.
    assert abs(np.mean(density) - 1) < 5 * np.std(density) / math.sqrt(trials)
    assert abs(np.mean(coverage) - expected) < 5 * np.std(coverage) / math.sqrt(trials)


def test_too_few_rows_for_the_neighbours_are_refused():
    rows = np.arange(4.0)[:, None]
    with pytest.raises(InputError, match="neighbours: 5 came for 4 rows; from 1 to 3 would do"):
        manifold(rows, rows, rows)


# Privacy


def test_copies_give_themselves_away_and_rows_of_the_law_do_not():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(300, 3)), rng.normal(size=(100, 3))
    copied, fresh = privacy(train, train, test), privacy(rng.normal(size=(2000, 3)), train, test)
    assert copied.value == 1
    assert copied.parts["to training rows"] == 0
    assert copied.floor == fresh.floor == 0.75
    assert abs(fresh.value - fresh.floor) < 4 * fresh.standard_error
    assert privacy(test, train, test).value == 0


def test_its_standard_error_is_that_of_rows_dealt_at_random():
    rng = np.random.default_rng(1)
    pool, samples, n = rng.normal(size=(60, 2)), rng.normal(size=(100, 2)), 40
    # One scale for all, from four training rows that are never nearest.
    frame = np.array([[-50.0, -50.0], [50.0, 50.0]])
    shares, errors = [], []
    for _ in range(600):
        dealt = rng.permutation(pool)
        found = privacy(samples, np.concatenate([frame, dealt[:n]]), dealt[n:])
        shares.append(found.value)
        errors.append(found.standard_error)
    # The two rows of the frame change n / (n + m) from 2/3 to 42/62 and N from 60 to 62; a deviation of 600 draws is
    # good to 1 / sqrt(1200), 3 %.
    assert np.std(shares) == pytest.approx(np.mean(errors), rel=0.03 * 5)
    assert np.mean(shares) == pytest.approx(n / 60, abs=5 * np.std(shares) / math.sqrt(600))


def test_of_rows_that_are_equally_near_each_counts_by_its_part():
    letter = [Column("c", "class", ("a", "b"))]
    train, test = np.array([[0], [0], [0], [1]]), np.array([[0], [1]])
    found = privacy(np.array([[0], [1]]), train, test, letter)
    assert found.value == pytest.approx((3 / 4 + 1 / 2) / 2)


# Utility


def test_samples_of_the_law_teach_as_well_as_rows_and_noise_teaches_nothing():
    rng = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        x = rng.normal(size=(count, 2))
        # In one row of ten the other sign: no score is better than 0.9, but by chance.
        return np.column_stack([x, (x[:, 0] > 0) ^ (rng.random(count) < 0.1)]).astype(float)

    columns = [Column("a"), Column("b"), Column("sign", "class", ("minus", "plus"))]
    train, test, samples = rows(200), rows(300), rows(200)
    noise = samples.copy()
    noise[:, 2] = rng.permutation(noise[:, 2])
    taught, untaught = (utility(drawn, train, test, columns, target="sign") for drawn in (samples, noise))
    assert list(taught.parts) == ["linear", "forest", "boosting"]
    assert 0.75 < taught.value < 0.9 + 5 * taught.standard_error
    assert abs(taught.value - taught.floor) < 5 * taught.standard_error
    assert taught.floor == untaught.floor
    # Labels that say nothing: learners are right in half of the rows, each with a deviation of 1 / (2 sqrt(300)).
    assert abs(untaught.value - 0.5) < 5 / (2 * math.sqrt(300))
    # The mean of 0.9 right answers in 300, of learners that mostly agree.
    assert taught.standard_error == pytest.approx(math.sqrt(0.9 * 0.1 / 300), rel=0.5)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 50))
    ones, weights = np.ones((1, 50)), rng.integers(0, 3, (1, 50)).astype(float)
    assert macro_f1(truth, predicted, 7, ones)[0] == pytest.approx(f1_score(truth, predicted, average="macro"))
    numbers, guessed = rng.normal(size=(2, 50))
    assert r_squared(numbers, guessed, ones)[0] == pytest.approx(r2_score(numbers, guessed))
    weighted = r2_score(numbers, guessed, sample_weight=weights[0])
    assert r_squared(numbers, guessed, weights)[0] == pytest.approx(weighted)


def test_targets_with_gaps():
    train, test = mixed(200, 0), mixed(150, 1)
    assert 0 <= utility(train, train, test, MIXED, target="city").value <= 1  # a gap is a class of its own
    found = utility(train, train, test, MIXED, target="income")
    assert found.value == pytest.approx(found.floor)
    only = train.copy()
    only[:, 3] = NAN
    with pytest.raises(InputError, match="samples: no row has a value of the target 'income'"):
        utility(only, train, test, MIXED, target="income")
    one = train.copy()
    one[:, 1] = 2  # a single class, which is all that can be learned
    assert utility(one, train, test, MIXED, target="city").value < 0.3


# All of them


def test_portions_change_nothing(monkeypatch):
    samples, train, test = mixed(150, 0), mixed(200, 1), mixed(90, 2)

    def found(numbers: int):
        monkeypatch.setattr("genflow.metrics.tables.gower._NUMBERS", numbers)
        return {**manifold(samples, train, test, MIXED), "privacy": privacy(samples, train, test, MIXED)}

    whole = found(10**9)
    for numbers in (1, 1000, 7777):  # a row, a few, some dozens at once
        parts = found(numbers)
        for name, figure in whole.items():
            assert parts[name].value == pytest.approx(figure.value, abs=1e-12)
            assert parts[name].standard_error == pytest.approx(figure.standard_error, abs=1e-12)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 200))
def test_portions_are_all_rows_once(rows: int, others: int, numbers: int):
    parts = list(portions(rows, others, numbers))
    assert parts[0].start == 0
    assert parts[-1].stop == rows
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert all((part.stop - part.start) * others <= numbers or part.stop - part.start == 1 for part in parts)


def test_no_figure_depends_on_units_nor_on_the_order_of_rows():
    rng = np.random.default_rng(3)
    samples, train, test = (rng.normal(size=(count, 3)) for count in (80, 80, 60))
    moved = [1024 * rows + 5 for rows in (samples, train, test)]
    whole = table_figures(samples, train, test)
    other = table_figures(moved[0][::-1], moved[1][::-1], moved[2][::-1])
    for name, figure in whole.items():
        assert other[name].value == pytest.approx(figure.value, rel=1e-9), name
        assert other[name].floor == pytest.approx(figure.floor, rel=1e-9), name


def test_every_figure_of_a_mixed_table_has_its_floor():
    train, test, samples = mixed(200, 0), mixed(80, 1), mixed(150, 2)
    found = table_figures(samples, train, test, MIXED, target="city")
    assert set(found) == {
        "w1", "shapes", "trends", "precision", "recall", "density", "coverage", "utility", "privacy"
    }  # fmt: skip
    for name, figure in found.items():
        assert math.isfinite(figure.value), name
        assert math.isfinite(figure.floor), name
    # Of rows of the right law every figure is near its floor: of 150 and 80 rows none is surer than to 0.2.
    assert all(abs(figure.value - figure.floor) < 0.2 for figure in found.values())


def test_wrong_tables_are_named():
    rows = mixed(20)
    with pytest.raises(InputError, match="test: 3 columns came, 4 are wanted"):
        shapes(rows, rows, rows[:, :3], MIXED)
    with pytest.raises(InputError, match=r"samples: the shape \(4,\) came"):
        shapes(rows[0], rows, rows, MIXED)
    wrong = mixed(20)
    wrong[2, 1] = 3
    with pytest.raises(InputError, match="samples: column 'city': 3 came; the place of one of 3 classes, from 0"):
        w1(wrong, rows, rows, MIXED)
    wrong[2, 1], wrong[4, 0] = 1, math.inf
    with pytest.raises(InputError, match="train: column 'age': row 4 is infinite"):
        w1(rows, wrong, rows, MIXED)
    with pytest.raises(InputError, match="target: no column 'town'; one of age, city, member, income would do"):
        utility(rows, rows, rows, MIXED, target="town")
    with pytest.raises(InputError, match="columns: a single one came; a trend needs two"):
        trends(rows[:, :1], rows[:, :1], rows[:, :1])


def test_figures_of_conditional_samples_are_of_rows_and_conditions_together():
    rng = np.random.default_rng(0)
    city = rng.permutation(np.repeat(["Graz", "Oslo"], 100))
    frame = pd.DataFrame({"height": rng.normal(170 + 20 * (city == "Oslo"), 5), "city": city, "age": rng.random(200)})
    data = load(frame, condition="city")
    everywhere = np.arange(len(data.test))
    true = Evaluation({}, data.test[:, 0], data.test, drawn_at=everywhere)
    heedless = Evaluation({}, data.test[:, 0], data.test, drawn_at=rng.permutation(everywhere))
    found, other = (evaluate_tables(data, evaluation, target="city") for evaluation in (true, heedless))
    assert found["w1"].value == pytest.approx(0, abs=1e-12)
    assert list(found["shapes"].parts) == ["height", "age", "city"]
    assert found["utility"].value == 1  # trained on the test rows themselves
    assert other["shapes"].value == 1  # the same marginal laws
    assert other["w1"].value > 0.1
    broken = Evaluation({}, data.test[:, 0], data.test.clone(), drawn_at=everywhere)
    broken.samples[3] = NAN  # a sample that failed: no value is missing in this table
    assert evaluate_tables(data, broken)["precision"].value == 1


def test_metrics_that_installed_packages_bring_are_computed(tmp_path, monkeypatch):
    package = tmp_path / "more_figures-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: more-figures\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[genflow.table_metrics]\n"
        "row-count = more_figures:count\n"
        "broken = more_figures:broken\n"
        "bare = more_figures:bare\n"
    )
    (tmp_path / "more_figures.py").write_text(
        "from genflow.metrics.tables import Figure\n"
        "def count(samples, train, test, columns):\n"
        "    return Figure(len(samples), floor=len(train), parts={column.name: 1.0 for column in columns})\n"
        "def broken(samples, train, test, columns):\n"
        "    return 1 / 0\n"
        "def bare(samples, train, test, columns):\n"
        "    return 0.5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load(np.random.default_rng(0).normal(size=(100, 2)))
    evaluation = Evaluation({}, data.test[:, 0], data.test, drawn_at=np.arange(len(data.test)))
    found = evaluate_tables(data, evaluation)
    assert found["row-count"].value == len(data.test)
    assert found["row-count"].floor == len(data.train)
    assert list(found["row-count"].parts) == data.columns
    # One that fails loses its own figure alone, and is named.
    assert not {"broken", "bare"} & found.keys()
    assert sorted(evaluation.remarks) == [
        "no bare (a float came; a Figure would do)",
        "no broken (ZeroDivisionError: division by zero)",
    ]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.38512, floor=0.37), "0.385, floor 0.37"),
        (Figure(0.0042, 0.00031, floor=0.000021), "0.00420 ±0.00031, floor 2.1e-05"),
        (Figure(0.91, 0.0), "0.910 ±0.000"),
        (Figure(812.4, 31.0, floor=800.0), "812 ±31, floor 800"),
        (Figure(0.0, floor=0.0), "0.000, floor 0"),
        (Figure(NAN), "nan"),
    ],
)
def test_a_figure_is_told_to_the_digits_that_it_has(figure, text):
    assert f"{figure}" == text
