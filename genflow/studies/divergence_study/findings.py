"""What the study of divergence estimators says: its table, its sentences, its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from genflow.studies.divergence_study.trial import Trial
from genflow.studies.reporting.columns import Column
from genflow.studies.reporting.drawing import logarithmic, plain
from genflow.studies.reporting.findings import Findings
from genflow.studies.reporting.numbers import scientific, seconds, whole
from genflow.studies.reporting.plot import WIDE, Key, Panel, Picture, Plot, Row
from genflow.studies.reporting.tones import EDGE, FAINT, INK, MODELS, SOFT
from genflow.studies.subject import Subject

__all__ = ["findings_of"]


def _bias_in_words(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:+.1e}"


_COLUMNS = (
    Column("divergence", "divergence", "the estimator", str),
    Column("n", "n", "number of probes", lambda n: str(n) if n else "–"),
    Column("bias", "bias", "mean error of log p over rows and draws, nats", _bias_in_words),
    Column("bias_se", "± SE", "its standard error", scientific, dispensable=1),
    Column("standard_error", "SE", "standard deviation of a row's log p over draws, nats", scientific),
    Column("reported", "reported", "the standard error that a single solve reports for it", scientific, dispensable=1),
    Column("nfe", "NFE", "evaluations of the velocity in a solve", whole, dispensable=1),
    Column("pushes", "pushes", "tangents or cotangents pushed through it in a solve", whole),
    Column("seconds", "time", "median wall time of log p for all rows", seconds),
    Column("relative", "x exact", "this time by that of the exact divergence", lambda r: f"{r:.2f}"),
)
_COLOURS = (MODELS[1], MODELS[0], *MODELS[2:])
_MARKERS = "osD^v<>Ph*Xd"
_EXACT = {"exact": INK, "exact, pushed": FAINT}


@dataclass(frozen=True)
class _Offer:
    """What it takes to reach the wanted standard error with one estimator."""

    label: str
    n: int
    seconds: float
    measured: bool


def findings_of(
    subject: Subject, trials: list[Trial], exact: Tensor, times: Sequence[float], config: dict[str, Any]
) -> Findings:
    """The table, the sentences and the pictures of what was measured."""
    import pandas as pd

    fine = [trial for trial in trials if trial.log_p]
    rows: list[dict[str, Any]] = []
    rows += [{"divergence": t.label, "n": t.n, **t.figures(exact), "status": t.status, "own": False} for t in fine]
    baseline = fine[0].figures(exact)["seconds"]
    for row in rows:
        row["relative"] = row["seconds"] / baseline
    frame = pd.DataFrame(rows)
    count, dim = len(subject.x), subject.x[0].numel()
    closed = any(t.label.startswith("exact, pushed") for t in fine)
    return Findings(
        title=_title(subject.name, frame, config["wanted"]),
        about=f"{count} rows, d = {dim}, in {config['dtype']}; held against the exact divergence in float64.",
        facts=[
            (str(count), "rows"),
            (str(dim), "dimensions"),
            (str(config["draws"]), "draws of the probes"),
            ("yes" if closed else "no", "divergence in closed form"),
            (f"{config['wanted']:g}", "nats, the standard error that is wanted"),
        ],
        frame=frame,
        columns=_COLUMNS,
        sentences=_sentences(frame, config["wanted"], dim, count),
        notes=[f"{trial.name}: {trial.status}" for trial in trials if trial.status != "ok"],
        plots=[
            Plot("cost", "Cost against standard error", _COST, lambda: _cost(frame, config["wanted"])),
            Plot("bias", "Bias", _BIAS, lambda: _bias(frame)),
            Plot("along", "Along the solve", _ALONG, lambda: _along(fine, times)),
        ],
        config=config,
    )


def _title(name: str, frame: Any, wanted: float) -> str:
    """The answer in a line: what reaches the wanted standard error in the least time."""
    best = _own(_offers(frame, wanted))[0]
    answer = _offer_in_words(best)
    return f"{answer[:1].upper()}{answer[1:]} is the cheapest way to {wanted:g} nats for {name}"


def _offers(frame: Any, wanted: float) -> list[_Offer]:
    """What reaches the wanted standard error, the cheapest first."""
    found = (_offer(group, wanted) for _, group in frame.groupby("divergence", sort=False))
    return sorted(filter(None, found), key=lambda offer: offer.seconds)


def _own(offers: list[_Offer]) -> list[_Offer]:
    """The offers of the model itself: the identity, pushed, is what another network would pay."""
    return [offer for offer in offers if offer.label != "exact, pushed"]


def _sentences(frame: Any, wanted: float, dim: int, count: int) -> list[str]:
    exact = frame.iloc[0]
    said = []
    offers = _offers(frame, wanted)
    own = _own(offers)
    best = own[0]
    share = best.seconds / exact["seconds"]
    said.append(
        f"At d = {dim}, a standard error of {wanted:g} nats is cheapest with {_offer_in_words(best)}: "
        f"{seconds(best.seconds)} for {count} rows"
        f"{'' if best.label == 'exact' else f', {share:.2g} times the exact divergence of this model'}."
    )
    for other in own[1:3]:
        said.append(
            f"{_offer_in_words(other)[:1].upper()}{_offer_in_words(other)[1:]} would take {seconds(other.seconds)}."
        )
    without = [offer for offer in offers if offer not in own]
    random = [offer for offer in own if offer.label != "exact"]
    if without and random:
        rival = random[0]
        winner = "the identity, pushed," if without[0].seconds <= rival.seconds else _offer_in_words(rival)
        said.append(
            f"A network without the closed form would pay {seconds(without[0].seconds)} for the exact divergence "
            f"({without[0].seconds / exact['seconds']:.2g} times); there, {winner} would be the cheapest."
        )
    from scipy.stats import t

    # One false alarm in a thousand studies: few draws know their own standard error badly, and there are many rows.
    level = 1e-3 / len(frame)
    limit = t.isf(level / 2, frame["draws"].clip(lower=2) - 1)
    biased = frame[(frame["bias"].abs() > limit * frame["bias_se"]) & (frame["bias"].abs() > 0.1 * wanted)]
    for row in biased.to_dict("records")[:3]:
        said.append(f"{_name(row)} is biased: {row['bias']:+.2g} ± {row['bias_se']:.1g} nats.")
    return said


def _offer_in_words(offer: _Offer) -> str:
    if not offer.n:
        return f"the estimator {offer.label}" if offer.label != "exact" else "the exact divergence"
    return f"{offer.label} with {'' if offer.measured else 'about '}{offer.n:,} probes".replace(",", "\u202f")


def _name(row: dict[str, Any]) -> str:
    return f"{row['divergence']}, n = {row['n']}" if row["n"] else row["divergence"]


def _offer(group: Any, wanted: float) -> _Offer | None:
    """The cheapest way to the wanted error: measured, or by n^(-1/2) and a cost that is linear in n from what was.

    None for an estimator whose bias alone is larger.
    """
    rows = group.sort_values("n").to_dict("records")
    label = rows[0]["divergence"]
    last = rows[-1]
    for row in rows:
        if math.hypot(row["bias"], row["standard_error"]) <= wanted:
            return _Offer(label, row["n"], row["seconds"], True)
    if not last["n"] or abs(last["bias"]) - 3 * last["bias_se"] > wanted:
        return None
    n = math.ceil(last["n"] * (last["standard_error"] / wanted) ** 2)
    each = 0.0
    if len(rows) > 1:
        each = max(0.0, float(np.polyfit([r["n"] for r in rows], [r["seconds"] for r in rows], 1)[0]))
    else:
        each = last["seconds"] / last["n"]
    return _Offer(label, n, last["seconds"] + each * (n - last["n"]), False)


_COST = (
    "Each line is an estimator, its points the numbers of probes; down and left is better. Upright lines are exact "
    "divergences, whose standard error is zero. The dashed line is the standard error that was asked for."
)
_BIAS = (
    "Mean error of log p over rows and draws, with three standard errors to either side: an estimator whose bar misses "
    "zero is biased. Where a bar is long, more draws would be needed to tell."
)
_ALONG = (
    "At times between the data (left) and the noise (right), with the fewest probes that were tried: the root mean "
    "square over the rows of the estimated divergence's standard deviation, and its bias in standard errors. "
    "Above the dashed line, at three, an estimator is biased there."
)


def _style(place: int) -> dict[str, Any]:
    """Estimators that agree lie on one line: dashes show both."""
    dashes = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))[place % 4]
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)], "ls": dashes}


def _look(frame: Any, label: str) -> dict[str, Any]:
    labels = [name for name in dict.fromkeys(frame["divergence"]) if name not in _EXACT]
    place = labels.index(label)
    return _style(place)


def _cost(frame: Any, wanted: float) -> Picture:
    panels = [
        Panel(f"against {over}", partial(_errors, frame, wanted, name, over))
        for name, over in (("seconds", "seconds"), ("pushes", "tangents pushed in a solve"))
    ]
    legend = [
        Key(label, _EXACT[label], {"lw": 1.4})
        if label in _EXACT
        else Key(label, _look(frame, label)["color"], _look(frame, label))
        for label in dict.fromkeys(frame["divergence"])
    ]
    return Picture([Row(panels)], (3.55, 2.7), legend)


def _errors(frame: Any, wanted: float, name: str, over: str, axis: Any) -> None:
    """The standard error against a cost, a line for each estimator."""
    for label, group in frame.groupby("divergence", sort=False):
        if label in _EXACT:
            if group[name].iloc[0] > 0:
                axis.axvline(group[name].iloc[0], color=_EXACT[label], lw=1.4)
            continue
        shown = group[group["standard_error"] > 0]
        axis.plot(shown[name], shown["standard_error"], ms=4.5, lw=1.3, **_look(frame, label))
        for row in shown.to_dict("records") if name == "seconds" else ():
            if row["n"]:
                at = (row[name], row["standard_error"])
                axis.annotate(str(row["n"]), at, xytext=(4, 3), textcoords="offset points", color=SOFT)
    axis.axhline(wanted, color=EDGE, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axis.set(xlabel=over, ylabel="standard error of log p, nats")
    logarithmic(axis, "x")
    logarithmic(axis, "y")
    axis.grid()


def _bias(frame: Any) -> Picture:
    rows = [row for row in frame.to_dict("records") if row["divergence"] not in _EXACT]
    height = 0.7 + 0.2 * max(1, len(rows))
    return Picture([Row([Panel("bias of log p", partial(_biases, frame, rows))])], (3.7, height))


def _biases(frame: Any, rows: list[dict[str, Any]], axis: Any) -> None:
    for place, row in enumerate(rows):
        look = _look(frame, row["divergence"])
        style: dict[str, Any] = {"fmt": look["marker"], "color": look["color"], "ms": 4.5, "lw": 1.3, "capsize": 2.5}
        axis.errorbar(row["bias"], place, xerr=3 * row["bias_se"], **style)
    axis.axvline(0, color=EDGE, lw=0.9, zorder=0)
    axis.set_yticks(range(len(rows)), [plain(_name(row), 24) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")
    axis.locator_params(axis="x", nbins=4)
    axis.set_xlabel("bias of log p ± 3 SE, nats per row")


def _along(trials: list[Trial], times: Sequence[float]) -> Picture:
    shown: dict[str, Trial] = {}
    for trial in trials:
        shown.setdefault(trial.label, trial)
    random = [trial for label, trial in shown.items() if label not in _EXACT]
    panels = [
        Panel("standard deviation of the divergence", partial(_spread, random, times)),
        Panel("|bias| in standard errors", partial(_doubt, random, times)),
    ]
    legend = [Key(trial.name, _style(place)["color"], _style(place)) for place, trial in enumerate(random)]
    return Picture([Row(panels)], WIDE, legend)


def _spread(trials: list[Trial], times: Sequence[float], axis: Any) -> None:
    for place, trial in enumerate(trials):
        if trial.along is not None:
            _line(axis, times, trial.along[1].cpu().numpy(), place)
    axis.set_xlabel("time")
    logarithmic(axis, "y")
    axis.grid()


def _doubt(trials: list[Trial], times: Sequence[float], axis: Any) -> None:
    for place, trial in enumerate(trials):
        if trial.along is not None:
            bias, _, error = trial.along.cpu().numpy()
            with np.errstate(divide="ignore", invalid="ignore"):
                _line(axis, times, np.abs(bias) / error, place)
    axis.axhline(3, color=EDGE, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axis.set_ylim(0, None)
    axis.set_xlabel("time")
    axis.grid()


def _line(axis: Any, times: Sequence[float], values: np.ndarray, place: int) -> None:
    """A line of what is positive; the logarithm of an axis has no place for the rest."""
    fine = np.isfinite(values) & (values > 0)
    if fine.any():
        axis.plot(times, np.where(fine, values, np.nan), ms=3.5, lw=1.2, **_style(place))
