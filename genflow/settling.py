"""How fine a grid has to be for a log density that no longer depends on it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genflow.assembly import Assembly
from genflow.deadline import OutOfTime, time_left
from genflow.errors import SolverError

__all__ = ["Settled", "choose_grid"]

_LOST = 1e-7  # mean squared error of decode(encode(x)), of the mean square of x


class Settled(NamedTuple):
    """What a model's settling found.

    Attributes:
        log_prob: The log density of the rows as the model now gives it, `(n,)`; empty where there was no time for it.
        remark: What remains undone, in one line; `None` where nothing does.
    """

    log_prob: Tensor
    remark: str | None = None


@torch.no_grad()
def choose_grid(flow: Assembly, x: Tensor, condition: Any, tolerance: float, most: int) -> Settled:
    """Chooses the grid of a flow; see `Flow.settle`."""
    if time_left() < math.inf:
        return _in_time(flow, x, condition, tolerance, most)
    log_p = _log_prob(flow, x, condition)
    while flow.scheduler.steps < most:
        finer = flow.replace(scheduler=flow.scheduler.with_steps(2 * flow.scheduler.steps))
        finer_log_p = _log_prob(finer, x, condition)
        # Short of a solution, both are infinite: their difference is not a number, and no reason to stop.
        if (finer_log_p - log_p).abs().mean() < tolerance and _inversion_error(flow, x, condition) < _LOST:
            break
        flow.scheduler, log_p = finer.scheduler, finer_log_p
    return Settled(log_p)


def _in_time(flow: Assembly, x: Tensor, condition: Any, tolerance: float, most: int) -> Settled:
    """The same before a deadline: with a cheaper estimator, and from half the steps up.

    Under the same probes, what an unbiased estimate moves by from grid to grid is what log p moves by, in the mean over
    the probes. A grid from whose half on nothing moves is good, for half of what a finer one would cost.
    """
    model = flow.cheaper(x) or flow
    log_p, moves = x.new_empty(0), math.nan

    def solved(steps: int) -> tuple[Tensor, float]:
        before = time_left()
        found = _log_prob(model.replace(scheduler=flow.scheduler.with_steps(steps)), x, condition)
        return found, before - time_left()

    try:
        steps = flow.scheduler.steps
        half, seconds = solved(max(1, steps // 2))
        _wait_for(2 * seconds)
        log_p, seconds = solved(steps)
        moves = (log_p - half).abs().mean().item()
        while steps < most:
            invertible = time_left() < 2 * seconds or _inversion_error(flow, x, condition) < _LOST
            if moves < tolerance and invertible:
                break
            _wait_for(2 * seconds)
            finer, seconds = solved(2 * steps)
            moved = (finer - log_p).abs().mean().item()
            if moved < tolerance and invertible:
                moves = moved
                break
            steps *= 2
            flow.scheduler, log_p, moves = flow.scheduler.with_steps(steps), finer, moved
    except OutOfTime:
        if len(log_p.shape) and not len(log_p):
            return Settled(log_p, f"no time was left to check whether {flow.scheduler.steps} solver steps are enough")
        if not moves < 2.0 ** min(flow.integrator.order, 2) * tolerance:  # what halving the steps leaves
            return Settled(
                log_p,
                f"log p still moved by {moves:.2g} nats when the solver's steps were doubled to "
                f"{flow.scheduler.steps}, and no time was left for more",
            )
    return Settled(log_p)


def _wait_for(seconds: float) -> None:
    """Gives up at once what will not be ready in time."""
    if time_left() < seconds:
        raise OutOfTime(f"{seconds:.1f} s are not left")


def _log_prob(flow: Assembly, x: Tensor, condition: Any) -> Tensor:
    """The log density, with the same probes each time; minus infinity where the grid is too coarse to solve."""
    try:
        return flow.log_prob(x, condition, torch.Generator(x.device).manual_seed(0))
    except SolverError:
        return torch.tensor(-math.inf)


def _inversion_error(flow: Assembly, x: Tensor, condition: Any) -> float:
    """The mean squared error of decode(encode(x)) by the mean square of x."""
    try:
        back = flow.decode(flow.encode(x, condition), condition)
    except SolverError:
        return math.inf
    return ((back - x).square().mean() / x.square().mean()).item()
