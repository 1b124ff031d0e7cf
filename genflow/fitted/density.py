r"""The density of the user's rows, in the units of their table."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genflow.divergences import Exact
from genflow.draws import check_count, check_generator, stratified_draws
from genflow.errors import InputError, name_of_function
from genflow.fitted.portions import graph, of_each
from genflow.fitted.units import Units
from genflow.flow import Flow
from genflow.interfaces import Component, DivergenceEstimator

if TYPE_CHECKING:
    from genflow.audit import Audit

__all__ = ["DensityOfRows"]

_DRAWS = 16  # of the places of a row that has many
_TOGETHER = 2048  # places of rows that are looked at in one call, where rows are few


class DensityOfRows(Units):
    r"""The log density of rows, its error and its gradient: at one place of the line, or a mean over several.

    .. math:: \log p(x) \approx \log \frac1K \sum_{k=1}^K p_{model}(T(x, u_k)) \, |\det \partial T / \partial x|_k
    """

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
        `genflow.data.cells`. Without a generator the places of a row are the same in every call, and those of rows with
        the same cells; with one rows that differ have their own, which is what a mean over rows wants.

        Args:
            x: Rows, `(*batch, d)`: a tensor, an array or a list; a pandas frame or the path of a table, whose columns
                are taken by name.
            condition: What the density is conditioned on; taken from the frame or the table where that has its columns.
            generator: Source of the divergence estimator's probes, if it is random.
            differentiable: Whether to record a graph, for gradients of the weights. One is recorded in any case where x
                or the condition require a gradient.
            draws: Of the places of a row that has many: the more, the closer from below to log p. Under a random
                estimator of the divergence it is one.

        Raises:
            InputError: Other columns, a value that is missing or infinite, a condition that does not fit.
        """
        return self._estimate(x, condition, generator, differentiable, draws, self._log_prob_alone)[0]

    def log_prob_with_error(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None, *, draws: int = _DRAWS
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """The log density of rows and its standard error: what the draws of their places leave, 0 where a row has one.

        The error of a logarithm of a mean, :math:`s / (\\bar w \\sqrt K)` for weights of mean :math:`\\bar w` and
        deviation s; strata make the true one less. Under a random estimator of the divergence it is that of its probes,
        NaN of a single one.

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
        return self._estimate(x, condition, generator, False, draws, self._log_prob_and_error)

    def _estimate(
        self,
        x: Any,
        condition: Any,
        generator: torch.Generator | None,
        differentiable: bool,
        draws: int,
        at_places: Callable[[Tensor, Any, torch.Generator | None], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """log p and its standard error, of what `at_places` gives of both in the model's units, `(n, 2)`."""
        check_generator(generator)
        check_count(draws, "draws")
        draws = draws if self.places > 1 else 1
        x, condition = self.take_rows(x, condition)
        with graph(differentiable, x, condition) as recorded:

            def mean_over_places(rows: Tensor, given: Any, count: int) -> tuple[Tensor, Tensor]:
                parts, errors = [], []
                places, together = self._places(rows, count, generator), max(1, _TOGETHER // max(1, len(rows)))
                while several := list(itertools.islice(places, together)):
                    z, log_det = (torch.stack(part) for part in zip(*several, strict=True))
                    far = z.isinf()  # beyond what the model's numbers reach: no density
                    known = z.masked_fill(far, 0.0).flatten(0, 1)
                    same = of_each(given, log_det.shape)(slice(None))
                    found = self.by_portions.map(("log_prob", recorded), at_places, known, same, generator)
                    log_p, error = found.reshape(*log_det.shape, 2).unbind(-1)
                    log_w = log_p.to(log_det) + log_det
                    errors.append(error)
                    parts.append(log_w.masked_fill(far.any(-1).to(log_det.device), -math.inf))
                weights = torch.cat(parts).to(rows.device)
                if count == 1:
                    return weights[0].to(rows), errors[0][0].to(rows)
                mean = weights.logsumexp(0) - math.log(count)
                relative = (weights - mean).exp()
                error = (relative.var(0) / count).sqrt()
                return mean.to(rows.dtype), error.to(rows.dtype)

            given = self.encode_condition(condition, x.shape[:-1])
            log_p, error = self._by_places(x, given, draws, mean_over_places)
            return log_p, error

    def _log_prob_alone(self, z: Tensor, condition: Any, generator: torch.Generator | None) -> Tensor:
        log_p = self.model.log_prob(z, condition, generator)
        return torch.stack([log_p, torch.zeros_like(log_p)], -1)

    def _log_prob_and_error(self, z: Tensor, condition: Any, generator: torch.Generator | None) -> Tensor:
        """The model's log density and the error that random probes leave, `(n, 2)`; NaN where it is not known."""
        own = type(self.model).log_prob is not Flow.log_prob
        if isinstance(self.model, Flow) and self.noisy and not own:
            return torch.stack(self.model.log_prob_with_error(z, condition, generator), -1)
        log_p = self.model.log_prob(z, condition, generator)
        return torch.stack([log_p, torch.full_like(log_p, math.nan if self.noisy else 0.0)], -1)

    @property
    def _estimator(self) -> DivergenceEstimator | None:
        """What the divergence is estimated by, if it is a random estimate."""
        flow = getattr(self.model, "model", self.model)  # a model that fills gaps has the flow inside
        if not isinstance(flow, Flow) or isinstance(flow.divergence, Exact):
            return None
        event = flow.velocity.event()
        if event is None:
            return flow.divergence
        probes = flow.divergence.probes(torch.zeros(1, *event), flow.velocity.event_ndim, torch.Generator())
        return None if probes is None else flow.divergence

    @property
    def noisy(self) -> bool:
        """Whether log p is a random estimate, as that of the divergence is."""
        return self._estimator is not None

    @property
    def noise(self) -> str:
        """The random estimator that log p is by, '' for none: the same words for the same one in any process."""
        return "" if self._estimator is None else _in_words(self._estimator)

    @property
    def places(self) -> int:
        """At how many places of the line a row's log p is taken by default: one where it has no others.

        One, too, under a random estimator of the divergence: the exponential of a noisy log p is too large on average,
        so that a mean of it would be no bound.
        """
        return _DRAWS if self.preprocessor.random and not self.noisy else 1

    def latent_log_prob(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row's latent, in nats and in the units of the latent space.

        Raises:
            InputError: A model without a latent space of its own.
        """
        if not self.model.has_latent:
            raise InputError(f"latent_log_prob: {type(self.model).__name__} has no latent space; log_prob would do")
        x, condition = self.take_rows(x, condition)
        with graph(False, x, condition) as recorded:
            z, given = self.standardize(x)[0], self.encode_condition(condition, x.shape[:-1])
            return self.by_portions.map(("latent_log_prob", recorded), self.model.latent_log_prob, z, given, generator)

    def score(self, x: Any, condition: Any = None, *, differentiable: bool = False) -> Float[Tensor, "*shape"]:
        r"""The score :math:`\nabla_x \log p(x)` in the units of the file, 0 where values have probabilities.

        Args:
            x: Rows, in the forms that `log_prob` takes.
            condition: What the density is conditioned on.
            differentiable: Whether the score itself is to be differentiated; it is where x requires a gradient.
        """
        x, condition = self.take_rows(x, condition)
        given = self.encode_condition(condition, x.shape[:-1])
        with graph(differentiable, x, given) as recorded:

            def gradient(rows: Tensor, c: Any, count: int) -> Tensor:
                with torch.enable_grad():
                    rows = rows if recorded and rows.requires_grad else rows.detach().requires_grad_()
                    places = self._places(rows, count, None)
                    log_p = torch.stack([self.model.log_prob(z, c).to(log_det) + log_det for z, log_det in places])
                    return torch.autograd.grad(
                        log_p.logsumexp(0).sum(), rows, create_graph=recorded, allow_unused=True, materialize_grads=True
                    )[0]

            def score(rows: Tensor, c: Any, count: int) -> tuple[Tensor]:
                return (self.by_portions.map(("score", recorded), gradient, rows, c, count),)

            return self._by_places(x, given, _DRAWS, score)[0]

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
        x, condition = self.take_rows(x, condition)
        z, log_det = self.spread(x)
        audit = self.model.audit(z, self.encode_condition(condition, x.shape[:-1]), generator, tolerance)
        log_p, finer = (log_p.to(log_det) + log_det for log_p in (audit.log_prob, audit.finer))
        return dataclasses.replace(audit, log_prob=log_p.to(x.device), finer=finer.to(x.device))

    def owns_cells(self, x: Float[Tensor, "*batch dim"]) -> Bool[Tensor, "*batch"]:
        """Whether a row has values with a probability, and so several places of the line.

        Args:
            x: Rows in the user's units.
        """
        return self.preprocessor.owns_cells(x.detach().to(self.preprocessing_device, torch.float64)).to(x.device)

    def _by_places(
        self, x: Tensor, condition: Any, draws: int, compute: Callable[[Tensor, Any, int], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """`compute(rows, their condition, how many of their places)`: one for the rows that have no others."""
        flat, each = x.reshape(-1, x.shape[-1]), of_each(condition, x.shape[:-1])
        several = self.owns_cells(flat) if draws > 1 else torch.zeros(len(flat), dtype=torch.bool, device=x.device)
        if several.all() or not several.any():
            parts = compute(flat, each(slice(None)), draws if several.any() else 1)
        else:
            many, once = compute(flat[several], each(several), draws), compute(flat[~several], each(~several), 1)
            order = torch.cat([several.nonzero(), (~several).nonzero()]).squeeze(1).argsort()
            parts = tuple(torch.cat(pair)[order] for pair in zip(many, once, strict=True))
        return tuple(part.reshape((*x.shape[:-1], *part.shape[1:])) for part in parts)

    def _places(self, x: Tensor, draws: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in the model's units with their log-determinants: once, or so many of their places."""
        if not self.preprocessor.random:
            yield self.standardize(x)
            return
        # With a generator draws are a function of the whole row, so that their errors cancel in a mean over rows;
        # without one of its cells alone, so that log p is smooth in columns with a density.
        device = self.preprocessing_device
        rows = x.detach() if generator is not None else self.preprocessor.cells(x.to(device))
        # Not a number drawn from it: rows that come in parts have the places that they have together.
        seed = 0 if generator is None else generator.initial_seed()
        for z, log_det in self.preprocessor.places(x.to(device, torch.float64), stratified_draws(rows, draws, seed)):
            yield self.for_model(z), log_det


def _in_words(part: Any) -> str:
    """A part with its arguments."""
    if isinstance(part, Component):
        return (
            f"{type(part).__name__}({', '.join(f'{name}={_in_words(value)}' for name, value in part.config().items())})"
        )
    if callable(part):
        return name_of_function(part)
    return str(part) if part is None or isinstance(part, str | bool | int | float) else type(part).__name__
