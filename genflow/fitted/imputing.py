"""Missing entries of the user's rows: the model and its map handed to `genflow.imputation`, rows without a gap kept."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from genflow.draws import check_count, check_generator, draw_seed
from genflow.fitted.units import Units
from genflow.imputation import Imputation, Masked

__all__ = ["STEPS", "impute"]

STEPS = 20
"""Steps of a chain: see docs/experiments.md."""


def impute(
    units: Units, x: Any, draws: int, condition: Any, generator: torch.Generator | None, steps: int
) -> tuple[Tensor, list[str]]:
    """The rows with their missing entries drawn, `(draws, *batch, d)`, and what is to be said of them.

    Args:
        units: The model in the user's units.
        x: Rows in the forms that `Transformed.impute` takes.
        draws: How many of each row.
        condition: What the density is conditioned on.
        generator: Source of randomness.
        steps: Of the chains.
    """
    check_generator(generator)
    check_count(draws, "draws")
    check_count(steps, "steps")
    x, condition = units.take_rows(x, condition, gaps=True)
    given = units.encode_condition(condition, x.shape[:-1])
    flat = x.detach().double().cpu().reshape(-1, units.dim)
    found = flat.expand(draws, *flat.shape).clone()
    where = flat.isnan().any(-1)
    if not where.any():
        return found.reshape(draws, *x.shape), ["no entry is missing: the rows are as they came"]
    if isinstance(given, Tensor) and given.ndim > 1:
        given = given.expand(*x.shape[:-1], given.shape[-1]).reshape(len(flat), -1)[where.to(given.device)]
    model, by_portions = units.model, units.by_portions

    def log_prob(z: Tensor, c: Any, source: torch.Generator) -> Tensor:
        return by_portions.map(("log_prob", False), model.log_prob, z, c, source)

    def sample(count: int, c: Any, source: torch.Generator) -> Tensor:
        inner = model.model if isinstance(model, Masked) else model  # what is seen is in the condition
        draw = lambda size, part: (inner.sample((size,), part, source).reshape(size, -1),)
        (z,) = by_portions.draw(("sample", False, "[]", units.like.dtype), draw, (count,), units.dim, c)
        return z

    own = torch.Generator().manual_seed(0 if generator is None else draw_seed(generator))
    with torch.no_grad():
        imputation = Imputation(model, copy.deepcopy(units.preprocessor).cpu(), log_prob, sample, units.like)
        drawn = imputation(flat[where], given, draws, own, steps)
    found[:, where] = drawn.x
    return found.reshape(draws, *x.shape), drawn.remarks
