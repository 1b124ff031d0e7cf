"""What a study is made on: a trained flow, and rows in the units that it was trained in."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.flow import Flow
from genflow.studies.origin import load_for, reload

__all__ = ["Subject", "subject_of"]


@dataclass
class Subject:
    """A flow with rows to try it on.

    Attributes:
        name: What the report calls it.
        flow: The flow.
        x: Rows in the units of the flow, `(n, *event)`.
        condition: What each of them is conditioned on, `(n, k)`, or `None`.
        image_shape: Height and width of the picture that a row is, where it is one.
        columns: Names of the columns, where they have some.
        model: The model in the user's units, where there is one.
    """

    name: str
    flow: Flow
    x: Tensor
    condition: Any = None
    image_shape: tuple[int, int] | None = None
    columns: tuple[str, ...] = ()
    model: Any = None

    def in_units_of_data(self, x: Tensor) -> Tensor:
        """Rows of the flow's units in those of the user."""
        return x.double() if self.model is None else self.model.original(x)


@torch.no_grad()
def subject_of(
    given: Any, *, rows: int = 256, data: Any = None, seed: int = 0, trust: tuple[str, ...] | list[str] = ()
) -> Subject:
    """The flow that a study is asked about, and rows of its data.

    Args:
        given: A folder that `fit` or `compare` wrote, a model in the units of its data, or a `Flow`.
        rows: Rows at most.
        data: For a model: anything that `genflow.data.load` takes, its test rows are used; what it was trained on by
            default. For a flow: rows in its own units, `(n, *event)`. Samples of the model itself where none are known.
        seed: Seed of the choice of rows.
        trust: Classes of the user's own that a folder may import, as `module:Name`.

    Raises:
        InputError: A model that is no flow, data with other columns.
    """
    if rows < 2:
        raise InputError(f"rows: {rows} came; at least 2 would do")
    model, name = given, type(given).__name__
    if isinstance(given, str | PathLike):
        from genflow.storage.checkpoint import load

        model, name = load(given, trust=trust), Path(given).name
        if data is None and (Path(given) / "run.json").is_file():
            data = reload(given)
    flow = model.model if isinstance(model, Transformed) else model
    if not isinstance(flow, Flow):
        raise InputError(
            f"run: {name} holds a {type(flow).__name__}, which integrates no velocity; "
            "jko-iflow, cnf, flow-matching or score-sde would do"
        )
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(model, Transformed):
        x = flow.sample(rows, generator=generator) if data is None else torch.as_tensor(data)
        return Subject(name, flow, x[:rows])
    if data is None:
        if model.encoding is not None:
            raise InputError("data: the model has a condition; name the data set that it was trained on")
        x = flow.sample(rows, generator=generator)
        return Subject(name, flow, x, columns=tuple(model.columns), model=model)
    return _with_data(name, model, data, rows, generator)


def _with_data(name: str, model: Any, source: Any, rows: int, generator: torch.Generator) -> Subject:
    dataset = load_for(model, source)
    chosen = torch.randperm(len(dataset.test), generator=generator)[:rows]
    x = model.spread(dataset.test[chosen])[0]
    condition = None
    if dataset.condition is not None:
        condition = model.encode_condition(dataset.condition.test[chosen.numpy()], (len(chosen),))
    title = f"{name} on {dataset.name}"
    return Subject(title, model.model, x, condition, dataset.image_shape, tuple(model.columns), model)
