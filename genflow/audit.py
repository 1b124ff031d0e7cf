r"""How good a log density is: what a finer solve, other probes and the way back say about it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genflow.assembly import Assembly
from genflow.errors import InputError, SolverError
from genflow.metrics.inversion import inversion_error

__all__ = ["Audit", "run_audit"]


@dataclass(frozen=True)
class Audit:
    r"""What `Flow.audit` found; printed, it is a few lines.

    Attributes:
        log_prob: :math:`\log p` of each row, `(*batch,)`, in nats, as the model gives it.
        finer: The same by a finer solve, with the same probes; not a number where that failed.
        finer_by: What was made finer, such as `8 to 16 steps`.
        standard_error: Of each row's log p, as far as random probes leave one, `(*batch,)`; `None` for an exact
            divergence.
        inversion_error: Mean squared distance of `decode(encode(x))` from x, in the squared units of the model.
        tolerance: How good the mean should be, in nats.
        failure: Why the finer solve failed, where it did.
    """

    log_prob: Tensor
    finer: Tensor
    finer_by: str
    standard_error: Tensor | None
    inversion_error: float
    tolerance: float = 0.01
    failure: str | None = None

    @property
    def shift(self) -> float:
        """How far the mean log p moves under the finer solve, in nats: what the solver's error is about."""
        return (self.finer - self.log_prob).double().mean().item()

    @property
    def mean_standard_error(self) -> float:
        r"""Of the mean log p, what the probes leave, :math:`\sqrt{\sum_i s_i^2} / n`; they are drawn for each row."""
        if self.standard_error is None:
            return 0.0
        return self.standard_error.double().square().mean().div(self.standard_error.numel()).sqrt().item()

    @property
    def good(self) -> bool:
        """Whether the mean is good to the tolerance: its shift and two standard errors of the probes."""
        return abs(self.shift) + 2 * self.mean_standard_error < self.tolerance

    @property
    def verdict(self) -> str:
        """One line: whether the mean log p, the NLL, can be reported to the tolerance, and what would help."""
        digits = f"{self.tolerance:g} nats"
        if self.good:
            return f"the mean is good to {digits}"
        if self.failure is not None:
            return f"it is not known whether the mean is good to {digits}: the finer solve failed"
        if 2 * self.mean_standard_error > abs(self.shift):
            return f"the mean is not good to {digits}: more probes, more rows or divergence=Exact() would help"
        return f"the mean is not good to {digits}: more steps or a smaller tolerance of the integrator would help"

    def __str__(self) -> str:
        moves = (self.finer - self.log_prob).abs()
        solver = (
            f"the mean moves by {self.shift:+.2g} nats, a row by {moves.mean().item():.2g}, at most "
            f"{moves.max().item():.2g}"
            if self.failure is None
            else f"failed: {self.failure}"
        )
        probes = "none"
        if self.standard_error is not None:
            row = self.standard_error.square().mean().sqrt().item()
            probes = f"a standard error of {self.mean_standard_error:.2g} nats in the mean, {row:.2g} in a row"
        return "\n".join(
            (
                f"log p of {self.log_prob.numel()} rows: {self.log_prob.mean().item():.4f} nats in the mean",
                f"  {self.finer_by}: {solver}",
                f"  random probes: {probes}",
                f"  decode(encode(x)): a mean squared error of {self.inversion_error:.2g}",
                f"  {self.verdict}",
            )
        )


@torch.no_grad()
def run_audit(flow: Assembly, x: Tensor, condition: Any, generator: torch.Generator | None, tolerance: float) -> Audit:
    """Audits a flow; see `Flow.audit`."""
    if not x.numel():
        raise InputError(f"x: the shape {tuple(x.shape)} came; at least one row would do")
    source = torch.Generator().manual_seed(0) if generator is None else generator
    seed, other_seed = torch.randint(2**31, (2,), generator=source, device=source.device).tolist()

    def solved(model: Assembly, seed: int) -> tuple[Tensor, Tensor | None]:
        transport = model.integrate(x, condition=condition, generator=torch.Generator(x.device).manual_seed(seed))
        assert transport.log_det is not None
        return model.base.log_prob(transport.x) + transport.log_det, transport.standard_error

    log_p, standard_error = solved(flow, seed)
    if standard_error is None and flow.divergence.probes(x, flow.velocity.event_ndim, None) is not None:
        # Two draws of one probe: half their squared difference is the variance of each.
        standard_error = (solved(flow, other_seed)[0] - log_p).abs() / math.sqrt(2)
    finer_flow, finer_by = _finer(flow)
    failure = None
    try:
        finer = solved(finer_flow, seed)[0]
    except SolverError as error:
        finer, failure = torch.full_like(log_p, math.nan), str(error)
    try:
        inversion = inversion_error(lambda y: flow.encode(y, condition), lambda z: flow.decode(z, condition), x)
    except SolverError:
        inversion = math.inf
    audit = Audit(log_p, finer, finer_by, standard_error, inversion, tolerance, failure)
    if not audit.good:
        warnings.warn(f"log_prob: {audit.verdict}", stacklevel=4)  # audited, the decorator, Flow.audit
    return audit


def _finer(flow: Assembly) -> tuple[Assembly, str]:
    """The same flow with tolerances a tenth as large, or with twice the steps; what was changed, in words."""
    tolerances = flow.integrator.tolerances
    if tolerances:
        tightened = flow.integrator.rebuilt(**{name: value / 10 for name, value in tolerances.items()})
        words = ", ".join(f"{name} {value:g} to {value / 10:g}" for name, value in tolerances.items())
        return flow.replace(integrator=tightened), words
    steps = flow.scheduler.steps
    return flow.replace(scheduler=flow.scheduler.with_steps(2 * steps)), f"{steps} to {2 * steps} steps"
