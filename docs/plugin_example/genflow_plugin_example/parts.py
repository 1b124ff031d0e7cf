"""A velocity, a divergence estimator, an integrator and a scheduler."""

from __future__ import annotations

import math

import torch

import genflow as gf


class Spiral(gf.Velocity):
    """A linear field that turns and contracts, with a network on top; the divergence follows from `forward`."""

    def __init__(self, dim, width=32, interval=(0.0, 1.0)):
        super().__init__()
        self.dim, self.interval = dim, tuple(interval)
        self.linear = torch.nn.Linear(dim, dim)
        self.first, self.second = torch.nn.Linear(dim + 1, width), torch.nn.Linear(width, dim)

    def forward(self, x, t, condition=None):
        time = t.expand(x.shape[:-1])[..., None]
        return self.linear(x) + self.second(torch.tanh(self.first(torch.cat([x, time], -1))))


class Coordinates(gf.DivergenceEstimator):
    """The diagonal of the Jacobian at n coordinates drawn at random, scaled up: unbiased, and exact for n = d."""

    def __init__(self, n=1):
        self.n = n

    def probes(self, x, event_ndim, generator=None):
        flat = x.flatten(-event_ndim)
        chosen = torch.rand(flat.shape, generator=generator).argsort(-1)[..., : self.n]
        units = torch.nn.functional.one_hot(chosen, flat.shape[-1]).to(x)
        return units.movedim(-2, 0).reshape(-1, *x.shape)

    def __call__(self, velocity, x, t, probes=None, condition=None):
        v, pushed = velocity.pushforward(x, t, probes, condition)
        scale = math.prod(x.shape[x.ndim - velocity.event_ndim :]) / len(probes)
        return gf.Estimate(
            v, scale * (pushed * probes).flatten(-velocity.event_ndim).sum(-1).sum(0), pushes=len(probes)
        )


class SSP3(gf.solvers.FixedStep):
    """The strong-stability-preserving method of Shu and Osher, of order 3, for one tensor or a tuple of them."""

    order, evaluations = 3, 3

    def step(self, f, t, t_next, h, y):
        if isinstance(y, torch.Tensor):
            y_1 = y + h * f(t, y)
            y_2 = 3 / 4 * y + (y_1 + h * f(t_next, y_1)) / 4
            return y / 3 + 2 / 3 * (y_2 + h * f(t + h / 2, y_2))
        k = f(t, y)
        y_1 = tuple(a + h * b for a, b in zip(y, k, strict=True))
        k = f(t_next, y_1)
        y_2 = tuple(3 / 4 * a + (b + h * c) / 4 for a, b, c in zip(y, y_1, k, strict=True))
        k = f(t + h / 2, y_2)
        return tuple(a / 3 + 2 / 3 * (b + h * c) for a, b, c in zip(y, y_2, k, strict=True))


class Cosine(gf.Scheduler):
    """Steps that are finer at both ends."""

    def __init__(self, steps=8):
        self.steps = steps

    def times(self, start, stop, steps=None, *, dtype=torch.float32, device=None):
        k = torch.linspace(0, math.pi, (steps or self.steps) + 1, dtype=torch.float64)
        times = start + (stop - start) * (1 - k.cos()) / 2
        times[0], times[-1] = start, stop  # exactly, whatever the cosine rounds to
        return times.to(device, dtype)
