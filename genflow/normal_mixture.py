r"""A mixture of normal laws as a base, estimated on rows before a flow is trained towards it.

A gradient flow of :math:`KL(\rho \| p_Z)` has the less to move, the nearer :math:`p_Z` is to the rows. What the mixture
leaves is the flow's; and a likelihood that trains the flow may train the mixture with it.

| A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum likelihood from incomplete data via the EM algorithm, 1977,
  https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
| P. Izmailov, P. Kirichenko, M. Finzi, A. G. Wilson, Semi-supervised learning with normalizing flows, ICML 2020
  (flows to mixtures), https://arxiv.org/abs/1912.13025
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genflow.base import Base, check_events
from genflow.deadline import time_left
from genflow.errors import InputError

__all__ = ["NormalMixture", "choose_components", "component_log_densities", "fit_mixture", "place_in_components"]

_ROWS = 10_000  # by which the number of components is chosen
_ALL = 50_000  # by which the chosen one is estimated in the end
_ROUNDS = 40  # of EM, at most
_SMALL = 1e-3  # gain of a round, in nats, below which it ends
_PATIENCE = 2  # doublings in a row that may lose
_FLOOR = 1e-2  # of every variance, in units of the rows': narrow laws make much of the solver's error
_WORK = 3e10  # products that a number of components may cost where no clock bounds it
_ELEMENTWISE = 30  # what exponentials and the like of an entry cost, in products


class NormalMixture(Base):
    r"""The base :math:`\sum_k \pi_k \, N(\mu_k, \Sigma_k)`.

    .. math:: \log p_Z(z) = \log \sum_k \pi_k \, |\det P_k| \, N\bigl(P_k^\top (z - \mu_k) - b_k; 0, I\bigr)

    It is trained in the coordinates in which each of its laws was standard normal, where a step of an optimizer means
    the same for narrow and wide ones: :math:`P_k = F_k A_k` with the factors :math:`F_k` that it was made with,
    triangular matrices :math:`A_k` that begin at I, and shifts :math:`b_k` that begin at 0.

    Args:
        dim: Dimension :math:`d` of an event.
        components: Their number.

    Raises:
        InputError: No component.

    Example:
        >>> import torch, genflow as gf
        >>> two = gf.NormalMixture.of(torch.tensor([0.5, 0.5]), torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1, 1))
        >>> round(two.log_prob(torch.tensor([3.0])).exp().item(), 4)  # half of the density of N(0, 1) at 0
        0.1995
        >>> two.sample((4,)).shape
        torch.Size([4, 1])
    """

    shape: tuple[int, ...]
    means: Tensor
    factors: Tensor

    def __init__(self, dim: int, components: int = 1):
        super().__init__()
        if components < 1:
            raise InputError(f"components: {components} came; at least 1 would do")
        self.shape, self.components = (dim,), components
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(components, 1, 1))
        self.logits = nn.Parameter(torch.zeros(components))
        self.shifts = nn.Parameter(torch.zeros(components, dim))
        self.triangles = nn.Parameter(torch.zeros(components, dim, dim))  # above their diagonal A, on it log A

    @classmethod
    def of(
        cls, weights: Float[Tensor, "k"], means: Float[Tensor, "k d"], factors: Float[Tensor, "k d d"]
    ) -> NormalMixture:
        r"""The mixture of these laws.

        Args:
            weights: Their probabilities :math:`\pi_k`.
            means: Their means.
            factors: Upper triangular :math:`F_k` with positive diagonals, :math:`F_k F_k^\top = \Sigma_k^{-1}`.
        """
        made = cls(means.shape[1], len(means)).to(means)
        with torch.no_grad():
            made.logits.copy_(weights.log())
            made.means.copy_(means)
            made.factors.copy_(factors)
        return made

    def log_prob(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch"]:
        check_events(z, self.shape, "z")
        factors, log_diagonals = self._precision_factors()
        rows = z.reshape(-1, *self.shape)
        # All components at once: rows are few in a step of a training, and components many.
        standard = torch.baddbmm(-self.shifts[:, None], rows - self.means[:, None], factors)  # (k, n, d)
        parts = self.logits.log_softmax(0) + log_diagonals.sum(-1)
        logs = torch.logsumexp(parts[:, None] - 0.5 * standard.square().sum(-1), 0)
        return (logs - 0.5 * self.shape[0] * math.log(2 * math.pi)).reshape(z.shape[:-1])

    @torch.no_grad()
    def sample(
        self,
        batch: Sequence[int],
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*shape"]:
        source = device if generator is None else generator.device
        count = math.prod(batch)
        which = choose_components(self.logits.softmax(0), count, generator)
        standard = torch.randn(count, *self.shape, generator=generator, dtype=dtype, device=source).to(self.means)
        factors, _ = self._precision_factors()
        drawn = place_in_components(standard + self.shifts[which], which, self.means, factors)
        return drawn.to(device, dtype).reshape(*batch, *self.shape)

    @torch.no_grad()
    def standardize(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        r"""Points made standard normal coordinate by coordinate.

        .. math:: u_j = F(z_j \mid z_1, \dots, z_{j-1}), \qquad \Phi^{-1}(u) \sim N(0, I) \text{ for } z \sim p_Z

        M. Rosenblatt, Remarks on a multivariate transformation, 1952, https://doi.org/10.1214/aoms/1177729394
        """
        check_events(z, self.shape, "z")
        factors, _ = self._precision_factors()
        rows = z.reshape(-1, *self.shape).double()
        # Factors are triangular: each column of a component depends on the columns before it alone.
        standard = (rows - self.means[:, None].double()) @ factors.double() - self.shifts[:, None].double()
        logs = factors.double().diagonal(dim1=-2, dim2=-1).log()[:, None] - 0.5 * standard.square()
        before = self.logits.double().log_softmax(0)[:, None, None] + logs.cumsum(-1) - logs
        weights = before.softmax(0)
        below = (weights * torch.special.ndtr(standard)).sum(0)
        above = (weights * torch.special.ndtr(-standard)).sum(0)  # precise where `below` is nearly 1
        places = torch.where(below < 0.5, torch.special.ndtri(below), -torch.special.ndtri(above))
        return places.to(z).reshape(z.shape)

    def _precision_factors(self) -> tuple[Tensor, Tensor]:
        """All :math:`P_k` and the logarithms of their diagonals."""
        logs = self.triangles.diagonal(dim1=-2, dim2=-1)
        factors = self.factors @ (self.triangles.triu(1) + torch.diag_embed(logs.exp()))
        return factors, logs + self.factors.diagonal(dim1=-2, dim2=-1).log()


def component_log_densities(
    x: Float[Tensor, "*batch d"], weights: Float[Tensor, "k"], means: Float[Tensor, "k d"], factors: Tensor
) -> Float[Tensor, "k *batch"]:
    r"""What each component adds to a density, but for the constant :math:`(2 \pi)^{-d/2}` of all.

    .. math:: \log \pi_k + \log |\det P_k| - \tfrac12 |P_k^\top (x - \mu_k)|^2

    Args:
        x: Points.
        weights: The probabilities :math:`\pi_k`.
        means: The means :math:`\mu_k`.
        factors: :math:`P_k` of the precisions :math:`P_k P_k^\top`, `(k, d, d)`; or their diagonals, `(k, d)`.
    """
    parts = []
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        diagonal = factor.ndim == 1
        z = (x - mean) * factor if diagonal else (x - mean) @ factor
        scale = (factor if diagonal else factor.diagonal()).log().sum()
        parts.append(weight.log() + scale - 0.5 * z.square().sum(-1))
    return torch.stack(parts)


def choose_components(weights: Float[Tensor, "k"], count: int, generator: torch.Generator | None) -> Int[Tensor, " n"]:
    """A component for each of so many draws, by the weights; drawn where the generator lives."""
    source = weights.device if generator is None else generator.device
    if not count:
        return torch.zeros(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.to(source), count, replacement=True, generator=generator).to(weights.device)


def place_in_components(
    noise: Float[Tensor, "n d"], which: Int[Tensor, " n"], means: Float[Tensor, "k d"], factors: Tensor
) -> Float[Tensor, "n d"]:
    r"""Standard normal points as points of their components, :math:`\mu_k + P_k^{-\top} z`.

    Args:
        noise: Standard normal points.
        which: The component of each.
        means: The means.
        factors: As in `component_log_densities`, upper triangular.
    """
    placed = noise
    for k, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        z = noise[which == k]
        if factor.ndim == 1:
            drawn = z / factor
        else:
            drawn = torch.linalg.solve_triangular(factor, z, upper=True, left=False)
        placed = placed.index_put((which == k,), mean + drawn)
    return placed


def fit_mixture(
    rows: Float[Tensor, "n d"],
    validation: Float[Tensor, "m d"],
    most: int = 64,
    share: float = 0.1,
) -> NormalMixture:
    """The mixture under which validation rows are likeliest, of 1, 2, 4, … components, each by the EM algorithm.

    It ends when two doublings in a row have lost. Within a `genflow.deadline.deadline` no more is begun than fits into
    a share of the time that is left; without one, no more than a fixed number of products, so that it can be repeated.

    Args:
        rows: Rows of about unit variance. The number is chosen by the first 10 000, the laws by the first 50 000.
        validation: Validation rows.
        most: The most components.
        share: The share of the time.

    Example:
        >>> import torch
        >>> from genflow.normal_mixture import fit_mixture
        >>> far = torch.arange(400) % 2 * 8.0
        >>> rows = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + far[:, None]
        >>> fit_mixture(rows[:300], rows[300:]).components
        2
    """
    x, held_out = rows[:_ROWS].double(), validation.double()
    ends = time_left() * (1 - share)
    law = best = _maximization(x, torch.ones_like(x[:, 0])[None])
    highest, lost, count, last = component_log_densities(held_out, *best).logsumexp(0), 0, 2, 0.0
    while count <= min(most, len(x) // (2 * x.shape[1])) and lost < _PATIENCE:
        began = time_left()
        if not _fits(x, count, began - ends, 2 * last):  # a doubling takes twice as long as the one before it
            break
        law = _expectation_maximization(x, _halves(law), ends)
        value = component_log_densities(held_out, *law).logsumexp(0)
        if _likelier(value, highest):
            best, highest, lost = law, value, 0
        else:
            lost += 1
        last = began - time_left() if began < math.inf else 0.0
        count *= 2
    x, found = rows[:_ALL], len(best[0])
    if len(x) > _ROWS and found > 1 and _fits(x, found, time_left() - ends):
        law = _expectation_maximization(x.double(), best, ends)
        if _likelier(component_log_densities(held_out, *law).logsumexp(0), highest):
            best = law
    weights, means, factors = best
    return NormalMixture.of(weights.to(rows), means.to(rows), factors.to(rows))


def _fits(x: Tensor, count: int, left: float, expected: float = 0.0) -> bool:
    """Whether so many components of these rows can be estimated; by a count of what it takes, where no clock runs."""
    if math.isfinite(left):
        return expected < left
    return 2 * _ROUNDS * count * x.numel() * (x.shape[1] + _ELEMENTWISE) <= _WORK


def _likelier(value: Tensor, highest: Tensor) -> bool:
    """Whether rows are likelier by more than a standard error of the difference."""
    gain = value - highest
    return bool(gain.mean() > gain.std() / math.sqrt(len(gain)))


_Law = tuple[Tensor, Tensor, Tensor]  # weights, means, factors of the precision


def _expectation_maximization(x: Tensor, law: _Law, ends: float) -> _Law:
    """From these laws to those that they become; what was there when the time had come."""
    before = -math.inf
    for _ in range(_ROUNDS):
        logs = component_log_densities(x, *law)
        totals = logs.logsumexp(0)
        now = totals.mean().item()
        if now - before < _SMALL or time_left() < ends:
            break
        before, law = now, _maximization(x, (logs - totals).exp())
    return law


def _halves(law: _Law) -> _Law:
    """Two components in the place of each: apart along its longest axis, one narrower and one wider than it was.

    So both clusters and heavy tails are found, and what was found stays.
    """
    weights, means, factors = law
    lengths, axes = torch.linalg.eigh(factors @ factors.mT)  # of the precision: the first axis is the longest
    apart = 0.5 * axes[:, :, 0] / lengths[:, :1].sqrt()
    return (
        torch.cat([weights, weights]) / 2,
        torch.cat([means + apart, means - apart]),
        torch.cat([factors * math.sqrt(2), factors / math.sqrt(2)]),
    )


def _maximization(x: Tensor, shares: Tensor) -> _Law:
    """The laws of rows that belong to each by a share. One without rows is wide, and has next to no weight."""
    counts = shares.sum(1).clamp(min=1e-6)
    means = shares @ x / counts[:, None]
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    covariances = []
    for share, count, mean in zip(shares, counts, means, strict=True):
        centred = x - mean
        # As one row more, at unit distance from the mean: rows of fewer than d directions still have a law.
        covariances.append(((centred * share[:, None]).mT @ centred + identity) / (count + 1))
    covariance = torch.stack(covariances) + _FLOOR * identity
    root = torch.linalg.cholesky(covariance)
    factors = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False).mT
    return counts / counts.sum(), means, factors
