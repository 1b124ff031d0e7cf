"""Rectified flow: the pairs of a first flow straighten the second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.models.matching import Matching
from genflow.models.networks import network
from genflow.paths import LogitNormal
from genflow.schedulers import Uniform
from genflow.training import Stage, TrainingData

__all__ = ["RectifiedFlow"]

_REFLOW = "reflow"
_TWICE = 2  # pairs for each training row: the noise is drawn, so there may be more of them than rows
_PORTION = 4096  # pairs decoded at once


class RectifiedFlow(Matching):
    r"""Flow matching, and then reflow: matching again, on the pairs that the first flow itself makes.

    .. math::
        z \sim p_Z, \quad x = \text{the first flow's sample of } z, \qquad
        \min_v E_{t, (x, z)} |v((1 - t) x + t z, t) - (z - x)|^2

    The second field's paths are straighter, so that few steps sample it; its law is the first flow's. Times are mostly
    half way, where a field is hardest to learn.

    Args:
        dim: Dimension of a point.
        reflows: How often the pairs are made anew.
        width: Width of the network.
        depth: Its residual layers.
        steps: Integrator steps of likelihood and sampling.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none.
        condition_dropout: Share of the rows that are trained on without their condition.
        parts: Parts of the flow.

    Raises:
        InputError: A negative number of reflows.

    References:
        | Liu, Gong, Liu 2023, Flow straight and fast, https://arxiv.org/abs/2209.03003
        | Esser et al. 2024, logit-normal times, https://arxiv.org/abs/2403.03206

    Example:
        >>> import genflow as gf
        >>> gf.baselines.RectifiedFlow(2, width=16).fit("two-moons", iterations=6).sample(4, steps=1).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        dim: int,
        reflows: int = 1,
        width: int = 128,
        depth: int = 3,
        steps: int = 32,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dim: int = 0,
        condition_dropout: float = 0.0,
        **parts: Any,
    ):
        if reflows < 0:
            raise InputError(f"reflows: {reflows} came; a number from 0 on would do")
        super().__init__(
            network(dim, width, depth, condition_dim, condition_dropout, parts),
            times=LogitNormal(),
            batch_size=batch_size,
            learning_rate=learning_rate,
            condition_dropout=condition_dropout,
            name="rectified-flow",
            **{"scheduler": Uniform(steps), **parts},
        )
        self.dim, self.condition_dim, self.reflows = dim, condition_dim, reflows

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if not history:
            return self.regression(data, share=1 / (1 + self.reflows))
        if len(history) > self.reflows:
            return None
        rows, validation = (
            self._pairs(x, condition, generator)
            for x, condition, generator in (
                (data.train, data.train_condition, _generator_like(data.train, 2 * len(history))),
                (data.validation, data.validation_condition, _generator_like(data.validation, 2 * len(history) + 1)),
            )
        )
        share = 1 / (1 + self.reflows - len(history))
        return self.paired_regression(rows, validation, f"{_REFLOW} {len(history)}", share)

    @torch.no_grad()
    def _pairs(self, x: Tensor, condition: Tensor | None, generator: torch.Generator) -> Sequence[Tensor]:
        """Noise and what this flow makes of it, under the conditions of the rows."""
        count = _TWICE * len(x)
        given = None if condition is None else condition.repeat(_TWICE, 1)
        z = self.noise_for(x.new_empty(count, *x.shape[1:]), generator)
        parts = [
            (z[i : i + _PORTION], None if given is None else given[i : i + _PORTION]) for i in range(0, count, _PORTION)
        ]
        made = torch.cat([self.decode(part, c) for part, c in parts])
        return (made, z) if given is None else (made, given, z)


def _generator_like(like: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(seed)
