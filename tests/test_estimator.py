"""The estimator keeps scikit-learn's promises, and says the same as the model that it trains."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import genflow as gf

SMALL = {"iterations": 2, "width": 4, "transforms": 1}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(120, 2)) @ [[3.0, 0.0], [2.0, 5.0]] + [3.0, -4.0]


@pytest.fixture(scope="module")
def frame(rows):
    return pd.DataFrame(rows, columns=["length", "weight"])


@parametrize_with_checks([gf.DensityEstimator("maf", **SMALL), gf.DensityEstimator("gaussian", iterations=1)])
def test_it_keeps_the_promises_of_an_estimator(estimator, check):
    check(estimator)


def test_its_densities_are_those_of_its_model(rows, frame):
    estimator = gf.DensityEstimator("maf", **SMALL).fit(rows)
    log_p = estimator.score_samples(rows)
    np.testing.assert_allclose(log_p, estimator.model_.log_prob(torch.from_numpy(rows)).detach().numpy())
    assert estimator.score(rows) == pytest.approx(log_p.mean())
    assert estimator.n_features_in_ == 2
    assert not hasattr(estimator, "feature_names_in_")
    # In the units of the rows: a Gaussian's log density is that of its moments, up to those of a part of the rows.
    gaussian = gf.DensityEstimator("gaussian", iterations=1).fit(rows)
    expected = torch.distributions.MultivariateNormal(torch.tensor(rows.mean(0)), torch.tensor(np.cov(rows.T)))
    assert gaussian.score(rows) == pytest.approx(expected.log_prob(torch.tensor(rows)).mean().item(), abs=0.1)


def test_eight_of_nine_rows_are_trained_on(rows):
    """The moments of a Gaussian are those of its training rows: all but a ninth."""
    estimator = gf.DensityEstimator("gaussian", iterations=1).fit(rows)
    data = gf.data.load(rows)
    trained = torch.cat([data.train, data.test])
    assert len(trained) == len(rows) - len(data.validation)
    drawn = estimator.sample(40_000, random_state=0)
    # A mean of 40 000 draws is good to 1/200 of the deviation.
    np.testing.assert_allclose(drawn.mean(0), trained.mean(0), atol=5 * rows.std(0).max() / 200)


def test_samples_come_in_the_form_of_the_rows_and_by_the_seed(rows, frame):
    of_rows, of_frame = (gf.DensityEstimator("maf", **SMALL).fit(X) for X in (rows, frame))
    drawn = of_rows.sample(5, random_state=1)
    assert isinstance(drawn, np.ndarray)
    assert drawn.shape == (5, 2)
    np.testing.assert_array_equal(of_rows.sample(5, random_state=1), drawn)
    np.testing.assert_array_equal(of_rows.sample(5, random_state=np.random.RandomState(1)), drawn)
    assert not np.array_equal(of_rows.sample(5), drawn)
    assert of_rows.sample().shape == (1, 2)
    table = of_frame.sample(5, random_state=1)
    assert list(table.columns) == ["length", "weight"] == list(of_frame.feature_names_in_)
    np.testing.assert_array_equal(table.to_numpy(), drawn)  # the same rows, the same seed
    np.testing.assert_array_equal(of_frame.score_samples(frame), of_rows.score_samples(rows))
    with pytest.raises(ValueError, match="feature names"):
        of_frame.score_samples(frame[["weight", "length"]])


def test_two_fits_of_one_seed_are_alike_and_touch_no_other_randomness(rows):
    torch.manual_seed(5)
    first = gf.DensityEstimator("maf", **SMALL).fit(rows).score_samples(rows)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    np.testing.assert_array_equal(gf.DensityEstimator("maf", **SMALL).fit(rows).score_samples(rows), first)
    other = gf.DensityEstimator("maf", seed=1, **SMALL).fit(rows).score_samples(rows)
    assert not np.array_equal(other, first)


def test_it_is_trained_twice_where_that_is_asked_for(rows):
    fitted = gf.DensityEstimator("maf", refit=True, **SMALL).fit(rows)
    assert fitted.model_.history[-1]["replayed"]


def test_options_of_the_model_are_parameters():
    estimator = gf.DensityEstimator("maf", **SMALL)
    assert estimator.get_params() == {"model": "maf", "budget": "1min", "seed": 0, "refit": False, **SMALL}
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert estimator.set_params(width=8, batch_size=16, seed=2) is estimator
    assert estimator.get_params() == {**twin.get_params(), "width": 8, "batch_size": 16, "seed": 2}
    assert twin.get_params()["width"] == 4
    assert repr(twin) == "DensityEstimator(iterations=2, model='maf', transforms=1, width=4)"


def test_it_stands_in_a_pipeline_and_a_search(frame):
    pipeline = make_pipeline(StandardScaler(), gf.DensityEstimator("maf", **SMALL))
    fitted = pipeline.fit(frame)
    assert np.isfinite(fitted.score_samples(frame)).all()
    search = GridSearchCV(pipeline, {"densityestimator__width": [4, 8]}, cv=KFold(2), error_score="raise").fit(frame)
    assert search.best_estimator_[-1].get_params()["width"] in (4, 8)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == max(scores)
    best = search.best_params_["densityestimator__width"]
    # The score of a fold is the mean log density of its rows under a model of the other fold.
    folds = []
    for train, test in KFold(2).split(frame):
        model = clone(pipeline).set_params(densityestimator__width=best).fit(frame.iloc[train])
        folds.append(model.score_samples(frame.iloc[test]).mean())
    assert search.best_score_ == pytest.approx(np.mean(folds))


def test_it_is_pickled_with_its_model(rows):
    estimator = gf.DensityEstimator("maf", **SMALL).fit(rows)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.score_samples(rows), estimator.score_samples(rows))
    assert again.get_params() == estimator.get_params()


def test_what_is_wrong_is_said_in_one_line(rows):
    with pytest.raises(ValueError, match="did you mean jko-iflow"):
        gf.DensityEstimator("jko-flow").fit(rows)
    with pytest.raises(ValueError, match="widht"):
        gf.DensityEstimator("maf", iterations=1, widht=4).fit(rows)
    with pytest.raises(ValueError, match=r"9 sample\(s\).*minimum of 10 is required"):
        gf.DensityEstimator("maf", iterations=1).fit(rows[:9])
    with pytest.raises(ValueError, match="constant"):
        gf.DensityEstimator("maf", iterations=1).fit(rows * [0, 0])
    with pytest.raises(ValueError, match="budget: 'long' came"):
        gf.DensityEstimator("maf", budget="long").fit(rows)
    with pytest.raises(NotFittedError):
        gf.DensityEstimator("maf").sample()
