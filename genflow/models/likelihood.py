"""Running costs that regularize a likelihood, and keep it from living on the solver's error."""

from __future__ import annotations

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.flow import Cost, Flow
from genflow.interfaces import Estimate, Scheduler, Velocity

__all__ = ["StageDisagreement", "jacobian_norm", "kinetic_energy"]


def kinetic_energy(t: Tensor, x: Tensor, estimate: Estimate) -> Tensor:
    r"""The running cost :math:`|v|^2`; its least value over all flows between two laws is their :math:`W_2^2`."""
    return (estimate.velocity**2).flatten(estimate.divergence.ndim).sum(-1)


def jacobian_norm(
    flow: Flow, x: Tensor, generator: torch.Generator | None = None, condition: Tensor | None = None
) -> Cost:
    r"""The running cost :math:`|J \varepsilon|^2`, an unbiased estimate of :math:`|J|_F^2`, with one probe for a solve.

    It takes the probes that the divergence estimator has pushed; an exact divergence pushes none, and one is drawn.
    Finlay et al. 2020, https://arxiv.org/abs/2002.02798
    """
    drawn = torch.randint(0, 2, (1, *x.shape), generator=generator, device=x.device).to(x.dtype) * 2 - 1

    def cost(t: Tensor, y: Tensor, estimate: Estimate) -> Tensor:
        pushed = estimate.pushed
        if pushed is None:
            pushed = flow.velocity.pushforward(y, t, drawn, condition)[1]
        return (pushed**2).flatten(1 + estimate.divergence.ndim).sum(-1).mean(0)

    return cost


class StageDisagreement:
    r"""How far the two middle stages of RK4 disagree about the divergence, to be used as a running cost of one solve.

    .. math:: \sum_n \bigl(h_n (\nabla \cdot v)_{2,n} - h_n (\nabla \cdot v)_{3,n}\bigr)^2

    Both stages stand at the same time, at points that differ by the solver's error. A likelihood that is maximized on
    a coarse grid soon lives on that error; a small multiple of this sum, which costs nothing to speak of, keeps it
    honest.

    Args:
        velocity: The field, for its pieces.
        scheduler: The grid of each piece.
    """

    def __init__(self, velocity: Velocity, scheduler: Scheduler):
        self.steps = [
            step for _, start, stop in velocity.pieces() for step in scheduler.times(start, stop).diff().tolist()
        ]
        self.divergences: list[Tensor] = []
        self.closed = False

    def __call__(self, t: Tensor, x: Tensor, estimate: Estimate) -> Tensor:
        # A backward pass that computes a piece again calls once more; what it sees then must not be kept.
        if not self.closed:
            self.divergences.append(estimate.divergence)
        return torch.zeros_like(estimate.divergence)

    def total(self) -> Tensor:
        """The sum of each row, `(*batch,)`; the solve is over."""
        self.closed = True
        if len(self.divergences) != 4 * len(self.steps):
            of = f"{len(self.divergences)} divergences in {len(self.steps)} steps"
            raise InputError(f"integrator: one with {of} came; RK4 would do")
        second, third = self.divergences[1::4], self.divergences[2::4]
        squares = [(h * (b - c)).square() for h, b, c in zip(self.steps, second, third, strict=True)]
        return torch.stack(squares).sum(0)
