r"""JKO-iFlow by the recipe of its authors' code, to compare with.

It differs from `genflow.models.JKOiFlow` in this: every block's equation runs on an interval of length 1, and
:math:`h_k` stands in the proximal term alone; three solves of a third each, by RK4 with the adjoint method, every one
with a Gaussian probe of its own for Hutchinson's estimator in reverse mode; a network of three layers with softplus
that does not know the time; Adam with a fixed learning rate of 1e-4 on batches of 2000, gradients clipped at 1; the
training rows are diffused a little first; no warm-up, no averaged weights, no likelihood of the chain.

C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, https://arxiv.org/abs/2212.14424
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.divergences import Hutchinson
from genflow.flow import Flow
from genflow.interfaces import Velocity
from genflow.models.discretization import Discretization
from genflow.models.jko_iflow import JKOiFlow, diffuse
from genflow.models.jko_settings import BlockNetwork, ProximalStep, Rounds, Stages
from genflow.naming.search import Between, OneOf
from genflow.schedulers import Uniform
from genflow.solvers import Adaptive
from genflow.training import Optimization, Stage, TrainingData
from genflow.wrappers import Wrapper

__all__ = ["PublishedJKOiFlow", "PublishedNetwork"]

_THIRDS = 3
_DIFFUSION = 1e-3  # length of the variance-preserving step that the training rows take


class PublishedNetwork(Velocity):
    r"""Three layers, :math:`v(x) = W_3 a(W_2 a(W_1 x + b_1) + b_2) + b_3`, with :math:`a` the softplus of slope 20.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the two hidden layers.
        interval: The times on which it lives.

    Example:
        >>> import torch
        >>> from genflow.models.published import PublishedNetwork
        >>> PublishedNetwork(2)(torch.zeros(5, 2), torch.tensor(0.0)).shape
        torch.Size([5, 2])
    """

    def __init__(self, dim: int, width: int = 128, interval: tuple[float, float] = (0.0, 1.0)):
        super().__init__()
        self.dim, self.interval = dim, (float(interval[0]), float(interval[1]))
        sizes = [dim, width, width, dim]
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(layers[0], nn.Softplus(20), layers[1], nn.Softplus(20), layers[2])

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        return self.layers(x)


class _Part(Wrapper):
    """A velocity on a part of its interval; the weights are shared."""

    own = frozenset({"interval"})

    def __init__(self, velocity: Velocity, interval: tuple[float, float]):
        super().__init__()
        self.velocity, self.interval = velocity, interval


class PublishedJKOiFlow(JKOiFlow):
    """JKO-iFlow as its authors published it. See above.

    The equation of a block runs on [k, k + 1]; log p and samples are computed as for every other model, with the exact
    divergence. Of a budget every block gets the same share, where the authors give each 10 000 steps.

    Args:
        dim: Dimension of a point.
        blocks: The largest number of blocks.
        first: First step :math:`h_1`.
        growth: Ratio of one step to the step before.
        maximum: Largest step.
        width: Width of the two hidden layers of a block.
        tolerance: Relative movement at which the chain ends; the authors' 0.01 presumes their number of steps.
        reparameterize: Rounds that move the boundaries; see `JKOiFlow`.
        refine: Rounds that halve every interval.
        steps: Integrator steps in a block afterwards, and in validation.
        batch_size: Rows in a batch.
        learning_rate: Adam's.
        parts: Parts of the `Flow` to be replaced.

    Example:
        >>> import genflow as gf
        >>> model = gf.models.PublishedJKOiFlow(2, blocks=1, width=16).fit("two-moons", iterations=2)
        >>> model.sample(3).shape
        torch.Size([3, 2])
    """

    search = {
        "learning_rate": Between(3e-5, 3e-3, log=True),
        "width": OneOf((64, 128, 256)),
        "blocks": OneOf((4, 8)),
    }

    def __init__(
        self,
        dim: int,
        blocks: int = 8,
        first: float = 0.25,
        growth: float = 1.4,
        maximum: float = 3.0,
        width: int = 128,
        tolerance: float = 0.0,
        reparameterize: int = 0,
        refine: int = 0,
        steps: int = 12,
        batch_size: int = 2000,
        learning_rate: float = 1e-4,
        **parts: Any,
    ):
        super().__init__(
            dim,
            blocks,
            first,
            growth,
            whiten=False,
            network=BlockNetwork(width, depth=0),
            proximal=ProximalStep(maximum, "endpoint", tolerance),
            rounds=Rounds(reparameterize, refine=refine),
            stages=Stages("proximal", joint=0.0, components=1),
            discretization=Discretization(steps, train_steps=3, disagreement=0.0),
            optimization=Optimization(
                "adam", learning_rate, batch_size, annealed=False, clip=1.0, average=0.0, sharpness=0.0
            ),
            **parts,
        )

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if "diffused" not in data.cache:
            generator = torch.Generator(data.train.device).manual_seed(0)
            rows = diffuse(data.train, _DIFFUSION, generator)
            data.cache["diffused"] = dataclasses.replace(data, train=rows, stream=None, cache={})
        return super().next_stage(data.cache["diffused"], history)

    def _interval(self, k: int) -> tuple[float, float]:
        return float(k), k + 1.0

    def _weight(self, block: Velocity, k: int) -> float:
        """The step h: in the first round by the schedule; afterwards as long as the block's interval."""
        length = block.interval[1] - block.interval[0]
        return self.plan.step(k) if length == 1 else length

    def _new_block(self, k: int, interval: tuple[float, float]) -> Velocity:
        width = self.plan.network.width
        assert width is not None
        return PublishedNetwork(self.dim, width, interval)

    def _proximal_stage(
        self, data: TrainingData, moves: int, halvings: int, k: int, entries: Sequence[dict[str, Any]] = ()
    ) -> Stage:
        stage = super()._proximal_stage(data, moves, halvings, k, entries)
        block = self.velocity[k]
        h, (start, stop) = self._weight(block, k), block.interval
        cuts = [start + i * (stop - start) / _THIRDS for i in range(_THIRDS + 1)]
        solver, probe = Adaptive("rk4", adjoint=True), Hutchinson(1, "gaussian", mode="pull")
        thirds = [Flow(_Part(block, part), Uniform(1), solver, probe, self.base) for part in itertools.pairwise(cuts)]

        def loss(batch: Tensor, generator: torch.Generator) -> Tensor:
            x, log_det = batch, torch.zeros(len(batch), dtype=batch.dtype, device=batch.device)
            for third in thirds:
                moved = third.integrate(x, generator=generator)
                assert moved.log_det is not None
                x, log_det = moved.x, log_det + moved.log_det
            potential = -self.base.log_prob(x)
            return (potential - log_det + (x - batch).square().sum(-1) / (2 * h)).mean()

        stage.loss, stage.refinement = loss, None  # the grid stays as it is
        return stage
