r"""Noise with tails: a normal law at several scales, each with a probability of its own.

.. math:: p_Z(z) = \sum_k w_k \, N(z; 0, s_k^2 I)

A flow is trained towards N(0, I), and the rows that it has learned from end there. Others end there less well: the
less it has seen, the wider they lie, and a row far from all others may end twenty deviations out, which costs as many
nats as two hundred ordinary rows. What law they do follow can be told from held-out rows. Its density depends on
:math:`|z|` alone, so the weights :math:`w_k` over scales that are given say all of it, and are a concave problem: the
EM algorithm finds its one solution.

| Andrews, Mallows 1974, Scale mixtures of normal distributions, https://doi.org/10.1111/j.2517-6161.1974.tb00989.x
| Tukey 1960, A survey of sampling from contaminated distributions, in: Contributions to probability and statistics
| Jaini et al. 2020, Tails of Lipschitz triangular flows, https://arxiv.org/abs/1907.04481
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import Base, StandardNormal, check_events
from genflow.draws import choose_components
from genflow.errors import InputError

__all__ = ["ScaleMixture"]

# Scales that are tried: a ratio of 2^{1/8} is told from its neighbours in a hundred dimensions; far out, as far as an
# outlier of a table may lie, less will do.
_SCALES = (*(2 ** (k / 8) for k in range(-8, 8)), *(2 ** (k / 2) for k in range(2, 13)))
# Rows that were not seen, as many as for a value that no row has had; in the scales beyond 1 by s⁻⁴: log p says that an
# outlier is possible, and draws hardly have any.
_UNSEEN, _DECAY = 0.5, 4
_ROUNDS = 300  # of the EM algorithm
_HALVINGS = 80  # of the radii among which one is sought, far more than float64 can tell apart


class ScaleMixture(Base):
    r"""The base :math:`\sum_k w_k \, N(0, s_k^2 I)`. See above.

    Args:
        shape: Shape of an event; an integer for a vector.
        scales: The scales :math:`s_k`.
        weights: Their probabilities :math:`w_k`; what they sum up to is made 1. By default all alike.

    Raises:
        InputError: Scales or weights that are not positive, or not as many.

    Example:
        >>> import torch, genflow as gf
        >>> base = gf.ScaleMixture(1, [1.0, 10.0], [0.99, 0.01])
        >>> z = torch.tensor([[0.0], [10.0]])
        >>> base.log_prob(z), gf.StandardNormal(1).log_prob(z)
        (tensor([-0.9280, -8.3267]), tensor([ -0.9189, -50.9189]))
    """

    shape: tuple[int, ...]

    def __init__(self, shape: int | Sequence[int], scales: Sequence[float], weights: Sequence[float] | None = None):
        super().__init__()
        given = [1.0] * len(scales) if weights is None else list(weights)
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise InputError(f"scales: {list(scales)} came; positive numbers, such as [1, 4], would do")
        if len(given) != len(scales) or not all(0 < weight < math.inf for weight in given):
            raise InputError(f"weights: {given} came for {len(scales)} scales; as many positive numbers would do")
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.scales = [float(scale) for scale in scales]
        self.weights = [weight / math.fsum(given) for weight in given]

    @classmethod
    @torch.no_grad()
    def of(cls, z: Float[Tensor, "n *event"]) -> ScaleMixture:
        r"""The law of this form under which points are most likely.

        Half a point that was not seen belongs to all scales, the less the wider, so that none of them is ruled out.

        Args:
            z: Points, such as those at which held-out rows end.

        Raises:
            InputError: Points that are no numbers.

        Example:
            >>> import torch
            >>> z = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
            >>> z[:20] *= 8
            >>> base = ScaleMixture.of(z)
            >>> round(sum(w for s, w in zip(base.scales, base.weights) if s > 4), 2)
            0.05
        """
        if not z.isfinite().all():
            raise InputError("z: points that are no numbers came; finite ones would do")
        rows, scales = z.detach().double().flatten(1), z.new_tensor(_SCALES, dtype=torch.float64)
        logs = _at_scales(rows.square().sum(-1), scales, rows.shape[-1])
        unseen = scales.clamp(min=1.0) ** -_DECAY
        unseen *= _UNSEEN / unseen.sum()
        weights = torch.full_like(scales, 1 / len(scales))
        for _ in range(_ROUNDS):
            seen = torch.softmax(logs + weights.log(), -1).sum(0)
            weights = (seen + unseen) / (len(rows) + _UNSEEN)
        return cls(tuple(z.shape[1:]), _SCALES, weights.tolist())

    def log_prob(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch"]:
        check_events(z, self.shape, "z")
        square = z.square().flatten(z.ndim - len(self.shape)).sum(-1)
        scales, weights = z.new_tensor(self.scales), z.new_tensor(self.weights)
        return torch.logsumexp(_at_scales(square, scales, math.prod(self.shape)) + weights.log(), -1)

    def sample(
        self,
        batch: Sequence[int],
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*shape"]:
        z = StandardNormal(self.shape).sample(batch, generator, dtype=dtype, device=device)
        chosen = choose_components(torch.tensor(self.weights, device=z.device), math.prod(batch), generator)
        return z * z.new_tensor(self.scales)[chosen].reshape(*batch, *[1] * len(self.shape))

    @torch.no_grad()
    def standardize(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        r"""Points moved along their rays, :math:`z \mapsto z \, r' / |z|`, to the radius of N(0, I) of the same rank:

        .. math:: P(\chi^2_d \le r'^2) = \sum_k w_k P(\chi^2_d \le |z|^2 / s_k^2)
        """
        check_events(z, self.shape, "z")
        batch, half = z.shape[: z.ndim - len(self.shape)], 0.5 * math.prod(self.shape)
        radius = z.double().reshape(*batch, -1).norm(dim=-1)
        scales, weights = radius.new_tensor(self.scales), radius.new_tensor(self.weights)
        square = 0.5 * (radius.unsqueeze(-1) / scales).square()
        inside = (weights * torch.special.gammainc(torch.full_like(square, half), square)).sum(-1)
        outside = (weights * torch.special.gammaincc(torch.full_like(square, half), square)).sum(-1)
        # Between what the narrowest and the widest law would say; by the smaller of the two tails.
        low, high = radius / max(self.scales), radius / min(self.scales)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            at, order = 0.5 * middle.square(), torch.full_like(middle, half)
            beyond = torch.where(
                inside < outside,
                torch.special.gammainc(order, at) > inside,
                torch.special.gammaincc(order, at) < outside,
            )
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        # So far out that no tail is a double, the widest law is all that there is.
        ratio = torch.where(outside > 0, 0.5 * (low + high) / radius, 1 / max(self.scales))
        ratio = torch.where(radius > 0, ratio, 0.0).to(z)
        return z * ratio.reshape(*batch, *[1] * len(self.shape))


def _at_scales(square: Tensor, scales: Tensor, dim: int) -> Tensor:
    r""":math:`\log N(z; 0, s_k^2 I)` by :math:`|z|^2`, `(*batch, k)`."""
    return -0.5 * (square.unsqueeze(-1) / scales.square() + dim * math.log(2 * math.pi)) - dim * scales.log()
