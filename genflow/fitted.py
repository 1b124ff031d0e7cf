"""A model in the user's units: what `fit` returns, and what is saved."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.draws import batch_shape, check_generator, stratified
from genflow.errors import InputError
from genflow.extras import extra
from genflow.fitting import FitRecord, budget_of, check_dtype, fit, like_of, warn
from genflow.interfaces import Component
from genflow.numerics.portions import Portions
from genflow.training import Budget, Progress
from genflow.training.closing import work

if TYPE_CHECKING:
    import pandas as pd

    from genflow.audit import Audit
    from genflow.data import Schema
    from genflow.distribution import FittedDistribution

__all__ = ["FitRecord", "Transformed"]

_DRAWS = 16  # of the places of a row that has many
_FEW_NUMBERS = 1 << 14  # 1024 rows of 16 columns


class Transformed(Component, nn.Module):
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
        super().__init__()
        self.model = model
        self.preprocessor = preprocessor
        self.columns = list(columns)
        self.history = list(history)
        self.encoding = encoding
        self.remarks = list(remarks)
        self.record = record
        self.schema = schema
        self._portions = Portions()

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

    @property
    def dim(self) -> int:
        """The number of columns."""
        return int(self.model.dim)

    @property
    def has_log_prob(self) -> bool:
        """Whether rows have a density under the model."""
        return bool(self.model.has_log_prob)

    def fit(
        self,
        data: Any,
        *,
        warm_start: bool = False,
        budget: str | float | Budget | None = None,
        iterations: int | None = None,
        seed: int = 0,
        progress: Progress | bool | None = None,
        checkpoint: str | PathLike[str] | None = None,
        autocast: bool = False,
    ) -> Transformed:
        """Goes on from the weights of this model, in its units, and returns the further fitted one.

        The last kind of stage is trained again: of `CNF` the likelihood, not the matching before it.

        Args:
            data: As in `GenerativeModel.fit`, of the same columns.
            warm_start: Says that going on is what is meant.
            budget: As in `GenerativeModel.fit`.
            iterations: Likewise.
            seed: Likewise.
            progress: Likewise.
            checkpoint: Likewise.
            autocast: Likewise.

        Raises:
            InputError: `warm_start` is not said; other columns, or other kinds of them; see `GenerativeModel.fit`.

        Example:
            >>> import genflow as gf
            >>> fitted = gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5)
            >>> len(fitted.fit("two-moons", iterations=5, warm_start=True).history)
            2
        """
        from genflow.data import load

        if not warm_start:
            raise InputError(
                "fit: this model is fitted; fit(…, warm_start=True) goes on from its weights, "
                "fit of the model that it came of begins anew"
            )
        limit = budget_of(budget, iterations)
        dataset = load(data, like=self.schema)
        if dataset.columns != self.columns:
            came, wanted = (", ".join(columns[:8]) for columns in (dataset.columns, self.columns))
            raise InputError(f"data: the columns {came} came, the model was fitted to {wanted}")
        self._refuse_other_kinds(dataset.schema)
        with torch.inference_mode(False):
            model = copy.deepcopy(self.model)
        behind = model.stages_behind(self.history)
        done = fit(
            model, dataset, self.preprocessor, self.encoding, limit,
            seed=seed, progress=progress, checkpoint=checkpoint, history=behind, autocast=autocast,
        )  # fmt: skip
        warn(done.remarks)
        history = [*self.history, *done.history[len(behind) :]]
        changed = {"model": model, "history": history, "remarks": done.remarks, "record": done.record}
        return Transformed(**{**self.config(), **changed})

    def _refuse_other_kinds(self, schema: Schema | None) -> None:
        """Raises an error where the numbers of a column do not say what those that the model was fitted to say."""
        if self.schema is None or schema is None:
            return
        for own, came in zip(self.schema.modelled, schema.modelled, strict=True):
            known = tuple(own.classes)
            if bool(known) != bool(came.classes) or tuple(came.classes[: len(known)]) != known:
                raise InputError(
                    f"data: column {own.name!r} holds other classes than the model was fitted to; what "
                    "genflow.data.load(…, like=fitted.schema) returns would do"
                )
            if came.missing and not own.missing:
                raise InputError(
                    f"data: column {own.name!r} misses values, and the model knows no gaps there; fill them, or what "
                    "genflow.data.load(…, missing='drop') returns would do"
                )

    def log_prob(
        self,
        x: Any,
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        differentiable: bool = False,
        draws: int = _DRAWS,
    ) -> Float[Tensor, "*batch"]:
        """The log density of rows, in nats, in the units of the file.

        Of columns with probabilities, such as classes and whole numbers, it is that of a count: see
        `genflow.data.cells`. Without a generator the places of a row are the same in every call.

        Args:
            x: Rows, `(*batch, d)`: a tensor, an array or a list; a pandas frame or the path of a table, whose columns
                are taken by name.
            condition: What the density is conditioned on; taken from the frame or the table where that has its columns.
            generator: Source of the divergence estimator's probes, if it is random.
            differentiable: Whether to record a graph, for gradients of the weights. One is recorded in any case where x
                or the condition require a gradient.
            draws: Of the places of a row that has many: the more, the closer from below to log p.

        Raises:
            InputError: Other columns, a value that is missing or infinite, a condition that does not fit.
        """
        return self._estimated(x, condition, generator, differentiable, draws)[0]

    def log_prob_with_error(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None, *, draws: int = _DRAWS
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """The log density of rows and the standard error that the draws of their places leave, 0 where a row has one.

        The error of a logarithm of a mean, :math:`s / (\\bar w \\sqrt K)` for weights of mean :math:`\\bar w` and
        deviation s; strata make the true one less.

        Args:
            x: As in `log_prob`.
            condition: Likewise.
            generator: Likewise.
            draws: Likewise.

        Example:
            >>> import genflow as gf
            >>> fitted = gf.baselines.Gaussian(2).fit([[i * i % 17, i % 3] for i in range(40)], iterations=1)
            >>> log_p, error = fitted.log_prob_with_error([[4.0, 1.0]])
            >>> log_p.shape, bool(error >= 0)
            (torch.Size([1]), True)
        """
        return self._estimated(x, condition, generator, False, draws)

    def _estimated(
        self, x: Any, condition: Any, generator: torch.Generator | None, differentiable: bool, draws: int
    ) -> tuple[Tensor, Tensor]:
        """log p and its standard error."""
        check_generator(generator)
        if draws < 1:
            raise InputError(f"draws: {draws} came; at least 1 would do")
        x, condition = self._rows(x, condition)
        with self._graph(differentiable, x, condition) as graph:
            given = self._encoded(condition, x.shape[:-1])
            log_w = []
            for z, log_det in self._places(x, draws, generator):
                log_p = self._portioned(("log_prob", graph), self.model.log_prob, z, given, generator)
                log_w.append(log_p.to(log_det) + log_det)
            if len(log_w) == 1:
                return log_w[0].to(x.device, x.dtype), torch.zeros_like(log_w[0]).to(x.device, x.dtype)
            weights = torch.stack(log_w)
            mean = weights.logsumexp(0) - math.log(draws)
            relative = (weights - mean).exp()
            error = (relative.var(0) / draws).sqrt()
            return mean.to(x.device, x.dtype), error.to(x.device, x.dtype)

    def _places(self, x: Tensor, draws: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in the model's units with their log-determinants: once, or so many of their places."""
        if not self.preprocessor.random:
            yield self._standardized(x)
            return
        seed = 0
        if generator is not None:
            seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        for u in stratified(self.preprocessor.cells(x.to(self._preprocessing_device())), draws, seed):
            yield self._standardized(x, u)

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
        return self.model.remark_on(self._standardized(self._rows(x)[0])[0], rows)

    def latent_log_prob(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row's latent, in nats and in the units of the latent space.

        Raises:
            InputError: A model without a latent space of its own.
        """
        if not self.model.has_latent:
            raise InputError(f"latent_log_prob: {type(self.model).__name__} has no latent space; log_prob would do")
        x, condition = self._rows(x, condition)
        with self._graph(False, x, condition) as graph:
            z, given = self._standardized(x)[0], self._encoded(condition, x.shape[:-1])
            return self._portioned(("latent_log_prob", graph), self.model.latent_log_prob, z, given, generator)

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        differentiable: bool = False,
        **options: Any,
    ) -> Float[Tensor, "*shape"]:
        """Samples in the units of the file, `(*shape, d)`, in float64.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            differentiable: Whether to record a graph; see `log_prob`.
            options: Passed on to the model's own `sample`.

        Raises:
            InputError: A number that is none, another kind of generator, a condition that does not fit.
        """
        return self._drawn(self.model.sample, shape, condition, generator, differentiable, options)[0]

    def sample_with_log_prob(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        *,
        differentiable: bool = False,
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density in the units of the file, in float64; see `sample`."""
        if self.preprocessor.random:  # the place that a row was drawn at is one of many
            x = self.sample(shape, condition, generator, differentiable=differentiable)
            return x, self.log_prob(x, condition, generator, differentiable=differentiable)
        x, log_p = self._drawn(self.model.sample_with_log_prob, shape, condition, generator, differentiable, {})
        with self._graph(differentiable, x, log_p):
            return x, log_p.to(x) + self.preprocessor(x)[1]

    def sample_frame(
        self, number: int, condition: Any = None, generator: torch.Generator | None = None, **options: Any
    ) -> pd.DataFrame:
        """Samples as a pandas frame that looks like the table: its columns, dtypes, classes, dates and gaps.

        Where the table is not known, the columns of the condition come behind the others.

        Args:
            number: How many.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            options: Passed on to `sample`.

        Example:
            >>> import genflow as gf
            >>> gf.models.FlowMatching(2, width=16).fit("two-moons", iterations=5).sample_frame(3).columns.tolist()
            ['x', 'y']
        """
        with extra("data"):
            import pandas as pd

        (count,) = batch_shape((number,))
        rows = self.sample(count, condition, generator, **options).detach().cpu().numpy()
        given = None if condition is None or self.encoding is None else self.encoding.table(condition, count)
        if self.schema is not None:
            return self.schema.frame(rows, given)
        return pd.DataFrame(rows, columns=self.columns).assign(**(given or {}))

    def encode(self, x: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        """The noise of each row, which is taken in the forms that `log_prob` takes."""
        x, condition = self._rows(x, condition)
        with self._graph(differentiable, x, condition) as graph:
            z, given = self._standardized(x)[0], self._encoded(condition, x.shape[:-1])
            return self._portioned(("encode", graph), self.model.encode, z, given)

    def decode(self, z: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        """The row of each noise, in the units of the file, in float64."""
        z = torch.as_tensor(z)
        like = self._like()
        with self._graph(differentiable, z, condition) as graph:
            given = self._encoded(condition, z.shape[:-1])
            x = self._portioned(("decode", graph), self.model.decode, z.to(like.device, like.dtype), given)
            return self._original(x)

    def score(self, x: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        r"""The score :math:`\nabla_x \log p(x)` in the units of the file, 0 where values have probabilities.

        Args:
            x: Rows, in the forms that `log_prob` takes.
            condition: What the density is conditioned on.
            differentiable: Whether the score itself is to be differentiated; it is where x requires a gradient.
        """
        x, condition = self._rows(x, condition)
        given = self._encoded(condition, x.shape[:-1])
        with self._graph(differentiable, x, given) as graph:

            def gradient(rows: Tensor, c: Any) -> Tensor:
                with torch.enable_grad():
                    rows = rows if graph and rows.requires_grad else rows.detach().requires_grad_()
                    places = self._places(rows, _DRAWS, None)
                    log_p = torch.stack([self.model.log_prob(z, c).to(log_det) + log_det for z, log_det in places])
                    return torch.autograd.grad(
                        log_p.logsumexp(0).sum(), rows, create_graph=graph, allow_unused=True, materialize_grads=True
                    )[0]

            return self._portioned(("score", graph), gradient, x, given)

    def audit(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None, tolerance: float = 0.01
    ) -> Audit:
        """Says how good log p of these rows is; see `Flow.audit`. The inversion error is in the model's own units.

        Args:
            x: Rows, `(*batch, d)`; some hundred of those that a mean is to be reported of.
            condition: What the density is conditioned on.
            generator: Source of the divergence estimator's probes.
            tolerance: How good the mean should be, in nats.

        Raises:
            InputError: A model whose log p is no solver's, and so is exact.
        """
        if not self.model.integrates:
            name = type(self.model).__name__
            raise InputError(f"audit: {name} solves no differential equation, so there is nothing to audit")
        x, condition = self._rows(x, condition)
        z, log_det = self._spread(x)
        audit = self.model.audit(z, self._encoded(condition, x.shape[:-1]), generator, tolerance)
        log_p, finer = (log_p.to(log_det) + log_det for log_p in (audit.log_prob, audit.finer))
        return dataclasses.replace(audit, log_prob=log_p.to(x.device), finer=finer.to(x.device))

    def replace(self, **parts: Any) -> Transformed:
        """The same model with other parts, such as an integrator or a divergence: the weights are shared."""
        if not self.model.has_parts:
            raise InputError(f"replace: {type(self.model).__name__} has no velocity, so it has no parts to replace")
        return Transformed(**{**self.config(), "model": self.model.replace(**parts)})

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
        """Writes the model to a folder: weights as safetensors, structure as JSON. See `genflow.load`."""
        from genflow.storage.checkpoint import save

        save(self, path)

    def __repr__(self) -> str:
        name, count = type(self.model).__name__, len(self.columns)
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

    def _rows(self, x: Any, condition: Any = None) -> tuple[Tensor, Any]:
        """Rows as a tensor, and their condition: the one that was given, or that which came with them."""
        from genflow.data.rows import rows_of

        columns = self.columns or [str(j + 1) for j in range(self.dim)]
        rows, brought = rows_of(x, columns, self.encoding if condition is None else None, schema=self.schema)
        return rows, brought if condition is None else condition

    def _encoded(self, condition: Any, batch: Sequence[int]) -> Any:
        """The model's condition: one vector for each row of the batch, or one that all share."""
        optional = bool(self.model.condition_dropout)  # it was trained to do without, too
        if condition is None and optional:
            return None
        if self.encoding is None:
            if condition is not None and self.model.condition_dim == 0:
                raise InputError("condition: one came, but the model was trained without any; leave it out")
            return condition
        like = self._like()
        return self.encoding(condition, batch).to(like.device, like.dtype)

    @contextmanager
    def _graph(self, differentiable: bool, *inputs: Any) -> Iterator[bool]:
        """Records a graph only where it is wanted, or where an input is part of one; says whether it does."""
        needed = differentiable or any(isinstance(part, Tensor) and part.requires_grad for part in inputs)
        with torch.set_grad_enabled(needed and torch.is_grad_enabled()):
            yield torch.is_grad_enabled()

    def _portioned(
        self, operation: Any, compute: Callable[..., Tensor], x: Tensor, condition: Any, *rest: Any
    ) -> Tensor:
        """`compute(rows, their condition, …)` of all rows, a portion at a time."""
        flat = x.reshape(-1, x.shape[-1])
        each = _of_each(condition, x.shape[:-1])
        parts = self._portions.run(
            (operation, flat.dtype, flat.device),
            len(flat),
            lambda start, stop: compute(flat[start:stop], each(start, stop), *rest),
            _few(flat.shape[-1]),
        )
        whole = torch.cat(parts)
        return whole.reshape((*x.shape[:-1], *whole.shape[1:]))

    def _drawn(
        self, draw: Callable[..., Any], shape: Any, condition: Any, generator: Any, differentiable: bool, options: Any
    ) -> tuple[Tensor, ...]:
        """What a model draws, a portion at a time, the samples in the units of the file."""
        batch = batch_shape(shape)
        check_generator(generator)
        with self._graph(differentiable, condition) as graph:
            given = self._encoded(condition, batch)
            each = _of_each(given, batch)
            operation = (draw.__name__, graph, str(sorted(options.items())), self._like().dtype)

            def drawn(start: int, stop: int) -> tuple[Tensor, ...]:
                found = draw(stop - start, each(start, stop), generator, **options)
                return found if isinstance(found, tuple) else (found,)

            if not math.prod(batch):
                return torch.zeros(*batch, self.dim, dtype=torch.float64), torch.zeros(batch, dtype=torch.float64)
            parts = self._portions.run(operation, math.prod(batch), drawn, _few(self.dim))
            z, *rest = (torch.cat(part) for part in zip(*parts, strict=True))
            x = self._original(z).reshape(*batch, z.shape[-1])
            return x, *(part.reshape(batch) for part in rest)

    def _like(self) -> Tensor:
        like = like_of(self.model)
        check_dtype(like)
        return like

    def _standardized(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows = x.to(self._preprocessing_device(), torch.float64)
        z, log_det = self.preprocessor(rows) if u is None else self.preprocessor(rows, u)
        like = self._like()
        return z.to(like.device, like.dtype), log_det

    def _spread(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same at one of a row's places, as a model meets it in its training."""
        z, log_det = self.preprocessor.spread(
            x.to(self._preprocessing_device(), torch.float64), torch.Generator().manual_seed(0)
        )
        like = self._like()
        return z.to(like.device, like.dtype), log_det

    def _original(self, z: Tensor) -> Tensor:
        return self.preprocessor.inverse(z.to(self._preprocessing_device(), torch.float64))

    def _preprocessing_device(self) -> torch.device:
        return next(self.preprocessor.buffers(), self._like()).device


def _few(dim: int) -> int:
    """Rows that need no portions, without a graph; with one, every step of a solver is kept."""
    return 0 if torch.is_grad_enabled() else _FEW_NUMBERS // dim


def _of_each(condition: Any, batch: Sequence[int]) -> Callable[[int, int], Any]:
    """The condition of the rows from `start` to before `stop`: their own vectors, or the one that all share."""
    if not (isinstance(condition, Tensor) and condition.ndim > 1):
        return lambda start, stop: condition
    vectors = condition.expand(*batch, -1).reshape(-1, condition.shape[-1])
    return lambda start, stop: vectors[start:stop]
