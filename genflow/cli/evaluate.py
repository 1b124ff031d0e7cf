"""`genflow evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.flags import add_data, add_data_options, add_parts, add_run, add_seed
from genflow.cli.models import condition_of, loaded
from genflow.errors import InputError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "figures of a trained model"
USAGE = "genflow evaluate RUN [DATA] [options]"
NEEDED = ("run",)
DESCRIPTION = """Figures of a trained model on test rows, by default those of the data that it was trained on.

examples:
  genflow evaluate run
  genflow evaluate run --integrator heun --steps 4
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="a table, a picture or a built-in name (default: what the model was trained on)")
    add_seed(parser, "the samples")
    parser.add_argument(
        "--points", type=int, default=1000, metavar="N", help="samples drawn, and rows at most in their figures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_data_options(parser)
    add_parts(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    model = loaded(chosen)
    from genflow.data import load
    from genflow.studies.evaluation import evaluate, reference

    record = Path(chosen.run) / "run.json"
    source, test, atoms = chosen.data, chosen.test, chosen.atoms
    if source is None:
        if not record.is_file():
            raise InputError(f"data: {chosen.run} does not say what it was trained on; name the data set")
        kept = json.loads(record.read_text())
        source, test, atoms = kept["data"], test or kept["test"], kept["atoms"]
    data = load(source, test=test, atoms=atoms, **condition_of(model))
    if data.dim != model.dim:
        raise InputError(f"data: {data.name} has {data.dim} columns, the model was trained on {model.dim}")
    known = reference(data, points=chosen.points)
    found = evaluate(model, data, seed=chosen.seed, points=chosen.points)
    figures = {**found.figures, **known}
    if chosen.json:
        clean = {name: value if value == value else None for name, value in figures.items()}
        print(json.dumps({"data": data.name, "remarks": found.remarks, **clean}))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{data.name}: {len(data.test)} test rows", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for name, meaning in _MEANINGS.items():
        value = figures.get(name, float("nan"))
        if value == value:
            table.add_row(name, f"{value:,.0f}" if name in ("nfe", "parameters") else f"{value:.4g}", meaning)
    console = Console()
    console.print(table)
    for remark in [*found.remarks, *data.remarks]:
        console.print(remark, highlight=False, markup=False)


_MEANINGS = {
    "nll": "mean negative log-likelihood, nats per row, units of the data",
    "nll_se": "its standard error",
    "nll_standardized": "the same in standardized units",
    "nll_true": "what the true density has on the same rows",
    "w2": "Wasserstein-2 distance of samples and test rows, standardized units",
    "w2_floor": "the same of training and test rows",
    "mmd": "squared maximum mean discrepancy, standardized units",
    "mmd_threshold": "below it with 95 % probability if the laws are equal",
    "c2st": "accuracy of a classifier between samples and test rows; 0.5 is the best",
    "inversion_error": "mean squared error of decode(encode(x)), standardized units",
    "nfe": "evaluations of the velocity from x to z",
    "sample_seconds": "wall seconds for the samples",
    "parameters": "trained numbers",
}
