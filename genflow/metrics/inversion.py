r"""Is the inverse of a flow its inverse? Integrated both ways with finite steps, only nearly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genflow.metrics.samples import points

__all__ = ["inversion_error"]


def inversion_error(encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], x: Tensor) -> float:
    r"""The mean squared distance between points and their reconstructions.

    .. math::
        \frac1n \sum_i | x_i - T^{-1}(T(x_i)) |^2

    Args:
        encode: :math:`T`, from data to noise.
        decode: :math:`T^{-1}`, from noise to data.
        x: Points, `(n, *event)`.

    Returns:
        The error, in the squared units of the points; infinite where a reconstruction is not finite.

    Raises:
        InputError: For no points, or values that are not finite.

    References:
        | Normalizing flow neural networks by JKO scheme (Xu et al., 2023)
        | https://arxiv.org/abs/2212.14424

    Example:
        >>> import torch
        >>> from genflow.metrics import inversion_error
        >>> x = torch.zeros(5, 2)
        >>> inversion_error(lambda x: 2 * x, lambda z: z / 2 + 1, x)  # off by (1, 1)
        2.0
    """
    rows = points(x)
    with torch.no_grad():
        back = decode(encode(x))
    error = (rows - back.double().reshape(rows.shape)).square().sum(-1).mean().item()
    return error if error == error else float("inf")
