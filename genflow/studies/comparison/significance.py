r"""Whether a difference between two models is more than chance: of the rows, of the trainings, and of many looks.

The log density of test row i after training s of a model m is

.. math:: \ell^m_{si} = \mu^m + a^m_s + b^m_i + e^m_{si},

with the luck of a training :math:`a^m_s`, what the row adds, and the rest. Rows are the same for all models, so that
the difference of two is taken row by row; trainings of two models have no luck in common. Hence, with S trainings of
each and n rows, the mean difference has the variance

.. math::
    \widehat{\operatorname{var}}(\bar d) = \frac1n \operatorname{var}_i(\bar d_{\cdot i})
    + \sum_m \frac{M^m_a - M^m_e}{S^m n}, \qquad M_a = n \operatorname{var}_s(\bar \ell_{s \cdot}),

without bias: the mean squares of the two-way table of a model tell the luck of its trainings,
:math:`E M_a = n \sigma_a^2 + \sigma_e^2`, from the rest, :math:`E M_e = \sigma_e^2`. Its degrees of freedom are
Satterthwaite's (Searle, Casella and McCulloch 1992, Variance Components, chapters 2 and 4). A :math:`M_a` below
:math:`M_e` is one that chance has made, and says that there is no luck. With one seed nothing is known of the
trainings, and what is left is the paired test over the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LEVEL", "CrossedMean", "critical_difference", "crossed_difference", "crossed_mean", "friedman", "holm"]

LEVEL = 0.05
"""The probability, over all comparisons of a data set, that one is taken for real that is not."""


@dataclass(frozen=True)
class CrossedMean:
    """The mean of a table of seeds and rows, such as that of a paired difference.

    Attributes:
        mean: The mean over both.
        se: Its standard error, that of the trainings included where there are several.
        degrees: Degrees of freedom of the standard error.
        rows: Test rows.
        seeds: Trainings.
        between_seeds: The deviation of the mean over the rows from one seed to another; NaN for one.
    """

    mean: float
    se: float
    degrees: float
    rows: int
    seeds: int
    between_seeds: float

    @property
    def p(self) -> float:
        """The probability of a mean as far from zero where there is nothing, by Student's law; NaN without an error."""
        from scipy.stats import t

        if math.isnan(self.se):
            return math.nan
        if self.se == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * t.sf(abs(self.mean) / self.se, self.degrees))


def crossed_mean(values: np.ndarray) -> CrossedMean:
    """The mean over seeds and rows, with what chance may have done to it.

    Args:
        values: One for each seed and test row, `(seeds, rows)`.

    Example:
        >>> import numpy as np
        >>> found = crossed_mean(np.array([[0.1, 0.3, 0.2], [0.2, 0.4, 0.3]]))
        >>> round(found.mean, 3), round(found.se, 3), found.seeds, found.rows
        (0.25, 0.076, 2, 3)
    """
    return _mean_of(values.mean(0), [values])


def crossed_difference(values: np.ndarray, others: np.ndarray) -> CrossedMean:
    """The mean of the differences of two tables on the same rows, with what chance may have done to it.

    Args:
        values: One for each seed and test row, `(seeds, rows)`.
        others: What is taken from them, `(seeds, rows)`; the seeds may be others.

    Example:
        >>> import numpy as np
        >>> found = crossed_difference(np.array([[0.1, 0.3], [0.2, 0.4]]), np.zeros((3, 2)))
        >>> round(found.mean, 3), found.seeds, found.rows
        (0.25, 2, 2)
    """
    with np.errstate(invalid="ignore"):  # two that are infinite have no difference
        return _mean_of(values.mean(0) - others.mean(0), [values, others])


def _mean_of(of_rows: np.ndarray, tables: Sequence[np.ndarray]) -> CrossedMean:
    """The mean of what the rows say, which is made of these tables of seeds and rows."""
    rows, seeds = len(of_rows), min(len(table) for table in tables)
    if not rows:
        return CrossedMean(math.nan, math.nan, math.nan, rows, seeds, math.nan)
    mean = float(of_rows.mean())
    if rows < 2 or not math.isfinite(mean):
        return CrossedMean(mean, math.nan, math.nan, rows, seeds, math.nan)
    variance = float(of_rows.var(ddof=1)) / rows
    uncertainty, spread = variance**2 / (rows - 1), 0.0  # the former is half the variance of the variance
    for table in tables:
        if len(table) > 1:
            luck, its_uncertainty, own_spread = _luck(table)
            variance, uncertainty, spread = variance + luck, uncertainty + its_uncertainty, spread + own_spread
    degrees = variance**2 / uncertainty if uncertainty else math.inf
    return CrossedMean(
        mean, math.sqrt(variance), degrees, rows, seeds, math.sqrt(spread) if seeds > 1 else math.nan
    )  # fmt: skip


def _luck(table: np.ndarray) -> tuple[float, float, float]:
    """What the luck of trainings adds to the variance of a mean, half the variance of that, and their spread."""
    seeds, rows = table.shape
    of_seeds = table.mean(1)
    spread = float(of_seeds.var(ddof=1))
    rest = table - of_seeds[:, None] - table.mean(0) + table.mean()
    degrees = (seeds - 1) * (rows - 1)
    by_seed, residual = rows * spread, float(np.square(rest).sum()) / degrees
    if by_seed <= residual:
        return 0.0, 0.0, spread
    share = 1 / (seeds * rows)
    uncertainty = (by_seed * share) ** 2 / (seeds - 1) + (residual * share) ** 2 / degrees
    return (by_seed - residual) * share, uncertainty, spread


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities of several tests, so adjusted that one below a level is an error no more often than that in all.

    Holm 1979, https://www.jstor.org/stable/4615733. One that is no number stays so, and counts for none.

    Args:
        p: Those of each test by itself.

    Example:
        >>> [round(value, 2) for value in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted((index for index, value in enumerate(p) if not math.isnan(value)), key=lambda index: p[index])
    adjusted, highest = [math.nan] * len(p), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def friedman(ranks: np.ndarray) -> float:
    r"""The probability of ranks as unlike as these where all models are alike.

    .. math:: \chi^2 = \frac{12 N}{k (k + 1)} \Bigl(\sum_j \bar r_j^2 - \frac{k (k + 1)^2}{4}\Bigr), \quad
        F = \frac{(N - 1) \chi^2}{N (k - 1) - \chi^2}

    F by Iman and Davenport; see Demšar 2006, https://www.jmlr.org/papers/v7/demsar06a.html

    Args:
        ranks: Of k models on N data sets, `(N, k)`.
    """
    from scipy.stats import f

    sets, models = ranks.shape
    mean = ranks.mean(0)
    chi = 12 * sets / (models * (models + 1)) * (float(np.square(mean).sum()) - models * (models + 1) ** 2 / 4)
    room = sets * (models - 1) - chi
    if room <= 0:  # all data sets agree
        return 0.0
    return float(f.sf((sets - 1) * chi / room, models - 1, (models - 1) * (sets - 1)))


def critical_difference(models: int, sets: int, level: float = LEVEL) -> float:
    r"""How far the mean ranks of two models must lie apart to be more than chance, by Nemenyi's test.

    .. math:: q_\alpha \sqrt{\frac{k (k + 1)}{6 N}}

    with :math:`q_\alpha` the studentized range's quantile over :math:`\sqrt 2`. Demšar 2006,
    https://www.jmlr.org/papers/v7/demsar06a.html

    Args:
        models: Their number k.
        sets: The number N of data sets.
        level: The level.

    Example:
        >>> round(critical_difference(4, 14), 2)  # Demšar's example
        1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - level, models, np.inf)) / math.sqrt(2)
    return q * math.sqrt(models * (models + 1) / (6 * sets))
