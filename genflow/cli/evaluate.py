"""`genflow evaluate`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.flags import add_data, add_data_options, add_device, add_evaluation, add_parts, add_run, add_seed
from genflow.cli.models import load_model
from genflow.cli.words import console, counted
from genflow.errors import InputError, ResultError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "figures of a trained model"
USAGE = "genflow evaluate RUN [DATA] [options]"
NEEDED = ("run",)
DESCRIPTION = """Figures of a trained model on test rows, by default those of the data that it was trained on.

examples:
  genflow evaluate run
  genflow evaluate run --integrator heun --steps 4
  genflow evaluate run --tables --target spend
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="a table, a picture or a built-in name (default: what the model was trained on)")
    add_seed(parser, "the samples")
    parser.add_argument(
        "--points",
        type=int,
        default=1000,
        metavar="N",
        help="samples drawn, and rows at most in their figures (default: 1000)",
    )
    add_evaluation(parser)
    parser.add_argument(
        "--tables", action="store_true", help="also the metrics of tables, each with its floor: the training rows"
    )
    parser.add_argument(
        "--target",
        type=str,
        metavar="COL",
        help="with --tables: a column that is learned from samples, to be told from the others in test rows",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_data_options(parser)
    add_parts(parser)
    add_device(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    if chosen.points < 20:
        raise InputError(f"points: {chosen.points} came; at least 20 would do")
    if chosen.target is not None and not chosen.tables:
        raise InputError("target: it goes with --tables; give that, too")
    model = load_model(chosen)
    from genflow.studies.comparison.columns import LEADERBOARD
    from genflow.studies.comparison.evaluation import evaluate, reference
    from genflow.studies.comparison.ration import evaluation_seconds
    from genflow.studies.comparison.tables import MEANINGS, evaluate_tables, figure_document
    from genflow.studies.origin import load_for, reload
    from genflow.studies.reporting.terminal import Telling
    from genflow.training import Budget

    source = chosen.data
    if source is None:
        if chosen.columns:
            raise InputError("columns: they go with DATA of your own; name it, too")
        source = reload(chosen.run, test=chosen.test)
    data = load_for(model, source, test=chosen.test, atoms=chosen.atoms, columns=chosen.columns)
    known = reference(data, points=chosen.points)
    trained = None if model.record is None else model.record.seconds
    limit = Budget(evaluation_seconds(chosen.evaluation_budget, trained))
    with Telling() as tell:
        found = evaluate(model, data, seed=chosen.seed, points=chosen.points, notify=tell, budget=limit)
        of_tables = {}
        if chosen.tables:
            of_tables = evaluate_tables(data, found, target=chosen.target, seed=chosen.seed, notify=tell)
    figures = {**found.figures, **known}
    if chosen.json:
        clean = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        documents = {name: figure_document(figure) for name, figure in of_tables.items()}
        further = {"tables": documents} if chosen.tables else {}
        print(json.dumps({"data": data.name, "remarks": found.remarks, **clean, **further}))
        _check_finite(model, figures, found.log_prob)
        return
    screen = console()
    meanings = {column.name: column.meaning for column in LEADERBOARD}
    meanings["nll_true"] = "what the true density has on the same rows"
    shown = [(name, _figure(name, figures[name]), meaning) for name, meaning in meanings.items() if name in figures]
    shown = [row for row in shown if row[1]]
    title = f"{data.name}: {counted(len(data.test), 'test row')}"
    # What a figure means is left out where it would have no room beside its value.
    columns = ["figure", "value", "meaning"][: 3 if screen.width >= _WIDE else 2]
    screen.print(_table(title, shown, columns))
    if of_tables:
        rows = [
            (name, _with_error(of), _figure(name, of.floor), MEANINGS.get(name, "")) for name, of in of_tables.items()
        ]
        columns = ["figure", "value", "floor", "meaning"][: 4 if screen.width >= _WIDE else 3]
        screen.print(_table("as a table; the floor is that of training rows", rows, columns))
    for remark in [*found.remarks, *data.remarks]:
        screen.print(remark, highlight=False, markup=False)
    _check_finite(model, figures, found.log_prob)


def _figure(name: str, value: float) -> str:
    if value != value:
        return ""
    return f"{value:,.0f}" if name in ("nfe", "parameters") and math.isfinite(value) else f"{value:.4g}"


def _with_error(figure: Any) -> str:
    shown = f"{figure.value:.4g}"
    return shown if math.isnan(figure.standard_error) else f"{shown} ±{figure.standard_error:.2g}"


_WIDE = 60  # columns of a terminal


def _table(title: str, rows: Sequence[tuple[str, ...]], columns: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in ("value", "floor")
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        table.add_row(*row[: len(columns)])
    return table


def _check_finite(model: Any, figures: dict[str, float], log_p: Any) -> None:
    if model.has_log_prob and not math.isfinite(figures["nll"]):
        bad = int((~log_p.isfinite()).sum())
        raise ResultError(f"the NLL is {figures['nll']}: {bad} of {len(log_p)} test rows have no finite log density")
