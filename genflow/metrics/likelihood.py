r"""The mean of a figure over test rows, and how far it can be trusted.

.. math::
    \bar v = \frac1n \sum_i v_i, \qquad \mathrm{se}^2 = \frac{1}{n (n - 1)} \sum_i (v_i - \bar v)^2 .

Two models scored on the same rows share the rows' difficulty: the error of the difference of their likelihoods is that
of the mean of row-wise differences, which is far smaller than the two errors added.
"""

from __future__ import annotations

from torch import Tensor

from genflow.errors import InputError

__all__ = ["mean_and_se", "paired_difference"]


def mean_and_se(values: Tensor) -> tuple[float, float]:
    r"""Mean :math:`\bar v` and its standard error :math:`s / \sqrt n`.

    Args:
        values: One figure for each row, :math:`v_i`, `(n,)`: the negative log-likelihood in nats, say.

    Returns:
        The mean and the standard error, in the units of the values. The error of one row is NaN; where a row is
        infinite, so is the mean.

    Raises:
        InputError: For no rows.

    References:
        | Monte Carlo theory, methods and examples, chapter 2 (Owen, 2013)
        | https://artowen.su.domains/mc/

    Example:
        >>> import torch
        >>> from genflow.metrics import mean_and_se
        >>> mean, se = mean_and_se(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
        >>> round(mean, 4), round(se, 4)
        (3.0, 0.7071)
    """
    v = values.detach().double().flatten()
    if len(v) == 0:
        raise InputError("values: an empty tensor came, at least one row is needed")
    if len(v) == 1:
        return v.item(), float("nan")
    return v.mean().item(), v.std().item() / len(v) ** 0.5


def paired_difference(first: Tensor, second: Tensor) -> tuple[float, float]:
    r"""Mean of :math:`a_i - b_i` and its standard error: is one model better than another on the same rows?

    Args:
        first: A figure for each row, :math:`a_i`, `(n,)`.
        second: The same figure by another model on the same rows in the same order, :math:`b_i`, `(n,)`.

    Returns:
        The mean difference and its standard error, in the units of the values.

    Raises:
        InputError: For shapes that differ.

    References:
        | Monte Carlo theory, methods and examples, section 8.6: common random numbers (Owen, 2013)
        | https://artowen.su.domains/mc/

    Example:
        >>> import torch
        >>> from genflow.metrics import paired_difference
        >>> hard_and_easy = torch.tensor([10.0, 0.0, 5.0])
        >>> paired_difference(hard_and_easy + torch.tensor([1.0, 1.0, 1.0]), hard_and_easy)
        (1.0, 0.0)
    """
    if first.shape != second.shape:
        raise InputError(
            f"first and second: shapes {tuple(first.shape)} and {tuple(second.shape)} came, the rows must be the same"
        )
    return mean_and_se(first.detach().double() - second.detach().double())
