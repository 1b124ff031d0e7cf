"""`genflow fit`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import must_not_exist
from genflow.cli.flags import (
    add_budget,
    add_condition,
    add_data,
    add_data_options,
    add_device,
    add_evaluation,
    add_kinds,
    add_network,
    add_options,
    add_seed,
    add_tracker,
    loading,
)
from genflow.cli.models import mean, set_threads
from genflow.cli.unfinished import Unfinished
from genflow.cli.words import counted, flag_of, note, option, version
from genflow.errors import InputError, ResultError, SolverError
from genflow.interrupts import keeping
from genflow.naming import registry
from genflow.storage import atomic

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "train one model"
USAGE = "genflow fit DATA --out RUN [options]"
NEEDED = ("data", "out")
DESCRIPTION = """Train one model and keep it in a folder.

examples:
  genflow fit customers.csv --model jko-iflow --budget 2min -o run
  genflow fit digits --model nsf --iterations 2000 --set transforms=3 -o run
  genflow fit customers.csv --condition age --model nsf -o run
  genflow fit flowers/ --model flow-matching --velocity unet --condition label -o run
"""


_FEW = 64  # samples that a model without a density is judged by


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_data(parser)
    parser.add_argument(
        "--model",
        type=str,
        default="jko-iflow",
        metavar="MODEL",
        help="a name of `genflow list`, or module:Name (default: jko-iflow)",
    )
    parser.add_argument("-o", "--out", type=str, metavar="RUN", help="new folder for the model")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where this command was interrupted; counted in iterations, to the same weights",
    )
    parser.add_argument("--anew", action="store_true", help="begin again, and remove what was interrupted")
    parser.add_argument(
        "--checkpoint",
        type=str,
        metavar="DIR",
        help="where the training is kept until the model is written (default: RUN.unfinished)",
    )
    add_budget(parser, "training")
    add_evaluation(parser)
    add_seed(parser)
    parser.add_argument(
        "--recipe", type=str, metavar="NAME", help="published: JKO-iFlow by the recipe of its authors' code"
    )
    parser.add_argument(
        "--reparameterize", type=int, metavar="N", help="JKO-iFlow: rounds that move the blocks towards equal movement"
    )
    parser.add_argument("--refine", type=int, metavar="N", help="JKO-iFlow: rounds after those that double the blocks")
    parser.add_argument(
        "--compile", action="store_true", help="compile the likelihood, for jko-iflow and cnf: for very long runs only"
    )
    add_options(parser, "--set", "blocks=6")
    parser.add_argument(
        "--masks",
        action="store_true",
        help="train on rows of which random entries are seen, so that `genflow impute` draws the others at once",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="for few rows: train twice, with half of the budget each; the second time on the validation rows, too, "
        "for as many steps as were best the first time",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="of a folder of pictures: read them while the model trains, in so many processes (0: in this one), and "
        "keep a sample alone in memory",
    )
    add_network(parser, "the model")
    add_device(parser)
    add_tracker(parser)
    add_data_options(parser)
    add_kinds(parser)
    add_condition(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = Path(chosen.out)
    must_not_exist(out)
    unfinished = Unfinished(out, chosen.checkpoint, chosen.resume, chosen.anew)
    name = chosen.model if chosen.recipe is None else f"{chosen.model}-{chosen.recipe}"
    if chosen.recipe is not None and name not in registry.names("model"):
        raise InputError(
            f"recipe: no {chosen.recipe!r} of {chosen.model}; --model jko-iflow --recipe published would do"
        )
    cls = registry.lookup("model", name)
    options = _options(chosen, cls)
    import torch

    from genflow.data import load
    from genflow.devices import device_named
    from genflow.naming.options import build, check_options, check_values
    from genflow.storage.checkpoint import write_model, write_structure
    from genflow.studies.comparison.display import display_for
    from genflow.studies.comparison.ration import evaluation_seconds
    from genflow.studies.origin import describe_origin
    from genflow.studies.reporting.place import write_json
    from genflow.studies.reporting.rounds import write_pictures
    from genflow.training.budget import check_one, parse_seconds
    from genflow.training.closing import work
    from genflow.training.tracking import tracked

    check_one(budget=chosen.budget, iterations=chosen.iterations, evaluations=chosen.evaluations)
    budget = None if chosen.budget is None else parse_seconds(chosen.budget)
    if budget is None and chosen.iterations is None and chosen.evaluations is None:
        budget = 60.0
    allowed = evaluation_seconds(chosen.evaluation_budget, budget)
    device = device_named(chosen.device)
    check_options(cls, options)
    check_values(cls, options)
    set_threads(1 if chosen.threads is None else chosen.threads)
    options_of_data = loading(chosen)
    data = load(chosen.data, **options_of_data) if chosen.workers is None else _streamed(chosen, options_of_data)
    for remark in data.remarks:
        note(remark)
    torch.manual_seed(chosen.seed)
    given = data.condition_dim + (2 * data.dim if chosen.masks else 0)
    model = build(cls, data.dim, options, given, data.event_shape).to(device)
    name = registry.name_of(cls)
    trials = [{"data": data.name, "label": name, "seed": chosen.seed, "several": False}]
    command = {
        "--model": name,
        "--set": options,
        "--budget": budget and f"{budget:g}s",
        "--iterations": chosen.iterations,
        "--evaluations": chosen.evaluations,
        "--seed": chosen.seed,
        "--autocast": chosen.autocast,
        "--masks": chosen.masks,
        "--refit": chosen.refit,
        **{flag_of(key): value for key, value in options_of_data.items()},
        "--workers": chosen.workers,
        "data": chosen.data,
        "rows": data.fingerprint,
    }
    with unfinished.kept(), atomic.folder(out) as folder:
        if line := unfinished.begin(command):
            note(line)
        with display_for(trials, budget) as display, tracked(chosen.tracker) as tracker:
            fitted = model.fit(
                data,
                budget=budget,
                iterations=chosen.iterations,
                evaluations=chosen.evaluations,
                seed=chosen.seed,
                autocast=chosen.autocast,
                masks=chosen.masks,
                refit=chosen.refit,
                checkpoint=unfinished.folder,
                progress=lambda event: display.event(0, {"what": "training", **event}),
                tracker=tracker,
            )
        seconds = fitted.record.seconds
        write_model(fitted, folder)
        record = {
            "model": name,
            "options": options,
            **describe_origin(chosen.data, data, options_of_data),
            "workers": chosen.workers,
            "budget": chosen.budget,
            "iterations": chosen.iterations,
            "evaluations": chosen.evaluations,
            "seed": chosen.seed,
            "threads": torch.get_num_threads(),
            "device": str(device),
            "autocast": chosen.autocast,
            "masks": chosen.masks,
            "refit": chosen.refit,
            "seconds": round(seconds, 1),
            "versions": {"genflow": version(), "torch": torch.__version__, "python": sys.version.split()[0]},
        }
        write_json(folder / "run.json", record)
    unfinished.remove()
    with keeping(f"the model is in {out}"):
        drawn, undrawn = write_pictures(fitted, data, out)
        for line in undrawn:
            note(line)
        found = _judge(fitted, data, allowed)  # says how far it is, which is to stand before the results
        print(f"{name} on {data.name}: {work(fitted.history)} in {seconds:.1f} s")
        for remark in [*(f"{name}: {remark}" for remark in fitted.remarks), *found.remarks]:
            note(remark)
        if found.nll:
            print(found.nll)
        if len(found.log_p) and not found.failure:
            fitted.keep_scores(found.log_p, found.places)
            write_structure(fitted, out)
        print(f"model: {out}" + "".join(f", {picture}" for picture in drawn))
    if found.failure:
        raise ResultError(f"{found.failure}; the model is kept in {out} for a look")


def _options(chosen: Arguments, cls: Any) -> dict[str, Any]:
    """The options of the model, by --set and by flags of their own."""
    from genflow.naming.options import with_network

    options = dict(option(text) for text in chosen.set)
    flags = {name: chosen[name] for name in ("reparameterize", "refine") if chosen[name] is not None}
    flags |= {"compile": True} if chosen.compile else {}
    network = with_network(cls, {}, chosen.velocity)
    for name in {**flags, **network}:
        if name in options:
            raise InputError(f"{'velocity' if name in network else name}, set: both say {name}; give one of them")
    return {**options, **flags, **network}


def _streamed(chosen: Arguments, loading: dict[str, Any]) -> Any:
    """A folder of pictures that is read while the model trains."""
    from genflow.data import holds_pictures, stream

    usual = {"atoms": "cells", "missing": "value"}
    for name, value in loading.items():
        labelled = name == "classes" and value == loading["condition"]
        if name != "condition" and not labelled and value and usual.get(name) != value:
            raise InputError(f"{name}: it does not go with workers, which read pictures; leave one of them out")
    if not holds_pictures(chosen.data):
        raise InputError(f"workers: {chosen.data} is no folder of pictures; leave it out")
    return stream(chosen.data, condition=loading["condition"], workers=chosen.workers)


@dataclass
class _Verdict:
    """What is wrong with a model, if anything; the log densities of test rows, by so many places of each; their NLL."""

    failure: str = ""
    log_p: Any = ()
    places: int = 1
    remarks: Sequence[str] = ()
    nll: str = ""


def _judge(fitted: Any, data: Any, seconds: float) -> _Verdict:
    """Looks at the NLL of the test rows that there is time for; at samples of a model without one."""
    import torch

    from genflow.studies.comparison.ration import Ration
    from genflow.studies.reporting.terminal import Telling
    from genflow.training import Budget

    given = None if data.condition is None else data.condition.test
    try:
        if not fitted.has_log_prob:
            few = min(_FEW, len(data.test))
            with torch.no_grad():
                rows = fitted.sample(few, given if given is None else given[:few], torch.Generator().manual_seed(0))
            bad = int((~fitted.are_rows(rows)).sum())
            return _Verdict(f"{bad} of {few} samples are not finite" if bad else "")
        with Telling() as tell:
            ration = Ration(Budget(seconds), tell)
            log_p = ration.log_prob(fitted, data.test, given, lambda: torch.Generator().manual_seed(0))
    except SolverError as error:
        return _Verdict(str(error))
    found = _Verdict("", log_p[ration.reached], ration.places, ration.remarks)
    if len(found.log_p):
        rows = counted(len(found.log_p), "row")
        found.nll = f"test NLL {mean(-found.log_p)} nats per row ({rows}, units of the data)"
    if bad := int((~found.log_p.isfinite()).sum()):
        found.failure = f"the NLL is not finite: {bad} of {len(found.log_p)} test rows have no finite log density"
    return found
