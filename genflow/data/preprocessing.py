r"""Invertible maps between the user's units and those that a model is trained in.

.. math::
    z = T(x), \qquad
    \log p_x(x) = \log p_z(T(x)) + \log \left| \det \frac{\partial T}{\partial x} \right|

They compute in float64, whatever the model does: a map and its inverse agree to the rounding of a double.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from genflow.data.in_double import InDouble
from genflow.data.laws.line import CelledLine
from genflow.data.scales import moments, original, refuse_flat, refuse_large, scale_by_power, standardize
from genflow.data.shrinkage import FLOOR, shrunk
from genflow.data.shrinkage import shrinkage as chosen_share
from genflow.errors import InputError
from genflow.interfaces import Component

__all__ = ["Compose", "Logit", "Preprocessor", "Standardize", "Whiten", "columnwise"]


class Preprocessor(Component, InDouble, ABC):
    """An invertible map of rows, with its log-determinant.

    Its arguments say what it is, its buffers (float64) hold what was fitted: a checkpoint builds it from `config()` and
    fills it from the `state_dict`.
    """

    @property
    def random(self) -> bool:
        """Whether a row goes to one of many places: `forward` then takes shares `u` from 0 to 1 that say where."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether an entry of a result is of several columns."""
        return False

    @abstractmethod
    def forward(self, x: Float[Tensor, "*batch dim"]) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch"]]:
        r"""The row :math:`z = T(x)` and :math:`\log |\det \partial z / \partial x|`, in float64.

        Args:
            x: Rows in the user's units, `(*batch, dim)`.
        """

    def spread(
        self, x: Float[Tensor, "*batch dim"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch"]]:
        """The same of a random one of a row's places, where it has many.

        Args:
            x: Rows in the user's units.
            generator: Source of randomness, of the CPU.
        """
        return self.spreads(x, 1, generator)[0]

    def spreads(
        self, x: Float[Tensor, "*batch dim"], count: int, generator: torch.Generator | None = None
    ) -> list[tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch"]]]:
        """The same of several random places.

        Args:
            x: Rows in the user's units.
            count: How many.
            generator: Source of randomness, of the CPU.
        """
        if not self.random:
            return [self(x)] * count
        shares = (torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x.device) for _ in range(count))
        return list(self.places(x, shares))

    def places(
        self, x: Float[Tensor, "*batch dim"], shares: Iterable[Float[Tensor, "*batch dim"]]
    ) -> Iterator[tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch"]]]:
        """The same of several of a row's places.

        Args:
            x: Rows in the user's units.
            shares: For each of the places the shares `u`.
        """
        return (self(x, u) for u in shares)

    def cells(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The values that have a probability, 0 in the places of those with a density: what a row's places depend on.

        Args:
            x: Rows in the user's units.
        """
        return torch.zeros_like(x)

    def owns_cells(self, x: Float[Tensor, "*batch dim"]) -> Bool[Tensor, "*batch"]:
        """Whether a row has values that have a probability, and so other places.

        Args:
            x: Rows in the user's units.
        """
        return torch.full(x.shape[:-1], self.random, device=x.device)

    def log_unit(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """The part of the log-determinant by which a density in standardized units differs from one in the user's.

        Args:
            x: Rows in the user's units.
        """
        return self(x)[1]

    def celled_lines(self) -> list[CelledLine] | None:
        """The cells on the line of each column of a result; `None` where there is none."""
        return None

    def lines_of(self, lines: Sequence[CelledLine]) -> list[CelledLine] | None:
        """The lines of a result's columns, from those of the rows that are mapped; `None` where none is left.

        Args:
            lines: The line of each column of the rows.
        """
        return None

    @abstractmethod
    def inverse(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The row :math:`x = T^{-1}(z)` in the user's units, in float64."""


class Standardize(Preprocessor):
    r"""Every column to mean zero and standard deviation one.

    .. math:: z = (x - \mu) / s, \qquad \log |\det| = -\sum_j \log s_j

    Args:
        dim: The number of columns :math:`d`.
        mean: :math:`\mu`, `(dim,)`; zero where it is not given.
        std: :math:`s > 0`, `(dim,)`; one where it is not given.

    Example:
        >>> import torch
        >>> scale = Standardize.fit(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        >>> z, ladj = scale(torch.tensor([[1.0, 30.0]]))
        >>> z, ladj
        (tensor([[-1.,  1.]], dtype=torch.float64), tensor([-2.3026], dtype=torch.float64))
        >>> scale.inverse(z)
        tensor([[ 1., 30.]], dtype=torch.float64)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, mean: Tensor | None = None, std: Tensor | None = None):
        super().__init__()
        self.dim = dim
        mean = torch.zeros(dim) if mean is None else torch.as_tensor(mean, dtype=torch.float64)
        std = torch.ones(dim) if std is None else torch.as_tensor(std, dtype=torch.float64)
        self.register_buffer("mean", mean.detach().to(torch.float64).clone())
        self.register_buffer("std", std.detach().to(torch.float64).clone())

    @classmethod
    def fit(cls, x: Float[Tensor, "n dim"], columns: Sequence[str] = ()) -> Standardize:
        """Mean and standard deviation of rows.

        Args:
            x: Rows, `(n, dim)`.
            columns: Names of the columns, for the error.

        Raises:
            InputError: A column that does not vary, or by rounding alone; or whose samples would pass the largest
                double.
        """
        x = x.detach().to(torch.float64)
        mean, std = moments(x)
        names = [f"column {columns[j]!r}" if columns else f"column {j + 1}" for j in range(x.shape[-1])]
        refuse_flat(x, std, names)
        refuse_large(mean, std, names)
        return cls(x.shape[-1], mean, std)

    @classmethod
    def fit_one_scale(cls, x: Float[Tensor, "n dim"]) -> Standardize:
        r"""Every column to mean zero, and all by one scale, so that their variance is one on average.

        For the pixels of pictures: one scale for each would blow the noise of a pixel that is nearly always empty up to
        the size of the strokes.

        Args:
            x: Rows, `(n, dim)`.

        Raises:
            InputError: Rows that are all the same.
        """
        mean, std = moments(x)
        largest = std.max()
        if not largest > 0:
            raise InputError("rows: all the same in the training part; a density needs columns that vary")
        return cls(x.shape[-1], mean, (largest * (std / largest).square().mean().sqrt()).expand(x.shape[-1]))

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = standardize(x.to(torch.float64), self.mean, self.std)
        return z, (-self.std.log().sum()).expand(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        return original(z.to(torch.float64), self.mean, self.std)


class Whiten(Preprocessor):
    r"""Rows with mean zero and, as far as so many rows can tell, the identity for their covariance.

    .. math::
        z = R_\lambda^{-1/2} \frac{x - \mu}{s}, \qquad R_\lambda = (1 - \lambda) R + \lambda I, \qquad
        \log |\det| = -\tfrac12 \log \det R_\lambda - \sum_j \log s_j

    with the standard deviations :math:`s` and the correlation matrix :math:`R`. The share :math:`\lambda` of rows left
    out says how far correlations are to be believed; 1 leaves every column by itself. In standardized units the
    symmetric root is the optimal transport map between the Gaussians of both covariances.

    Columns may be left as they are, without a part in it.

    Rows may be whitened in part, by :math:`c R_\lambda^{-p/2}`: along each direction their variance goes with the power
    :math:`1 - p` of what it was, and :math:`c^2 = d / \operatorname{tr} R_\lambda^{1-p}` makes it 1 in the mean.

    Args:
        dim: The number of columns :math:`d`.

    References:
        Optimal whitening and decorrelation, "ZCA-cor" (Kessy, Lewin and Strimmer, 2018),
        https://arxiv.org/abs/1512.00809

    Example:
        >>> import torch
        >>> x = torch.randn(100, 2, dtype=torch.float64) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
        >>> z, ladj = Whiten.fit(x, shrinkage=0.0)(x)
        >>> torch.allclose(torch.cov(z.T, correction=0), torch.eye(2, dtype=torch.float64))
        True
    """

    mean: Tensor
    root: Tensor
    unroot: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("root", torch.eye(dim, dtype=torch.float64))
        self.register_buffer("unroot", torch.eye(dim, dtype=torch.float64))

    @classmethod
    def fit(
        cls,
        x: Float[Tensor, "n dim"],
        shrinkage: float | None = None,
        floor: float = FLOOR,
        power: float = 1.0,
        columns: Bool[Tensor, " dim"] | None = None,
    ) -> Whiten:
        r"""Mean, deviations and shrunk correlations of rows.

        Args:
            x: Rows, `(n, dim)`.
            shrinkage: :math:`\lambda`, from 0 to 1; by default that of `genflow.data.shrinkage.shrinkage`.
            floor: Least variance of a direction, in units of the greatest: directions in which the rows hardly vary are
                stretched no further.
            power: :math:`p`, from 0 to 1: 1 whitens them wholly, 0 leaves them standardized.
            columns: Which columns are whitened, by default all; the others stay as they are.

        Raises:
            InputError: A share or a power outside [0, 1].
        """
        white = cls(x.shape[-1])
        if columns is not None:
            part = cls.fit(x[:, columns], shrinkage, floor, power)
            pairs = columns[:, None] & columns
            white.mean[columns] = part.mean
            white.root[pairs], white.unroot[pairs] = part.root.flatten(), part.unroot.flatten()
            return white
        share = chosen_share(x, floor) if shrinkage is None else float(shrinkage)
        if not 0 <= share <= 1:
            raise InputError(f"shrinkage: {shrinkage} came; a number from 0 to 1 would do")
        if not 0 <= power <= 1:
            raise InputError(f"power: {power} came; a number from 0 to 1 would do")
        white.mean, std = moments(x)
        std = torch.where(std > 0, std, 1)
        y = (x.detach().to(torch.float64) - white.mean) / std
        values, vectors = torch.linalg.eigh(y.mT @ y / len(y))
        variances = shrunk(values, share, floor)
        deviations = variances ** (power / 2) * (variances ** (1 - power)).mean().sqrt()
        white.root = (vectors / deviations) @ vectors.mT / std[:, None]
        white.unroot = (vectors * deviations) @ vectors.mT * std
        return white

    @property
    def mixes(self) -> bool:
        return True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x.to(torch.float64) - self.mean) @ self.root
        return z, torch.linalg.slogdet(self.root)[1].expand(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        return z.to(torch.float64) @ self.unroot + self.mean

    def lines_of(self, lines: Sequence[CelledLine]) -> list[CelledLine]:
        same = torch.eye(self.dim, dtype=torch.float64, device=self.root.device) == self.root
        stays = same.all(0) & same.all(1) & (self.mean == 0)
        return [line if alone else CelledLine() for line, alone in zip(lines, stays.tolist(), strict=True)]


class Logit(Preprocessor):
    r"""An interval to the whole line, for columns with hard bounds such as the intensity of a pixel.

    .. math::
        u = \alpha + (1 - 2 \alpha) \frac{x - a}{b - a}, \qquad z = \log \frac{u}{1 - u}, \qquad
        \log |\det| = \sum_j \log \frac{1 - 2 \alpha}{b - a} - \log u_j - \log (1 - u_j)

    Args:
        low: The lower bound :math:`a`, in the user's units.
        high: The upper bound :math:`b`.
        alpha: Keeps the bounds away from infinity; 1e-6 for MNIST in the reference.

    References:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057

    Example:
        >>> import torch
        >>> logit = Logit(0, 17)
        >>> x = torch.tensor([[0.0, 8.5, 17.0]], dtype=torch.float64)
        >>> torch.allclose(logit.inverse(logit(x)[0]), x)
        True
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, alpha: float = 1e-6):
        super().__init__()
        if not low < high:
            raise InputError(f"Logit: bounds {low:g} and {high:g} came; the lower one must be less than the upper one")
        if not 0 < alpha < 0.5:
            raise InputError(f"Logit: alpha={alpha:g} came; give a number between 0 and 0.5")
        self.low, self.high, self.alpha = float(low), float(high), float(alpha)
        # In units of a power of two: the interval's width may be no double, or its inverse.
        self._exponent = math.frexp(max(abs(self.low), abs(self.high)))[1] + 1
        self._low, self._high = (math.ldexp(bound, -self._exponent) for bound in (self.low, self.high))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        slope = (1 - 2 * self.alpha) / (self._high - self._low)
        x = scale_by_power(x.to(torch.float64), torch.tensor(-self._exponent, device=x.device))
        u = self.alpha + slope * (x - self._low)
        v = self.alpha + slope * (self._high - x)  # 1 - u, without cancellation
        log_slope = math.log(slope) - self._exponent * math.log(2)
        return u.log() - v.log(), (log_slope - u.log() - v.log()).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        u = (z.to(torch.float64).sigmoid() - self.alpha) / (1 - 2 * self.alpha)
        x = self._low + (self._high - self._low) * u
        return scale_by_power(x, torch.tensor(self._exponent, device=x.device))


class Compose(Preprocessor):
    r"""One map after the other, :math:`T = T_k \circ \dots \circ T_1`; the log-determinants add up.

    Args:
        parts: The maps :math:`T_1, \dots, T_k`, the first one applied first.

    Example:
        >>> import torch
        >>> chain = Compose([Logit(0, 17), Standardize(2)])
        >>> z, ladj = chain(torch.tensor([[3.0, 9.0]]))
        >>> chain.inverse(z).round(decimals=4)
        tensor([[3., 9.]], dtype=torch.float64)
    """

    def __init__(self, parts: Sequence[Preprocessor]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def config(self) -> dict[str, Any]:
        return {"parts": list(self.parts)}

    @property
    def random(self) -> bool:
        return any(cast(Preprocessor, part).random for part in self.parts)

    @property
    def mixes(self) -> bool:
        return any(cast(Preprocessor, part).mixes for part in self.parts)

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = x.to(torch.float64)
        total = torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)
        for part in self.parts:
            z, ladj = part(z, u) if cast(Preprocessor, part).random else part(z)
            total = total + ladj
        return z, total

    def places(self, x: Tensor, shares: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        parts = [cast(Preprocessor, part) for part in self.parts]
        random = [k for k, part in enumerate(parts) if part.random]
        if len(random) != 1:
            return super().places(x, shares)
        before, after = Compose(parts[: random[0]]), Compose(parts[random[0] + 1 :])
        z, log_det = before(x)
        found = ((after(y), ladj) for y, ladj in parts[random[0]].places(z, shares))
        return ((y, log_det + ladj + more) for (y, more), ladj in found)

    def cells(self, x: Tensor) -> Tensor:
        for part in self.parts:
            if cast(Preprocessor, part).random:
                return cast(Preprocessor, part).cells(x)
            x = part(x)[0]
        return torch.zeros_like(x)

    def owns_cells(self, x: Tensor) -> Tensor:
        for part in self.parts:
            if cast(Preprocessor, part).random:
                return cast(Preprocessor, part).owns_cells(x)
            x = part(x)[0]
        return super().owns_cells(x)

    def celled_lines(self) -> list[CelledLine] | None:
        parts = [cast(Preprocessor, part) for part in self.parts]
        found, others = (parts[0].celled_lines(), parts[1:]) if parts else (None, [])
        for part in others:
            found = None if found is None else part.lines_of(found)
        return found if found is not None and any(line.edges for line in found) else None

    def log_unit(self, x: Tensor) -> Tensor:
        z = x.to(torch.float64)
        total = torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)
        for part in self.parts:
            total = total + cast(Preprocessor, part).log_unit(z)
            z = part(z)[0]
        return total

    def inverse(self, z: Tensor) -> Tensor:
        x = z.to(torch.float64)
        for part in reversed(self.parts):
            x = cast(Preprocessor, part).inverse(x)
        return x


def columnwise(preprocessor: Preprocessor) -> tuple[Preprocessor, Compose | None]:
    """The part of a map that takes every column by itself, and what follows it.

    Args:
        preprocessor: The map.

    Example:
        >>> first, rest = columnwise(Compose([Standardize(2), Whiten(2)]))
        >>> len(first.parts), type(rest.parts[0]).__name__
        (1, 'Whiten')
    """
    if not preprocessor.mixes:
        return preprocessor, None
    parts = _one_by_one(preprocessor)
    first = next(k for k, part in enumerate(parts) if part.mixes)
    return Compose(parts[:first]), Compose(parts[first:])


def _one_by_one(preprocessor: Preprocessor) -> list[Preprocessor]:
    """The maps that one consists of, those of chains in a chain, too."""
    if not isinstance(preprocessor, Compose):
        return [preprocessor]
    return [each for part in preprocessor.parts for each in _one_by_one(cast(Preprocessor, part))]
