r"""A mixture of normal laws as a base, estimated on rows before a flow is trained towards it.

A gradient flow of :math:`KL(\rho \| p_Z)` has the less to move, the nearer :math:`p_Z` is to the rows. What the mixture
leaves is the flow's; and a likelihood that trains the flow may train the mixture with it.

Each component may have its law at several scales: contrast varies from one patch of a photograph to the next, and tails
are heavier than those of a normal law. A mixture over scales is as elliptical as its parts, and costs no more than one.

| A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum likelihood from incomplete data via the EM algorithm, 1977,
  https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
| J. Portilla, V. Strela, M. J. Wainwright, E. P. Simoncelli, Image denoising using scale mixtures of Gaussians in the
  wavelet domain, 2003, https://doi.org/10.1109/TIP.2003.818640
| P. Izmailov, P. Kirichenko, M. Finzi, A. G. Wilson, Semi-supervised learning with normalizing flows, ICML 2020
  (flows to mixtures), https://arxiv.org/abs/1912.13025
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genflow.base import Base, check_events
from genflow.deadline import time_left
from genflow.draws import choose_components
from genflow.errors import InputError

__all__ = ["NormalMixture", "component_log_densities", "fit_mixture", "place_in_components"]

_ROWS = 10_000  # by which the number of components is chosen
_ALL = 50_000  # by which the chosen one is estimated in the end
_ROUNDS = 40  # of EM, at most
_SMALL = 1e-3  # gain of a round, in nats, below which it ends
_RELATIVE = 0.01  # the same, as a share of all gains, where more components at several scales are to come
_CANDIDATES = 8  # rows of which the next centre is chosen
_PATIENCE = 2  # doublings in a row that may lose
_SCALES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # that components have their law at, where they have several
_CLEARLY = 3.0  # standard errors by which one component is to be likelier at these scales
_WORTH = 1e-2  # nats that twice as many components are to gain: each of them takes its time in a training
_FEW = 16  # narrow components above the plane: fewer than so many
_THIN = 0.5  # nats that narrow components in the plane are to gain
_LINEAR = 8  # dimensions up to which a round is linear in the rows' moments
_WORK = 3e10  # products that a number of components may cost where no clock bounds it
_ELEMENTWISE = 30  # what exponentials and the like of an entry cost, in products


class NormalMixture(Base):
    r"""The base :math:`\sum_{k, j} \pi_{kj} \, N(\mu_k, s_j^2 \Sigma_k)`.

    .. math::
        \log p_Z(z) = \log \sum_{k, j} \pi_{kj} \, |\det P_k| \, N\bigl(P_k^\top (z - \mu_k) - b_k; 0, s_j^2 I\bigr)

    It is trained in the coordinates in which each of its laws was standard normal, where a step of an optimizer means
    the same for narrow and wide ones: :math:`P_k = F_k A_k` with the factors :math:`F_k` that it was made with,
    triangular matrices :math:`A_k` that begin at I, and shifts :math:`b_k` that begin at 0.

    Args:
        dim: Dimension :math:`d` of an event.
        components: Their number.
        scales: The scales :math:`s_j` that all have their law at.

    Raises:
        InputError: No component; scales that are not above 0.

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

    def __init__(self, dim: int, components: int = 1, scales: Sequence[float] = (1.0,)):
        super().__init__()
        if components < 1:
            raise InputError(f"components: {components} came; at least 1 would do")
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise InputError(f"scales: {scales} came; numbers above 0, such as (0.5, 1, 2), would do")
        self.shape, self.components, self.scales = (dim,), components, tuple(scales)
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(components, 1, 1))
        self.logits = nn.Parameter(torch.zeros(components, len(scales)))
        self.shifts = nn.Parameter(torch.zeros(components, dim))
        self.triangles = nn.Parameter(torch.zeros(components, dim, dim))  # above their diagonal A, on it log A

    @classmethod
    def of(
        cls,
        weights: Float[Tensor, "k *j"],
        means: Float[Tensor, "k d"],
        factors: Float[Tensor, "k d d"],
        scales: Sequence[float] = (1.0,),
    ) -> NormalMixture:
        r"""The mixture of these laws.

        Args:
            weights: Their probabilities :math:`\pi_{kj}`, `(k, j)`, or `(k,)` of one scale.
            means: Their means.
            factors: Upper triangular :math:`F_k` with positive diagonals, :math:`F_k F_k^\top = \Sigma_k^{-1}`.
            scales: The scales :math:`s_j`.
        """
        made = cls(means.shape[1], len(means), scales).to(means)
        with torch.no_grad():
            made.logits.copy_(weights.log().reshape(made.logits.shape))
            made.means.copy_(means)
            made.factors.copy_(factors)
        return made

    def log_prob(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch"]:
        check_events(z, self.shape, "z")
        factors, log_diagonals = self._precision_factors()
        rows = z.reshape(-1, *self.shape)
        # All components at once: rows are few in a step of a training, and components many.
        standard = torch.baddbmm(-self.shifts[:, None], rows - self.means[:, None], factors)  # (k, n, d)
        log_weights, scales = self._log_weights(), z.new_tensor(self.scales)
        parts = _at_scales(log_weights, log_diagonals.sum(-1), standard.square().sum(-1), scales, *self.shape)
        logs = parts.flatten(0, 1).logsumexp(0)
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
        chosen = choose_components(self._log_weights().exp().flatten(), count, generator)
        which, scale = chosen // len(self.scales), self.means.new_tensor(self.scales)[chosen % len(self.scales)]
        standard = torch.randn(count, *self.shape, generator=generator, dtype=dtype, device=source).to(self.means)
        factors, _ = self._precision_factors()
        drawn = place_in_components(scale[:, None] * standard + self.shifts[which], which, self.means, factors)
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
        scales = rows.new_tensor(self.scales)[:, None, None]
        standard = standard[:, None] / scales  # (k, j, n, d)
        diagonals = factors.double().diagonal(dim1=-2, dim2=-1).log()
        logs = diagonals[:, None, None] - scales.log() - 0.5 * standard.square()
        before = self._log_weights().double()[:, :, None, None] + logs.cumsum(-1) - logs
        weights = before.flatten(0, 1).softmax(0)
        standard = standard.flatten(0, 1)
        below = (weights * torch.special.ndtr(standard)).sum(0)
        above = (weights * torch.special.ndtr(-standard)).sum(0)  # precise where `below` is nearly 1
        places = torch.where(below < 0.5, torch.special.ndtri(below), -torch.special.ndtri(above))
        return places.to(z).reshape(z.shape)

    @property
    def parts(self) -> int:
        """How many normal laws it is made of: each component at each scale."""
        return self.logits.numel()

    @torch.no_grad()
    def laws(self) -> tuple[Float[Tensor, "p"], Float[Tensor, "p d"], Float[Tensor, "p d d"]]:
        """The normal laws that it is made of: their probabilities, means and covariances, in double precision."""
        factors = self._precision_factors()[0].double()
        identity = torch.eye(*self.shape, dtype=factors.dtype, device=factors.device)
        roots = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=True).mT  # P^-T
        means = self.means.double() + (roots @ self.shifts.double()[:, :, None])[:, :, 0]
        squares = means.new_tensor(self.scales).square()
        covariances = squares[:, None, None] * (roots @ roots.mT)[:, None]
        each = len(self.scales)
        return self._log_weights().double().exp().flatten(), means.repeat_interleave(each, 0), covariances.flatten(0, 1)

    def _log_weights(self) -> Tensor:
        """All log probabilities, `(k, j)`."""
        return self.logits.flatten().log_softmax(0).view_as(self.logits)

    def _precision_factors(self) -> tuple[Tensor, Tensor]:
        """All :math:`P_k` and the logarithms of their diagonals."""
        logs = self.triangles.diagonal(dim1=-2, dim2=-1)
        factors = self.factors @ (self.triangles.triu(1) + torch.diag_embed(logs.exp()))
        return factors, logs + self.factors.diagonal(dim1=-2, dim2=-1).log()


def component_log_densities(
    x: Float[Tensor, "*batch d"],
    weights: Float[Tensor, "k *j"],
    means: Float[Tensor, "k d"],
    factors: Tensor,
    scales: Float[Tensor, "j"] | None = None,
) -> Float[Tensor, "k *j *batch"]:
    r"""What each component adds to a density, but for the constant :math:`(2 \pi)^{-d/2}` of all.

    .. math:: \log \pi_{kj} + \log |\det P_k| - d \log s_j - |P_k^\top (x - \mu_k)|^2 / 2 s_j^2

    Args:
        x: Points.
        weights: The probabilities :math:`\pi_{kj}`; `(k,)` without scales.
        means: The means :math:`\mu_k`.
        factors: :math:`P_k` of the precisions :math:`P_k P_k^\top`, `(k, d, d)`; or their diagonals, `(k, d)`.
        scales: The scales :math:`s_j`; by default the scale 1 alone.
    """
    squares, log_dets = [], []
    for mean, factor in zip(means, factors, strict=True):
        diagonal = factor.ndim == 1
        z = (x - mean) * factor if diagonal else (x - mean) @ factor
        squares.append(z.square().sum(-1))
        log_dets.append((factor if diagonal else factor.diagonal()).log().sum())
    logs, one = weights.log().reshape(len(means), -1), x.new_ones(1)
    parts = _at_scales(
        logs, torch.stack(log_dets), torch.stack(squares), one if scales is None else scales, x.shape[-1]
    )
    return parts[:, 0] if scales is None else parts


def _at_scales(log_weights: Tensor, log_dets: Tensor, squares: Tensor, scales: Tensor, dim: int) -> Tensor:
    """The same of squared distances `(k, *batch)`: `(k, j, *batch)`."""
    ones = (1,) * (squares.ndim - 1)
    heights = log_weights + log_dets[:, None] - dim * scales.log()
    return heights.view(*heights.shape, *ones) - 0.5 * squares[:, None] / scales.square().view(-1, *ones)


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
    most_thin: int = 256,
) -> NormalMixture:
    """The mixture under which validation rows are likeliest, of 1, 2, 4, … components, each by the EM algorithm.

    It ends when two doublings in a row have lost. Where one component is clearly likelier at several scales, all have
    them. Components are wide, but for two kinds of rows: those on thin things in the plane, which take more of them,
    and those above it that are made of few narrow laws, so that more of them gain nothing. Within a
    `genflow.deadline.deadline` no more is begun than fits into a share of the time that is left; without one, no more
    than a fixed number of products, so that it can be repeated.

    Args:
        rows: Rows of about unit variance. The number is chosen by the first 10 000, the laws by the first 50 000.
        validation: Validation rows.
        most: The most components.
        share: The share of the time.
        most_thin: The most components for thin things in the plane.

    Example:
        >>> import torch
        >>> from genflow.normal_mixture import fit_mixture
        >>> far = torch.arange(400) % 2 * 8.0
        >>> rows = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + far[:, None]
        >>> fit_mixture(rows[:300], rows[300:]).components
        2
    """
    x, ends = rows[:_ROWS], time_left() * (1 - share)
    best, highest = _doubled(x, validation, most, _WIDE, ends)
    if len(best.means) > 1 and len(best.scales) == 1:
        plane = x.shape[1] <= 2
        limit = most_thin if plane else min(2 * len(best.means), _FEW, most)
        narrow, value = _doubled(x, validation, limit, _NARROW, ends)
        # Thin things in the plane; above it, what twice as many of them do not say better.
        right = (value - highest).mean().item() >= _THIN if plane else len(narrow.means) <= limit // 2
        if right and len(narrow.scales) == 1 and _likelier(value, highest, errors=_CLEARLY):
            best, highest = narrow, value
    x = rows[:_ALL]
    if best.parts > 1 and _fits(x, len(best.means), time_left() - ends):
        law = best.improved(x, ends)
        if _likelier(law.log_densities(validation), highest):
            best = law
    return NormalMixture.of(
        best.weights.to(rows), best.means.to(rows), best.factors.to(rows), tuple(best.scales.tolist())
    )


def _doubled(x: Tensor, held_out: Tensor, most: int, prior: _Prior, ends: float) -> tuple[_Law, Tensor]:
    """The best of 1, 2, 4, … components, and what it says of held-out rows."""
    law = best = _Law.around(x, prior)
    highest, lost, count, last = law.log_densities(held_out), 0, 2, 0.0
    several = law.at_scales(_SCALES).improved(x, ends)
    if _likelier(value := several.log_densities(held_out), highest, errors=_CLEARLY):
        law, best, highest = several, several, value
    while count <= min(most, len(x) // (2 * x.shape[1])) and lost < _PATIENCE:
        began = time_left()
        if not _fits(x, count, began - ends, 2 * last):  # a doubling takes twice as long as the one before it
            break
        relative = _RELATIVE if len(law.scales) > 1 else 0.0
        # A narrow one is to begin at rows that are its own; wide ones may share all of them.
        start = _Law.around_centres(x, count, prior) if prior is _NARROW else law.halved()
        law = start.improved(x, ends, relative)
        value = law.log_densities(held_out)
        if _likelier(value, highest, least=_WORTH):
            best, highest, lost = law, value, 0
        else:
            lost += 1
        last = began - time_left() if began < math.inf else 0.0
        count *= 2
    return best, highest


def _fits(x: Tensor, count: int, left: float, expected: float = 0.0) -> bool:
    """Whether so many components of these rows can be estimated; by a count of what it takes, where no clock runs."""
    if math.isfinite(left):
        return expected < left
    return 2 * _ROUNDS * count * x.numel() * (x.shape[1] + _ELEMENTWISE) <= _WORK


def _likelier(value: Tensor, highest: Tensor, errors: float = 1.0, least: float = 0.0) -> bool:
    """Whether rows are likelier by so many nats, and by more than so many standard errors of the difference."""
    gain = value - highest
    return gain.mean().item() > max(least, errors * gain.std().item() / math.sqrt(len(gain)))


class _Prior(NamedTuple):
    """What is known of covariances before any row is seen: so many rows at unit distance, and a floor of variances."""

    rows: float
    floor: float


_WIDE = _Prior(1.0, 1e-2)  # narrow laws make much of the solver's error
_NARROW = _Prior(1e-2, 1e-4)


class _Law(NamedTuple):
    """Weights `(k, j)`, means `(k, d)`, factors of the precision `(k, d, d)`, scales `(j,)`, and a prior."""

    weights: Tensor
    means: Tensor
    factors: Tensor
    scales: Tensor
    prior: _Prior

    @classmethod
    def around(cls, x: Tensor, prior: _Prior) -> _Law:
        """One component at one scale, that of all rows."""
        one, identity = x.new_ones(1), torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return cls(one[:, None], x.mean(0)[None], identity[None], one, prior).of_rows(x, x.new_ones(1, 1, len(x)))

    @classmethod
    def around_centres(cls, x: Tensor, count: int, prior: _Prior) -> _Law:
        """Components of the rows that are nearest to each of so many centres, drawn far apart by k-means++.

        Each next centre is the best of a few rows drawn by their squared distance from the centres that there are.

        D. Arthur, S. Vassilvitskii, k-means++: the advantages of careful seeding, 2007,
        https://dl.acm.org/doi/10.5555/1283383.1283494
        """
        generator = torch.Generator().manual_seed(0)
        centres = x[:1]
        distances = (x - centres).square().sum(1)
        for _ in range(count - 1):
            weights = distances.double().clamp(min=1e-12).cpu()
            drawn = x[torch.multinomial(weights, _CANDIDATES, replacement=True, generator=generator).to(x.device)]
            left = torch.minimum(torch.cdist(drawn, x).square(), distances)
            nearest = left.sum(1).argmin()
            centres, distances = torch.cat([centres, drawn[nearest, None]]), left[nearest]
        shares = x.new_zeros(count, len(x))
        shares[torch.cdist(centres, x).argmin(0), torch.arange(len(x), device=x.device)] = 1.0
        identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(count, -1, -1)
        return cls(x.new_ones(count, 1), centres, identity, x.new_ones(1), prior).of_rows(x, shares[:, None])

    def at_scales(self, scales: Sequence[float]) -> _Law:
        """The same components at several scales, of which none is more likely than another."""
        return self._replace(
            weights=self.weights.sum(1, keepdim=True).repeat(1, len(scales)) / len(scales),
            scales=self.means.new_tensor(scales),
        )

    @property
    def parts(self) -> int:
        """How many normal laws it is made of."""
        return self.weights.numel()

    def log_parts(self, x: Tensor) -> Tensor:
        """What each of them adds to the density, `(k, j, n)`."""
        return component_log_densities(x, self.weights, self.means, self.factors, self.scales)

    def log_parts_of(self, moments: Tensor) -> Tensor:
        """The same of rows whose moments these are, of one scale."""
        precisions = (self.factors @ self.factors.mT).double()
        shifts = (precisions @ self.means.double()[:, :, None])[:, :, 0]
        i, j = _pairs(self.means.shape[1], self.means.device)
        quadratic = precisions[:, i, j] * torch.where(i == j, -0.5, -1.0)
        heights = self.weights[:, 0].double().log() + self.factors.diagonal(dim1=-2, dim2=-1).double().log().sum(-1)
        constant = heights - 0.5 * (self.means * shifts).sum(-1)
        return (torch.cat([constant[:, None], shifts, quadratic], 1) @ moments.mT)[:, None]

    def log_densities(self, x: Tensor) -> Tensor:
        """The log density of rows, but for a constant."""
        return self.log_parts(x).flatten(0, 1).logsumexp(0)

    def improved(self, x: Tensor, ends: float, relative: float = 0.0) -> _Law:
        """What EM makes of it; what was there when the time had come.

        Args:
            x: Rows.
            ends: Where on the clock the time has come.
            relative: It ends at a round that gains less than this share of what all have gained.
        """
        law, first, before = self, math.inf, -math.inf
        moments = _moments(x) if len(self.scales) == 1 and x.shape[1] <= _LINEAR else None
        for _ in range(_ROUNDS):
            logs = law.log_parts(x) if moments is None else law.log_parts_of(moments)
            highest = logs.flatten(0, 1).amax(0)
            shares = (logs - highest).to(x.dtype).exp_()
            sums = shares.flatten(0, 1).sum(0)
            now = (highest.double() + sums.double().log()).mean().item()
            first = min(first, now)
            if now - before < max(_SMALL, relative * (now - first)) or time_left() < ends:
                break
            shares /= sums
            before, law = now, law.of_rows(x, shares) if moments is None else law.of_moments(moments, shares)
        return law

    def halved(self) -> _Law:
        """Two components in the place of each: apart along its longest axis, one narrower and one wider than it was.

        So both clusters and heavy tails are found, and what was found stays.
        """
        weights, means, factors, scales, prior = self
        lengths, axes = torch.linalg.eigh(factors @ factors.mT)  # of the precision: the first axis is the longest
        apart = 0.5 * axes[:, :, 0] / lengths[:, :1].sqrt()
        return _Law(
            torch.cat([weights, weights]) / 2,
            torch.cat([means + apart, means - apart]),
            torch.cat([factors * math.sqrt(2), factors / math.sqrt(2)]),
            scales,
            prior,
        )

    def of_rows(self, x: Tensor, shares: Tensor) -> _Law:
        """That of rows which belong to each by a share `(k, j, n)`. One without rows is wide, with next to no weight.

        A row counts for a mean and a covariance by the inverse square of its scale.
        """
        weights = shares.sum(-1).clamp(min=1e-6)
        precise = (shares / self.scales.square()[:, None]).sum(1)
        sums = precise.sum(1).clamp(min=1e-6)
        means = precise @ x / sums[:, None]
        scatters = []
        for share, mean in zip(precise, means, strict=True):
            centred = x - mean
            scatters.append((centred * share[:, None]).mT @ centred)
        return self._with(weights, means, torch.stack(scatters).double())

    def of_moments(self, moments: Tensor, shares: Tensor) -> _Law:
        """The same of rows whose moments these are, of one scale."""
        d = self.means.shape[1]
        weights = shares.sum(-1).clamp(min=1e-6)
        sums = shares[:, 0].double() @ moments
        means = sums[:, 1 : d + 1] / weights.double()
        i, j = _pairs(d, moments.device)
        squares = sums.new_zeros(len(sums), d, d)
        squares[:, i, j] = squares[:, j, i] = sums[:, d + 1 :]
        return self._with(weights, means.to(shares), squares - sums[:, :1, None] * means[:, :, None] * means[:, None])

    def _with(self, weights: Tensor, means: Tensor, scatters: Tensor) -> _Law:
        """The laws of so much weight `(k, j)` in rows, with these sums of squared distances, in double precision."""
        rows, floor = self.prior
        # As some rows more, at unit distance from the mean: rows of fewer than d directions still have a law.
        identity = torch.eye(means.shape[1], dtype=scatters.dtype, device=scatters.device)
        covariances = (scatters + rows * identity) / (weights.double().sum(1)[:, None, None] + rows) + floor * identity
        root = torch.linalg.cholesky(covariances)
        factors = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False).mT
        return self._replace(weights=weights / weights.sum(), means=means, factors=factors.to(means))


def _pairs(dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """All i and j, i <= j."""
    i, j = torch.triu_indices(dim, dim, device=device)
    return i, j


def _moments(x: Tensor) -> Tensor:
    """1, x_i, and x_i x_j of each row, in which the logarithm of a normal law and its estimate are linear."""
    i, j = _pairs(x.shape[1], x.device)
    x = x.double()  # squares of what is far away cancel
    return torch.cat([torch.ones_like(x[:, :1]), x, x[:, i] * x[:, j]], 1)
