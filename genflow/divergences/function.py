"""A plain function as a divergence estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.answers import answer_in_words, check_estimate
from genflow.divergences.probes import check_distribution, draw_probes
from genflow.errors import InputError, name_of_function
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity, check_function

__all__ = ["FunctionDivergence", "as_divergence"]


class FunctionDivergence(DivergenceEstimator):
    """An estimator made of a plain function; see `as_divergence`."""

    n: int

    def __init__(self, function: Callable[..., Any], distribution: str | None = "rademacher", n: int = 1):
        if distribution is not None:
            check_distribution(n, distribution)
        self.function, self.distribution, self.n = function, distribution, n

    def probes(self, x: Tensor, event_ndim: int, generator: torch.Generator | None = None) -> Tensor | None:
        return None if self.distribution is None else draw_probes(self.n, self.distribution, x, event_ndim, generator)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        found = self.function(velocity, x, t, probes, condition)
        return _estimate(found, x, velocity.event_ndim, name_of_function(self.function))


def _estimate(found: Any, x: Tensor, event_ndim: int, name: str) -> Estimate:
    """What a function returned, as an estimate.

    Args:
        found: What it returned.
        x: The points.
        event_ndim: Rank of the event.
        name: What the function is called.

    Raises:
        InputError: It is none of these points.
    """
    batch = x.shape[: x.ndim - event_ndim]
    parts = found if isinstance(found, tuple | list) else ()
    # A tensor of a few rows would be taken apart, too.
    if not 2 <= len(parts) <= len(Estimate._fields) or not all(isinstance(part, Tensor) for part in parts[:2]):
        raise InputError(
            f"divergence: {name} returned {answer_in_words(found)}; the velocity, {tuple(x.shape)}, and its "
            f"divergence, {tuple(batch)}, would do, as a pair or an Estimate"
        )
    return check_estimate(Estimate(*parts), x, event_ndim, name)


def as_divergence(function: Callable[..., Any], probes: str | None = "rademacher", n: int = 1) -> DivergenceEstimator:
    r"""A plain `f(velocity, x, t, probes, condition)` as a divergence estimator; an estimator is returned as it is.

    Args:
        function: Returns an `Estimate`, or just the pair of the velocity `(*batch, *event)` and its divergence
            `(*batch,)`.
        probes: The law of the probes, `(n, *batch, *event)`, that it is given, drawn once for each solve: `rademacher`,
            `gaussian`, `orthogonal`, `hadamard`, or `None` for none.
        n: Number of probes.

    Raises:
        InputError: Something else than such a function; when called, it returns something else, or a divergence that
            is not one number for each point.

    Example:
        >>> import torch, genflow as gf
        >>> def halved(velocity, x, t, probes, condition):
        ...     v, divergence = velocity.divergence(x, t, condition)
        ...     return v, divergence / 2
        >>> shrunk = gf.as_divergence(halved, probes=None)
        >>> shrunk(gf.as_velocity(lambda x, t, condition: x), torch.ones(1, 4), torch.tensor(0.0)).divergence
        tensor([2.])
    """
    check_function("divergence", function, DivergenceEstimator)
    return function if isinstance(function, DivergenceEstimator) else FunctionDivergence(function, probes, n)
