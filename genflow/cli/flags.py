"""Flags that several commands have."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.words import kinds

__all__ = [
    "add_budget",
    "add_condition",
    "add_data",
    "add_data_options",
    "add_device",
    "add_evaluation",
    "add_id",
    "add_kinds",
    "add_network",
    "add_options",
    "add_parts",
    "add_run",
    "add_seed",
    "add_study",
    "add_table_out",
    "loading",
]


def _add_several(parser: ArgumentParser, flag: str, metavar: str, text: str) -> None:
    """A flag with one word or several, which may come more than once."""
    parser.add_argument(flag, nargs="+", action="extend", type=str, default=[], metavar=metavar, help=text)


def add_budget(parser: ArgumentParser, of: str, default: str = "60s") -> None:
    parser.add_argument(
        "--budget", type=str, metavar="TIME", help=f"time of the {of}: 30s, 2min, 1h (default: {default})"
    )
    parser.add_argument(
        "--iterations",
        type=int,
        metavar="N",
        help="optimizer steps, or candidates of a model without, in the place of a time",
    )
    parser.add_argument(
        "--evaluations",
        type=int,
        metavar="N",
        help="evaluations of the network in all steps instead, one for each row and point in time",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: 1)")


def add_evaluation(parser: ArgumentParser, default: str = "as long as the training, at least 30s") -> None:
    parser.add_argument(
        "--evaluation-budget",
        type=str,
        metavar="TIME",
        help=f"time for the figures of a model: fewer rows, then a cheaper estimator (default: {default})",
    )


def add_device(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        type=str,
        default="cpu",
        metavar="NAME",
        help="where the model computes: cpu, cuda or auto, cuda where there is one (default: cpu)",
    )


def add_network(parser: ArgumentParser, of: str) -> None:
    """What the model's network is, and in what precision it is trained."""
    parser.add_argument(
        "--velocity",
        type=str,
        metavar="NAME",
        help=f"the network of {of}: a velocity of `genflow list`, such as unet or unet,width=16 for pictures",
    )
    parser.add_argument(
        "--autocast",
        action="store_true",
        help="train in bfloat16 where torch's autocast does; for flow-matching and score-sde",
    )


def add_data(
    parser: ArgumentParser,
    *,
    many: bool = False,
    text: str = "a table, a picture, a folder of pictures or a built-in name",
) -> None:
    """Data by their place or by `--data`; both are `data` of what was chosen."""
    parser.add_argument("sources", nargs="*", type=str, metavar="DATA", help=text)
    if many:
        parser.add_argument("--data", nargs="+", type=str, default=[], metavar="DATA", help="DATA by a flag")
    else:
        parser.add_argument("--data", type=str, metavar="DATA", help="DATA by a flag")


def add_options(parser: ArgumentParser, flag: str, example: str) -> None:
    _add_several(
        parser, flag, "OPTION=VALUE", f"options of the model, such as {example}; `genflow list MODEL` shows them"
    )


def add_seed(parser: ArgumentParser, of: str = "everything random") -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"seed of {of} (default: 0)")


def add_tracker(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--tracker", type=str, metavar="NAME", help="where it is written down as it goes: tensorboard:FOLDER"
    )


def add_data_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--test", type=str, metavar="FILE", help="test rows of your own, in the place of the last 10 %%"
    )
    _add_several(parser, "--columns", "COL", "columns of a table to keep, by name or position from 0 (default: all)")
    parser.add_argument(
        "--atoms",
        type=str,
        default="cells",
        metavar="HOW",
        help="repeated values: cells; of numbers also keep, dequantize or drop (default: cells)",
    )


def add_kinds(parser: ArgumentParser) -> None:
    """What the columns of a table hold, and what becomes of gaps."""
    _add_several(parser, "--drop", "COL", "columns to leave out")
    _add_several(
        parser, "--kind", "COL=KIND", "what a column holds: continuous, integer, class, boolean, date or identifier"
    )
    parser.add_argument(
        "--missing",
        type=str,
        default="value",
        metavar="HOW",
        help="missing values: value (one more value), drop the rows or refuse them (default: value)",
    )
    _add_several(parser, "--missing-values", "VALUE", "values that stand for missing ones, such as -200")
    parser.add_argument("--sheet", type=str, metavar="NAME", help="sheet of an Excel file (default: the first table)")


def add_condition(parser: ArgumentParser) -> None:
    _add_several(
        parser,
        "--condition",
        "COL",
        "columns that the others are conditioned on, by name or position from 0; of pictures label, their class",
    )
    _add_several(parser, "--classes", "COL", "those of them whose numbers are names of classes")


def loading(chosen: Arguments) -> dict[str, Any]:
    """What `add_data_options`, `add_kinds` and `add_condition` took, as arguments of `genflow.data.load`."""
    return {
        "test": chosen.test,
        "columns": chosen.columns or None,
        "atoms": chosen.atoms,
        "condition": chosen.condition,
        "classes": chosen.classes,
        "drop": chosen.drop,
        "kinds": kinds(chosen.kind),
        "missing": chosen.missing,
        "missing_values": chosen.missing_values,
        "sheet": chosen.sheet,
    }


def add_id(parser: ArgumentParser) -> None:
    _add_several(parser, "--id", "COL", "columns of the file that go into the new one as they are, in front")


def add_run(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, nargs="?", metavar="RUN", help="folder of a model that fit or compare wrote")
    _add_several(
        parser, "--trust", "module:Name", "classes of your own that the model consists of, and that may be imported"
    )


def add_parts(parser: ArgumentParser, *, divergence: bool = True) -> None:
    """Parts that a trained model is used with in the place of its own; no training is needed."""
    parser.add_argument(
        "--integrator", type=str, metavar="NAME", help="another solver: dopri5,rtol=1e-6 or module:Name (no retraining)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="another number of steps, on each piece of the velocity, of a solver that does not choose its own",
    )
    if divergence:
        parser.add_argument(
            "--divergence", type=str, metavar="NAME", help="another estimator: hutchinson,n=8 or module:Name"
        )


def add_table_out(parser: ArgumentParser) -> None:
    """Where a table is written: all endings that `genflow.data.write` knows, which is not imported for its help."""
    parser.add_argument(
        "-o", "--out", type=str, metavar="FILE", help="new file: .csv, .tsv, .txt, .parquet, .pq, .xlsx or .npy"
    )


def add_study(parser: ArgumentParser, *, repeats: bool = True) -> None:
    """What the studies of one trained model have in common."""
    parser.add_argument("--rows", type=int, default=256, metavar="N", help="rows at most (default: 256)")
    if repeats:
        parser.add_argument(
            "--repeats", type=int, default=3, metavar="N", help="interleaved runs; median times are shown (default: 3)"
        )
    add_seed(parser, "rows, noise and probes")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")
    parser.add_argument(
        "--out", type=str, metavar="DIR", help="new folder for the results (default: one named after the study)"
    )
