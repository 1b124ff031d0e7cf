"""Smooth laws of single columns: kernels of their own width at the quantiles."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.baselines.classical.estimated import fixed
from genflow.deadline import time_left
from genflow.interfaces import Component

__all__ = ["Marginals", "normal_scores"]

_SMOOTHINGS = (4.0, 1.0, 1.5, 2.0, 3.0, 6.0, 8.0, 12.0, 16.0)  # widths in spacings of quantiles; the first by default
_LEAST = 1e-3  # width, in standard deviations: repeated values have no spacing
_TINY = 1e-30  # probability, of 11.5 deviations: what is farther out has the score of these
_ROUNDS = 60  # of the inverse at most; a handful is usual


class Marginals(Component, nn.Module):
    r"""For each column an equal mixture of Gaussians at its quantiles, each as wide as they are spaced there.

    .. math::
        F_j(x) = \frac1K \sum_{k=1}^K \Phi\Bigl(\frac{x - q_{jk}}{h_{jk}}\Bigr), \qquad
        f_j = F_j', \qquad s_j(x) = \Phi^{-1}(F_j(x))

    A kernel estimate whose width follows the density: narrow where rows are many, wide in the tails. F is smooth and
    strictly monotone, so that the score :math:`s_j` of a column is normal and has an inverse.

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
        self.centres = fixed(torch.zeros(dim, knots))
        self.widths = fixed(torch.ones(dim, knots))

    def forward(self, x: Float[Tensor, "n dim"]) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n dim"]]:
        """The normal scores of rows and the log densities of their columns, in float64."""
        t = (x.double()[..., None] - self.centres.double()) / self.widths.double()
        score = _score(t)
        kernels = -0.5 * t.square() - self.widths.double().log()
        constant = math.log(self.knots) + 0.5 * math.log(2 * math.pi)
        return score, torch.logsumexp(kernels, -1) - constant

    def inverse(self, score: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        """The rows of normal scores, in float64: Newton's steps within a bracket that shrinks."""
        wanted = score.double()
        with torch.no_grad():
            reach = self.centres.double() + self.widths.double() * wanted[..., None]
            low, high = reach.amin(-1), reach.amax(-1)  # of the quantiles of the kernels, between which theirs lies
            x = (low + high) / 2
            for k in range(_ROUNDS):
                found, log_density = self(x)
                low, high = torch.where(found < wanted, x, low), torch.where(found < wanted, high, x)
                step = (found - wanted) / _slope(found, log_density)
                middle = (low + high) / 2
                newton = x - step
                x = torch.where((newton > low) & (newton < high) & (k % 4 < 3), newton, middle)
                if ((found - wanted).abs() < 1e-12 * (1 + wanted.abs())).all() or (high - low).max() <= 0:
                    break
            found, log_density = self(x)
            slope = _slope(found, log_density)
        return x - (found - wanted) / slope  # which carries the gradient

    @torch.no_grad()
    def estimate(self, train: Float[Tensor, "n dim"], validation: Float[Tensor, "m dim"]) -> None:
        """Takes the quantiles of training rows, and for each column the smoothing that suits its validation rows."""
        x = train.double().sort(0).values
        middles = (torch.arange(self.knots, dtype=torch.float64, device=x.device) + 0.5) / self.knots
        q = _quantiles(x, middles).mT
        spacing = torch.cat([q[:, 1:2] - q[:, :1], (q[:, 2:] - q[:, :-2]) / 2, q[:, -1:] - q[:, -2:-1]], -1)
        spacing = spacing.clamp(min=_LEAST * x.std(0, correction=0)[:, None].clamp(min=_LEAST))
        self.centres.copy_(q)
        best = torch.full((self.dim,), -math.inf, dtype=torch.float64, device=x.device)
        chosen = spacing * _SMOOTHINGS[0]
        for smoothing in _SMOOTHINGS:
            if time_left() <= 0:
                break
            self.widths.copy_(spacing * smoothing)
            parts = validation.split(max(1, (1 << 22) // (self.dim * self.knots)))
            likelihood = torch.stack([self(part)[1].sum(0) for part in parts]).sum(0)
            better = likelihood > best
            best = torch.where(better, likelihood, best)
            chosen = torch.where(better[:, None], spacing * smoothing, chosen)
        self.widths.copy_(chosen)


def normal_scores(x: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
    r"""The scores :math:`\Phi^{-1}\bigl((r - 1/2) / n\bigr)` of the ranks :math:`r` in each column, in float64."""
    ranks = x.argsort(stable=True, dim=0).argsort(dim=0).double()
    return torch.special.ndtri((ranks + 0.5) / len(x))


def _score(t: Tensor) -> Tensor:
    """Of the mean of normal distribution functions, from the side on which nothing cancels."""
    t = t / math.sqrt(2)
    below, above = 0.5 * torch.erfc(-t).mean(-1), 0.5 * torch.erfc(t).mean(-1)  # ndtr is 0 from 8 deviations on
    lower = below < above
    tail = torch.special.ndtri(torch.where(lower, below, above).clamp(min=_TINY))
    return torch.where(lower, tail, -tail)


def _slope(score: Tensor, log_density: Tensor) -> Tensor:
    """The derivative of the score, f / φ(s)."""
    return (log_density + 0.5 * score.square() + 0.5 * math.log(2 * math.pi)).exp().clamp(min=1e-30)


def _quantiles(x: Tensor, at: Tensor) -> Tensor:
    """Quantiles of sorted rows, linear between them. (`torch.quantile` refuses more than 16 million numbers.)"""
    place = (at * len(x) - 0.5).clamp(0, len(x) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(x) - 1)
    return torch.lerp(x[below], x[above], (place - below)[:, None])
