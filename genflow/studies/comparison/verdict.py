r"""What a comparison says, in a sentence: which model leads on what, by how much, and whether that is more than chance.

A leader is the model of the lowest NLL on a data set. Its lead over another model is the mean of their differences on
the same test rows, and more than chance where its probability, after Holm's correction for all pairs of the data set,
is below the level; see `genflow.studies.comparison.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genflow.studies.comparison.significance import LEVEL
from genflow.studies.reporting.numbers import difference

__all__ = ["Contest", "Lead", "Verdict", "headline", "verdict_on"]

_FEW = 3  # names that a sentence spells out


@dataclass(frozen=True)
class Lead:
    """How far the leader of a data set is ahead of another model.

    Attributes:
        over: The other model.
        nats: The difference of their NLL, in nats per row; 0 and more.
        se: Its paired standard error.
        p: The probability of such a difference by chance, after Holm's correction; NaN where it was not tested.
    """

    over: str
    nats: float
    se: float
    p: float = math.nan

    @property
    def sure(self) -> bool:
        """Whether it is one, and more than chance."""
        return self.p < LEVEL and self.nats > 0

    def __str__(self) -> str:
        return difference(self.nats, self.se)


@dataclass(frozen=True)
class Contest:
    """Models on one data set, as far as a verdict needs it.

    Attributes:
        data: The name of the data set.
        leader: The model of the lowest NLL; empty where none has one.
        leads: Its leads over all others that have an NLL, the nearest first.
        without: Models that were trained and have no density.
        failures: Models that failed, or are not done.
        given: The columns that the others are conditioned on.
        simple: Those of the models that are simple: what a flow should beat.
        ceiling: How far the leader is above the true density, where that is known.
    """

    data: str
    leader: str
    leads: Sequence[Lead] = ()
    without: Sequence[str] = ()
    failures: Sequence[str] = ()
    given: Sequence[str] = ()
    simple: Sequence[str] = ()
    ceiling: Lead | None = None

    @property
    def open(self) -> list[Lead]:
        """The leads that chance would explain."""
        return [lead for lead in self.leads if not lead.sure]


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one data set.

    Attributes:
        short: In a few words.
        sentence: With its figures.
        remarks: What qualifies it, a sentence each.
    """

    short: str
    sentence: str
    remarks: Sequence[str] = ()


def verdict_on(contest: Contest) -> Verdict:
    """Who leads on a data set, by how much, and whether that is more than chance.

    Args:
        contest: The models on it.

    Example:
        >>> from genflow.studies.comparison.verdict import Contest, Lead, verdict_on
        >>> print(verdict_on(Contest("moons", "nsf", [Lead("maf", 0.2, 0.05, 6e-5)])).sentence)
        nsf leads on moons, 0.200 ± 0.050 nats per row ahead of maf: more than chance.
    """
    data, leader, remarks = contest.data, contest.leader, _remarks(contest)
    if not leader:
        return Verdict(f"no likelihood on {data}", f"No model has a likelihood on {data}.", remarks)
    if not contest.leads:
        only = f"{leader} alone has a likelihood on {data}"
        return Verdict(only, f"{only}: there is none to compare it with.", remarks)
    if not contest.open:
        nearest = contest.leads[0]
        return Verdict(
            f"{leader} leads on {data}",
            f"{leader} leads on {data}, {nearest} nats per row ahead of {nearest.over}: more than chance.",
            remarks,
        )
    level = [lead.over for lead in contest.open]
    group = _names([leader, *level])
    nearest = contest.open[0]  # another may be nearer, and beaten: this one varies more
    if len(level) == 1:
        apart = f"{leader} is {nearest} nats per row ahead of {nearest.over}, which chance would explain"
    else:
        apart = f"{leader} is {nearest} nats per row ahead of {nearest.over}, the nearest, which chance would explain"
    behind = [lead for lead in contest.leads if lead.sure]
    if behind:
        apart += f"; {behind[0].over}, {behind[0]} behind, is beaten by more than chance"
    everyone = "all " if len(level) > 1 and not behind else ""
    return Verdict(f"{group} are level on {data}", f"{group} are {everyone}level on {data}: {apart}.", remarks)


def headline(contests: Sequence[Contest]) -> str:
    """The title of a comparison: its answer.

    Args:
        contests: One for each data set.

    Example:
        >>> from genflow.studies.comparison.verdict import Contest, Lead, headline
        >>> sure = [Lead("maf", 0.2, 0.05, 6e-5)]
        >>> headline([Contest("moons", "nsf", sure), Contest("rings", "nsf", sure)])
        'nsf leads on both data sets'
        >>> headline([Contest("moons", "nsf", sure), Contest("rings", "cnf", sure)])
        'nsf leads on moons, cnf on rings'
    """
    if len(contests) == 1:
        return _upper(verdict_on(contests[0]).short)
    led: dict[str, list[str]] = {}
    level, rest = [], []
    for contest in contests:
        if contest.leads and not contest.open:
            led.setdefault(contest.leader, []).append(contest.data)
        elif contest.leads:
            level.append(contest)
        else:
            rest.append(contest)
    if len(led) == 1 and not level and not rest:
        return f"{next(iter(led))} leads on {_all(len(contests))}"
    if len(contests) > _FEW:
        return _counts(led, len(level), len(contests))
    parts = []
    for place, (model, data) in enumerate(led.items()):
        parts.append(f"{model}{'' if place else ' leads'} on {_names(data)}")
    said = [", ".join(parts)] if parts else []
    said += [verdict_on(contest).short for contest in [*level, *rest]]
    return _upper("; ".join(said))


def _counts(led: dict[str, list[str]], level: int, count: int) -> str:
    """Many data sets in one line: on how many of them who leads."""
    order = sorted(led.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{model}{'' if place else ' leads'} on {len(data)}{'' if place else f' of {count} data sets'}"
        for place, (model, data) in enumerate(order[:_FEW])
    ]
    others = sum(len(data) for _, data in order[_FEW:])
    parts += [f"others on {others}"] if others else []
    if not parts:
        return f"No model leads on any of {count} data sets by more than chance"
    return ", ".join(parts) + (f"; {level} open" if level else "")


def _remarks(contest: Contest) -> list[str]:
    said = []
    if contest.given:
        said.append(f"The densities are conditional: of the other columns given {_names(contest.given)}.")
    if contest.ceiling is not None:
        place = f"{contest.ceiling} nats per row above the true density"
        said.append(f"{contest.leader} is {place}, which nothing can be expected to pass.")
    simple = next((lead for lead in contest.leads if lead.over in contest.simple), None)
    if contest.leader in contest.simple:
        said.append(f"{contest.leader} is a simple model: no flow gains on it here.")
    elif simple is not None:
        said.append(f"The best simple model, {simple.over}, is {simple} nats per row behind.")
    if contest.without:
        said.append(f"No density, hence no place in this: {_names(contest.without)}.")
    if contest.failures:
        said.append(f"Without a result: {_names(contest.failures)}.")
    return said


def _names(names: Sequence[str]) -> str:
    if len(names) > _FEW + 1:
        return f"{', '.join(names[:_FEW])} and {len(names) - _FEW} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _all(count: int) -> str:
    return "both data sets" if count == 2 else f"all {count} data sets"


def _upper(text: str) -> str:
    """A name begins a title as it is spelt; a word of ours begins it with a capital."""
    return f"N{text[1:]}" if text.startswith("no ") else text
