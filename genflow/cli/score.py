"""`genflow score`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import table_file
from genflow.cli.flags import add_data, add_device, add_id, add_parts, add_run, add_seed, add_table_out
from genflow.cli.models import load_model, log_prob, mean, rows_and_condition, source_columns
from genflow.cli.words import counted, note
from genflow.errors import InputError, ResultError
from genflow.extras import extra

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "log density of each row of a file"
USAGE = "genflow score RUN DATA --out FILE [options]"
NEEDED = ("run", "data", "out")
DESCRIPTION = """Write the log density of each row of a file, in nats, in the units of the file.

columns:
  log_prob      the log density; of classes and whole numbers that of a count
  log_prob_se   its standard error, where it is a mean over draws or random probes
  percentile    its place, from 0 to 100, among the scores of rows that were not trained on
  flag          with --flag 1%: whether it is below that percentile

examples:
  genflow score run customers.csv -o scores.csv
  genflow score run customers.csv --flag 1% --id customer -o scores.csv
  genflow score run customers.csv --integrator dopri5 --divergence hutchinson,n=8 -o scores.csv
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="a table with the columns that the model was trained on")
    add_table_out(parser)
    parser.add_argument(
        "--flag", type=str, metavar="SHARE", help="mark the rows below this percentile of held-out rows, such as 1%%"
    )
    add_id(parser)
    add_seed(parser, "the draws, and of a random divergence estimator")
    add_parts(parser)
    add_device(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = table_file(chosen.out)
    share = None if chosen.flag is None else _percentage(chosen.flag)
    model = load_model(chosen)
    scores = model.scores()
    if share is not None and not len(scores):
        raise InputError(f"flag: {chosen.run} keeps no scores of held-out rows to compare with; fit it anew")
    if share is not None and not model.comparable:
        raise InputError(
            f"flag: log p by {model.noise or 'an exact divergence'} came, and the scores of held-out rows are of the "
            "divergence that the model was saved with; leave --divergence out"
        )
    from genflow.data import holds_pictures, names
    from genflow.studies.origin import load_for

    given = None
    if (built_in := chosen.data in names() and not Path(chosen.data).exists()) or holds_pictures(chosen.data):
        data = load_for(model, chosen.data)
        rows, given = data.test, data.condition and data.condition.test
        what = "is built in" if built_in else "is a folder"
        print(f"{chosen.data} {what}: its test rows are scored", file=sys.stderr)
    else:
        rows, given = rows_and_condition(model, chosen.data)
    ids = source_columns(chosen.data, chosen.id)
    log_p, error = log_prob(model, rows, given, chosen.seed)
    if (remark := model.remark_on(rows)) is not None:
        note(remark)
    columns = {"log_prob": log_p.double().cpu().numpy()}
    if model.noisy and error.isnan().all():
        note("log_prob_se: this divergence does not say its error; hutchinson,n=2 or more would")
    elif model.preprocessor.random or model.noisy:
        columns["log_prob_se"] = error.double().cpu().numpy()
    if not model.comparable:
        note("percentile: scores of held-out rows have another random error, or none; leave --divergence out for it")
    elif len(scores):
        alike = log_p
        if (draws := model.score_draws) != model.places:  # a bound is compared with bounds
            alike = log_prob(model, rows, given, chosen.seed, draws=draws)[0]
        columns["percentile"] = model.percentile_of(alike).cpu().numpy()
    else:
        note(f"{chosen.run} keeps no scores of held-out rows: there are no percentiles")
    if share is not None:
        columns["flag"] = columns["percentile"] < share
        if len(scores) * share < 100:
            note(f"flag: among {len(scores)} held-out rows {share:g}% is less than one; more of them would tell better")
    _write(out, columns, ids)
    if share is not None:
        flagged = f"{int(columns['flag'].sum())} of {counted(len(rows), 'row')}"
        print(f"{flagged} below the {share:g}% percentile of {counted(len(scores), 'row')}")
    finite = log_p[log_p.isfinite()]
    bad = len(log_p) - len(finite)
    if len(finite):
        one = counted(len(finite), "row that has one", "rows that have one")
        of = f"the {one}" if bad else counted(len(rows), "row")
        print(f"mean log density {mean(finite)} nats per row, {of}: {out}")
    if bad:
        have = "has" if bad == 1 else "have"
        raise ResultError(f"{bad} of {counted(len(rows), 'row')} {have} no finite log density; {out} says which")


def _write(out: Path, columns: dict[str, Any], ids: Any) -> None:
    """Writes columns, with those in front that were asked for."""
    with extra("data"):
        import pandas as pd

    from genflow.data import write

    if ids is not None and (twice := [name for name in columns if name in ids.columns]):
        raise InputError(f"id: {twice[0]!r} is a column of the scores, too; rename it in the file")
    write(out, pd.DataFrame(columns) if ids is None else ids.assign(**columns))


def _percentage(text: str) -> float:
    """The number of `1%`.

    Example:
        >>> _percentage("0.5%")
        0.5
    """
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not (text.strip().endswith("%") and 0 < value < 100):
        raise InputError(f"flag: {text} came; a percentage between 0% and 100%, such as 1%, would do")
    return value
