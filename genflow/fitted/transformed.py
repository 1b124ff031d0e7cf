"""The class of a model in the user's units: densities, samples and imputations of rows of the user's table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.fitted.further import train_further
from genflow.fitted.held_out import REFERENCE, HeldOut, percentile, reference
from genflow.fitted.imputing import STEPS, impute
from genflow.fitted.law import LawOfRows
from genflow.fitting import FitRecord, budget_of, warn
from genflow.imputation import Masked
from genflow.interfaces import Component
from genflow.training import Budget, Progress, Tracker
from genflow.training.closing import work

if TYPE_CHECKING:
    import pandas as pd

    from genflow.distribution import FittedDistribution

__all__ = ["Transformed"]

_TENTH = 0.1  # of a training's time: what its scores may take where nobody asked for them


class Transformed(Component, LawOfRows):
    r"""A model behind an invertible preprocessing: densities and samples in the user's own units.

    .. math:: \log p(x) = \log p_{model}(T(x)) + \log |\det \partial T / \partial x|

    The preprocessing runs in float64; points then take the model's dtype, and results the input's.

    Where values have probabilities, as whole numbers, classes and gaps have, a row has many places :math:`T(x, u)`, and
    its density is a mean over them; see `genflow.data.cells`. It is estimated from several, drawn in strata:

    .. math:: \log p(x) \approx \log \frac1K \sum_{k=1}^K p_{model}(T(x, u_k)) \, |\det \partial T / \partial x|_k

    Args:
        model: A model of standardized rows.
        preprocessor: The invertible map :math:`T`, `x -> (T(x), log-determinant)`, with `inverse`.
        columns: Names of the columns.
        history: The training's history.
        encoding: What makes vectors of the user's conditions, where there are some; see `genflow.data.Encoding`.
            Everywhere below, a condition is one row of the user's own numbers and class names, or one for each row.
        remarks: What a reader of its figures should know, one line each.
        record: What `fit` was given, and what came of it; `None` for a model that was not fitted by genflow.
        schema: The columns of the table that the rows came of, see `genflow.data.Schema`; `None` of numbers alone.
    """

    def __init__(
        self,
        model: Any,
        preprocessor: Any,
        columns: Sequence[str] = (),
        history: Sequence[dict[str, Any]] = (),
        encoding: Any = None,
        remarks: Sequence[str] = (),
        record: FitRecord | None = None,
        schema: Any = None,
    ):
        super().__init__(model, preprocessor, columns, encoding, schema)
        self.history = list(history)
        self.remarks = list(remarks)
        self.record = record
        self._held_out: HeldOut | None = None  # rows whose scores are kept with it

    def config(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "preprocessor": self.preprocessor,
            "columns": self.columns,
            "history": self.history,
            "encoding": self.encoding,
            "remarks": self.remarks,
            "record": self.record,
            "schema": self.schema,
        }

    def fit(
        self,
        data: Any,
        *,
        warm_start: bool = False,
        budget: str | float | Budget | None = None,
        iterations: int | None = None,
        evaluations: int | None = None,
        seed: int = 0,
        progress: Progress | bool | None = None,
        checkpoint: str | PathLike[str] | None = None,
        autocast: bool = False,
        tracker: Tracker | None = None,
    ) -> Transformed:
        """Goes on from the weights of this model, in its units, and returns the further fitted one.

        The last kind of stage is trained again: of `CNF` the likelihood, not the matching before it.

        Args:
            data: As in `GenerativeModel.fit`, of the same columns.
            warm_start: Says that going on is what is meant.
            budget: As in `GenerativeModel.fit`.
            iterations: Likewise.
            evaluations: Likewise.
            seed: Likewise.
            progress: Likewise.
            checkpoint: Likewise.
            autocast: Likewise.
            tracker: Likewise.

        Raises:
            InputError: `warm_start` is not said; other columns, or other kinds of them; see `GenerativeModel.fit`.

        Example:
            >>> import genflow as gf
            >>> fitted = gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5)
            >>> len(fitted.fit("two-moons", iterations=5, warm_start=True).history)
            2
        """
        if not warm_start:
            raise InputError(
                "fit: this model is fitted; fit(…, warm_start=True) goes on from its weights, "
                "fit of the model that it came of begins anew"
            )
        limit = budget_of(budget, iterations, evaluations)
        behind = self.model.stages_behind(self.history)
        model, done = train_further(
            self, data, behind, limit,
            seed=seed, progress=progress, checkpoint=checkpoint, autocast=autocast, tracker=tracker,
        )  # fmt: skip
        warn(done.remarks)
        history = [*self.history, *done.history[len(behind) :]]
        return self.rebuilt(model=model, history=history, remarks=done.remarks, record=done.record)

    @torch.no_grad()
    def remark_on(self, x: Any, rows: str = "rows") -> str | None:
        """What a reader of the log densities of these rows should know, in one line; `None` where there is nothing.

        Args:
            x: Rows, in the forms that `log_prob` takes.
            rows: What they are called, such as `test rows`.

        Example:
            >>> import genflow as gf
            >>> fitted = gf.baselines.NSF(2, width=8, transforms=1).fit("two-moons", iterations=2)
            >>> fitted.remark_on([[0.0, 0.0], [20.0, 0.0]])
            "1 of 2 rows lies beyond its spline's bound of 5 standard deviations, where the tails are the base's"
        """
        if self.record is None:  # a flow that was assembled by hand
            return None
        return self.model.remark_on(self.standardize(self.take_rows(x)[0])[0], rows)

    def percentile(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r"""The percentile of each row's log density among those of rows that the model was not trained on.

        .. math:: 100 \cdot \frac1n \sum_i \bigl( [s_i < s] + \tfrac12 [s_i = s] \bigr)

        A row from the law of the table has a percentile below q with a probability of q %, as far as n scores say.

        Args:
            x: As in `log_prob`.
            condition: Likewise.
            generator: Likewise.

        Raises:
            InputError: A model that keeps no scores, or without a density; what `log_prob` refuses.

        Example:
            >>> import genflow as gf
            >>> fitted = gf.baselines.Gaussian(2).fit("two-moons", iterations=1)
            >>> fitted.percentile([[0.0, 9.0], [0.5, 0.25]]).tolist()[0]
            0.0
        """
        return self.percentile_of(self.log_prob(x, condition, generator, draws=self.score_draws))

    def percentile_of(self, log_p: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The percentiles of log densities; see `percentile`.

        Args:
            log_p: Log densities of this model, by `score_draws` of the places of a row.

        Raises:
            InputError: There are no scores, or they are by another estimator of the divergence, and not `comparable`.
        """
        scores = self.scores()
        if not len(scores):
            raise InputError(
                "percentile: this model keeps no scores of rows to compare with; fit it anew, or keep_scores"
            )
        if not self.comparable:
            assert self.record is not None
            ours, theirs = (noise or "an exact divergence" for noise in (self.noise, self.record.score_noise))
            raise InputError(
                f"percentile: log p is by {ours}, the scores of held-out rows are by {theirs}; the same would do for "
                "both, since a random error of one alone puts rows among the lowest"
            )
        return percentile(log_p, scores)

    @property
    def comparable(self) -> bool:
        """Whether the scores have the random error that log p has, of the same estimator of the divergence, or none."""
        return self.record is None or self.record.score_noise in (None, self.noise)

    @property
    def score_draws(self) -> int:
        """How many places of a row the scores are means over: others are compared with them by as many."""
        return (self.record.score_draws if self.record is not None else 0) or self.places

    @property
    def _is_scored(self) -> bool:
        """Whether there are scores that log p may be compared with, or no record to keep them in."""
        return self.record is None or (len(self.record.scores) > 0 and self.comparable)

    def scores(self) -> Float[Tensor, "n"]:
        """Log densities of rows that it was not trained on, in rising order; those of `fit`, when first asked for."""
        if not self._is_scored and self._held_out is not None:
            self._score_held_out()
        return torch.tensor(() if self.record is None else tuple(self.record.scores), dtype=torch.float64)

    def hold_out(self, rows: Float[Tensor, "n dim"], condition: Any = None) -> None:
        """Says which rows it was not trained on, to be scored when their scores are asked for.

        Args:
            rows: Rows, of which the first 2048 count.
            condition: Their conditions.
        """
        self._held_out = HeldOut(rows[:REFERENCE], None if condition is None else condition[:REFERENCE])

    def keep_scores(self, log_p: Float[Tensor, "n"], draws: int = 0) -> None:
        """Keeps the log densities of rows that it was not trained on, to which `percentile` compares others.

        Args:
            log_p: Log densities; what is not finite is below all others.
            draws: How many places of a row they are means over; by default as many as `log_prob` takes.
        """
        if self.record is None:
            raise InputError(
                "keep_scores: a model that was put together by hand has no record; one that fit returned has"
            )
        self.record = dataclasses.replace(
            self.record, scores=reference(log_p), score_draws=draws, score_noise=self.noise
        )

    def _score_held_out(self, seconds: float = math.inf) -> None:
        """Scores the rows that were held out, as many as there is time for."""
        if self._held_out is not None and self.has_log_prob:
            log_p = self._held_out.log_prob(self.log_prob, seconds)
            if len(log_p):
                self.keep_scores(log_p)

    def impute(
        self,
        x: Any,
        draws: int = 5,
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        steps: int = STEPS,
    ) -> Float[Tensor, "draws *shape"]:
        r"""Rows with their missing entries drawn from :math:`p(x_{missing} \mid x_{seen})`, `(draws, *batch, d)`.

        Entries that are seen stay as they are; those that are drawn are values that the column can have, and never
        missing. A model that was fitted with masks draws them at once, under another one Markov chains do; see
        `genflow.imputation`.

        Args:
            x: Rows in the forms that `log_prob` takes, NaN or a gap where an entry is missing, in any column.
            draws: How many of each row.
            condition: What the density is conditioned on; taken from the frame or the table where that has its columns.
            generator: Source of randomness.
            steps: Of the chains, each of which asks for one density of each draw.

        Raises:
            InputError: Other columns, an infinite value, no draw, a condition that does not fit.

        Warns:
            Remark: Chains that moved seldom; rows without a missing entry alone; a model without a density.

        Example:
            >>> import torch, genflow as gf
            >>> noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
            >>> rows = noise @ torch.tensor([[1.0, 2.0], [0.0, 1.0]])
            >>> fitted = gf.baselines.Gaussian(2).fit(rows, iterations=1)
            >>> x = fitted.impute([[1.0, float("nan")], [0.5, 1.0]], draws=3)
            >>> x.shape, x[:, 0, 0].tolist(), x[:, 1].isfinite().all().item()
            (torch.Size([3, 2, 2]), [1.0, 1.0, 1.0], True)
        """
        found, remarks = impute(self, x, draws, condition, generator, steps)
        warn(remarks)
        return found

    def impute_frame(
        self,
        x: Any,
        draws: int = 5,
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        steps: int = STEPS,
    ) -> pd.DataFrame:
        """The same as a pandas frame that looks like the table, the draws one below the other.

        Args:
            x: As in `impute`.
            draws: How many of each row; where it is more than one, a column `draw` says which, from 1 on.
            condition: As in `impute`.
            generator: Likewise.
            steps: Likewise.

        Example:
            >>> import pandas as pd, genflow as gf
            >>> table = pd.DataFrame({"a": [0.1 * i * i for i in range(40)], "b": list("xyzx" * 10)})
            >>> fitted = gf.models.FlowMatching(2, width=16).fit(table, iterations=5)
            >>> frame = fitted.impute_frame(pd.DataFrame({"a": [1.5], "b": [None]}), draws=2, steps=2)
            >>> frame["a"].tolist(), frame["draw"].tolist(), set(frame["b"]) <= set("xyz")
            ([1.5, 1.5], [1, 2], True)
        """
        rows, condition = self.take_rows(x, condition, gaps=True)
        found = self.impute(rows, draws, condition, generator, steps=steps)
        each = self.condition_columns(condition, rows[..., 0].numel())
        frame = self.frame_of(found.reshape(-1, self.dim), {name: values * draws for name, values in each.items()})
        return frame if draws == 1 else frame.assign(draw=np.repeat(np.arange(1, draws + 1), len(frame) // draws))

    def replace(self, **parts: Any) -> Transformed:
        """The same model with other parts, such as an integrator or a divergence: the weights are shared."""
        if not self.model.has_parts:
            raise InputError(f"replace: {type(self.model).__name__} has no velocity, so it has no parts to replace")
        other = Transformed(**{**self.config(), "model": self.model.replace(**parts)})
        other._held_out = self._held_out
        if self.record is not None and self.record.score_noise is None:  # then they are of the parts that there were
            other.record = dataclasses.replace(self.record, score_noise=self.noise)
        return other

    def guided(self, weight: float) -> Transformed:
        """The same model under classifier-free guidance: samples with more of what their condition changes.

        Args:
            weight: 0 for the conditional law as it was learned, 1 or 2 for samples that are more typical of it.

        Raises:
            InputError: A model that was not trained with `condition_dropout`.

        Example:
            >>> import genflow as gf
            >>> data = gf.data.load("digits", condition="label")
            >>> model = gf.models.FlowMatching(64, condition_dim=data.condition_dim, condition_dropout=0.1, width=16)
            >>> model.fit(data, iterations=5).guided(2.0).sample(3, condition="7").shape
            torch.Size([3, 64])
        """
        return Transformed(**{**self.config(), "model": self.model.guided(weight)})

    def distribution(self, condition: Any = None) -> FittedDistribution:
        """A view of this model as a distribution of torch, for those who compose: zuko's convention.

        As all of torch's distributions it draws from torch's global generator: `torch.manual_seed` repeats its draws.

        Args:
            condition: What the density is conditioned on: one row; or `(*batch, k)` rows, which are its batch.

        Raises:
            InputError: A condition that does not fit.

        Example:
            >>> import torch, genflow as gf
            >>> fitted = gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5)
            >>> law = fitted.distribution()
            >>> law.event_shape, law.has_rsample, law.sample((3,)).shape
            (torch.Size([2]), True, torch.Size([3, 2]))
            >>> law.log_prob(law.rsample((3,))).requires_grad
            True
        """
        from genflow.distribution import FittedDistribution

        return FittedDistribution(self, condition)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the model to a folder: weights as safetensors, structure as JSON. See `genflow.load`.

        Beside it go the scores of validation rows that `percentile` needs: as many as a tenth of its training's time
        allows.

        Args:
            path: The folder; it must not exist.
        """
        from genflow.storage.checkpoint import save

        if not self._is_scored and self.record is not None and math.isfinite(self.record.seconds):
            self._score_held_out(_TENTH * self.record.seconds)
        save(self, path)

    def __repr__(self) -> str:
        named = self.model.model if isinstance(self.model, Masked) else self.model
        name, count = type(named).__name__, len(self.columns)
        shown = ", ".join(self.columns[:4]) + (", …" if count > 4 else "")
        if self.record is None:
            return f"{name} of {count} columns ({shown})"
        about = self.record
        done = work(self.history) if not about.steps else f"{about.steps} steps"
        text = f"{name} fitted to {about.data}: {count} columns ({shown}), {done}"
        text += f" in {about.seconds:.1f} s" if math.isfinite(about.seconds) else ""
        if about.nll_rows:
            text += f", validation NLL {about.nll:.3f} ± {about.nll_se:.3f} nats ({about.nll_rows} rows)"
        return text
