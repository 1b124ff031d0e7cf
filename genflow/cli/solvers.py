"""`genflow solvers`."""

from __future__ import annotations

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.flags import add_data, add_run, add_study
from genflow.cli.study import run_study

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "integrators on a trained model: work against precision"
USAGE = "genflow solvers RUN [DATA] [options]"
NEEDED = ("run",)
DESCRIPTION = """Evaluations and seconds against the error in x and in log p, from a reference in float64.

examples:
  genflow solvers run --out solvers
  genflow solvers run --integrators rk4 dopri5 my_solvers:Ralston --steps 2 4 8 16
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="rows to try it on (default: the test rows of what the model was trained on)")
    parser.add_argument(
        "--integrators",
        nargs="+",
        type=str,
        metavar="NAME",
        help="names of `genflow list`, methods of torchdiffeq, or module:Name (default: all that need no arguments)",
    )
    parser.add_argument(
        "--steps", nargs="+", type=int, metavar="N", help="steps on each piece, for integrators that walk a grid"
    )
    parser.add_argument("--tolerances", nargs="+", type=float, metavar="TOL", help="tolerances, for adaptive ones")
    parser.add_argument(
        "--wanted", type=float, default=0.01, metavar="NATS", help="error of log p to be reached (default: 0.01)"
    )
    parser.add_argument("--dtype", type=str, metavar="NAME", help="float32 or float64 (default: the model's own)")
    add_study(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    run_study(
        "solvers",
        chosen,
        integrators=chosen.integrators,
        steps=chosen.steps,
        tolerances=chosen.tolerances,
        repeats=chosen.repeats,
        dtype=chosen.dtype,
    )
