"""`genflow sample`."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import table_file, write_table
from genflow.cli.flags import add_parts, add_run, add_seed
from genflow.cli.models import loaded
from genflow.errors import InputError, ResultError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "draw from a trained model"
USAGE = "genflow sample RUN --out FILE [options]"
NEEDED = ("run", "out")
DESCRIPTION = """Draw samples from a trained model, with the column names and in the units of its data.

examples:
  genflow sample run -n 1000 -o samples.csv
  genflow sample run -n 1000 --condition 35 -o samples.csv
  genflow sample run -n 1000 --integrator dopri5,rtol=1e-6 -o samples.csv
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    parser.add_argument(
        "-n", "--number", type=int, metavar="N", help="how many (default: 1000), or how many for each row (default: 1)"
    )
    parser.add_argument(
        "--condition", nargs="+", type=str, default=[], metavar="VALUE", help="a value for each column of the condition"
    )
    parser.add_argument("--condition-from", type=str, metavar="FILE", help="a table with the columns of the condition")
    parser.add_argument("-o", "--out", type=str, metavar="FILE", help="new file: .csv, .parquet or .npy")
    add_seed(parser, "the samples")
    add_parts(parser, divergence=False)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = table_file(chosen.out)
    if chosen.number is not None and chosen.number < 1:
        raise InputError(f"number: {chosen.number} came; at least 1 would do")
    if chosen.condition and chosen.condition_from:
        raise InputError("condition, condition-from: both came; give one of them")
    model = loaded(chosen)
    import numpy as np
    import torch

    given = _given(chosen, model)
    number = chosen.number or 1000
    if chosen.condition_from:
        given = np.repeat(given, chosen.number or 1, axis=0)
        number = len(given)
    with torch.no_grad():
        rows = model.sample(number, given, torch.Generator().manual_seed(chosen.seed)).double().cpu().numpy()
    if bad := int((~np.isfinite(rows).all(-1)).sum()):
        raise ResultError(
            f"{bad} of {number} samples are not finite, so {out} was not written; another integrator or more steps "
            "may do, or a longer training"
        )
    columns = model.columns
    if given is not None:  # so that the file can be scored
        columns = [*columns, *model.encoding.columns]
        rows = np.concatenate([rows, np.broadcast_to(given, (number, len(model.encoding.columns)))], 1)
    write_table(out, rows, columns)
    print(f"{number} samples: {out}")


def _given(chosen: Arguments, model: Any) -> Any:
    """The condition that a command line names, with its values checked; `None` where none is named."""
    if not (chosen.condition or chosen.condition_from):
        return None
    if model.encoding is None:
        raise InputError("condition: one came, but the model was trained without any; leave it out")
    import numpy as np

    from genflow.data import read_with_condition

    if chosen.condition_from:
        _, given = read_with_condition(chosen.condition_from, [], model.encoding)
    elif len(chosen.condition) == len(model.encoding.columns):
        given = [[text if names else _number(text) for text, names in zip(chosen.condition, model.encoding.classes)]]
    else:
        raise InputError(f"condition: {len(chosen.condition)} values came; {model.encoding.wanted} would do")
    model.encoding(given, (len(given),))
    return np.asarray(given, dtype=object if model.encoding.class_columns else float)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
