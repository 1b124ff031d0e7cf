"""Trained models, as the commands use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace as Arguments

from genflow.cli.words import note, print_remarks
from genflow.errors import InputError

__all__ = ["source_columns", "load_model", "log_prob", "mean", "rows_and_condition", "set_threads"]


def load_model(chosen: Arguments) -> Any:
    """The model of a run, in the units of its data, with the parts that the command line replaces, on its device."""
    from genflow.devices import device_named
    from genflow.fitted import Transformed
    from genflow.storage.checkpoint import load

    device = device_named(chosen.get("device", "cpu"))
    model = load(chosen.run, trust=chosen.trust)
    if not isinstance(model, Transformed):
        raise InputError(
            f"{chosen.run}: a {type(model).__name__} came, without its data's units; use one that fit wrote"
        )
    named = {kind: chosen.get(kind) for kind in ("integrator", "divergence") if chosen.get(kind)}
    steps = chosen.get("steps")
    if named or steps is not None:
        from genflow.naming.parts import part
        from genflow.naming.registry import name_of

        if not model.model.has_parts:
            flags = ", ".join([*named, *(["steps"] if steps is not None else [])])
            raise InputError(f"{flags}: {name_of(type(model.model))} integrates no velocity; leave it out")
        model = model.replace(**{kind: part(kind, text) for kind, text in named.items()})
    if steps is not None:
        if steps < 1:
            raise InputError(f"steps: {steps} came; at least 1 would do")
        model = model.replace(scheduler=model.model.scheduler.with_steps(steps))
        _remark_on_steps(model.model)
    model.model.to(device)  # its preprocessing, in float64, stays where the rows are read
    return model


def set_threads(threads: int | None) -> None:
    """Sets the threads of torch, where a number came."""
    if threads is None:
        return
    from genflow.numerics.threads import choose

    choose(threads)


def log_prob(model: Any, rows: Any, condition: Any, seed: int = 0, **options: int) -> tuple[Any, Any]:
    """The log density of each row, and the standard error that the draws of its places leave."""
    import torch

    with torch.no_grad():
        return model.log_prob_with_error(rows, condition, torch.Generator().manual_seed(seed), **options)


def rows_and_condition(model: Any, source: str, *, gaps: bool = False) -> tuple[Any, Any]:
    """The rows of a table for a model, and their conditions where it has some.

    Args:
        model: The model.
        source: The file.
        gaps: Whether any value may be missing.

    Raises:
        InputError: The columns of the condition are not there; what `rows_of` refuses.
    """
    from genflow.data import rows_of

    with print_remarks():
        rows, given = rows_of(source, model.columns, model.encoding, schema=model.schema, gaps=gaps)
    if model.encoding is not None and given is None:
        missing = ", ".join(_missing_of_condition(model, source))
        raise InputError(f"{source}: missing columns of the condition: {missing}")
    return rows, given


def _missing_of_condition(model: Any, source: str) -> list[str]:
    """The columns of a model's condition that a table has not."""
    from genflow.data.reading import read_table
    from genflow.data.rows import condition_hints

    columns = model.encoding.columns
    there = read_table(source, columns, condition_hints(model.encoding, model.schema)).columns
    return [column for column in columns if column not in there]


def source_columns(source: str, columns: Sequence[str]) -> Any:
    """Columns of a file as they stand in it, for those who asked for some; `None` for others."""
    if not columns:
        return None
    from genflow.data import read_columns

    if not Path(source).is_file():
        raise InputError(f"id: {source} is no table; leave it out")
    return read_columns(source, columns)


def mean(values: Any) -> str:
    """The mean of numbers, with its standard error; one number has none."""
    from genflow.metrics import mean_and_se

    mean, se = mean_and_se(values)
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} ± {se:.4f}"


def _remark_on_steps(model: Any) -> None:
    """Says that a number of steps came for a solver that takes as many as its tolerance wants."""
    from genflow.naming.registry import name_of

    integrator = getattr(model, "flow", model).integrator  # of a latent model, that in the latent space
    if integrator.tolerances:
        name = integrator.method or name_of(type(integrator))
        note(f"--steps plays no part: {name} chooses its own steps, by its tolerances")
