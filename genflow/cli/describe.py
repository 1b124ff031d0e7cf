"""`genflow describe`."""

from __future__ import annotations

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.flags import add_condition, add_data, add_data_options, add_kinds, loading
from genflow.cli.words import console, counted, note

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "what a table holds, before anything is trained"
USAGE = "genflow describe DATA [options]"
NEEDED = ("data",)
DESCRIPTION = """Show what the columns of a table hold and what a model would do with them. Nothing is trained.

examples:
  genflow describe customers.csv
  genflow describe customers.csv --kind zip=class --drop name --missing drop
  genflow describe air.csv --missing-values -200
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_data(parser)
    add_data_options(parser)
    add_kinds(parser)
    add_condition(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    from rich import box
    from rich.table import Table

    from genflow.data import load
    from genflow.data.describing import describe_columns

    data = load(chosen.data, **loading(chosen))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, right in (("column", False), ("kind", False), ("values", False), ("missing", True), ("atoms", False)):
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for line in describe_columns(data):
        table.add_row(line.name, line.kind, line.values, line.missing, line.atoms)
    out = console()
    parts = f"{len(data.train)} to train on, {len(data.validation)} to stop by, {len(data.test)} to test"
    rows, columns = sum(map(len, data.parts().values())), counted(data.dim, "column")
    out.print(f"{data.name}: {rows} rows ({parts}), {columns} to model")
    out.print(table)
    for remark in data.remarks:
        note(remark)
