"""`genflow impute`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import table_file
from genflow.cli.flags import add_data, add_device, add_id, add_parts, add_run, add_seed, add_table_out
from genflow.cli.models import load_model, rows_and_condition, source_columns
from genflow.cli.words import counted, flags_for, print_remarks
from genflow.errors import InputError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "draw the missing entries of a file"
USAGE = "genflow impute RUN DATA --out FILE [options]"
NEEDED = ("run", "data", "out")
DESCRIPTION = """Fill the missing entries of a table by draws from their law given the seen entries of their row.

Every row comes as often as there are draws, in a column draw; all else is as it came, with the
columns that the model does not have behind the others. A model that was fitted with --masks draws
the entries at once, under another one Markov chains do.

examples:
  genflow impute run customers.csv -o filled.csv
  genflow impute run customers.csv --draws 1 --id customer -o filled.csv
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    add_data(parser, text="a table with the columns that the model was trained on, and gaps")
    add_table_out(parser)
    parser.add_argument("--draws", type=int, default=5, metavar="N", help="draws of each row (default: 5)")
    parser.add_argument(
        "--chain-steps", type=int, metavar="N", help="steps of the Markov chains, where there are some (default: 20)"
    )
    add_id(parser)
    add_seed(parser, "the draws")
    add_parts(parser)
    add_device(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = table_file(chosen.out)
    model = load_model(chosen)
    import numpy as np
    import torch

    from genflow.data import write

    rows, given = rows_and_condition(model, chosen.data, gaps=True)
    ids = source_columns(chosen.data, chosen.id)
    options = {} if chosen.chain_steps is None else {"steps": chosen.chain_steps}
    generator = torch.Generator().manual_seed(chosen.seed)
    with flags_for(steps="--chain-steps"), print_remarks():
        frame = model.impute_frame(rows, chosen.draws, given, generator, **options)
    if ids is not None:
        if twice := [name for name in ids.columns if name in frame.columns]:
            raise InputError(f"id: {twice[0]!r} is a column of the model, too; leave it out")
        for place, name in enumerate(ids.columns):
            frame.insert(place, name, np.tile(ids[name].to_numpy(), chosen.draws))
    beside = _columns_beside(chosen.data, model.columns)
    for name in beside.columns.difference(frame.columns, sort=False) if beside is not None else ():
        frame[name] = np.tile(beside[name].to_numpy(), chosen.draws)
    write(out, frame)
    gaps = counted(int(rows.isnan().sum()), "missing entry", "missing entries")
    times = "" if chosen.draws == 1 else f", {chosen.draws} times each"
    print(f"{gaps} in {int(rows.isnan().any(-1).sum())} of {counted(len(rows), 'row')} drawn{times}: {out}")


def _columns_beside(source: str, columns: Sequence[str]) -> Any:
    """All columns of a file that has those of the model, as they stand in it; `None` of what is no such file."""
    from genflow.data import read_columns

    whole = read_columns(source) if Path(source).is_file() else None
    return whole if whole is not None and set(columns) <= set(whole.columns) else None
