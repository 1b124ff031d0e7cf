"""The promises of a scheduler, and of a noise schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from genflow.interfaces import NoiseSchedule, Scheduler
from genflow.schedulers.function import as_scheduler
from genflow.testing.promises import answering, promise

__all__ = ["check_scheduler"]


def check_scheduler(
    scheduler: Scheduler | NoiseSchedule | Callable[..., Any], interval: tuple[float, float] = (0.1, 0.9)
) -> None:
    r"""Checks a scheduler: as many times as asked for, from end to end, strictly monotone, in both directions.

    Of a noise schedule: the derivatives against central differences, :math:`\lambda` falling, `time_of` its inverse.

    Args:
        scheduler: The scheduler, a function that `as_scheduler` takes, or a noise schedule.
        interval: The times that it is tried between.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import genflow as gf
        >>> from genflow.testing import check_scheduler
        >>> check_scheduler(gf.schedulers.Warped(8, power=1.5))
        >>> check_scheduler(gf.schedulers.VariancePreserving())
    """
    with answering(scheduler):
        if isinstance(scheduler, NoiseSchedule):
            _check_noise(scheduler)
        else:
            _check_times(as_scheduler(scheduler), interval)


def _check_times(scheduler: Scheduler, interval: tuple[float, float]) -> None:
    own = scheduler.steps
    promise(isinstance(own, int) and own >= 1, scheduler, f"steps is {own!r}; a number from 1 up is promised")
    for start, stop in (interval, interval[::-1]):
        for steps in (1, 2, 7, None):
            for dtype in (torch.float32, torch.float64):
                times = scheduler.times(start, stop, steps, dtype=dtype)
                count = (own if steps is None else steps) + 1
                asked = f"times({start:g}, {stop:g}, {steps})"
                promise(
                    times.shape == (count,),
                    scheduler,
                    f"{asked} has the shape {tuple(times.shape)}; ({count},) is promised",
                )
                promise(times.dtype == dtype, scheduler, f"{asked} is {times.dtype}; {dtype} was asked for")
                ends = torch.tensor([start, stop], dtype=dtype)
                promise(
                    torch.equal(times[[0, -1]], ends),
                    scheduler,
                    f"{asked} runs from {times[0]:.9g} to {times[-1]:.17g}, not from end to end to the last bit",
                )
                rising = times.diff() * (1 if stop > start else -1)
                promise(bool((rising > 0).all()), scheduler, f"{asked} is not strictly monotone")
    other = scheduler.with_steps(own + 3)
    promise(
        other.steps == own + 3 and len(other.times(*interval)) == own + 4,
        scheduler,
        "with_steps does not give a grid of as many steps: its constructor takes no `steps`, or does not heed it",
    )


def _check_noise(noise: NoiseSchedule) -> None:
    promise(noise.t_min < noise.t_max, noise, f"t_min, t_max are {noise.t_min}, {noise.t_max}; they must rise")
    t = torch.linspace(noise.t_min, noise.t_max, 34, dtype=torch.float64)
    alpha, sigma = noise.alpha(t), noise.sigma(t)
    promise(alpha.shape == t.shape == sigma.shape, noise, "alpha or sigma do not have the shape of the times")
    promise(
        bool(alpha.isfinite().all() and sigma.isfinite().all()),
        noise,
        "alpha or sigma is not finite between t_min and t_max",
    )
    promise(bool((alpha[:-1] > 0).all() and (sigma[1:] > 0).all()), noise, "alpha and sigma must be positive within")
    inner = t[1:-1]
    h = 1e-6 * (noise.t_max - noise.t_min)
    for name in ("alpha", "sigma"):
        function, derivative = getattr(noise, name), getattr(noise, f"{name}_dot")(inner)
        slope = (function(inner + h) - function(inner - h)) / (2 * h)
        # Central differences err by h² f''' and by 1e-16 / h in rounding: 1e-10 of the slope; near an end f''' grows.
        close = (derivative - slope).abs() <= 1e-4 * (1 + slope.abs())
        promise(bool(close.all()), noise, f"{name}_dot is not the derivative of {name}")
    log_snr = noise.log_snr(inner)
    promise(bool((log_snr.diff() < 0).all()), noise, "the log signal-to-noise ratio does not fall in time")
    back = noise.time_of(log_snr)
    promise(
        bool((back - inner).abs().le(1e-6 * (1 + inner.abs())).all()), noise, "time_of is not the inverse of log_snr"
    )
