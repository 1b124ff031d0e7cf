"""`genflow sample`."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.files import table_file
from genflow.cli.flags import add_device, add_parts, add_run, add_seed, add_table_out
from genflow.cli.models import load_model
from genflow.cli.words import counted, print_remarks
from genflow.errors import InputError, ResultError

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "draw from a trained model"
USAGE = "genflow sample RUN --out FILE [options]"
NEEDED = ("run", "out")
DESCRIPTION = """Draw samples from a trained model, with the column names and in the units of its data.

examples:
  genflow sample run -n 1000 -o samples.csv
  genflow sample run -n 1000 --condition 35 -o samples.csv
  genflow sample run -n 1000 --condition age=35 city=Graz -o samples.csv
  genflow sample run -n 64 --condition label=7 --guidance 2 -o sevens.csv
  genflow sample run -n 1000 --integrator dopri5,rtol=1e-6 -o samples.csv
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    add_run(parser)
    parser.add_argument(
        "-n", "--number", type=int, metavar="N", help="how many (default: 1000), or how many for each row (default: 1)"
    )
    parser.add_argument(
        "--condition",
        nargs="+",
        type=str,
        default=[],
        metavar="VALUE",
        help="a value for each column of the condition, or NAME=VALUE",
    )
    parser.add_argument("--condition-from", type=str, metavar="FILE", help="a table with the columns of the condition")
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="exaggerate what the condition changes; for a model that was trained with condition_dropout",
    )
    add_table_out(parser)
    add_seed(parser, "the samples")
    add_parts(parser, divergence=False)
    add_device(parser)


def run(chosen: Arguments) -> None:
    """Runs the command."""
    out = table_file(chosen.out)
    if chosen.number is not None and chosen.number < 1:
        raise InputError(f"number: {chosen.number} came; at least 1 would do")
    if chosen.condition and chosen.condition_from:
        raise InputError("condition, condition-from: both came; give one of them")
    model = load_model(chosen)
    import numpy as np
    import torch

    from genflow.data import write

    given = _named_values(chosen, model)
    if chosen.guidance is not None:
        if given is None:
            raise InputError("guidance: it came without a condition; --condition or --condition-from would do")
        model = model.guided(chosen.guidance)
    number = chosen.number or 1000
    if chosen.condition_from:
        given = np.repeat(given, chosen.number or 1, axis=0)
        number = len(given)
    with torch.no_grad():
        samples = model.sample(number, given, torch.Generator().manual_seed(chosen.seed)).double().cpu()
    if bad := int((~model.are_rows(samples)).sum()):
        raise ResultError(
            f"{bad} of {number} samples are not finite, so {out} was not written; another integrator or more steps "
            "may do, or a longer training"
        )
    rows = samples.numpy()
    if model.schema is not None and out.suffix != ".npy":
        known = None if given is None else model.encoding.table(given, number)
        write(out, model.schema.frame(rows, known))
        print(f"{counted(number, 'sample')}: {out}")
        return
    columns = model.columns
    if given is not None:  # so that the file can be scored
        columns = [*columns, *model.encoding.columns]
        rows = np.concatenate([rows, np.broadcast_to(given, (number, len(model.encoding.columns)))], 1)
    write(out, rows, columns)
    print(f"{counted(number, 'sample')}: {out}")


def _named_values(chosen: Arguments, model: Any) -> Any:
    """The condition that a command line names, with its values checked; `None` where none is named."""
    if not (chosen.condition or chosen.condition_from):
        return None
    if model.encoding is None:
        raise InputError("condition: one came, but the model was trained without any; leave it out")
    import numpy as np

    from genflow.data import read_with_condition

    if chosen.condition_from:
        with print_remarks():
            _, given = read_with_condition(chosen.condition_from, [], model.encoding, model.schema)
    else:
        given = [_condition_values(chosen.condition, model)]
    model.encoding(given, (len(given),))
    return np.asarray(given, dtype=object if model.encoding.class_columns else float)


def _condition_values(words: list[str], model: Any) -> list[Any]:
    """The values of the condition's columns, from VALUE in their order or NAME=VALUE in any."""
    encoding = model.encoding
    named = {
        column: word[len(column) + 1 :]
        for word in words
        for column in encoding.columns
        if word.startswith(f"{column}=")
    }
    if len(named) == len(words) == len(encoding.columns):
        words = [named[column] for column in encoding.columns]
    elif named or len(words) != len(encoding.columns):
        came = f"{' '.join(words)} came"
        columns = ", ".join(encoding.columns)
        raise InputError(f"condition: {came}; a value for each of {columns}, or NAME=VALUE for each, would do")
    known = {} if model.schema is None else {column.name: column for column in model.schema.conditions}
    return [
        text if names else _number(text, known.get(column))
        for column, text, names in zip(encoding.columns, words, encoding.classes)
    ]


def _number(text: str, column: Any) -> float | str:
    """A number, or the count of a date; what is neither is left to whoever wants a number."""
    try:
        return float(text)
    except ValueError:
        return text if column is None or column.kind != "date" else column.number(text)
