"""A fitted model trained further: on data of the same columns that say the same."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genflow.errors import InputError
from genflow.fitted.units import Units
from genflow.fitting import Fit, fit
from genflow.training import Budget

if TYPE_CHECKING:
    from genflow.data import Schema

__all__ = ["train_further"]


def train_further(
    units: Units, data: Any, behind: Sequence[dict[str, Any]], budget: Budget, **settings: Any
) -> tuple[Any, Fit]:
    """A copy of the model, trained further, and what came of it.

    Args:
        units: The model in the user's units.
        data: What `genflow.data.load` takes, of the same columns.
        behind: The stages that stay behind it; see `GenerativeModel.stages_behind`.
        budget: What the training may take.
        settings: Passed on to `genflow.fitting.fit`.

    Raises:
        InputError: Other columns, or other kinds of them.
    """
    from genflow.data import load

    dataset = load(data, like=units.schema)
    if dataset.columns != units.columns:
        came, wanted = (", ".join(columns[:8]) for columns in (dataset.columns, units.columns))
        raise InputError(f"data: the columns {came} came, the model was fitted to {wanted}")
    _refuse_other_kinds(units.schema, dataset.schema)
    with torch.inference_mode(False):
        model = copy.deepcopy(units.model)
    return model, fit(model, dataset, units.preprocessor, units.encoding, budget, history=behind, **settings)


def _refuse_other_kinds(known: Schema | None, schema: Schema | None) -> None:
    """Raises an error where the numbers of a column do not say what those that the model was fitted to say."""
    if known is None or schema is None:
        return
    for own, came in zip(known.modelled, schema.modelled, strict=True):
        classes = tuple(own.classes)
        if bool(classes) != bool(came.classes) or tuple(came.classes[: len(classes)]) != classes:
            raise InputError(
                f"data: column {own.name!r} holds other classes than the model was fitted to; what "
                "genflow.data.load(…, like=fitted.schema) returns would do"
            )
        if came.missing and not own.missing:
            raise InputError(
                f"data: column {own.name!r} misses values, and the model knows no gaps there; fill them, or what "
                "genflow.data.load(…, missing='drop') returns would do"
            )
