"""`genflow score`."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import table_file
from genflow.cli.flags import add_data, add_device, add_parts, add_run, add_seed
from genflow.cli.models import loaded, log_prob, mean
from genflow.cli.words import note, noted
from genflow.errors import InputError, ResultError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "log density of each row of a file"
USAGE = "genflow score RUN DATA --out FILE [options]"
NEEDED = ("run", "data", "out")
DESCRIPTION = """Write the log density of each row of a file: one column log_prob, in nats, in the units of the file.

examples:
  genflow score run customers.csv -o scores.csv
  genflow score run customers.csv --integrator dopri5 --divergence hutchinson,n=8 -o scores.csv
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="a table with the columns that the model was trained on")
    parser.add_argument("-o", "--out", type=str, metavar="FILE", help="new file: .csv, .parquet or .npy")
    add_seed(parser, "a random divergence estimator")
    add_parts(parser)
    add_device(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = table_file(chosen.out)
    model = loaded(chosen)
    from genflow.data import holds_pictures, names, rows_of, write
    from genflow.studies.origin import loaded_for

    given = None
    if (built_in := chosen.data in names() and not Path(chosen.data).exists()) or holds_pictures(chosen.data):
        data = loaded_for(model, chosen.data)
        rows, given = data.test, data.condition and data.condition.test
        what = "is built in" if built_in else "is a folder"
        print(f"{chosen.data} {what}: its test rows are scored", file=sys.stderr)
    else:
        with noted():
            rows, given = rows_of(chosen.data, model.columns, model.encoding, schema=model.schema)
        if model.encoding is not None and given is None:
            missing = ", ".join(model.encoding.columns)
            raise InputError(f"{chosen.data}: the columns of the condition are missing: {missing}")
    log_p = log_prob(model, rows, given, chosen.seed)
    if (remark := model.remark_on(rows)) is not None:
        note(remark)
    write(out, log_p.double().cpu().numpy()[:, None], ["log_prob"])
    finite = log_p[log_p.isfinite()]
    bad = len(log_p) - len(finite)
    if len(finite):
        of = f"the {len(finite)} rows that have one" if bad else f"{len(rows)} rows"
        print(f"mean log density {mean(finite)} nats per row, {of}: {out}")
    if bad:
        raise ResultError(f"{bad} of {len(rows)} rows have no finite log density; {out} says which")
