"""The promises of a model."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from genflow.errors import InputError
from genflow.testing.promises import generator, near, promise

__all__ = ["check_model"]

_SIDE = 120  # of the grid that the density is summed over
_FEW = 14  # rows whose log density is asked for by halves, beside that of all


@torch.no_grad()
def check_model(model_class: Any, *, iterations: int = 20, mass: bool = True, **options: Any) -> None:
    """Trains a model for a moment and checks it: its density integrates to one; rows, samples, gradients, checkpoints.

    Args:
        model_class: The class; `model_class(2, **options)` is trained on 400 rows of two moons.
        iterations: Optimizer steps.
        mass: Whether to sum the density over a grid.
        options: Arguments of the constructor: a small network is enough.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import genflow as gf
        >>> from genflow.testing import check_model
        >>> check_model(gf.models.FlowMatching, iterations=5, width=8)
    """
    from genflow.data import load

    torch.manual_seed(0)
    data = load("two-moons", rows=400)
    model = model_class(2, **options)
    promise(model.dim == 2, model, "dim is not the dimension that it was built with")
    with torch.enable_grad():
        fitted = model.fit(data, iterations=iterations, seed=0)
    x = data.test
    _check_samples(model, fitted)
    if not fitted.has_log_prob:
        try:
            fitted.log_prob(x)
        except InputError:
            return
        promise(False, model, "has_log_prob is False, but log_prob returns something; an InputError is promised")
    log_p = fitted.log_prob(x, generator=generator())
    promise(log_p.shape == (len(x),), model, f"log_prob of {len(x)} rows has the shape {tuple(log_p.shape)}")
    promise(bool(log_p.isfinite().all()), model, "log_prob is not finite on test rows")
    if not _random(fitted, x):
        again = torch.cat([fitted.log_prob(part) for part in x[:_FEW].split(_FEW // 2)])
        alike = near(again, log_p[:_FEW], 1e-3)
        promise(alike, model, "the log density of a row depends on the other rows of the batch")
        if mass:
            _check_mass(model, fitted)
    with torch.enable_grad():
        point = x[:4].clone().requires_grad_()
        total = fitted.log_prob(point, generator=generator()).sum()
        promise(total.requires_grad, model, "no gradient of log_prob reaches the rows: there would be no score")
        (score,) = torch.autograd.grad(total, point)
        promise(bool(score.isfinite().all()), model, "the gradient of log_prob is not finite")
    _check_inverse(model, fitted, x)
    _check_checkpoint(model, fitted, x, log_p)


def _random(fitted: Any, x: Any) -> bool:
    """Whether log_prob draws probes of its own."""
    first, second = (fitted.log_prob(x, generator=generator(seed)) for seed in (1, 2))
    return not torch.equal(first, second)


def _check_samples(model: Any, fitted: Any) -> None:
    samples = fitted.sample((3, 5), generator=generator(7))
    # In its own units, too: a fitted model asks it for a portion of rows at a time.
    for drawn in (samples, fitted.model.sample((3, 5), None, generator(7))):
        shape = tuple(drawn.shape)
        promise(shape == (3, 5, 2), model, f"sample((3, 5)) has the shape {shape}; (3, 5, 2) is promised")
    promise(bool(samples.isfinite().all()), model, "samples are not finite")
    again = fitted.sample((3, 5), generator=generator(7))
    promise(
        torch.equal(samples, again),
        model,
        "two draws of samples from one seed differ: randomness has to come from the generator",
    )
    other = fitted.sample((3, 5), generator=generator(8))
    promise(not torch.equal(samples, other), model, "samples do not depend on the seed of the generator")


def _check_mass(model: Any, fitted: Any) -> None:
    """The density in its own units, summed over a grid that reaches far out."""
    axis = torch.linspace(-9, 9, _SIDE, dtype=torch.float64)
    points = fitted.preprocessor.inverse(torch.cartesian_prod(axis, axis))
    log_det = fitted.preprocessor(points)[1]
    log_p = fitted.log_prob(points) - log_det
    mass = log_p.exp().sum().item() * (axis[1] - axis[0]).item() ** 2
    # The rule of rectangles is exact to many digits for a density that is smooth on the scale of a cell, 0.15.
    promise(abs(mass - 1) < 0.03, model, f"its density sums to {mass:.3f} over the plane; 1 is promised")


def _check_inverse(model: Any, fitted: Any, x: Any) -> None:
    if not model.invertible:
        return
    back = fitted.decode(fitted.encode(x))
    error = (back - x).square().mean().item() / x.square().mean().item()
    promise(error < 1e-4, model, f"decode(encode(x)) is not x: {math.sqrt(error):.1%} of it is lost")


def _check_checkpoint(model: Any, fitted: Any, x: Any, log_p: Any) -> None:
    from genflow.storage.checkpoint import load
    from genflow.storage.components import describe, names_in

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        try:
            fitted.save(path)
            again = load(path, trust=list(names_in(describe(fitted))))
        except (InputError, TypeError) as error:
            promise(False, model, f"it can't be saved and loaded again ({error})")
        promise(
            torch.equal(again.log_prob(x, generator=generator()), log_p),
            model,
            "saved and loaded again, it has another density: something that it needs is no parameter and no buffer",
        )
