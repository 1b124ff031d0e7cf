"""Standard errors, levels and ranks of a comparison, against laws that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel

from genflow.studies.comparison.significance import (
    critical_difference,
    crossed_difference,
    crossed_mean,
    friedman,
    holm,
)


def crossed(rng: np.random.Generator, seeds: int, rows: int, of_seed: float, of_row: float, rest: float) -> np.ndarray:
    """A table of independent effects of seeds, rows and the rest, with these deviations."""
    return (
        of_seed * rng.normal(size=(seeds, 1)) + of_row * rng.normal(size=rows) + rest * rng.normal(size=(seeds, rows))
    )


def test_one_seed_is_the_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(0.3, 1.0, size=40)
    found, known = crossed_mean((a - b)[None]), ttest_rel(a, b)
    assert found.p == pytest.approx(known.pvalue, rel=1e-12)
    assert found.mean / found.se == pytest.approx(known.statistic, rel=1e-12)
    assert found.degrees == 39
    assert math.isnan(found.between_seeds)


@pytest.mark.parametrize("deviations", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (2.0, 0.1, 0.5), (0.0, 0.0, 1.0)], ids=str)
def test_the_variance_of_the_mean_has_its_expectation(deviations):
    """The square of the standard error beside the variance of the mean, sigma_a^2/S + sigma_b^2/n + sigma_e^2/(S n)."""
    of_seed, of_row, rest = deviations
    rng, seeds, rows, tables = np.random.default_rng(1), 4, 30, 2000
    truth = of_seed**2 / seeds + of_row**2 / rows + rest**2 / (seeds * rows)
    found = np.array([crossed_mean(crossed(rng, seeds, rows, *deviations)).se ** 2 for _ in range(tables)])
    error = found.std(ddof=1) / math.sqrt(tables)
    assert found.mean() > truth - 4 * error  # never too small on average
    if of_seed:  # a mean square below the rest's is rare then, and the estimate without bias
        assert found.mean() < truth + 4 * error
    else:  # what is cut at zero: at most the mean of the positive part of M_a - M_e, which is M_e (F - 1)+
        assert found.mean() < truth + rest**2 / (seeds * rows)


@pytest.mark.parametrize("deviations", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 0.1, 0.1)], ids=str)
def test_nothing_is_taken_for_something_as_often_as_the_level_says(deviations):
    """Under no difference the share of p below 0.05 is at most that, within what counting 2000 tables leaves."""
    rng, tables = np.random.default_rng(2), 2000
    below = sum(crossed_mean(crossed(rng, 3, 50, *deviations)).p < 0.05 for _ in range(tables))
    # Satterthwaite's law is an approximation: a hundredth above the level is let pass beside the counting.
    assert below < binom.ppf(1 - 1e-6, tables, 0.06)


def test_a_difference_has_the_rows_in_common_and_not_the_trainings():
    """Its variance beside sigma_b^2/n and the sum of sigma_a^2/S + sigma_e^2/(S n)."""
    rng, rows, tables = np.random.default_rng(3), 30, 2000
    truth = 0.5**2 / rows + (0.2**2 / 3 + 1 / (3 * rows)) + (1.0 / 5 + 1 / (5 * rows))
    found, means = [], []
    for _ in range(tables):
        common = 10 * rng.normal(size=rows)
        own = common + crossed(rng, 3, rows, 0.2, 0.0, 1.0)
        their = common + crossed(rng, 5, rows, 1.0, 0.5, 1.0)
        difference = crossed_difference(their, own)
        found.append(difference.se**2)
        means.append(difference.mean)
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found, ddof=1) / math.sqrt(tables) + 0.01)
    assert np.var(means) == pytest.approx(truth, rel=4 * math.sqrt(2 / tables))
    assert crossed_difference(own, own).mean == 0.0
    # Three trainings each, all luck: nothing is found in nothing as often as the level says, with four degrees at most.
    below = 0
    for _ in range(tables):
        pair = [crossed(rng, 3, rows, 1.0, 0.01, 0.01) for _ in range(2)]
        below += (found_one := crossed_difference(*pair)).p < 0.05
        assert 2 - 1e-9 <= found_one.degrees < 4.1
    assert below < binom.ppf(1 - 1e-6, tables, 0.06)


def test_a_mean_without_numbers():
    assert math.isnan(crossed_mean(np.zeros((2, 0))).p)
    assert math.isnan(crossed_mean(np.ones((1, 1))).se)
    same = crossed_mean(np.zeros((2, 5)))
    assert (same.se, same.p) == (0.0, 1.0)
    assert crossed_mean(np.ones((1, 5))).p == 0.0
    infinite = crossed_mean(np.array([[math.inf, 1.0]]))
    assert infinite.mean == math.inf
    assert math.isnan(infinite.se)
    assert math.isnan(infinite.p)


def test_holm_steps_down():
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])  # Holm's own arithmetic
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert holm([]) == []


def test_ranks_against_tables():
    # Nemenyi's q at 0.05 for two to ten models, table 5a of Demšar 2006, which prints three decimals.
    table = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for models, q in enumerate(table, 2):
        assert critical_difference(models, 10) == pytest.approx(q * math.sqrt(models * (models + 1) / 60), abs=1e-3)
    # Demšar's example: four models on 14 data sets, mean ranks 3.143, 2.000, 2.893, 1.964, F = 3.69, p about 0.02.
    ranks = np.array([3.143, 2.000, 2.893, 1.964])
    assert friedman(np.tile(ranks, (14, 1))) == pytest.approx(0.0197, abs=2e-3)
    assert friedman(np.tile([1.0, 2.0, 3.0], (5, 1))) == 0.0  # all agree
    everything = np.array(list(itertools.permutations([1.0, 2.0, 3.0])))
    assert friedman(everything) == 1.0  # no model is ahead
