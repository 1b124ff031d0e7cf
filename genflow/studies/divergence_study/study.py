r"""Bias, variance and cost of divergence estimators on a trained model.

Every estimator integrates the divergence along the same paths, by the model's own integrator on its own grid, with
fresh probes in each of D draws. With :math:`\ell_{ki}` the log density of row i in draw k, and :math:`\ell^*_i` that
of the exact divergence in float64 on the same grid,

.. math::
    \text{bias} = \frac{1}{D n} \sum_{k, i} (\ell_{ki} - \ell^*_i), \qquad
    \text{standard error} = \Bigl(\frac1n \sum_i \operatorname{var}_k \ell_{ki}\Bigr)^{1/2} .

The second is what one row's log p carries; it is nothing but the estimator's noise.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from genflow.divergences import Exact, FunctionDivergence
from genflow.errors import InputError, reason
from genflow.extras import require
from genflow.flow import Flow
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity
from genflow.naming.parts import parts, ready
from genflow.studies.divergence_study.findings import findings_of
from genflow.studies.divergence_study.trial import Trial
from genflow.studies.references import like, precise
from genflow.studies.reporting.findings import Findings, write_into_folder
from genflow.studies.reporting.terminal import follow
from genflow.studies.subject import Subject, subject_of

__all__ = ["PROBES", "Pushed", "divergences"]

PROBES = (1, 2, 4, 8, 16)
"""Numbers of probes that an estimator with an argument `n` is tried with."""


class Pushed(DivergenceEstimator):
    """The exact divergence of a velocity whose closed form is left alone: the identity, pushed through in chunks.

    It says what a network without a closed form would pay.
    """

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        v, divergence = Velocity.divergence(velocity, x, t, condition)
        return Estimate(v, divergence, pushes=math.prod(x.shape[x.ndim - velocity.event_ndim :]))


@write_into_folder
@torch.no_grad()
def divergences(
    run: Any,
    divergences: Any = None,
    *,
    rows: int = 256,
    data: Any = None,
    probes: Sequence[int] = PROBES,
    draws: int = 16,
    wanted: float = 0.01,
    seed: int = 0,
    trust: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    progress: bool = False,
    command: str | None = None,
) -> Findings:
    """Measures divergence estimators on a trained model. See above.

    Args:
        run: A folder that `fit` or `compare` wrote, a model, or a `Flow`.
        divergences: Names, `module:Name`, classes, functions or estimators, or a dictionary of them by label; all that
            are registered and need no arguments by default.
        rows: Rows at most.
        data: Where they come from; see `genflow.studies.subject`.
        probes: Numbers of probes for estimators with an argument `n`.
        draws: How often a random estimator is run, with fresh probes.
        wanted: Standard error of a row's log p, in nats, that the cheapest estimator is named for.
        seed: Seed of rows and probes.
        trust: Classes of the user's own that the folder may import.
        out: A folder for the results; it must not exist.
        progress: Whether to show where it stands, on standard error.
        command: The command line that repeats it, for the report.

    Returns:
        The `Findings`: `frame` has a row for each estimator and number of probes.

    Raises:
        InputError: An unknown estimator, a model that is no flow, a folder that exists.

    Example:
        >>> import genflow as gf
        >>> flow = gf.Flow(gf.as_velocity(lambda x, t, condition: x.flip(-1)), base=gf.StandardNormal(2))
        >>> found = gf.studies.divergences(flow, ["hutchinson"], rows=16, probes=(1, 4), draws=8)
        >>> one, four = found.frame["standard_error"][-2:]
        >>> bool(four < one)
        True
    """
    if not probes or min(probes) < 1:
        raise InputError(f"probes: {' '.join(map(str, probes))} came; numbers from 1 up would do")
    if draws < 2:
        raise InputError(f"draws: {draws} came; at least 2 would do")
    if not wanted > 0:
        raise InputError(f"wanted: {wanted} came; a positive number of nats, such as 0.01, would do")
    chosen = parts("divergence", ready("divergence") if divergences is None else divergences)
    require("studies")
    subject = subject_of(run, rows=rows, data=data, seed=seed, trust=list(trust))
    flow = subject.flow
    exact_flow, x, condition = precise(flow.replace(divergence=Exact()), subject)
    exact = exact_flow.log_prob(x, condition).double().to(subject.x.device)
    points = _points(exact_flow, x, condition)

    trials = _trials(flow, subject.x, chosen, probes)
    _run(trials[0], flow, subject, seed)  # what the first solve pays for is no estimator's cost
    trials[0].log_p.clear()
    trials[0].seconds.clear()
    runs = [(draw, trial) for draw in range(draws) for trial in trials]
    for draw, trial in follow(runs, len(runs), "integrating", progress):
        if trial.status == "ok" and not (trial.deterministic and draw >= 3):  # three times of it are enough
            _run(trial, flow, subject, seed + draw)
    for trial in follow(trials, len(trials), "divergence on the way", progress):
        if trial.status == "ok":
            trial.along = _along(trial, points, subject, draws, seed)
    config = {
        "run": str(run) if isinstance(run, str | PathLike) else None,
        "divergences": list(chosen),
        "rows": len(subject.x),
        "probes": list(probes),
        "draws": draws,
        "wanted": wanted,
        "seed": seed,
        "dtype": str(subject.x.dtype).removeprefix("torch."),
        "command": command,
    }
    findings = findings_of(subject, trials, exact, [time for _, time, _ in points], config)
    return findings


def _trials(flow: Flow, x: Tensor, chosen: dict[str, DivergenceEstimator], probes: Sequence[int]) -> list[Trial]:
    """The exact divergence, which all others are held against, and each estimator with each number of probes."""
    found = [Trial("exact", 0, Exact(), deterministic=True)]
    if all(velocity.closed_form for velocity, _, _ in flow.velocity.pieces()):
        found.append(Trial("exact, pushed", 0, Pushed(), deterministic=True))
    for label, estimator in chosen.items():
        if type(estimator) is Exact:
            continue
        own = estimator.n if "n" in inspect.signature(type(estimator)).parameters else None
        if own is not None and _draws(estimator, x, flow.velocity.event_ndim):
            counts = probes if _plain(label) else (own,)
            for n in counts:
                try:
                    found.append(Trial(label, n, estimator.rebuilt(n=n)))
                except InputError as refusal:  # some need more probes than others
                    found.append(Trial(label, n, estimator, status=f"refused: {refusal}"))
        else:
            found.append(Trial(label, 0, estimator))
    return found


def _draws(estimator: DivergenceEstimator, x: Tensor, event_ndim: int) -> bool:
    """Whether an estimator is random; one that refuses its own number of probes may draw another."""
    try:
        return estimator.probes(x[:1], event_ndim, None) is not None
    except InputError:
        return True


def _plain(label: str) -> bool:
    """Whether no number of probes was asked for by the name itself."""
    return not any(argument.startswith("n=") for argument in label.split(",")[1:])


def _run(trial: Trial, flow: Flow, subject: Subject, seed: int) -> None:
    """One draw."""
    solver = flow.replace(divergence=trial.estimator)
    x = subject.x
    generator = torch.Generator(x.device).manual_seed(seed)
    try:
        trial.deterministic = trial.estimator.probes(x[:1], flow.velocity.event_ndim, None) is None
        began = time.perf_counter()
        transport = solver.integrate(x, condition=subject.condition, generator=generator)
        taken = time.perf_counter() - began
    except Exception as refusal:  # one of the user's own may fail in any way: it is the only one that is lost
        trial.status = f"refused: {reason(refusal)}"
        return
    assert transport.log_det is not None
    trial.seconds.append(taken)
    trial.log_p.append(solver.base.log_prob(transport.x) + transport.log_det)
    counts = transport.pushes > 0 or (trial.deterministic and not isinstance(trial.estimator, FunctionDivergence))
    trial.nfe, trial.pushes = transport.nfe, float(transport.pushes) if counts else math.nan
    if transport.standard_error is not None:
        trial.reported = transport.standard_error.square().mean().sqrt().item()


_Point = tuple[Velocity, float, Tensor]


def _points(flow: Flow, x: Tensor, condition: Any, times: int = 12) -> list[_Point]:
    """Some points on the rows' way: the piece of the velocity, the time, and the rows there."""
    found: list[_Point] = []
    pieces = flow.velocity.pieces()
    each = max(2, times // len(pieces))
    for velocity, start, stop in pieces:
        piece = flow.replace(velocity=velocity)
        _, states = piece.trajectory(x, condition=condition)
        grid = piece.scheduler.times(start, stop)
        # Strictly inside of the piece: at a boundary the velocity jumps.
        inner = range(1, len(grid) - 1) if len(grid) > 2 else range(1)
        places = sorted({inner[round(i * (len(inner) - 1) / (each - 1))] for i in range(each)})
        if len(states) == len(grid):
            found += [(velocity, float(grid[place]), states[place]) for place in places]
        x = states[-1]
    return found


def _along(trial: Trial, points: list[_Point], subject: Subject, draws: int, seed: int) -> Tensor:
    """Bias and standard deviation of the estimated divergence at points on the way, and the bias's standard error."""
    found = []
    for velocity, time_, x in points:
        t = x.new_tensor(time_)
        condition = like(subject.condition, x)
        exact = velocity.divergence(x, t, condition)[1]
        errors = []
        for draw in range(1 if trial.deterministic else draws):
            generator = torch.Generator(x.device).manual_seed(seed + draw)
            drawn = trial.estimator.probes(x, velocity.event_ndim, generator)
            errors.append(trial.estimator(velocity, x, t, drawn, condition).divergence - exact)
        error = torch.stack(errors)
        spread = error.var(0).mean().sqrt() if len(error) > 1 else error.new_zeros(())
        doubt = error.mean(1).std() / math.sqrt(len(error)) if len(error) > 1 else error.new_zeros(())
        found.append(torch.stack([error.mean(), spread, doubt]))
    return torch.stack(found, 1)
