"""What a comparison is going to do: its data sets, its models, and a trial for each of both and each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from genflow.draws import check_seed
from genflow.errors import InputError
from genflow.storage.documents import printable
from genflow.studies.comparison.entrants import Entrant, try_options
from genflow.studies.comparison.names import file_names
from genflow.studies.comparison.records import Terms, Trial

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """What is going to be done.

    Attributes:
        datasets: The data sets by name.
        trials: The trials, in their order.
        classes: By label, the classes that no other process can find by a name, pickled by value.
        arguments: What was asked for, as a document.
        named: Whether all data came by a name or a path: what came from memory can be repeated from Python alone.
    """

    datasets: Mapping[str, Any]
    trials: Sequence[Trial]
    classes: Mapping[str, bytes | None]
    arguments: Mapping[str, Any]
    named: bool

    @property
    def homes(self) -> dict[str, str]:
        """The data sets' names as those of folders."""
        return {trial.data: trial.home for trial in self.trials}


def plan(
    sources: Sequence[Any],
    chosen: Sequence[Entrant],
    seeds: Sequence[int],
    terms: Terms,
    loading: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> Plan:
    """Loads the data and lists the trials.

    Args:
        sources: The data sets.
        chosen: The models.
        seeds: The seeds.
        terms: What all trials have alike.
        loading: How the data are loaded.
        arguments: What else was asked for, to be kept with the rest.

    Raises:
        InputError: Data that can't be read, options that a model can't be built with, a seed that came twice.
    """
    if not sources:
        raise InputError("data: an empty list came; at least one data set would do")
    test = loading["test"]
    if test is not None and len(sources) > 1:
        raise InputError(f"test: it goes with one data set, {len(sources)} came")
    datasets = _load_all(sources, loading)
    try_options(chosen, datasets.values())
    for seed in seeds:
        check_seed(seed, "seeds")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {' '.join(map(str, seeds))} came; each may come once")
    several = len(seeds) > 1
    homes = file_names(datasets)
    own = {(entrant.label, seed): f"{entrant.label}-seed{seed}" if several else entrant.label
           for entrant in chosen for seed in seeds}  # fmt: skip
    names = file_names(own.values())
    trials = [
        Trial(
            name, homes[name], entrant.label, names[own[entrant.label, seed]], entrant.name, dict(entrant.options),
            int(seed), terms,
        )
        for name in datasets
        for entrant in chosen
        for seed in seeds
    ]  # fmt: skip
    paths = [source if isinstance(source, str | PathLike) else name for source, name in zip(sources, datasets)]
    kept = {
        "data": [str(path) for path in paths],
        "models": [entrant.name for entrant in chosen],
        "seeds": [int(seed) for seed in seeds],
        "options": {entrant.label: dict(entrant.options) for entrant in chosen if entrant.options},
        **{key: value for key, value in loading.items() if key != "test"},
        "test": str(test) if isinstance(test, str | PathLike) else None,
        **arguments,
    }
    named = all(isinstance(source, str | PathLike) for source in [*sources, *([] if test is None else [test])])
    classes = {entrant.label: entrant.pickled() for entrant in chosen}
    return Plan(datasets, trials, classes, kept, named)


def _load_all(sources: Sequence[Any], loading: Mapping[str, Any]) -> dict[str, Any]:
    from genflow.data import load

    datasets: dict[str, Any] = {}
    for source in sources:
        dataset = load(source, **loading)
        if dataset.stream is not None:
            raise InputError(
                f"data: {dataset.name} is read while a model trains, a comparison trains on rows in memory; as many of "
                "them as fit would do"
            )
        own = printable(dataset.name)
        name, count = own, 2
        while name in datasets:
            name, count = f"{own}-{count}", count + 1
        datasets[name] = dataset
    return datasets
