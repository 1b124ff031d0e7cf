"""A linear field, piecewise linear in time: the mean Jacobian of another one, as a control variate wants it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity

__all__ = ["Linear"]


class Linear(Velocity):
    r"""The field :math:`v(x, t) = C(t) x`, with :math:`\nabla \cdot v = \operatorname{tr} C(t)`.

    :math:`C` is interpolated linearly between the times, and constant before the first and after the last.

    Args:
        matrices: :math:`C` at each time, `(times, d, d)`: a tensor or nested lists.
        times: The times, increasing. May be left out for a single matrix.
        event_ndim: Rank of the event; one of higher rank is flattened.

    Raises:
        InputError: Matrices that are not square; times that are not increasing, or not as many.

    Example:
        >>> import torch, genflow as gf
        >>> growing = gf.velocities.Linear([[[0.0]], [[2.0]]], times=[0.0, 1.0])
        >>> growing.divergence(torch.ones(3, 1), torch.tensor(0.25))[1]
        tensor([0.5000, 0.5000, 0.5000])
    """

    closed_form = True

    def __init__(self, matrices: Collection[Any], times: Sequence[float] = (0.0,), event_ndim: int = 1):
        super().__init__()
        stacked, grid = torch.as_tensor(matrices, dtype=torch.float64), torch.as_tensor(times, dtype=torch.float64)
        if stacked.ndim != 3 or stacked.shape[1] != stacked.shape[2]:
            raise InputError(f"matrices: the shape {tuple(stacked.shape)} came; (times, d, d) would do")
        if grid.shape != stacked.shape[:1] or bool((grid.diff() <= 0).any()):
            raise InputError(
                f"times: {list(times)} came for {len(stacked)} matrices; as many increasing numbers would do"
            )
        self.dim, self.event_ndim = stacked.shape[1], event_ndim
        self.register_buffer("matrices", stacked)
        self.register_buffer("grid", grid)
        self.matrices: Tensor
        self.grid: Tensor

    def config(self) -> dict[str, Any]:
        lists = {"matrices": self.matrices.tolist(), "times": self.grid.tolist()}
        return {**super().config(), **lists}  # a checkpoint holds no tensor as argument

    @classmethod
    @torch.no_grad()
    def fit(cls, velocity: Velocity, times: Float[Tensor, " times"], points: Float[Tensor, "times *shape"]) -> Linear:
        r"""The mean Jacobian, :math:`C(t_k) = \frac{1}{n} \sum_i \partial v / \partial x \, (x_i(t_k), t_k)`.

        Of all linear fields it leaves Hutchinson's estimator the least variance, in the mean over these points.

        Args:
            velocity: The field.
            times: Times, increasing; with the points as `Flow.trajectory` returns them.
            points: Points at each time, `(times, *batch, *event)`. A few dozen will do.

        Example:
            >>> import torch, genflow as gf
            >>> flow = gf.Flow(gf.as_velocity(lambda x, t, condition: -t * x), base=gf.StandardNormal(2))
            >>> surrogate = gf.velocities.Linear.fit(flow.velocity, *flow.trajectory(torch.randn(16, 2)))
            >>> surrogate.divergence(torch.zeros(1, 2), torch.tensor(0.5))[1].round(decimals=3)
            tensor([-1.])
        """
        event = points.shape[points.ndim - velocity.event_ndim :]
        size = event.numel()
        matrices = []
        for t, x in zip(times, points, strict=True):
            rows = x.reshape(-1, *event)
            identity = torch.eye(size).to(rows).reshape(size, 1, *event).expand(size, *rows.shape)
            pushed = velocity.pushforward(rows, t, identity)[1]  # (column of J, row, entry)
            matrices.append(pushed.mean(1).reshape(size, size).mT.tolist())
        return cls(matrices, times.tolist(), velocity.event_ndim)

    def matrix(self, x: Tensor, t: Tensor) -> Tensor:
        """:math:`C(t)`, `(*times, d, d)`, in the dtype of the points."""
        matrices, grid = self.matrices.to(x), self.grid.to(x)
        if len(grid) == 1:
            return matrices[0].expand(*t.shape, -1, -1)
        t = t.to(x).contiguous()
        right = torch.searchsorted(grid, t).clamp(1, len(grid) - 1)
        share = ((t - grid[right - 1]) / (grid[right] - grid[right - 1])).clamp(0, 1)[..., None, None]
        return torch.lerp(matrices[right - 1], matrices[right], share)

    def _times(self, matrix: Tensor, y: Tensor) -> Tensor:
        flat = y.flatten(y.ndim - self.event_ndim)
        image = flat @ matrix.mT if matrix.ndim == 2 else (matrix @ flat.unsqueeze(-1)).squeeze(-1)
        return image.reshape(y.shape)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self._times(self.matrix(x, t), x)

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        matrix = self.matrix(x, t)
        return self._times(matrix, x), self._times(matrix, tangents)

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        matrix = self.matrix(x, t)
        return self._times(matrix, x), self._times(matrix.mT, cotangents)

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        matrix = self.matrix(x, t)
        trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
        return self._times(matrix, x), trace.expand(x.shape[: x.ndim - self.event_ndim])
