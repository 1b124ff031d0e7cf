r"""Can samples stand in for the table where something is to be learned? Train on synthetic rows, test on real ones.

One column is the target of learners that see the others: of classes the score is the macro-averaged

.. math:: F_1 = \frac1K \sum_k \frac{2 \, \mathrm{tp}_k}{2 \, \mathrm{tp}_k + \mathrm{fp}_k + \mathrm{fn}_k}

of the test rows, of numbers :math:`R^2 = 1 - \sum_i (y_i - \hat y_i)^2 / \sum_i (y_i - \bar y)^2`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from genflow.errors import InputError
from genflow.extras import extra
from genflow.metrics.tables.gower import Gower
from genflow.metrics.tables.rows import Figure, TableColumn, is_class, place_count, subsample, table_rows

__all__ = ["macro_f1", "r_squared", "utility"]

_RESAMPLES = 200


def utility(
    samples: Any,
    train: Any,
    test: Any,
    columns: Sequence[TableColumn] | None = None,
    *,
    target: str | int = -1,
    max_points: int | None = 10_000,
    seed: int = 0,
) -> Figure:
    """The score, on test rows, of learners that were trained on samples; the floor is theirs when trained on real rows.

    The mean of three learners of scikit-learn: linear or logistic regression, a random forest, boosted trees. They take
    numbers scaled by the range of the training rows, and unit vectors of classes. Samples and training rows are cut to
    one size.

    Args:
        samples: Rows of a model, `(n, d)`, NaN where a value is missing.
        train: Training rows.
        test: Test rows.
        columns: What the columns hold; numbers where it is not given.
        target: The column to be told from the others, by name or position. A missing class is a class; rows whose
            missing target is a number are left out.
        max_points: Larger tables are cut to this many rows at random. `None` keeps all.
        seed: Seed of the cut and of the learners.

    Returns:
        The mean score, at most 1; its standard error by resampling the test rows; each learner's own in `parts`.

    Raises:
        InputError: Tables of other columns, or of one; an unknown target; no row in which it is known.

    References:
        | Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban et al., 2017)
        | https://arxiv.org/abs/1706.02633
        | Generating and Imputing Tabular Data via Diffusion and Flow-based Gradient-Boosted Trees (Jolicoeur-Martineau
          et al., 2024)
        | https://arxiv.org/abs/2309.09968

    Example:
        >>> import numpy as np
        >>> from genflow.metrics.tables import utility
        >>> x = np.random.default_rng(0).normal(size=(300, 2))
        >>> rows = np.column_stack([x, x.sum(1)])
        >>> found = utility(rows[:100], rows[100:200], rows[200:])
        >>> found.value > 0.9, round(found.parts["linear"], 4)
        (True, 1.0)
    """
    x, real, y, described = table_rows(samples, train, test, columns)
    place = _place(target, described)
    wanted, rest = described[place], [column for j, column in enumerate(described) if j != place]
    if not rest:
        raise InputError("target: the only column came; it needs others to be told from")
    tables = {
        name: _rows_with_target(name, rows, place, wanted)
        for name, rows in (("samples", x), ("train", real), ("test", y))
    }
    size = min(len(tables["samples"]), len(tables["train"]), max_points or len(x))
    x, floor = subsample(tables["samples"], size, seed), subsample(tables["train"], size, seed + 1)
    y = subsample(tables["test"], max_points, seed + 2)
    others = [np.delete(rows, place, 1) for rows in (x, floor, y, real)]
    gower = Gower.fit(others[3], rest, *others)
    features = [gower(rows).matrix() for rows in others[:3]]
    count = place_count(wanted) + 1
    answers = [np.where(np.isnan(rows[:, place]), count - 1, rows[:, place]) for rows in (x, floor, y)]
    resampled = np.random.default_rng(seed).multinomial(len(y), np.full(len(y), 1 / len(y)), _RESAMPLES)
    weights = np.concatenate([np.ones((1, len(y))), resampled])

    def scores(fitted: int) -> dict[str, np.ndarray]:
        found = {}
        for name, learner in _learners(is_class(wanted), len(features[fitted]), seed).items():
            predicted = _predict(learner, features[fitted], answers[fitted], features[2])
            if is_class(wanted):
                found[name] = macro_f1(answers[2], predicted, count, weights)
            else:
                found[name] = r_squared(answers[2], predicted, weights)
        return found

    trained, floors = scores(0), scores(1)
    mean = np.mean(list(trained.values()), 0)
    parts = {name: float(score[0]) for name, score in trained.items()}
    return Figure(float(mean[0]), float(np.std(mean[1:])), float(np.mean(list(floors.values()), 0)[0]), parts)


def macro_f1(truth: np.ndarray, predicted: np.ndarray, count: int, weights: np.ndarray) -> np.ndarray:
    r"""The mean of :math:`F_1` over the classes that rows have, or that were predicted, `(b,)`.

    Args:
        truth: Places of classes, `(n,)`.
        predicted: Those that were predicted.
        count: How many classes there are.
        weights: How often each row counts, `(b, n)`.

    Example:
        >>> macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, np.ones((1, 3))).round(4)
        array([0.6667])
    """
    known, found = (np.eye(count)[places.astype(int)] for places in (truth, predicted))
    hits, either = weights @ (known * found), weights @ known + weights @ found
    return np.where(either > 0, 2 * hits / np.maximum(either, 1), 0).sum(1) / np.maximum((either > 0).sum(1), 1)


def r_squared(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""The coefficient of determination :math:`R^2`, `(b,)`; 0 of a truth that does not vary.

    Args:
        truth: Numbers, `(n,)`.
        predicted: Those that were predicted.
        weights: How often each row counts, `(b, n)`.

    Example:
        >>> r_squared(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.ones((1, 2)))
        array([0.5])
    """
    mean = weights @ truth / weights.sum(1)
    around = (weights * (truth - mean[:, None]) ** 2).sum(1)
    return np.where(around > 0, 1 - weights @ (truth - predicted) ** 2 / np.where(around > 0, around, 1), 0)


def _place(target: str | int, columns: Sequence[TableColumn]) -> int:
    names = [column.name for column in columns]
    if target in names:
        return names.index(str(target))
    if isinstance(target, int) and -len(names) <= target < len(names):
        return target % len(names)
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise InputError(f"target: no column {target!r}; one of {shown} would do")


def _rows_with_target(table: str, rows: np.ndarray, place: int, column: TableColumn) -> np.ndarray:
    """The rows whose target is known; all of them, where a missing one is a class."""
    known = rows if is_class(column) else rows[~np.isnan(rows[:, place])]
    if not len(known):
        raise InputError(f"{table}: no row has a value of the target {column.name!r}; at least one would do")
    return known


def _learners(classes: bool, rows: int, seed: int) -> dict[str, Any]:
    with extra("data"):
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
            RandomForestClassifier,
            RandomForestRegressor,
        )
        from sklearn.linear_model import LinearRegression, LogisticRegression

    few = {"early_stopping": False, "min_samples_leaf": min(20, 1 + rows // 20), "random_state": seed}
    if classes:
        return {
            "linear": LogisticRegression(C=1e6, max_iter=500),  # as good as without a penalty, which has a unit
            "forest": RandomForestClassifier(max_depth=28, random_state=seed),
            "boosting": HistGradientBoostingClassifier(**few),
        }
    return {
        "linear": LinearRegression(),
        "forest": RandomForestRegressor(max_depth=28, random_state=seed),
        "boosting": HistGradientBoostingRegressor(**few),
    }


def _predict(learner: Any, features: np.ndarray, answers: np.ndarray, asked: np.ndarray) -> np.ndarray:
    if len(np.unique(answers)) == 1:  # nothing to learn, which some learners refuse
        return np.full(len(asked), answers[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a regression that has not converged
        return np.asarray(learner.fit(features, answers).predict(asked), dtype=np.float64)
