"""Pictures of samples against work: the distance from test rows for so many evaluations of the velocity."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from genflow.studies.comparison.effort import ONE_PASS, Effort, from_array
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures.view import View, colour_of
from genflow.studies.reporting.drawing import logarithmic
from genflow.studies.reporting.plot import WIDE, Key, Panel, Picture, Row
from genflow.studies.reporting.tones import FAINT

__all__ = ["against_work", "efforts_of"]

_DASHES: dict[str, Any] = {"euler": (0, (4, 2)), "rk4": "-", ONE_PASS: (0, (1, 2))}
_IN_WORDS = {"euler": "Euler", "rk4": "RK4", ONE_PASS: "one pass, no solver"}


def efforts_of(view: View) -> dict[str, list[Effort]]:
    """What each model's samples were for how many evaluations; only where there is something to see.

    Args:
        view: The data set.
    """
    found = {shown.label: from_array(shown.arrays["efforts"]) for shown in view.models if "efforts" in shown.arrays}
    found = {label: [one for one in efforts if math.isfinite(one.w2)] for label, efforts in found.items()}
    return {label: efforts for label, efforts in found.items() if efforts}


def against_work(board: Outcomes, view: View) -> Picture:
    """W2 of samples and test rows against the evaluations of the velocity for each sample."""
    found = efforts_of(view)
    solvers = [name for name in _DASHES if any(one.solver == name for efforts in found.values() for one in efforts)]
    keys = [Key(label, colour_of(board, label), {"marker": "o", "ls": ""}) for label in found]
    keys += [Key(_IN_WORDS[name], FAINT, {"lw": 1.2, "ls": _DASHES[name]}) for name in solvers]
    return Picture([Row([Panel("Samples against work", partial(_curves, board, found))])], WIDE, keys)


def _curves(board: Outcomes, found: dict[str, list[Effort]], axis: Any) -> None:
    for label, efforts in found.items():
        colour = colour_of(board, label)
        for solver, dashes in _DASHES.items():
            own = [one for one in efforts if one.solver == solver]
            if solver == ONE_PASS and own:
                axis.axhline(own[0].w2, color=colour, lw=1.2, ls=dashes)
            elif own:
                at, w2 = [one.nfe for one in own], [one.w2 for one in own]
                axis.plot(at, w2, "o", ls=dashes, ms=3.2, lw=1.2, color=colour)
    axis.set(xlabel="evaluations of the velocity for a sample", ylabel="W2 of samples and test rows")
    logarithmic(axis, "x")
    logarithmic(axis, "y")
    axis.grid()
