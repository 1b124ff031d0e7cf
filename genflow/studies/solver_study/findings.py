"""What the study of integrators says: its table, its sentences, its pictures."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from genflow.studies.references import Truth
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.drawing import dots, logarithmic
from genflow.studies.reporting.findings import Findings
from genflow.studies.reporting.mosaics import show_pictures
from genflow.studies.reporting.numbers import scientific, seconds, whole
from genflow.studies.reporting.plot import WIDE, Key, Panel, Picture, Plot, Row, drawable_units
from genflow.studies.reporting.tones import DATA, EDGE, INK, MODELS
from genflow.studies.solver_study.settings import Setting
from genflow.studies.subject import Subject

__all__ = ["findings_of"]

_FIGURES = (
    *("nfe", "error_log_p", "largest_error_log_p", "nll_shift", "seconds", "seconds_q1", "seconds_q3"),
    *("sample_nfe", "error_x", "w2", "sample_seconds", "sample_seconds_q1", "sample_seconds_q3"),
)
_COLUMNS = (
    Column("integrator", "integrator", "the integrator; own is the model as it was saved", str),
    Column("setting", "setting", "steps on each piece of the velocity, or relative and absolute tolerance", str),
    Column("nfe", "NFE", "evaluations of the velocity for log p", whole),
    Column("error_log_p", "error log p", "mean of |log p - reference| over the rows, nats", scientific),
    Column(
        "nll_shift",
        "NLL shift",
        "what the reported NLL is off by: below 0 it flatters",
        scientific,
        dispensable=1,
    ),
    Column("seconds", "time", "median wall time of log p for all rows", seconds),
    Column("error_x", "error x", "root mean square of x - reference, standardized units", scientific),
    Column(
        "w2", "W2", "exact 2-Wasserstein distance of as many samples and the rows, standardized units", dispensable=1
    ),
    Column("sample_nfe", "NFE x", "evaluations of the velocity for samples", whole, dispensable=1),
    Column("sample_seconds", "time x", "median wall time of as many samples", seconds, dispensable=1),
)
_COLOURS = (MODELS[1], MODELS[0], *MODELS[2:])
_OWN = "as saved"
_MARKERS = "osD^v<>Ph*Xd"
_NEAR = 0.01  # an error of samples that no eye and hardly a test can see
_SHOWN = 8  # integrators in the picture of samples


def findings_of(subject: Subject, settings: list[Setting], truth: Truth, config: dict[str, Any]) -> Findings:
    """The table, the sentences and the pictures of what was measured."""
    import pandas as pd

    rows = [
        {
            "integrator": setting.label,
            "setting": setting.setting,
            **{name: setting.figures.get(name, math.nan) for name in _FIGURES},
            "status": setting.status,
            "own": setting.own,
        }
        for setting in settings
        if setting.figures
    ]
    count, dim = len(subject.x), subject.x[0].numel()
    plots = [Plot("work-precision", "Work against precision", _HOW_TO_READ, lambda: _work(settings, truth, config))]
    if dim == 2 or subject.image_shape:
        plots.append(Plot("samples", "The same noise, decoded", _SAMPLES, lambda: _samples(subject, settings, truth)))
    return Findings(
        title=_title(subject.name, settings, config["wanted"]),
        about=f"{count} rows, d = {dim}, in {config['dtype']}; held against {truth.how}.",
        facts=[
            (str(count), "rows and samples"),
            (str(dim), "dimensions"),
            (str(len(subject.flow.velocity.pieces())), "pieces of the velocity"),
            (scientific(truth.error), f"nats, error of the reference ({whole(truth.nfe)} NFE)"),
            (str(config["repeats"]), "interleaved runs, median times"),
        ],
        frame=pd.DataFrame(rows),
        columns=_COLUMNS,
        sentences=_sentences(settings, config["wanted"], count),
        notes=_notes(settings),
        plots=plots,
        config=config,
    )


def _title(name: str, settings: list[Setting], wanted: float) -> str:
    """The answer in a line: what gives log p within the wanted error for the fewest evaluations."""
    best = _cheapest(settings[1:], wanted)
    if best is None:
        return f"No integrator that was tried gives log p of {name} within {wanted:g} nats"
    return f"{best.label}, {best.setting}, gives log p of {name} within {wanted:g} nats for the fewest evaluations"


def _cheapest(settings: list[Setting], wanted: float) -> Setting | None:
    """The setting of the fewest evaluations whose log p is within the wanted error."""
    good = [s for s in settings if s.figures.get("error_log_p", math.inf) <= wanted]
    return min(good, key=lambda s: (s.figures["nfe"], s.figures["seconds"]), default=None)


def _sentences(settings: list[Setting], wanted: float, count: int) -> list[str]:
    own, *others = settings
    said = []
    best = _cheapest(others, wanted)
    if best is not None:
        figures = best.figures
        said.append(
            f"log p within {wanted:g} nats takes the fewest evaluations with {best.label}, {best.setting}: "
            f"{figures['nfe']} of them, {seconds(figures['seconds'])} for {count} rows, a mean error of "
            f"{figures['error_log_p']:.1g} nats."
        )
    else:
        said.append(f"No setting gives log p within {wanted:g} nats; more steps would.")
    if "error_log_p" in own.figures:
        figures = own.figures
        said.append(
            f"The model as it was saved ({own.setting}) takes {figures['nfe']} evaluations; its log p is off by "
            f"{figures['error_log_p']:.1g} nats in the mean, its NLL by {figures['nll_shift']:+.1g}."
        )
    better = [s for s in others if s.figures.get("nll_shift", 0.0) < -wanted]
    if better:
        worst = min(better, key=lambda s: s.figures["nll_shift"])
        said.append(
            f"Coarse solves flatter: {worst.label} with {worst.setting} reports an NLL that is "
            f"{-worst.figures['nll_shift']:.2g} nats better than the true one."
        )
    near = [s for s in others if s.figures.get("error_x", math.inf) <= _NEAR]
    if near:
        best = min(near, key=lambda s: (s.figures["sample_nfe"], s.figures["sample_seconds"]))
        said.append(
            f"Samples within {_NEAR:g} of where they belong (root mean square, standardized units) take "
            f"{best.figures['sample_nfe']} evaluations: {best.label}, {best.setting}."
        )
    return said


def _notes(settings: list[Setting]) -> list[str]:
    """Why a setting has no log p or no samples: once for each reason, with the integrators that give it."""
    strangers = list(dict.fromkeys(setting.label for setting in settings if setting.inapplicable))
    settings = [setting for setting in settings if setting.label not in strangers]
    samplers = list(
        dict.fromkeys(s.label for s in settings if not s.integrator.carries_density and "sample_nfe" in s.figures)
    )
    counts = {s.label: sum(other.label == s.label for other in settings) for s in settings}
    said: dict[tuple[str, str], list[str]] = {}
    for setting in settings:
        if setting.status != "ok" and setting.label not in samplers:
            said.setdefault((setting.label, setting.status), []).append(setting.setting)
    reasons: dict[str, list[str]] = {}
    for (label, status), which in said.items():
        part = "" if len(which) == counts[label] else f" ({', '.join(which)})"
        # The name of the one that refuses stands in front already.
        reasons.setdefault(status.replace(f" {label}:", ""), []).append(f"{label}{part}")
    notes = [f"{', '.join(labels)}: {status}" for status, labels in reasons.items()]
    if samplers:
        notes.append(f"samples only, no log p: {', '.join(samplers)}, which move points alone")
    if strangers:
        notes.append(f"not applicable here: {', '.join(strangers)} (samplers of diffusions, which this model is not)")
    return notes


_HOW_TO_READ = (
    "A line for each integrator, its settings from coarse to fine; down and left is better. Evaluations "
    "of the velocity change on no machine; wall time is the median of interleaved runs. The star is "
    "the model as it was saved, the dashed line the error that was asked for. Lines end flat where rounding takes over."
)
_SAMPLES = (
    "Every panel decodes the same noise, the reference at the top left included: what differs is the integrator's "
    "error. NFE and the error of x stand above each; W2 where the noise does not determine the samples."
)


def _work(settings: list[Setting], truth: Truth, config: dict[str, Any]) -> Picture:
    own, *others = settings
    labels = list(dict.fromkeys(s.label for s in others if _is_plotted(s)))
    looks = {label: _look(place) for place, label in enumerate(labels)}
    rows = []
    for name, error, ordinate, works in (
        ("log p of rows", "error_log_p", "error of log p, nats", ("nfe", "seconds")),
        ("Samples", "error_x", "error of x", ("sample_nfe", "sample_seconds")),
    ):
        wanted = config["wanted"] if error == "error_log_p" else math.nan
        panels = [
            Panel(f"{title} {over}", partial(_precision, own, others, looks, (work, error), (over, ordinate), wanted))
            for title, work, over in zip((name, name), works, ("against evaluations", "against seconds"), strict=True)
        ]
        rows.append(Row(panels))
    legend = [Key(label, look["color"], look) for label, look in looks.items()]
    return Picture(rows, WIDE, [*legend, Key(_OWN, INK, {"marker": "*", "ls": ""})])


def _look(place: int) -> dict[str, Any]:
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)]}


def _precision(
    own: Setting,
    others: list[Setting],
    looks: dict[str, dict[str, Any]],
    names: tuple[str, str],
    headings: tuple[str, str],
    wanted: float,
    axis: Any,
) -> None:
    """The error that is named second against the work that is named first, a line for each integrator."""
    work, error = names
    for label, look in looks.items():
        points = [
            (s.figures[work], s.figures[error])
            for s in others
            if s.label == label and 0 < s.figures.get(error, math.nan) < math.inf
        ]
        if points:
            axis.plot(*zip(*points, strict=True), ms=4, lw=1.3, **look)
    if own.figures.get(error, 0) > 0:
        axis.plot(own.figures[work], own.figures[error], marker="*", ms=12, color=INK, zorder=5)
    if math.isfinite(wanted):
        axis.axhline(wanted, color=EDGE, lw=0.9, ls=(0, (4, 3)), zorder=0)
    over, ordinate = headings
    axis.set(xlabel=over.removeprefix("against "), ylabel=ordinate)
    logarithmic(axis, "x")
    logarithmic(axis, "y")
    axis.grid()


def _is_plotted(setting: Setting) -> bool:
    return any(setting.figures.get(name, 0) > 0 for name in ("error_log_p", "error_x"))


def _samples(subject: Subject, settings: list[Setting], truth: Truth) -> Picture:
    """A row of panels for each integrator: a coarse, a middle and a fine setting, in the units of the data."""
    drawn = [s for s in settings if s.samples is not None]
    labels = list(dict.fromkeys(s.label for s in drawn if not s.own))[:_SHOWN]
    rows = subject.in_units_of_data(subject.x).cpu().numpy().reshape(len(subject.x), -1)
    picture = subject.image_shape is not None
    units = 1.0 if picture else drawable_units(rows)
    ends = np.quantile(rows / units, [0.005, 0.995], axis=None if picture else 0)

    def panel(title: str, note: str, colour: str, x: Any) -> Panel:
        points = subject.in_units_of_data(x).cpu().numpy().reshape(len(x), -1) / units
        return Panel(title, partial(_points, points, subject.image_shape, ends, colour), colour, note, paper=picture)

    first = [panel("reference", "", INK, truth.x), panel("rows", "", DATA, subject.x)]
    first += [panel(_OWN, _caption(s), INK, s.samples) for s in drawn if s.own]
    found = [Row(first)]
    for place, label in enumerate(labels):
        few = _three([s for s in drawn if s.label == label])
        colour = _COLOURS[place % len(_COLOURS)]
        found.append(Row([panel(s.setting, _caption(s), colour, s.samples) for s in few], label))
    return Picture(found, (2.2, 1.3) if picture else (1.75, 1.75))


def _points(points: np.ndarray, shape: Any, ends: np.ndarray, colour: str, axis: Any) -> None:
    low, high = ends
    if shape is not None:
        show_pictures(axis, points[:18], shape, 3, 6, (low, high))
        return
    dots(axis, points[:, 0], points[:, 1], colour, 2.0)
    margin = 0.12 * (high - low)
    axis.set(xticks=[], yticks=[], xlim=(low[0] - margin[0], high[0] + margin[0]))
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])


def _three(settings: list[Setting]) -> list[Setting]:
    """The coarsest setting, the finest, and the middle one."""
    if len(settings) <= 3:
        return settings
    return [settings[0], settings[len(settings) // 2], settings[-1]]


def _caption(setting: Setting) -> str:
    figures = setting.figures
    error = f"W2 {figures['w2']:.2f}" if setting.stochastic else f"error {figures['error_x']:.0e}"
    return f"NFE {figures['sample_nfe']}, {error}"
