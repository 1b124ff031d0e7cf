"""What velocities on a graph share: the adjacency, node features as events, a condition at the nodes, time."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import Velocity
from genflow.velocities.time import cosine_features

__all__ = ["GraphVelocity", "check_adjacency"]


class GraphVelocity(Velocity):
    r"""A field on the features of a graph's nodes, :math:`v(x, t \mid c)` with :math:`x \in R^{nodes \times features}`.

    No weight belongs to a node, so that relabelling the nodes of graph, point and condition relabels the field.

    Args:
        adjacency: Weights :math:`A` of the edges, `(nodes, nodes)`: symmetric, not negative, 0 where there is no edge.
        features: Features of each node.
        condition_features: Features of the condition at each node, 0 for none.
        time_features: Terms of the cosine series in time that biases and gains are made of.
        interval: The times :math:`(t_0, t_1)` on which it lives; the series is stretched to them.

    Attributes:
        adjacency: :math:`A`, a buffer.
        event_shape: `(nodes, features)`.
        condition_dim: Numbers in a condition, `nodes * condition_features`.
    """

    event_ndim = 2
    spatial = True
    condition_ndim = 2
    event_shape: tuple[int, ...]
    adjacency: Tensor

    def __init__(
        self, adjacency: Any, features: int, condition_features: int, time_features: int, interval: tuple[float, float]
    ):
        super().__init__()
        weights = check_adjacency(adjacency)
        if features < 1 or condition_features < 0 or time_features < 1:
            raise InputError(
                f"features, condition_features, time_features: {features}, {condition_features}, {time_features} came; "
                "at least 1, 0, 1 would do"
            )
        self.register_buffer("adjacency", weights.to(torch.get_default_dtype()))
        self.event_shape = (len(weights), features)
        self.dim, self.condition_dim = len(weights) * features, len(weights) * condition_features
        self.features, self.condition_features, self.time_features = features, condition_features, time_features
        self.interval = (float(interval[0]), float(interval[1]))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "adjacency": self.adjacency.tolist()}  # a checkpoint holds no tensor as argument

    def extra_repr(self) -> str:
        return f"nodes={self.event_shape[0]}, features={self.features}, interval={self.interval}"

    def time(self, x: Tensor, t: Tensor) -> Tensor:
        """The cosine features of time, `(1, time_features)` or `(*batch, 1, time_features)`: alike at all nodes."""
        return cosine_features(t.to(x.dtype), self.interval, self.time_features).unsqueeze(-2)

    def inputs(self, x: Tensor, condition: Any) -> Tensor:
        """The features of point and condition side by side, `(*batch, nodes, features + condition_features)`.

        Raises:
            InputError: The point has another shape; the condition is missing, unexpected, or has another shape.
        """
        nodes = self.event_shape[0]
        if x.shape[-2:] != self.event_shape:
            wanted = f"(*batch, {nodes}, {self.features})"
            raise InputError(f"x: node features {wanted} are wanted, the shape {tuple(x.shape)} came")
        if not self.condition_features:
            if condition is not None:
                raise InputError("condition: one came, but the velocity was built with condition_features=0")
            return x
        if condition is None or condition.shape[-2:] != (nodes, self.condition_features):
            wanted = f"(*batch, {nodes}, {self.condition_features})"
            came = "none" if condition is None else f"the shape {tuple(condition.shape)}"
            raise InputError(f"condition: node features {wanted} are wanted, {came} came")
        return torch.cat([x, condition.to(x.dtype).expand(*x.shape[:-1], -1)], -1)


def check_adjacency(adjacency: Any) -> Float[Tensor, "nodes nodes"]:
    """An adjacency as a tensor in float64.

    Args:
        adjacency: A tensor, an array or nested lists.

    Raises:
        InputError: It is not a square of numbers, is not symmetric, or has entries that are negative or not finite.
    """
    try:
        weights = torch.as_tensor(adjacency).detach().to_dense().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(adjacency).__name__
        raise InputError(f"adjacency: a {kind} came that is no matrix; (nodes, nodes) numbers would do") from error
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not len(weights):
        raise InputError(f"adjacency: the shape {tuple(weights.shape)} came; a square one (nodes, nodes) would do")
    for wrong, what, good in (
        (~weights.isfinite(), "not finite", "finite weights"),
        (weights < 0, "negative", "weights of at least 0"),
        ((weights - weights.mT).abs() > 1e-6 * weights.max(), "asymmetric", "a symmetric one, such as (A + A.T) / 2,"),
    ):
        if wrong.any():
            i, j = wrong.nonzero()[0].tolist()
            raise InputError(f"adjacency: {what} came, entry [{i}, {j}] is {weights[i, j]:g}; {good} would do")
    return weights
