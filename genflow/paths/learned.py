r"""A noise schedule that is learned with the network: a variational diffusion model's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from genflow.errors import InputError
from genflow.interfaces import GaussianPath

__all__ = ["Learned"]


class Learned(nn.Module, GaussianPath):
    r"""A variance-preserving schedule whose log signal-to-noise ratio is a monotone network of time.

    .. math::
        \alpha^2 = \operatorname{sigmoid}(\lambda), \quad \sigma^2 = \operatorname{sigmoid}(-\lambda), \qquad
        \lambda(t) = \lambda_0 + (\lambda_1 - \lambda_0) \frac{m(t) - m(0)}{m(1) - m(0)}, \qquad
        m(t) = w t + \sum_k a_k \operatorname{sigmoid}(b_k t + c_k)

    with positive :math:`w, a_k, b_k`. Between fixed ends the mean of the likelihood's loss does not depend on it; it is
    learned so that the loss varies least over the times, see `genflow.models.Matching`.

    Args:
        log_snr_max: :math:`\lambda_0` at the data, where the likelihood is defined.
        log_snr_min: :math:`\lambda_1` at the noise.
        width: The number of sigmoids.

    Raises:
        InputError: Ends that do not fall; no sigmoid.

    References:
        Kingma, Salimans, Poole, Ho 2021, Variational diffusion models, appendix H, https://arxiv.org/abs/2107.00630

    Example:
        >>> import torch, genflow as gf
        >>> path = gf.paths.Learned()
        >>> [round(value, 3) for value in path.log_snr(torch.tensor([0.0, 1.0])).tolist()]
        [16.0, -10.0]
    """

    def __init__(self, log_snr_max: float = 16.0, log_snr_min: float = -10.0, width: int = 16):
        super().__init__()
        if not log_snr_min < log_snr_max:
            raise InputError(f"log_snr_max, log_snr_min: {log_snr_max}, {log_snr_min} came; a fall would do")
        if width < 1:
            raise InputError(f"width: {width} came; at least 1 would do")
        self.log_snr_max, self.log_snr_min = log_snr_max, log_snr_min
        # Almost a straight line: steps of a height of 1/20 between them.
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.heights = nn.Parameter(torch.full((width,), -3.0))
        self.rates = nn.Parameter(torch.full((width,), 10.0))
        self.places = nn.Parameter(torch.linspace(0, -10, width))

    def _monotone(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The function m and its rate."""
        slope, rates, heights = (softplus(p).to(t.dtype) for p in (self.slope, self.rates, self.heights))
        steps = torch.sigmoid(t[..., None] * rates + self.places.to(t.dtype))
        return slope * t + (heights * steps).sum(-1), slope + (heights * rates * steps * (1 - steps)).sum(-1)

    def _log_snr(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (first, last), _ = self._monotone(t.new_tensor([0.0, 1.0]))
        value, rate = self._monotone(t)
        scale = (self.log_snr_min - self.log_snr_max) / (last - first)
        return self.log_snr_max + scale * (value - first), scale * rate

    def log_snr(self, t: Tensor) -> Tensor:
        return self._log_snr(t)[0]

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sigmoid(self.log_snr(t)).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sigmoid(-self.log_snr(t)).sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        log_snr, rate = self._log_snr(t)
        return 0.5 * torch.sigmoid(log_snr).sqrt() * torch.sigmoid(-log_snr) * rate

    def sigma_dot(self, t: Tensor) -> Tensor:
        log_snr, rate = self._log_snr(t)
        return -0.5 * torch.sigmoid(-log_snr).sqrt() * torch.sigmoid(log_snr) * rate
