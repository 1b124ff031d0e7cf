r"""The density of rows that stand at many places of the line: a mean over some of them.

.. math:: \log p(x) \approx \log \frac1K \sum_{k=1}^K p_{model}(T(x, u_k)) \, |\det \partial T / \partial x|_k

The error of a logarithm of a mean is :math:`s / (\bar w \sqrt K)` for weights of mean :math:`\bar w` and deviation s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genflow.divergences import Exact
from genflow.draws import stratified_draws
from genflow.fitted.portions import graph
from genflow.fitted.units import Units
from genflow.flow import Flow

__all__ = ["DRAWS", "log_density", "places_of", "score"]

DRAWS = 16
"""Draws of the places of a row that has many."""


def places_of(units: Units) -> int:
    """At how many places a row's log p is taken: one where it has no others, or where log p is noisy.

    Args:
        units: The model in the user's units.
    """
    noisy = isinstance(units.model, Flow) and not isinstance(units.model.divergence, Exact)
    return DRAWS if units.preprocessor.random and not noisy else 1


def log_density(
    units: Units, x: Tensor, condition: Any, generator: torch.Generator | None, differentiable: bool, draws: int
) -> tuple[Tensor, Tensor]:
    """log p and its standard error.

    Args:
        units: The model in the user's units.
        x: Rows, `(*batch, d)`.
        condition: Their condition.
        generator: Source of the divergence estimator's probes, if it is random.
        differentiable: Whether to record a graph in any case.
        draws: Of the places of a row.
    """
    with graph(differentiable, x, condition) as recorded:
        given = units.encode_condition(condition, x.shape[:-1])
        log_w = []
        for z, log_det in _places(units, x, draws, generator):
            far = z.isinf()  # beyond what the model's numbers reach: no density
            known = z.masked_fill(far, 0.0)
            log_p = units.by_portions.map(("log_prob", recorded), units.model.log_prob, known, given, generator)
            log_w.append((log_p.to(log_det) + log_det).masked_fill(far.any(-1).to(log_det.device), -math.inf))
        if len(log_w) == 1:
            return log_w[0].to(x.device, x.dtype), torch.zeros_like(log_w[0]).to(x.device, x.dtype)
        weights = torch.stack(log_w)
        mean = weights.logsumexp(0) - math.log(draws)
        relative = (weights - mean).exp()
        error = (relative.var(0) / draws).sqrt()
        return mean.to(x.device, x.dtype), error.to(x.device, x.dtype)


def score(units: Units, x: Tensor, condition: Any, differentiable: bool) -> Tensor:
    r"""The score :math:`\nabla_x \log p(x)`, 0 where values have probabilities.

    Args:
        units: The model in the user's units.
        x: Rows, `(*batch, d)`.
        condition: Their condition.
        differentiable: Whether the score itself is to be differentiated.
    """
    given = units.encode_condition(condition, x.shape[:-1])
    with graph(differentiable, x, given) as recorded:

        def gradient(rows: Tensor, c: Any) -> Tensor:
            with torch.enable_grad():
                rows = rows if recorded and rows.requires_grad else rows.detach().requires_grad_()
                places = _places(units, rows, DRAWS, None)
                log_p = torch.stack([units.model.log_prob(z, c).to(log_det) + log_det for z, log_det in places])
                return torch.autograd.grad(
                    log_p.logsumexp(0).sum(), rows, create_graph=recorded, allow_unused=True, materialize_grads=True
                )[0]

        return units.by_portions.map(("score", recorded), gradient, x, given)


def _places(units: Units, x: Tensor, draws: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in the model's units with their log-determinants: once, or so many of their places."""
    if not units.preprocessor.random:
        yield units.standardize(x)
        return
    # With a generator draws are a function of the whole row, so that their errors cancel in a mean over rows;
    # without one of its cells alone, so that log p is smooth in columns with a density.
    device = units.preprocessing_device
    rows = x.detach() if generator is not None else units.preprocessor.cells(x.to(device))
    # Not a number drawn from it: rows that come in parts have the places that they have together.
    seed = 0 if generator is None else generator.initial_seed()
    for z, log_det in units.preprocessor.places(x.to(device, torch.float64), stratified_draws(rows, draws, seed)):
        yield units.for_model(z), log_det
