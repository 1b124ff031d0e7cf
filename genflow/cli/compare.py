"""`genflow compare`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import fresh
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
    add_tracker,
    loading,
)
from genflow.cli.words import console, options_by_model
from genflow.errors import InputError
from genflow.interrupts import keeping

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "models x data sets under one equal budget"
USAGE = "genflow compare DATA [DATA …] [options]"
NEEDED = ("data",)
DESCRIPTION = """Train models on data sets under one equal budget and say which differences are real.

examples:
  genflow compare customers.csv --budget 60s
  genflow compare two-moons customers.csv --models jko-iflow nsf --budget 60s --out board
  genflow compare two-moons customers.csv --models jko-iflow nsf maf --out board --resume
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument(
        "--config", action="config", metavar="FILE", help="a file of these options, such as a comparison's repeat.json"
    )
    add_data(parser, many=True, text="tables, pictures or folders of them, built-in names")
    parser.add_argument(
        "--models",
        nargs="+",
        type=str,
        default=["jko-iflow", "cnf", "flow-matching", "score-sde", "nsf"],
        metavar="MODEL",
        help="names of `genflow list`, or module:Name (default: jko-iflow cnf flow-matching score-sde nsf)",
    )
    add_budget(parser, "training of each model")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random, for one training of each")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="SEED",
        help="several instead: each training is repeated with each (default: 0 1 2 from a budget of 60s on, 0 below)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=1,
        metavar="N",
        help="trainings of each model, with settings that a search suggests; the best on validation rows counts "
        "(default: 1, with the model's own)",
    )
    add_evaluation(parser)
    add_options(parser, "--set", "jko-iflow.blocks=6")
    add_network(parser, "every model that has one")
    add_device(parser)
    add_tracker(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=str,
        default=[],
        metavar="METRIC",
        help="further metrics, names of `genflow list` or module:Name",
    )
    parser.add_argument(
        "--points",
        type=int,
        default=1000,
        metavar="N",
        help="samples drawn, and rows at most in their figures (default: 1000)",
    )
    add_data_options(parser)
    add_kinds(parser)
    add_condition(parser)
    parser.add_argument("--out", type=str, metavar="DIR", help="new folder for the results (default: comparison)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the comparison in DIR: run what is missing or failed; more data, models and seeds may come",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="trials at once, each in a process of its own (default: 1, which has the machine for itself)",
    )
    parser.add_argument(
        "--clock",
        type=str,
        metavar="NAME",
        help="clock of the budgets: wall, or cpu, the time on processors, which other work on the machine takes "
        "nothing of (default: wall; cpu where several trials run at once)",
    )
    parser.add_argument(
        "--executor", type=str, metavar="NAME", help="a cluster that runs the trials: dask:ADDRESS or ray:ADDRESS"
    )


def run(chosen: Arguments) -> None:
    """Runs the command."""
    if chosen.seed is not None and chosen.seeds:
        raise InputError("seed, seeds: both came; give one of them")
    out = Path(chosen.out or ("comparison" if chosen.resume else fresh("comparison")))
    from genflow.studies import compare
    from genflow.training.tracking import tracked

    with tracked(chosen.tracker) as tracker:
        board = compare(
            chosen.data,
            chosen.models,
            budget=chosen.budget,
            iterations=chosen.iterations,
            evaluations=chosen.evaluations,
            seed=chosen.seed,
            seeds=chosen.seeds,
            threads=chosen.threads,
            out=out,
            options=options_by_model(chosen.set),
            metrics=chosen.metrics,
            points=chosen.points,
            evaluation=chosen.evaluation_budget,
            velocity=chosen.velocity,
            device=chosen.device,
            autocast=chosen.autocast,
            trials=chosen.trials,
            jobs=chosen.jobs,
            executor=chosen.executor,
            clock=chosen.clock,
            tracker=tracker,
            resume=chosen.resume,
            **loading(chosen),
        )
    with keeping(f"all results are in {out}"):
        board.print(console())
        if (out / "report.html").exists():
            print(f"report: {out / 'report.html'}")
