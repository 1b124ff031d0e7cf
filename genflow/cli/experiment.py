"""`genflow experiment`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import fresh
from genflow.cli.flags import add_budget, add_seed
from genflow.cli.words import console
from genflow.interrupts import keeping

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "an experiment of the paper"
USAGE = "genflow experiment [NAME] [options]"
NEEDED = ()
DESCRIPTION = """Run an experiment of the paper, its figures beside the published ones; without a name, list them.

examples:
  genflow experiment
  genflow experiment rose --out rose
  genflow experiment power --scale full --folder ~/data --out power
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument(
        "name", type=str, nargs="?", metavar="NAME", help="one of those listed, or a YAML file of your own"
    )
    parser.add_argument(
        "--scale", type=str, default="small", metavar="SCALE", help="small, minutes on a laptop, or full"
    )
    parser.add_argument("--folder", type=str, metavar="DIR", help="where the files of a download are")
    add_budget(parser, "training of each model", default="the scale's")
    add_seed(parser)
    parser.add_argument("--out", type=str, metavar="DIR", help="new folder for the results (default: named after it)")


def run(chosen: Arguments) -> None:
    """Runs the command."""
    if chosen.name is None:
        list_experiments()
        return
    from genflow.experiments import run
    from genflow.experiments.figures import table

    out = Path(chosen.out or fresh(Path(chosen.name).stem))
    board = run(
        chosen.name,
        scale=chosen.scale,
        folder=chosen.folder,
        budget=chosen.budget,
        iterations=chosen.iterations,
        evaluations=chosen.evaluations,
        seed=chosen.seed,
        threads=chosen.threads,
        out=out,
    )
    screen = console()
    about = board.config["experiment"]
    with keeping(f"all results are in {out}"):
        board.print(screen)
        screen.print(table(about["table"], f"{about['name']}: the paper's figures and those of this run"))
        for remark in about["remarks"]:
            screen.print(f"  {remark}", style="dim", highlight=False, markup=False)
        print(f"report: {out / 'report.html'}")


def list_experiments() -> None:
    from genflow.experiments import names, read

    for name in names():
        print(f"  {name:<22}{read(name).title}")
