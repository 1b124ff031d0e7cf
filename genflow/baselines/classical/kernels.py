"""A kernel density estimate: a Gaussian around every training row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import check_events
from genflow.baselines.classical.estimated import (
    Estimated,
    by_rows,
    frozen_parameter,
    log_sum_exp,
    refuse_condition,
    some_of,
)
from genflow.errors import InputError
from genflow.training import TrainingData
from genflow.training.selection import Trial

__all__ = ["KernelDensity"]

_FACTOR = 2.0  # between bandwidths until the best one lies between two others
_LEAST = 1e-3  # of the first: where validation rows are copies of training rows, there is no end
_RESOLUTION = 1.05  # between neighbours of the best, at the end


class KernelDensity(Estimated):
    r"""A kernel density estimate with a Gaussian kernel, in standardized units.

    .. math:: p(x) = \frac1n \sum_{i=1}^n N(x; x_i, h^2 I)

    The bandwidth is the one under which validation rows are likeliest: from Scott's rule, :math:`n^{-1/(d+4)}`, up or
    down by factors of two until the best lies between two others, then between its neighbours.

    Args:
        dim: Dimension :math:`d` of a row.
        bandwidth: The bandwidth :math:`h`, in standard deviations; by default chosen on validation rows.
        centres: At most so many training rows, drawn without replacement, carry a kernel; all by default.
        condition_dim: 0: it has no conditions.

    Raises:
        InputError: A bandwidth that is not positive, a condition.

    References:
        | On Estimation of a Probability Density Function and Mode (Parzen, 1962)
        | https://doi.org/10.1214/aoms/1177704472
        | Multivariate Density Estimation (Scott, 1992), section 6.3
        | https://doi.org/10.1002/9780470316849

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.KernelDensity(2).fit("two-moons", iterations=8)
        >>> bool(0.02 < model.model.bandwidth < 0.5)
        True
    """

    _name = "kde"

    def __init__(self, dim: int, bandwidth: float | None = None, centres: int | None = None, condition_dim: int = 0):
        super().__init__(dim)
        refuse_condition("kde", condition_dim)
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise InputError(f"bandwidth: {bandwidth} came; a positive number would do")
        if centres is not None and centres < 1:
            raise InputError(f"centres: {centres} came; at least 1 would do")
        self.bandwidth, self._most = bandwidth, centres
        self.centres = frozen_parameter(torch.zeros(centres or 1, dim))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "bandwidth": self.bandwidth, "centres": self._most}

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row, in nats, a few rows at a time.

        Args:
            x: Rows, `(*batch, d)`.
            condition: None.
            generator: Not used: nothing is random here.
        """
        check_events(x, (self.dim,))
        self._refuse_condition(condition)
        h = 1.0 if self.bandwidth is None else self.bandwidth
        # In float64: what is left of squares that cancel is divided by the bandwidth's.
        origin = self.centres.double().mean(0)
        centres = (self.centres.double() - origin) / h
        # One product for -|y - x_i|² / 2h²: (y, 1, -|y|²/2) times (x_i, -|x_i|²/2, 1).
        sides = torch.cat([centres, -0.5 * centres.square().sum(-1, keepdim=True), torch.ones_like(centres[:, :1])], -1)
        sides = sides.mT.contiguous()

        def log_sum(rows: Tensor) -> Tensor:
            y = (rows.double() - origin) / h
            other = torch.cat([y, torch.ones_like(y[:, :1]), -0.5 * y.square().sum(-1, keepdim=True)], -1)
            return log_sum_exp((other @ sides).to(x.dtype))

        constant = math.log(len(centres)) + self.dim * math.log(h * math.sqrt(2 * math.pi))
        return by_rows(log_sum, x, len(centres)) - constant

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, d)`: a training row, and noise of the bandwidth around it."""
        self._refuse_condition(condition)
        batch = self._batch(shape, generator)
        source = self.centres.device if generator is None else generator.device
        which = torch.randint(len(self.centres), batch, generator=generator, device=source).to(self.centres.device)
        noise = self._noise(batch, generator)
        return self.centres[which] + (1.0 if self.bandwidth is None else self.bandwidth) * noise

    def propose(self, trials: Sequence[Trial], rows: int) -> dict[str, Any] | None:
        """The next bandwidth; none where it was given."""
        if self.bandwidth is not None:
            return None if trials else {"bandwidth": self.bandwidth}
        scott = min(rows, self._most or rows) ** (-1 / (self.dim + 4))
        h = _next([(trial.options["bandwidth"], trial.loss) for trial in trials], scott)
        return None if h is None else {"bandwidth": h}

    def estimate(self, data: TrainingData, generator: torch.Generator) -> None:
        """Takes the rows, or some of them."""
        if self._most is not None and self._most < len(data.train):
            data = some_of(data, self._most, generator)
        rows = data.train
        self._most = len(rows)
        self.centres = frozen_parameter(rows.detach().clone())


def _next(found: list[tuple[float, float]], first: float) -> float | None:
    """The next place in the search of a minimum over the positive numbers; `None` where it is found.

    Args:
        found: Places and values so far.
        first: Where to begin.
    """
    if not found:
        return first
    if len(found) == 1:
        return first / _FACTOR
    places = sorted(found)
    k = min(range(len(places)), key=lambda i: (places[i][1], -places[i][0]))
    if k == len(places) - 1:
        return places[k][0] * _FACTOR
    if k == 0 and places[0][0] > _LEAST * first:
        return places[0][0] / _FACTOR
    gaps = [(places[i + 1][0] / places[i][0], i) for i in (k - 1, k) if i >= 0]
    gap, i = max(gaps)
    return None if gap < _RESOLUTION**2 else places[i][0] * math.sqrt(gap)
