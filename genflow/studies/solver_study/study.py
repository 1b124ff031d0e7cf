r"""Work against precision: what each integrator makes of a trained velocity, and what that costs.

Two equations are solved by each integrator, in steps of several sizes (or within several tolerances): from rows
:math:`x` up to the noise, which gives :math:`\log p(x)`, and from noise :math:`z` down to samples :math:`x(z)`. With a
star for the same from a reference in float64,

.. math::
    e_{\log p} = \frac1n \sum_i |\log p(x_i) - \log p^*(x_i)|, \qquad
    e_x = \Bigl(\frac{1}{n d} \sum_i |x(z_i) - x^*(z_i)|^2\Bigr)^{1/2} .

The divergence is the exact one throughout, so that :math:`e_{\log p}` is the integrator's alone. Rounding stays: in
float32 no error falls below some :math:`10^{-6}`.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from genflow.divergences import Exact
from genflow.errors import InputError, SolverError, reason
from genflow.extras import require
from genflow.flow import Flow
from genflow.interfaces import Integrator
from genflow.naming import registry
from genflow.naming.parts import parts, ready
from genflow.studies.references import Truth, like, reference
from genflow.studies.reporting.findings import Findings, write_into_folder
from genflow.studies.reporting.terminal import follow
from genflow.studies.solver_study.findings import findings_of
from genflow.studies.solver_study.settings import Setting
from genflow.studies.subject import Subject, subject_of

__all__ = ["STEPS", "TOLERANCES", "solvers"]

STEPS = (1, 2, 4, 8, 16, 32)
"""Steps on each piece of the velocity that a fixed-step integrator is tried with."""

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Tolerances, relative and absolute, that an adaptive integrator is tried with."""


@write_into_folder
@torch.no_grad()
def solvers(
    run: Any,
    integrators: Any = None,
    *,
    rows: int = 256,
    data: Any = None,
    steps: Sequence[int] = STEPS,
    tolerances: Sequence[float] = TOLERANCES,
    wanted: float = 0.01,
    repeats: int = 3,
    dtype: str | None = None,
    seed: int = 0,
    trust: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    progress: bool = False,
    command: str | None = None,
) -> Findings:
    """Draws work against precision of integrators on a trained model. See above.

    Args:
        run: A folder that `fit` or `compare` wrote, a model, or a `Flow`.
        integrators: Names, `module:Name`, classes, functions or integrators, or a dictionary of them by label; all that
            are registered by default.
        rows: Rows whose log density is computed, at most, and samples drawn.
        data: Where the rows come from; see `genflow.studies.subject`.
        steps: Steps on each piece of the velocity for integrators that walk a grid.
        tolerances: Tolerances for those that choose their steps, which are told by an argument `rtol`.
        wanted: Error of log p, in nats, that the cheapest integrator is named for.
        repeats: Runs of each setting, interleaved, whose median time is reported.
        dtype: `float32` or `float64`; the model's own by default.
        seed: Seed of the rows and of the noise.
        trust: Classes of the user's own that the folder may import.
        out: A folder for the results; it must not exist.
        progress: Whether to show where it stands, on standard error.
        command: The command line that repeats it, for the report.

    Returns:
        The `Findings`: `frame` has a row for each integrator and setting.

    Raises:
        InputError: An unknown integrator, a model that is no flow, a folder that exists.

    Example:
        >>> import torch, genflow as gf
        >>> swing = gf.as_velocity(lambda x, t, condition: x * torch.cos(6 * t))
        >>> flow = gf.Flow(swing, base=gf.StandardNormal(2))
        >>> found = gf.studies.solvers(flow, ["euler", "rk4"], rows=16, steps=(4, 8), repeats=1)
        >>> errors = found.frame.set_index(["integrator", "setting"])["error_log_p"]
        >>> bool(errors["rk4", "8 steps"] < errors["euler", "8 steps"])
        True
    """
    require("studies")
    _check_arguments(steps, tolerances, wanted, repeats, dtype, out)
    chosen = parts("integrator", ready("integrator") if integrators is None else integrators)
    subject = subject_of(run, rows=rows, data=data, seed=seed, trust=list(trust))
    flow = subject.flow.replace(divergence=Exact())
    if dtype is not None:
        flow = copy.deepcopy(flow).to(_DTYPES[dtype])
        subject.x = subject.x.to(_DTYPES[dtype])
        subject.condition = like(subject.condition, subject.x)
    generator = torch.Generator().manual_seed(seed)
    z = flow.base.sample((len(subject.x),), generator, device=subject.x.device).to(subject.x)
    truth = reference(flow, subject, z)
    own = Setting("own", _flow_in_words(flow), flow.integrator, flow.scheduler, own=True)
    settings = [own, *_settings(flow, chosen, steps, tolerances)]
    runs = [(repeat, setting) for repeat in range(repeats) for setting in settings]
    _measure(flow, own, subject, truth, seed)  # what the first solve pays for is no integrator's cost
    for repeat, setting in follow(runs, len(runs), "solving", progress):
        if repeat == 0 or not (setting.inapplicable or setting.status.startswith("refused")):
            _measure(flow, setting, subject, truth, seed)
    config = {
        "run": str(run) if isinstance(run, str | PathLike) else None,
        "integrators": list(chosen),
        "rows": len(subject.x),
        "steps": list(steps),
        "tolerances": list(tolerances),
        "wanted": wanted,
        "repeats": repeats,
        "dtype": str(subject.x.dtype).removeprefix("torch."),
        "seed": seed,
        "command": command,
    }
    findings = findings_of(subject, settings, truth, config)
    return findings


def _check_arguments(
    steps: Sequence[int], tolerances: Sequence[float], wanted: float, repeats: int, dtype: str | None, out: Any
) -> None:

    if not steps or min(steps) < 1:
        raise InputError(f"steps: {' '.join(map(str, steps))} came; numbers from 1 up would do")
    if not tolerances or not min(tolerances) > 0:
        raise InputError(f"tolerances: {' '.join(map(str, tolerances))} came; positive numbers would do")
    if not wanted > 0:
        raise InputError(f"wanted: {wanted} came; a positive number of nats, such as 0.01, would do")
    if repeats < 1:
        raise InputError(f"repeats: {repeats} came; at least 1 would do")
    if dtype is not None and dtype not in _DTYPES:
        raise InputError(f"dtype: {dtype!r} came; float32 or float64 would do")


_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def _flow_in_words(flow: Flow) -> str:
    integrator = flow.integrator
    name = integrator.method or registry.name_of(type(integrator)).rpartition(":")[2]
    if integrator.tolerances:
        return f"{name}, rtol {integrator.tolerances['rtol']:g}"
    return f"{name}, {_steps(flow.scheduler.steps)}"


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _settings(
    flow: Flow, chosen: dict[str, Integrator], steps: Sequence[int], tolerances: Sequence[float]
) -> list[Setting]:
    found = []
    for label, integrator in chosen.items():
        if not integrator.tolerances:
            grids = ((count, flow.scheduler.with_steps(count)) for count in steps)
            found += [Setting(label, _steps(count), integrator, grid) for count, grid in grids]
            continue
        for tolerance in tolerances:
            tightened = integrator.rebuilt(**dict.fromkeys(integrator.tolerances, tolerance))
            found.append(Setting(label, f"rtol {tolerance:g}", tightened, flow.scheduler))
    return found


def _measure(flow: Flow, setting: Setting, subject: Subject, truth: Truth, seed: int) -> None:
    """One run of a setting: its times are collected, its errors do not change from run to run."""
    solver = flow.replace(integrator=setting.integrator, scheduler=setting.scheduler)
    figures = setting.figures
    refusals: dict[str, str] = {}
    unsuited = 0
    if not setting.figures:
        _find_out(solver, setting, truth.z, subject.condition)
    if not setting.stochastic:
        try:
            began = time.perf_counter()
            transport = solver.integrate(subject.x, condition=subject.condition)
            taken = time.perf_counter() - began
            assert transport.log_det is not None
            log_p = (solver.base.log_prob(transport.x) + transport.log_det).double()
        except Exception as refusal:  # one of the user's own may fail in any way: it is the only one that is lost
            refusals["no log p"] = reason(refusal)
            unsuited += isinstance(refusal, InputError)
        else:
            difference = log_p - truth.log_p.double()
            figures["nfe"] = transport.nfe
            figures["error_log_p"] = difference.abs().mean().item()
            figures["largest_error_log_p"] = difference.abs().max().item()
            figures["nll_shift"] = -difference.mean().item()
            _add_time(figures, "seconds", taken)
    try:
        began = time.perf_counter()
        x, nfe = _decode(solver, setting, truth.z, subject.condition, seed)
        taken = time.perf_counter() - began
    except Exception as refusal:
        refusals["no samples"] = reason(refusal)
        unsuited += isinstance(refusal, InputError)
    else:
        figures["sample_nfe"] = nfe
        figures["error_x"] = math.nan if setting.stochastic else _rms(x, truth.x)
        _add_time(figures, "sample_seconds", taken)
        if setting.samples is None:
            figures["w2"] = _w2(x, subject.x)
            setting.samples = x
    setting.inapplicable = unsuited == 2 and not setting.integrator.carries_density
    if len(set(refusals.values())) < len(refusals):
        refusals = {"refused": next(iter(refusals.values()))}
    remark = "samples only: its noise is its own" if setting.stochastic else "ok"
    setting.status = "; ".join(f"{what}: {why}" for what, why in refusals.items()) or remark


def _decode(solver: Flow, setting: Setting, z: Tensor, condition: Any, seed: int) -> tuple[Tensor, int]:
    """Samples, and the evaluations that they took.

    An integrator of stochastic equations is given the model's reverse equation, where it has one.
    """
    generator = torch.Generator(z.device).manual_seed(seed)
    if not setting.reverse_equation:
        back = solver.integrate(z, reverse=True, log_det=False, condition=condition, generator=generator)
        return back.x, back.nfe
    reverse = solver.reverse_dynamics(condition)
    assert reverse is not None
    low, high = solver.velocity.interval
    times = solver.scheduler.times(high, low, dtype=z.dtype, device=z.device)
    solution = solver.integrator.solve(reverse, z, times, generator=generator)
    return solution.state, solution.nfe


def _find_out(solver: Flow, setting: Setting, z: Tensor, condition: Any) -> None:
    """Tries on two rows which equation a setting solves, and whether the noise alone determines its samples."""
    condition = condition[:2] if isinstance(condition, Tensor) and condition.ndim > 1 else condition
    try:
        draws = [_decode(solver, setting, z[:2], condition, seed)[0] for seed in (0, 1)]
    except InputError:
        setting.reverse_equation = setting.stochastic = solver.reverse_dynamics(condition) is not None
    except Exception:  # said again, and noted, when it is measured
        return
    else:
        setting.stochastic = not torch.equal(*draws)


def _add_time(figures: dict[str, Any], name: str, taken: float) -> None:
    """Adds a time; the median of all stands for them, the quartiles beside it."""
    times = figures.setdefault("times", {}).setdefault(name, [])
    times.append(taken)
    figures[name] = statistics.median(times)
    quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else [taken] * 3
    figures[f"{name}_q1"], figures[f"{name}_q3"] = quartiles[0], quartiles[2]


def _rms(x: Tensor, y: Tensor) -> float:
    return (x.double() - y.double()).square().mean().sqrt().item()


def _w2(x: Tensor, y: Tensor) -> float:
    from genflow.metrics import wasserstein2

    try:
        return wasserstein2(x.double().flatten(1), y.double().flatten(1))
    except (InputError, SolverError):  # samples that are not finite
        return math.nan
