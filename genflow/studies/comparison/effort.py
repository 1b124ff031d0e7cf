"""How good a model's samples are for how many evaluations of its velocity: each flow by several solvers and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from genflow.deadline import OutOfTime, deadline
from genflow.errors import InputError, SolverError
from genflow.solvers import RK4, Euler
from genflow.studies.comparison.ration import Ration

__all__ = ["ONE_PASS", "Effort", "efforts", "from_array", "to_array"]

ONE_PASS = "one pass"
"""The solver of a model that has none."""

_SOLVERS = {"euler": Euler, "rk4": RK4}
_STEPS = (1, 2, 4, 8, 16, 32)  # of each piece of the velocity
_MOST = 150  # evaluations; a chain of many blocks takes its steps in each


@dataclass(frozen=True)
class Effort:
    """What came of one way to draw samples.

    Attributes:
        solver: The solver's name.
        steps: Its steps.
        nfe: Evaluations of the velocity for each sample.
        w2: The 2-Wasserstein distance of the samples from as many test rows.
    """

    solver: str
    steps: int
    nfe: int
    w2: float


def efforts(model: Any, distance: Callable[[Any], float], ration: Ration) -> list[Effort]:
    """What comes of few steps and of many, as far as the time goes; the fewest evaluations first.

    Args:
        model: A `Transformed` model.
        distance: How far samples of such a model are from test rows.
        ration: The time of the evaluation; it may use what is left.
    """
    inner = model.model
    if not (inner.integrates and inner.has_parts):
        return [Effort(ONE_PASS, 1, 1, distance(model))]
    ways = [(name, steps, _evaluations(inner, name, steps)) for name in _SOLVERS for steps in _STEPS]
    found = []
    for name, steps, nfe in sorted(ways, key=lambda way: way[2]):
        if nfe > _MOST:
            break
        try:
            with deadline(ration.left(), ration.budget.clock):
                w2 = distance(_with(model, name, steps))
        except (OutOfTime, InputError):
            break
        except SolverError:
            w2 = math.nan
        found.append(Effort(name, steps, nfe, w2))
    return found


def to_array(found: Sequence[Effort]) -> np.ndarray:
    """As an array of numbers, `(n, 4)`; the solver by its place among those that are known."""
    names = [*_SOLVERS, ONE_PASS]
    return np.array([(names.index(effort.solver), *astuple(effort)[1:]) for effort in found]).reshape(-1, 4)


def from_array(rows: np.ndarray) -> list[Effort]:
    """What `to_array` has made."""
    names = [*_SOLVERS, ONE_PASS]
    return [Effort(names[int(place)], int(steps), int(nfe), float(w2)) for place, steps, nfe, w2 in rows]


def _with(model: Any, name: str, steps: int) -> Any:
    return model.replace(integrator=_SOLVERS[name](), scheduler=model.model.scheduler.with_steps(steps))


def _evaluations(inner: Any, name: str, steps: int) -> int:
    """Evaluations of one sample: so many steps in each piece of the velocity."""
    return _SOLVERS[name]().nfe(steps * len(inner.field().pieces()))
