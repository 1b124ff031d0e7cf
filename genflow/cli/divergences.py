"""`genflow divergences`."""

from __future__ import annotations

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.flags import add_data, add_run, add_study
from genflow.cli.study import run_study

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "divergence estimators on a trained model: bias, variance, cost"
USAGE = "genflow divergences RUN [DATA] [options]"
NEEDED = ("run",)
DESCRIPTION = """Bias, variance and cost of each estimator, and which is cheapest for a wanted standard error.

examples:
  genflow divergences run --out divergences
  genflow divergences run --divergences hutchinson my_parts:mine --wanted 0.01
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="rows to try it on (default: the test rows of what the model was trained on)")
    parser.add_argument(
        "--divergences",
        nargs="+",
        type=str,
        metavar="NAME",
        help="names of `genflow list`, or module:Name (default: all that need no arguments)",
    )
    parser.add_argument(
        "--probes", nargs="+", type=int, metavar="N", help="numbers of probes, for estimators with an n"
    )
    parser.add_argument("--draws", type=int, default=16, metavar="N", help="runs with fresh probes (default: 16)")
    parser.add_argument(
        "--wanted", type=float, default=0.01, metavar="NATS", help="standard error to be reached (default: 0.01)"
    )
    add_study(parser, repeats=False)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    run_study(
        "divergences",
        chosen,
        divergences=chosen.divergences,
        probes=chosen.probes,
        draws=chosen.draws,
    )
