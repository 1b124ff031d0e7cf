"""A comparison that goes on: what of it is there already, and whether it is the same one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.studies.comparison.exchange import digest_of
from genflow.studies.comparison.names import file_names
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.plan import Plan
from genflow.studies.comparison.records import Outcome, Terms, Trial

__all__ = ["Continuation", "go_on"]

_READING = ("test", "columns", "atoms", "condition", "classes", "drop", "kinds", "missing", "missing_values", "sheet")
"""How data were read: arguments that must be what they were."""


@dataclass(frozen=True)
class Continuation:
    """A comparison that goes on.

    Attributes:
        plan: What was planned now; the trials that were there have the names that they had.
        outcomes: What is known of its trials. Those that failed are run again.
        config: What the folder says of it.
    """

    plan: Plan
    outcomes: list[Outcome]
    config: Mapping[str, Any]


def go_on(plan: Plan, folder: Path) -> Continuation:
    """Finds in a folder what of a plan is done.

    Args:
        plan: What is going to be done.
        folder: That of an earlier comparison. Its data, models and seeds are among those of the plan, which may have
            more; all else is the same.

    Raises:
        InputError: It is another comparison; with what tells them apart.
    """
    found = Outcomes(folder)
    trials = [Trial.from_json(row) for row in found.runs]
    known = {trial.key: (trial, Outcome.from_json(row)) for trial, row in zip(trials, found.runs)}
    for what, there, came in _differences(plan, found, trials):
        raise InputError(f"out: {folder}: a comparison with {what} {there} is there, {came} came; name another folder")
    homes = _homes(plan, found)
    names = _names(plan, trials)
    renamed, outcomes = [], []
    for trial in plan.trials:
        earlier, outcome = known.get(trial.key, (trial, Outcome()))
        name = earlier.name if trial.key in known else names[trial.key]
        renamed.append(replace(trial, home=homes[trial.data], name=name))
        outcomes.append(outcome if outcome.fine else Outcome())
    return Continuation(replace(plan, trials=renamed), outcomes, found.config)


def _differences(plan: Plan, found: Outcomes, trials: list[Trial]) -> Iterable[tuple[str, str, str]]:
    """What tells a plan from what is there: the argument, its value there, and the one that came."""
    if trials:
        there, came = trials[0].terms, plan.trials[0].terms
        for part in fields(Terms):
            if (old := vars(there)[part.name]) != (new := vars(came)[part.name]):
                yield part.name, _said(old), _said(new)
    arguments = found.config["arguments"]
    for name in _READING:
        old, new = arguments.get(name), _plain(plan.arguments.get(name))
        if (old or None) != (new or None):
            yield name, _said(old), _said(new)
    for what, old, new in (
        ("the data", found.data_names, list(plan.datasets)),
        ("the models", found.model_names, list(dict.fromkeys(trial.label for trial in plan.trials))),
        ("the seeds", found.seeds, list(dict.fromkeys(trial.seed for trial in plan.trials))),
    ):
        if set(old) - set(new):
            yield what, _said(old), _said(new)
    models = {trial.label: trial for trial in plan.trials}
    for trial in trials:
        came_of_it = models[trial.label]
        if trial.model != came_of_it.model:
            yield "the model", trial.model, came_of_it.model
        if dict(trial.options) != _plain(came_of_it.options):
            yield f"the options of {trial.label}", _said(trial.options), _said(came_of_it.options)
    for name, data in plan.datasets.items():
        digest = found.config["data"].get(name, {}).get("digest")
        if digest is not None and digest != (now := digest_of(data)):
            yield f"rows of {name} of the digest", digest, now


def _homes(plan: Plan, found: Outcomes) -> dict[str, str]:
    """The folder of each data set: that which it has, and a name that none has for one that came new."""
    taken = {name: found.home(name) for name in found.data_names}
    return taken | file_names([name for name in plan.datasets if name not in taken], taken=taken.values())


def _names(plan: Plan, trials: list[Trial]) -> dict[tuple[str, str, int], str]:
    """The names of the trials that came new, none of which any other has."""
    taken = {trial.name for trial in trials}
    keys = {(trial.label, trial.seed): trial.name for trial in trials}
    new = {(trial.label, trial.seed): trial.name for trial in plan.trials if (trial.label, trial.seed) not in keys}
    found = file_names(new.values(), taken=taken)
    return {
        trial.key: keys.get((trial.label, trial.seed)) or found[new[trial.label, trial.seed]] for trial in plan.trials
    }


def _plain(value: Any) -> Any:
    """As a file holds it."""
    return json.loads(json.dumps(value, default=str))


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, {}) else json.dumps(value, default=str) if isinstance(value, dict) else str(value)
