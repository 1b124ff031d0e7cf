"""Models of genflow as an estimator of scikit-learn."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genflow.extras import extra

with extra("data"):
    from sklearn.base import BaseEstimator, DensityMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DensityEstimator"]

_FEWEST_ROWS = 10
"""Fewer can't be split into those that are trained on and those that say when to stop."""


class DensityEstimator(DensityMixin, BaseEstimator):
    r"""A density of rows by one of genflow's models, as scikit-learn's `KernelDensity` is one.

    It works in a `Pipeline`, in `GridSearchCV` and under `clone`; options of the model are parameters like any other.
    Eight rows of nine are trained on, the ninth says when to stop.

    Args:
        model: Name of the model, as in `genflow list`, or `module:Name`; or its class.
        budget: Wall time of a fit, such as `"1min"`.
        iterations: Optimizer steps; where they are given, `budget` is of no meaning, and two fits are alike.
        seed: Seed of the weights and of the training.
        refit: Whether half of the budget goes into a second training on all rows, also those that say when to stop.
        options: Options of the model, such as `width=64`; see `genflow list MODEL`.

    Attributes:
        model_: The fitted model, a `Transformed`, with all that it can do.
        n_features_in_: The number of columns.
        feature_names_in_: Their names, where it was fitted to a frame with names.

    References:
        | API design for machine learning software: experiences from the scikit-learn project (Buitinck et al., 2013)
        | https://arxiv.org/abs/1309.0238

    Example:
        >>> import numpy as np
        >>> import genflow as gf
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> density = gf.DensityEstimator("maf", iterations=5, width=8, transforms=1).fit(rows)
        >>> density.score_samples(rows).shape, density.sample(3, random_state=0).shape
        ((100,), (3, 2))
        >>> density.get_params()["width"]
        8
    """

    def __init__(
        self,
        model: Any = "jko-iflow",
        budget: str | float = "1min",
        iterations: int | None = None,
        seed: int = 0,
        refit: bool = False,
        **options: Any,
    ):
        self.model = model
        self.budget = budget
        self.iterations = iterations
        self.seed = seed
        self.refit = refit
        # Private: scikit-learn knows no parameters that a signature does not name.
        self._options = options

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains the model on rows.

        Args:
            X: Rows, `(n, d)`: an array, or a frame of pandas, which `genflow.data.load` reads.
            y: Not used.

        Raises:
            InputError: An unknown model, an option that it does not have; rows that can't be read. Like all errors of
                scikit-learn about input it is a `ValueError`.

        Warns:
            Remark: What a reader of the densities should know.
        """
        from genflow.data import load
        from genflow.draws import check_seed
        from genflow.model import builder
        from genflow.naming.options import build

        X = self._check(X, reset=True)
        check_seed(self.seed)
        limit = {"budget": self.budget} if self.iterations is None else {"iterations": self.iterations}
        data = load(X).trained_also_on("test")  # who scores has rows of his own
        kind = builder(self.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            unfitted = build(kind, data.dim, self._options)
        self.model_ = unfitted.fit(data, seed=self.seed, refit=self.refit, **limit)
        # In single precision the last digits of a row's log density depend on the rows beside it.
        self.model_.model.double()
        self._in_frames = hasattr(X, "columns")
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """The log density of each row, in nats, in the units of the rows, `(n,)`.

        Args:
            X: Rows, `(n, d)`, in the form that it was fitted to.
        """
        check_is_fitted(self)
        generator = torch.Generator(next(self.model_.model.parameters(), torch.empty(0)).device).manual_seed(self.seed)
        with torch.no_grad():
            return self.model_.log_prob(self._check(X), generator=generator).double().cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log density of rows, in nats: the larger, the better.

        As of `GaussianMixture`. By the total, which `KernelDensity` returns, larger folds would weigh more in a search.

        Args:
            X: Rows, `(n, d)`.
            y: Not used.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Samples, `(n_samples, d)`; a frame, where it was fitted to one.

        Args:
            n_samples: How many.
            random_state: A seed, or a `RandomState`; NumPy's global one by default.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        generator = torch.Generator(next(self.model_.model.parameters(), torch.empty(0)).device).manual_seed(seed)
        if self._in_frames:
            return self.model_.sample_frame(n_samples, generator=generator)
        return self.model_.sample(n_samples, generator=generator).cpu().numpy()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Its parameters, the options of the model among them.

        Args:
            deep: Whether those of parameters that are estimators come, too.
        """
        return {**super().get_params(deep=deep), **self._options}

    def set_params(self, **params: Any) -> Self:
        """Sets parameters: its own, and options of the model, also such as were not given before.

        Args:
            params: Parameters by name.
        """
        own = inspect.signature(type(self).__init__).parameters
        for name, value in params.items():
            if name in own:
                setattr(self, name, value)
            else:
                self._options = {**self._options, name: value}
        return self

    def _check(self, X: Any, reset: bool = False) -> Any:
        """Rows as scikit-learn wants them; of a frame only its columns, since `load` reads more than numbers."""
        if hasattr(X, "columns") and hasattr(X, "iloc"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        least = _FEWEST_ROWS if reset else 1
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_min_samples=least)
