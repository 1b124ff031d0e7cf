"""The promises of a divergence estimator."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from genflow.divergences import as_divergence
from genflow.errors import InputError
from genflow.interfaces import DivergenceEstimator, Estimate, Velocity
from genflow.testing.promises import answering, finite_difference, generator, near, promise, same_kind
from genflow.velocities import as_velocity

__all__ = ["check_divergence"]

_DIM, _ROWS, _DRAWS = 4, 8, 400
_T = torch.tensor(0.3, dtype=torch.float64)


def check_divergence(
    estimator: DivergenceEstimator | Callable[..., Any], *, velocity: Velocity | None = None, event_ndim: int = 1
) -> None:
    r"""Checks a divergence estimator: unbiased for any number of probes, determined by its probes, differentiable.

    On :math:`v = A x` the mean over 400 draws must meet :math:`\operatorname{tr} A` within five standard errors.

    Args:
        estimator: The estimator, or a function that `as_divergence` takes. One with an argument `n` is built again with
            1, 2 and 3 probes.
        velocity: A field of your own, with `dim` at most 6, where the estimator is made for one: its default
            divergence, which differentiates `forward`, is then the truth.
        event_ndim: Rank of the events; 1 for vectors, 3 for images.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import genflow as gf
        >>> from genflow.testing import check_divergence
        >>> check_divergence(gf.divergences.Hutchinson(n=2))
        >>> def summed(velocity, x, t, probes, condition):
        ...     v, pushed = velocity.pushforward(x, t, probes, condition)
        ...     return v, (pushed * probes).sum((0, -1))
        >>> check_divergence(summed)
        Traceback (most recent call last):
        genflow.testing.promises.BrokenPromise: FunctionDivergence: biased with n = 2 probes: ...
    """
    field, x = _field(velocity, event_ndim)
    with answering(estimator):
        estimator = as_divergence(estimator)
        _check_estimate(estimator, field, x)
        _check_probes(estimator, field, x)
        for n, counted in _with_counts(estimator, field, x):
            _check_mean(counted, n, field, x)
        _check_rows(estimator, field, x)
        if velocity is None:
            _check_gradients(estimator, event_ndim)
        _check_failure(estimator, field, x)


def _with_counts(
    estimator: DivergenceEstimator, field: Velocity, x: Tensor
) -> Iterator[tuple[int | None, DivergenceEstimator]]:
    """The estimator with 1, 2 and 3 probes, as far as it can do with them; as it is, where it has no argument `n`."""
    if "n" not in inspect.signature(type(estimator)).parameters:
        yield None, estimator
        return
    for n in (1, 2, 3):
        try:
            counted = estimator.rebuilt(n=n)
            counted.probes(x, field.event_ndim, generator())
        except InputError:  # fewer than it can do with, or more than there are, and it says so
            continue
        yield n, counted


def _field(velocity: Velocity | None, event_ndim: int) -> tuple[Velocity, Tensor]:
    """A linear field with off-diagonal entries, and rows."""
    if velocity is not None:
        velocity = velocity.double()
        if (shape := velocity.event()) is None:
            raise InputError("velocity: it does not say the shape of its events; one with dim or event_shape would do")
        return velocity, torch.randn(_ROWS, *shape, generator=generator(1), dtype=torch.float64)
    return _linear(_matrix(), event_ndim), _points(event_ndim)


def _points(event_ndim: int) -> Tensor:
    shape = (_DIM,) if event_ndim == 1 else (*(1,) * (event_ndim - 2), 2, _DIM // 2)
    return torch.randn(_ROWS, *shape, generator=generator(1), dtype=torch.float64)


def _matrix() -> Tensor:
    return torch.randn(_DIM, _DIM, generator=generator(), dtype=torch.float64) + torch.eye(_DIM, dtype=torch.float64)


def _linear(matrix: Tensor, event_ndim: int) -> Velocity:
    def linear(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        return (x.flatten(-event_ndim) @ matrix.to(x.dtype).mT).reshape(x.shape)

    return as_velocity(linear, event_ndim)


def _estimate(
    estimator: DivergenceEstimator, field: Velocity, x: Tensor, probes: Tensor | None, t: Tensor = _T
) -> Estimate:
    found = estimator(field, x, t.to(x.dtype), probes, None)
    promise(isinstance(found, Estimate), estimator, f"it returned a {type(found).__name__}; an Estimate is promised")
    return found


def _check_estimate(estimator: DivergenceEstimator, field: Velocity, x: Tensor) -> None:
    """Shapes, dtypes, the velocity that comes along, the input left alone."""
    event = x.shape[1:]
    for points in (x, x.reshape(2, 4, *event)):
        before = points.clone()
        probes = estimator.probes(points, field.event_ndim, generator())
        if probes is not None:
            promise(
                probes.shape[1:] == points.shape,
                estimator,
                f"probes have the shape {tuple(probes.shape)}; (n, *batch, *event), here (n, "
                f"{', '.join(map(str, points.shape))}), is promised",
            )
        found = _estimate(estimator, field, points, probes)
        promise(torch.equal(points, before), estimator, "it changed the points that it was given")
        same_kind(found.velocity, points, estimator, "the velocity")
        promise(
            near(found.velocity, field(points, _T), 1e-9), estimator, "the velocity that it returns is not the field's"
        )
        same_kind(found.divergence, points.flatten(points.ndim - len(event)).sum(-1), estimator, "the divergence")
        if found.per_probe is not None:
            promise(found.per_probe.shape[1:] == found.divergence.shape, estimator, "per_probe is not (n, *batch)")
            promise(
                near(found.per_probe.mean(0), found.divergence, 1e-9),
                estimator,
                "the mean of per_probe is not the divergence",
            )
        promise(
            found.per_probe is not None or not estimator.has_per_probe,
            estimator,
            "has_per_probe is set, but per_probe does not come",
        )
    if type(field).__name__ == "FunctionVelocity":
        single = x.float()
        found = _estimate(estimator, field, single, estimator.probes(single, field.event_ndim, generator()))
        promise(
            found.divergence.dtype == torch.float32,
            estimator,
            f"of float32 points, the divergence is {found.divergence.dtype}",
        )


def _check_probes(estimator: DivergenceEstimator, field: Velocity, x: Tensor) -> None:
    """The probes come from the generator, and the estimate from the probes: a solve is deterministic."""
    first, again = (estimator.probes(x, field.event_ndim, generator(5)) for _ in range(2))
    promise(
        (first is None and again is None) or (first is not None and again is not None and torch.equal(first, again)),
        estimator,
        "two draws of probes from one seed differ: randomness has to come from the generator",
    )
    estimates = [_estimate(estimator, field, x, first).divergence for _ in range(2)]
    promise(
        torch.equal(*estimates),
        estimator,
        "two estimates with the same probes differ: within a solve it has to be deterministic",
    )


def _check_mean(estimator: DivergenceEstimator, n: int | None, field: Velocity, x: Tensor) -> None:
    """Unbiased; the truth by automatic differentiation of the field itself."""
    truth = Velocity.divergence(field, x, _T)[1]
    source = generator(2)
    means = []
    with torch.no_grad():
        for _ in range(_DRAWS):
            probes = estimator.probes(x, field.event_ndim, source)
            means.append((_estimate(estimator, field, x, probes).divergence - truth).mean())
            if probes is None:
                break
    error = torch.stack(means)
    doubt = error.std().item() / math.sqrt(len(error)) if len(error) > 1 else 0.0
    bias = error.mean().item()
    # Beyond five standard errors: by chance once in two million. A finite difference rounds at 1e-16 |v| / 1e-3.
    promise(
        abs(bias) <= 5 * doubt + 1e-6 * (1 + truth.abs().max().item()),
        estimator,
        f"biased{f' with n = {n} probes' if n else ''}: {truth.mean().item():.3g} is the divergence, "
        f"{truth.mean().item() + bias:.3g} ± {doubt:.1g} the mean of its estimates"
        + (" (probes are averaged, not summed)" if n and n > 1 else ""),
    )


def _check_rows(estimator: DivergenceEstimator, field: Velocity, x: Tensor) -> None:
    """A row's estimate does not depend on the other rows."""
    probes = estimator.probes(x, field.event_ndim, generator(3))
    together = _estimate(estimator, field, x, probes).divergence
    alone = _estimate(estimator, field, x[:3], None if probes is None else probes[:, :3]).divergence
    promise(near(alone, together[:3], 1e-9), estimator, "the estimate of a row depends on the other rows of the batch")


def _check_gradients(estimator: DivergenceEstimator, event_ndim: int) -> None:
    """Gradients of the estimate, for training: those of central differences with the same probes.

    An estimator may take a part of itself as given, such as Hutch++ its sketch: then they are right on average.
    """
    matrix = _matrix().requires_grad_()

    def bent(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        return torch.tanh(x.flatten(-event_ndim) @ matrix.mT).reshape(x.shape)

    field, x = as_velocity(bent, event_ndim), _points(event_ndim)
    probes = estimator.probes(x, event_ndim, generator(4))
    total = _estimate(estimator, field, x, probes).divergence.sum()
    promise(total.requires_grad, estimator, "no gradient reaches the velocity's parameters: it can't be trained with")
    (gradient,) = torch.autograd.grad(total, matrix)
    direction = torch.randn(matrix.shape, generator=generator(6), dtype=torch.float64)
    slope = finite_difference(lambda: _estimate(estimator, field, x, probes).divergence.sum(), [matrix], [direction])
    if near((gradient * direction).sum(), slope, 1e-5):
        return
    truth = torch.autograd.grad(Velocity.divergence(field, x, _T)[1].sum(), matrix)[0]
    errors = []
    for seed in range(_DRAWS):
        drawn = estimator.probes(x, event_ndim, generator(100 + seed))
        total = _estimate(estimator, field, x, drawn).divergence.sum()
        errors.append(((torch.autograd.grad(total, matrix)[0] - truth) * direction).sum())
    deviations = torch.stack(errors)
    promise(
        bool(deviations.std() > 0 and deviations.mean().abs() < 4.5 * deviations.std() / math.sqrt(_DRAWS)),
        estimator,
        f"the gradient for the velocity's parameters is wrong: {(gradient * direction).sum().item():.4g} along a "
        f"direction, {slope.item():.4g} by central differences",
    )


def _check_failure(estimator: DivergenceEstimator, field: Velocity, x: Tensor) -> None:
    """A field that is not finite must not give a divergence that is."""

    def lost(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        return x * math.nan

    broken = as_velocity(lost, field.event_ndim)
    try:
        found = _estimate(estimator, broken, x, estimator.probes(x, field.event_ndim, generator()))
    except (RuntimeError, ValueError):
        return
    promise(
        not found.divergence.isfinite().any(),
        estimator,
        "of a velocity that is not a number it makes a finite divergence: nobody would see the failure",
    )
