"""Smooth laws of single columns: kernels of their own width at the quantiles."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.baselines.classical.estimated import frozen_parameter, log_sum_exp
from genflow.deadline import time_left
from genflow.interfaces import Component

__all__ = ["Marginals", "normal_scores"]

_SMOOTHINGS = (4.0, 1.0, 1.5, 2.0, 3.0, 6.0, 8.0, 12.0, 16.0)  # widths in spacings of quantiles; the first by default
_LEAST = 1e-3  # width, in standard deviations: repeated values have no spacing
_TINY = 1e-30  # probability, of 11.5 deviations: what is farther out has the score of these
_ROUNDS = 60  # of the inverse at most; a handful is usual
_CLOSE = 1e-9  # a score that is near enough for a last step


class Marginals(Component, nn.Module):
    r"""For each column a mixture of Gaussians at its quantiles, each as wide as they are spaced there, and a wide one.

    .. math::
        F_j(x) = \sum_{k=0}^K w_k \Phi\Bigl(\frac{x - q_{jk}}{h_{jk}}\Bigr), \qquad
        f_j = F_j', \qquad s_j(x) = \Phi^{-1}(F_j(x))

    A kernel estimate whose width follows the density: narrow where rows are many, wide in the tails. F is smooth and
    strictly monotone, so that the score :math:`s_j` of a column is normal and has an inverse. The wide kernel,
    :math:`k = 0`, has the weight of one row and covers all of them: what was seen once, or never, is unlikely, but not
    impossible.

    Args:
        dim: Number of columns :math:`d`.
        knots: Number of quantiles :math:`K`.

    References:
        | Variable Kernel Estimates of Multivariate Densities (Breiman, Meisel, Purcell, 1977)
        | https://doi.org/10.1080/00401706.1977.10489521
    """

    def __init__(self, dim: int, knots: int):
        super().__init__()
        self.dim, self.knots = dim, knots
        self.weights = frozen_parameter(torch.full((knots + 1,), 1 / (knots + 1)))
        self.centres = frozen_parameter(torch.zeros(dim, knots + 1))
        self.widths = frozen_parameter(torch.ones(dim, knots + 1))

    def forward(self, x: Float[Tensor, "n dim"]) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n dim"]]:
        """The normal scores of rows and the log densities of their columns, in float64."""
        t = (x.double()[..., None] - self.centres.double()) / self.widths.double()
        return self._score(t), self._log_density(t, self.widths)

    def log_density(self, x: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        """The log densities of the columns alone, in float64."""
        t = (x.double()[..., None] - self.centres.double()) / self.widths.double()
        return self._log_density(t, self.widths)

    def inverse(self, score: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        """The rows of normal scores, in float64: Newton's steps within a bracket that shrinks."""
        wanted = score.double()
        with torch.no_grad():
            found = self._inverse(wanted.reshape(-1)).reshape(wanted.shape)
            slope = _slope(*self(found))
        return found - (self(found)[0] - wanted) / slope  # which carries the gradient

    def _inverse(self, wanted: Tensor) -> Tensor:
        """The same for numbers of one column after the other, only those of which are computed that are not there."""
        column = torch.arange(len(wanted), device=wanted.device) % self.dim
        centres, widths = self.centres.double(), self.widths.double()
        reach = centres[column] + widths[column] * wanted[:, None]
        low, high = reach.amin(-1), reach.amax(-1)  # of the quantiles of the kernels, between which theirs lies
        # Nearer by: the two centres between whose scores the wanted one lies.
        places = centres.sort(-1).values
        scores = self(places.mT)[0].mT.contiguous()
        above = torch.searchsorted(scores, wanted.reshape(-1, self.dim).mT.contiguous()).mT.reshape(-1)
        below, inside = (above - 1).clamp(min=0), above.clamp(max=self.knots)
        low = torch.where(above > 0, torch.maximum(low, places[column, below]), low)
        high = torch.where(above <= self.knots, torch.minimum(high, places[column, inside]), high)
        x = (low + high) / 2
        open_ = torch.arange(len(wanted), device=wanted.device)
        for k in range(_ROUNDS):
            j = column[open_]
            t = (x[open_][:, None] - centres[j]) / widths[j]
            found = self._score(t)
            excess = found - wanted[open_]
            if not bool((far := excess.abs() > _CLOSE).any()):
                break
            low[open_] = torch.where(excess < 0, x[open_], low[open_])
            high[open_] = torch.where(excess < 0, high[open_], x[open_])
            newton = x[open_] - excess / _slope(found, self._log_density(t, widths[j]))
            within = (newton > low[open_]) & (newton < high[open_]) & (k % 4 < 3)
            middle = (low[open_] + high[open_]) / 2
            x[open_] = torch.where(far, torch.where(within, newton, middle), x[open_])
            open_ = open_[far]
        return x

    def _log_density(self, t: Tensor, widths: Tensor) -> Tensor:
        """Of distances from the centres, in widths."""
        kernels = self.weights.double().log() - widths.double().log() - 0.5 * t.square()
        return log_sum_exp(kernels) - 0.5 * math.log(2 * math.pi)

    def _score(self, t: Tensor) -> Tensor:
        """Of the distribution function, from the side on which nothing cancels."""
        tail = 0.5 * torch.erfc(t.abs() / math.sqrt(2))  # `torch.special.ndtr` is 0 from 8 deviations on
        weights = self.weights.double()
        below = torch.where(t < 0, tail, 1 - tail) @ weights
        above = torch.where(t < 0, 1 - tail, tail) @ weights
        lower = below < above
        score = torch.special.ndtri(torch.where(lower, below, above).clamp(min=_TINY))
        return torch.where(lower, score, -score)

    @torch.no_grad()
    def estimate(self, train: Float[Tensor, "n dim"], validation: Float[Tensor, "m dim"]) -> None:
        """Takes the quantiles of training rows, and for each column the smoothing that suits its validation rows."""
        x = train.double().sort(0).values
        middles = (torch.arange(self.knots, dtype=torch.float64, device=x.device) + 0.5) / self.knots
        q = _quantiles(x, middles).mT
        spacing = torch.cat([q[:, 1:2] - q[:, :1], (q[:, 2:] - q[:, :-2]) / 2, q[:, -1:] - q[:, -2:-1]], -1)
        spacing = spacing.clamp(min=_LEAST * x.std(0, correction=0)[:, None].clamp(min=_LEAST))
        half = ((x[-1] - x[0]) / 2)[:, None]  # of the range, the wide kernel's width
        wide = half.clamp(min=float(spacing.min()))
        one = 1 / (len(x) + 1)  # the weight of a row
        self.weights.fill_((1 - one) / self.knots)
        self.weights[0] = one
        self.centres.copy_(torch.cat([x[:1].mT + half, q], -1))
        best = torch.full((self.dim,), -math.inf, dtype=torch.float64, device=x.device)
        chosen = torch.cat([wide, spacing * _SMOOTHINGS[0]], -1)
        for smoothing in _SMOOTHINGS:
            if time_left() <= 0:
                break
            widths = torch.cat([wide, spacing * smoothing], -1)
            self.widths.copy_(widths)
            parts = validation.split(max(1, (1 << 18) // (self.dim * self.knots)))
            likelihood = torch.stack([self.log_density(part).sum(0) for part in parts]).sum(0)
            better = likelihood > best
            best = torch.where(better, likelihood, best)
            chosen = torch.where(better[:, None], widths, chosen)
        self.widths.copy_(chosen)


def normal_scores(x: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
    r"""The scores :math:`\Phi^{-1}\bigl((r - 1/2) / n\bigr)` of the ranks :math:`r` in each column, in float64."""
    ranks = x.argsort(stable=True, dim=0).argsort(dim=0).double()
    return torch.special.ndtri((ranks + 0.5) / len(x))


def _slope(score: Tensor, log_density: Tensor) -> Tensor:
    """The derivative of the score, f / φ(s)."""
    return (log_density + 0.5 * score.square() + 0.5 * math.log(2 * math.pi)).exp().clamp(min=1e-30)


def _quantiles(x: Tensor, at: Tensor) -> Tensor:
    """Quantiles of sorted rows, linear between them. (`torch.quantile` refuses more than 16 million numbers.)"""
    place = (at * len(x) - 0.5).clamp(0, len(x) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(x) - 1)
    return torch.lerp(x[below], x[above], (place - below)[:, None])
