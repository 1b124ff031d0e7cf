r"""Standardizing columns over the whole range of doubles, where squares and differences overflow or vanish.

A column is first divided by a power of two, which is exact, so that its largest magnitude is about one. Columns that
differ by a power of two have the same standardized values, bit by bit, if no value is subnormal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genflow.errors import InputError

__all__ = [
    "exponents",
    "far_row",
    "moments",
    "original",
    "refuse_flat",
    "refuse_large",
    "scale_by_power",
    "standardize",
]

_STEPS = 4  # of the doubles near a column's values that its deviation has to span: less is an artefact of rounding
_ROOM = 16  # standard deviations from the mean within which a sample must be a double
_CHECKED = 10_000  # rows among which values are looked for that single precision can't tell apart
_BITS = 53  # of a double's mantissa
_LEAST_EXPONENT = -1074  # of the least double


def exponents(x: Float[Tensor, "n *columns"]) -> Int[Tensor, "*columns"]:
    """The least :math:`e` of each column with :math:`|x| < 2^e`, 0 of a column of zeros.

    Example:
        >>> import torch
        >>> exponents(torch.tensor([[1.0, 1e300], [-3.0, 0.0]], dtype=torch.float64))
        tensor([  2, 997])
    """
    return torch.frexp(x.abs().amax(0))[1].long()


def scale_by_power(x: Float[Tensor, "*shape"], exponent: Int[Tensor, "..."]) -> Float[Tensor, "*shape"]:
    r""":math:`2^e x`, exactly wherever the result is no subnormal number; also where :math:`2^e` itself is no double.

    Args:
        x: Values in float64.
        exponent: :math:`e`, from -1074 to 2000, of a shape that broadcasts.

    Example:
        >>> import torch
        >>> x = torch.tensor([5e-324], dtype=torch.float64)  # the least double
        >>> scale_by_power(x, torch.tensor(1074))
        tensor([1.], dtype=torch.float64)
    """
    half = exponent.div(2, rounding_mode="floor")
    return x * _power_of_two(half) * _power_of_two(exponent - half)


def moments(x: Float[Tensor, "n *columns"]) -> tuple[Float[Tensor, "*columns"], Float[Tensor, "*columns"]]:
    """Mean and standard deviation of each column, in float64. Neither overflows, and only a constant column has 0.

    Columns whose spread is tiny beside their mean lose nothing either: deviations are taken from a row first.

    Args:
        x: Rows, `(n, *columns)`, finite.

    Example:
        >>> import torch
        >>> tiny = 2.0**-1060
        >>> mean, std = moments(torch.tensor([[1.5e308, tiny], [-1.5e308, 3 * tiny]], dtype=torch.float64))
        >>> mean.tolist() == [0, 2 * tiny], std.tolist() == [1.5e308, tiny]
        (True, True)
    """
    x = x.detach().to(torch.float64)
    exponent = exponents(x)
    y = scale_by_power(x, -exponent)
    origin = y[0]
    y = y - origin
    center = y.mean(0)
    deviation = (y - center).square().mean(0).sqrt()
    return scale_by_power(origin + center, exponent), scale_by_power(deviation, exponent)


def standardize(
    x: Float[Tensor, "*batch columns"], mean: Float[Tensor, " columns"], std: Float[Tensor, " columns"]
) -> Float[Tensor, "*batch columns"]:
    r""":math:`(x - \mu) / s`, finite wherever that is a double, though :math:`x - \mu` may be none."""
    exponent, mean, std = _shared_exponent(mean, std)
    return (scale_by_power(x, -exponent) - mean) / std


def original(
    z: Float[Tensor, "*batch columns"], mean: Float[Tensor, " columns"], std: Float[Tensor, " columns"]
) -> Float[Tensor, "*batch columns"]:
    r"""The inverse, :math:`s z + \mu`, finite wherever that is a double, though :math:`s z` may be none."""
    exponent, mean, std = _shared_exponent(mean, std)
    return scale_by_power(z * std + mean, exponent)


def refuse_flat(x: Float[Tensor, "n columns"], std: Float[Tensor, " columns"], names: Sequence[str]) -> None:
    """Raises an error for a column that does not vary, or hardly more than doubles of its size are apart.

    Args:
        x: Rows, `(n, columns)`.
        std: Their standard deviations.
        names: What the error calls the columns.

    Raises:
        InputError: One line that names the column.
    """
    steps = scale_by_power(torch.ones_like(std), (exponents(x) - _BITS).clamp(min=_LEAST_EXPONENT))
    flat = std < _STEPS * steps
    if flat.any():
        j = int(flat.nonzero()[0])
        if (x[:, j] == x[0, j]).all():
            raise InputError(
                f"{names[j]}: constant in the training part; a density needs columns that vary, leave it out"
            )
        raise InputError(
            f"{names[j]}: its deviation of {std[j]:.3g} is rounding, since doubles near {x[0, j]:g} are {steps[j]:.3g} "
            "apart; subtract an offset before the values are rounded, or leave it out"
        )


def refuse_large(mean: Float[Tensor, " columns"], std: Float[Tensor, " columns"], names: Sequence[str]) -> None:
    """Raises an error for a column so near the largest double that its samples would pass it.

    Args:
        mean: Means of the columns.
        std: Their standard deviations.
        names: What the error calls the columns.

    Raises:
        InputError: One line that names the column.
    """
    largest = torch.tensor(-1024, device=std.device)
    beyond = scale_by_power(mean.abs(), largest) + _ROOM * scale_by_power(std, largest) >= 1
    if beyond.any():
        j = int(beyond.nonzero()[0])
        raise InputError(
            f"{names[j]}: with a mean of {mean[j]:.3g} and a deviation of {std[j]:.3g}, samples would pass the largest "
            "double, 1.8e308; give the column in a larger unit"
        )


def far_row(x: Float[Tensor, " n"]) -> int | None:
    """The row of the value farthest out, if beside it most others are one and the same in standardized units.

    Models compute in single precision: values nearer to each other than its rounding are equal to them.

    Args:
        x: Values of a column that varies, `(n,)`, float64.

    Example:
        >>> import torch
        >>> x = torch.arange(100, dtype=torch.float64)
        >>> x[7] = 1e6
        >>> far_row(x) is None  # far out, but the others can still be told apart
        True
        >>> x[7] = 1e200
        >>> far_row(x)
        7
    """
    mean, std = moments(x[:, None])
    values, counts = x[:: -(-len(x) // _CHECKED)].unique(return_counts=True)
    merged = standardize(values[:, None], mean, std)[:, 0].float().diff() == 0
    none = merged.new_zeros(1)
    lost = counts[torch.cat([merged, none]) | torch.cat([none, merged])].sum()
    if 2 * lost <= counts.sum():
        return None
    return int(standardize(x[:, None], mean, std).abs().argmax())


def _shared_exponent(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An exponent under which neither mean, deviation nor a difference of two values overflows; both, divided."""
    exponent = exponents(torch.stack([mean, std])) + 1
    return exponent, scale_by_power(mean, -exponent), scale_by_power(std, -exponent)


def _power_of_two(exponent: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """2^e of a normal double, bit by bit: exp2 and pow of a vectorized library may be off by a rounding."""
    return ((exponent + 1023) << 52).view(torch.float64)
