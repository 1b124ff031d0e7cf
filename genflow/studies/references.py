"""The reference that a study holds its errors against: both solves of a flow in float64, within 1e-10."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genflow.errors import SolverError
from genflow.flow import Flow
from genflow.studies.subject import Subject

__all__ = ["Truth", "like", "precise", "reference"]


@dataclass
class Truth:
    """The reference, and how far it can be trusted.

    Attributes:
        x: Samples of the noise `z`.
        log_p: Log density of the rows.
        z: The noise.
        how: What computed it.
        error: How far log p moves when its tolerance is a hundred times looser, or its grid half as fine.
        nfe: Evaluations that it took for log p.
    """

    x: Tensor
    log_p: Tensor
    z: Tensor
    how: str
    error: float
    nfe: int


def like(condition: Any, x: Tensor) -> Any:
    """A condition in the dtype and on the device of the rows."""
    return condition.to(x) if isinstance(condition, Tensor) else condition


def precise(flow: Flow, subject: Subject) -> tuple[Flow, Tensor, Any]:
    """The flow, the rows and their condition in float64; in their own dtype where the flow can't be converted."""
    from genflow.solvers import RK4

    x = subject.x.double()
    condition = like(subject.condition, x)
    try:
        converted = copy.deepcopy(flow).double()
        first = condition[:1] if isinstance(condition, Tensor) and condition.ndim > 1 else condition
        converted.replace(integrator=RK4(), scheduler=flow.scheduler.with_steps(1)).log_prob(x[:1], first)
    except SolverError:  # in a single step; it computes
        pass
    except RuntimeError:  # a function of the user's own that holds float32 numbers
        return flow, subject.x, subject.condition
    return converted, x, condition


def reference(flow: Flow, subject: Subject, z: Tensor) -> Truth:
    """Solves both ways as precisely as can be: dopri8, or RK4 on ever finer grids where that can't hold the tolerance.

    Args:
        flow: The flow, with an exact divergence.
        subject: The rows, and their condition.
        z: Noise to be decoded.
    """
    from genflow.solvers import RK4, Adaptive

    exact, x, condition = precise(flow, subject)
    noise = z.to(x)
    kind = str(x.dtype).removeprefix("torch.")
    tight = 1e-10 if x.dtype == torch.float64 else 1e-6

    def solved(solver: Flow) -> tuple[Tensor, Tensor, int]:
        transport = solver.integrate(x, condition=condition)
        assert transport.log_det is not None
        back = solver.integrate(noise, reverse=True, log_det=False, condition=condition).x
        return back, solver.base.log_prob(transport.x) + transport.log_det, transport.nfe

    try:
        found = [
            solved(exact.replace(integrator=Adaptive("dopri8", rtol, rtol, max_evaluations=100_000)))
            for rtol in (tight, 100 * tight)
        ]
        how = f"dopri8 within {tight:g} in {kind}"
    except SolverError:
        found, count = [], 32
        while len(found) < 2 or (count < 1024 and _apart(*found[:2]) > 100 * tight):
            count *= 2
            found.insert(0, solved(exact.replace(integrator=RK4(), scheduler=flow.scheduler.with_steps(count))))
        how = f"rk4 with {count} steps on each piece in {kind}"
    back, log_p, nfe = found[0]
    return Truth(back, log_p, z, how, _apart(found[0], found[1]), nfe)


def _apart(first: tuple[Tensor, Tensor, int], second: tuple[Tensor, Tensor, int]) -> float:
    return (first[1] - second[1]).abs().mean().item()
