"""Contract checks: every built-in component keeps its promises, and each check notices a component that does not."""

from __future__ import annotations

import functools
import inspect
import itertools
import math

import pytest
import torch

import genflow as gf
from genflow.interfaces import Scheduler
from genflow.naming import registry
from genflow.solvers import RK4, Adaptive, Euler
from genflow.testing import (
    BrokenPromise,
    check_divergence,
    check_integrator,
    check_model,
    check_scheduler,
    check_velocity,
)

ONE_OF_A_KIND = (
    "jko-iflow",
    "cnf",
    "flow-matching",
    "score-sde",
    "mean-flow",
    "latent",
    "nsf",
    "gaussian-mixture",
    "kde",
)
"""Models of which the others are relatives: those are checked among the slow tests."""


def built_in(kind):
    return pytest.mark.parametrize(
        "entry", [e for e in registry.entries(kind) if e.source == "genflow"], ids=lambda e: e.name
    )


def shallow():
    return gf.velocities.Shallow(2, width=6)


def velocities():
    """How the velocities are built that need more than a dimension."""
    from genflow.schedulers import VariancePreserving

    v = gf.velocities
    ring = torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return {
        "parallel": lambda: v.Parallel([shallow(), shallow()]),
        "mean": lambda: v.Mean([shallow(), shallow()]),
        "chain": lambda: v.Chain([shallow().on((0.0, 0.5)), shallow().on((0.5, 2.0))]),
        "probability-flow": lambda: v.ProbabilityFlow(shallow(), VariancePreserving(), "v"),
        "guided": lambda: v.Guided(v.OptionalCondition(v.Shallow(2, width=6, condition_dim=2)), 1.5),
        "chebyshev": lambda: v.Chebyshev(ring.tolist(), width=4),
        "graph-attention": lambda: v.GraphAttention(ring.tolist()),
        "flattened": lambda: v.Flattened(v.Chebyshev(ring.tolist(), width=4)),
        "linear": lambda: v.Linear(torch.randn(3, 2, 2).tolist(), [0.0, 0.4, 1.0]),
        "unet": lambda: v.UNet((1, 4, 4), width=8, groups=2),
    }


@built_in("velocity")
def test_every_velocity_keeps_its_promises(entry):
    torch.manual_seed(0)
    make = velocities().get(entry.name, lambda: entry.load()(3))
    shape = 2 if entry.name == "parallel" else None  # a sum of branches does not say its dimension
    check_velocity(make(), shape, condition=torch.tensor([0.5]) if entry.name == "guided" else None)


@built_in("divergence")
@pytest.mark.parametrize("event_ndim", [1, 3])
def test_every_divergence_keeps_its_promises(entry, event_ndim):
    cls, known = entry.load(), gf.velocities.Linear([torch.eye(4).tolist()])
    arguments = {"hutch++": (3,), "control-variate": (gf.divergences.Hutchinson(), known)}.get(entry.name, ())
    if entry.name == "control-variate" and event_ndim != 1:
        pytest.skip("its known part is one of vectors here")
    check_divergence(cls(*arguments), event_ndim=event_ndim)


@built_in("integrator")
def test_every_integrator_keeps_its_promises(entry):
    check_integrator(entry.load()())


@pytest.mark.parametrize("method", ["dopri8", "bosh3", "rk4"])
def test_methods_of_torchdiffeq_keep_them_too(method):
    check_integrator(Adaptive(method))


@built_in("scheduler")
def test_every_scheduler_keeps_its_promises(entry):
    cls = entry.load()
    needs_noise = "noise" in inspect.signature(cls).parameters
    scheduler = cls(gf.schedulers.LinearInterpolant()) if needs_noise else cls()
    check_scheduler(scheduler)


DIFFUSIONS = ("score-sde", "score-sde-ve", "score-sde-subvp", "ddpm", "ddpm-cosine", "edm", "v-diffusion", "vdm")
SMALL = {
    "jko-iflow": {"width": 8, "steps": 2},
    "jko-iflow-published": {"width": 8, "blocks": 2},
    "cnf": {"width": 8, "steps": 4},
    "flow-matching": {"width": 8},
    "score-sde": {"width": 8, "depth": 1, "steps": 8},
    **{name: {"width": 8, "depth": 1, "steps": 8} for name in DIFFUSIONS if name != "score-sde"},
    **{
        name: {"width": 8, "depth": 1, "steps": 8, "batch_size": 64}
        for name in ("ot-cfm", "sb-cfm", "vp-cfm", "lipman-cfm", "interpolant", "rectified-flow", "mean-flow")
    },
    "logit-normal": {"width": 8, "depth": 1},
    "ffjord": {"width": 8, "depth": 1},
    "rnode": {"width": 8, "depth": 1},
    "ot-flow": {"width": 8},
    "nsf": {"transforms": 1, "width": 8},
    "maf": {"transforms": 1, "width": 8},
    "nsf-coupling": {"transforms": 2, "width": 8},
    "realnvp": {"transforms": 2, "width": 8},
    "naf": {"transforms": 1, "width": 8},
}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(e, id=e.name, marks=[] if e.name in ONE_OF_A_KIND else [pytest.mark.slow])
        for e in registry.entries("model")
        if e.source == "genflow"
    ],
)
def test_every_model_keeps_its_promises(entry):
    if entry.name == "latent":
        pytest.skip("an autoencoder into fewer dimensions needs more than two columns; it has tests of its own")
    # A grid of fewer steps than the data's own noise asks for is no promise of a density: see its own tests.
    check_model(
        entry.load(),
        iterations=8,
        mass=entry.name not in ("jko-iflow-published", *DIFFUSIONS),
        **SMALL.get(entry.name, {}),
    )


def broken(check, component, reason, **options):
    with pytest.raises(BrokenPromise, match=reason) as error:
        check(component, **options)
    assert "\n" not in str(error.value)


def estimated(velocity, x, t, probes):
    v, pushed = velocity.pushforward(x, t, probes)
    return v, (pushed * probes).sum(-1).mean(0)


DIVERGENCES = {
    "biased with n = 2 probes": lambda v, x, t, p, c: (estimated(v, x, t, p)[0], estimated(v, x, t, p)[1] * len(p)),
    "velocity that it returns is not": lambda v, x, t, p, c: (2 * v(x, t), estimated(v, x, t, p)[1]),
    "two estimates with the same probes differ": lambda v, x, t, p, c: estimated(v, x, t, torch.randn_like(p)),
    "depends on the other rows": lambda v, x, t, p, c: (
        v(x, t),
        estimated(v, x, t, p)[1] + x.flatten(1).sum(1) - x.flatten(1).sum(1).mean()
        if x.ndim == 2
        else estimated(v, x, t, p)[1],
    ),
    "no gradient reaches": lambda v, x, t, p, c: tuple(part.detach() for part in estimated(v, x, t, p)),
    "the divergence is torch.float64": lambda v, x, t, p, c: (v(x, t), estimated(v, x, t, p)[1].double()),
    "finite divergence": lambda v, x, t, p, c: (v(x, t), estimated(v, x, t, p)[1].nan_to_num()),
    "it changed the points": lambda v, x, t, p, c: estimated(v, x.add_(1), t, p),
}


@pytest.mark.parametrize("reason", DIVERGENCES)
def test_a_divergence_that_breaks_one_promise_is_told_which(reason):
    broken(check_divergence, DIVERGENCES[reason], reason)


def test_divergences_that_break_their_promises_as_classes():
    class Unseeded(gf.divergences.Hutchinson):
        def probes(self, x, event_ndim, generator=None):
            return super().probes(x, event_ndim, None)

    class Shapeless(gf.divergences.Exact):
        def __call__(self, *arguments):
            estimate = super().__call__(*arguments)
            return estimate._replace(divergence=estimate.divergence.sum())

    class Boastful(gf.divergences.Exact):
        has_per_probe = True

    class Wrong(gf.divergences.Hutchinson):
        def __call__(self, velocity, x, t, probes=None, condition=None):
            estimate = super().__call__(velocity, x, t, probes, condition)
            # The value is right, the gradient that of half of it.
            half = estimate.divergence / 2
            return estimate._replace(divergence=half + half.detach(), per_probe=None)

        has_per_probe = False

    broken(check_divergence, Unseeded(), "from one seed differ")
    broken(check_divergence, Shapeless(), r"the divergence has the shape \(\)")
    broken(check_divergence, Boastful(), "per_probe does not come")
    broken(check_divergence, Wrong(), "gradient for the velocity's parameters is wrong")


def integrator(base=RK4, **methods):
    return type("Broken", (base,), methods)()


def wrapped(change, base=RK4):
    """An integrator whose solution is changed afterwards."""

    def solve(self, dynamics, state, times, *, generator=None, save="last"):
        return change(base.solve(self, dynamics, state, times, generator=generator, save=save), state, times)

    return integrator(base, solve=solve)


def moved_by(by):
    def change(solution, state, times):
        if isinstance(solution.state, torch.Tensor):
            solution.state = solution.state + by(state)
        return solution

    return change


def beyond(self, f, t, t_next, h, y):
    f(t_next + h, y)
    return RK4.step(self, f, t, t_next, h, y)


def uncounted(solution, state, times):
    solution.nfe += 1
    return solution


def cut(solution, state, times):
    if isinstance(solution.state, torch.Tensor):
        solution.state = solution.state.detach()
    return solution


def without_states(solution, state, times):
    solution.states = None
    return solution


def in_double(solution, state, times):
    solution.state = solution.state.double()
    return solution


def hides_nan(solution, state, times):
    if isinstance(solution.state, torch.Tensor):
        solution.state = solution.state.nan_to_num()
    return solution


class NoCheck(gf.Integrator):
    """RK4 that returns what is not finite; with gradients on at least, if `half`."""

    order = 4

    def __init__(self, half=False):
        self.half = half

    def solve(self, dynamics, state, times, *, generator=None, save="last"):
        if self.half and not torch.is_grad_enabled():
            return RK4().solve(dynamics, state, times, save=save)
        states = [state]
        for (t, t_next), h in zip(itertools.pairwise(times.unbind()), times.diff().tolist(), strict=True):
            states.append(RK4().step(dynamics, t, t_next, h, states[-1]))
        all_of = torch.stack(states) if save == "all" else None
        return gf.Solution(states[-1], states=all_of, nfe=4 * (len(states) - 1), steps=len(states) - 1)


class Endless(Euler):
    def solve(self, dynamics, state, times, **options):
        while True:
            dynamics(times[0], state)


def only_first(self, f, t, t_next, h, y):
    """Moves the point alone when a log-determinant rides along."""
    if isinstance(y, torch.Tensor):
        return RK4.step(self, f, t, t_next, h, y)
    return RK4.step(self, f, t, t_next, h, y)[0], y[1]


INTEGRATORS = {
    "its order is 4, but halving": integrator(tableau=Euler.tableau, evaluations=1),
    "were called": wrapped(uncounted),
    "outside of the times": integrator(step=beyond, evaluations=5),
    "two solves from one seed differ": wrapped(moved_by(lambda x: 1e-9 * torch.rand_like(x))),
    "depends on the other rows": wrapped(moved_by(lambda x: 1e-6 * (x.mean() - x) * (len(x) != 3))),
    "no gradient reaches the state": wrapped(cut),
    "returned no states": wrapped(without_states),
    "float64; torch.float32 went in": wrapped(in_double),
    "makes a finite state": wrapped(hides_nan, NoCheck),
    "with gradients off, a velocity that is not a number": NoCheck(),
    "with gradients on, a velocity that is not a number": NoCheck(half=True),
    "did not bring it to an end": Endless(),
    "rides along is wrong": integrator(step=only_first),
}


@pytest.mark.parametrize("reason", INTEGRATORS)
def test_an_integrator_that_breaks_one_promise_is_told_which(reason):
    broken(check_integrator, INTEGRATORS[reason], reason)


class Field(gf.Velocity):
    """A small network, right in all respects."""

    def __init__(self, dim=3, interval=(0.0, 1.0)):
        super().__init__()
        self.dim, self.interval = dim, tuple(interval)
        self.first, self.second = torch.nn.Linear(dim, 5), torch.nn.Linear(5, dim)

    def forward(self, x, t, condition=None):
        return self.second(torch.tanh(self.first(x)) + t[..., None])


def field(**methods):
    return type("Broken", (Field,), methods)()


VELOCITIES = {
    "velocity depends on|velocity of a row depends on": field(
        forward=lambda self, x, t, c=None: Field.forward(self, x, t) + x.mean(0)
    ),
    "two evaluations at one point differ": field(
        forward=lambda self, x, t, c=None: Field.forward(self, x, t) + torch.rand_like(x)
    ),
    "with a time for each row": field(forward=lambda self, x, t, c=None: Field.forward(self, x, t) + 0.1 * t.ndim),
    "has the shape": field(forward=lambda self, x, t, c=None: Field.forward(self, x, t)[..., :2]),
    "it changed the points": field(forward=lambda self, x, t, c=None: Field.forward(self, x.mul_(2), t)),
    "pushforward is not the product": field(
        pushforward=lambda self, x, t, u, c=None: (self(x, t), 2 * Field.pushforward(self, x, t, u)[1])
    ),
    "pullback is not the product with the Jacobian transposed": field(
        pullback=lambda self, x, t, u, c=None: Field.pushforward(self, x, t, u)
    ),
    "divergence is not the trace": field(
        divergence=lambda self, x, t, c=None: (self(x, t), Field.divergence(self, x, t)[1] + 1)
    ),
    "for the parameters are wrong": field(
        divergence=lambda self, x, t, c=None: tuple(
            part.detach() / 2 + part / 2 for part in Field.divergence(self, x, t)
        )
    ),
    "do not cover the interval": field(pieces=lambda self: [(self, 0.0, 0.5)]),
    "can't be built again": field(config=lambda self: {"width": 3}),
    "not finite": field(forward=lambda self, x, t, c=None: Field.forward(self, x, t) / 0),
}


@pytest.mark.parametrize("reason", VELOCITIES)
def test_a_velocity_that_breaks_one_promise_is_told_which(reason):
    check_velocity(Field())
    broken(check_velocity, VELOCITIES[reason], reason)


def times(change):
    def changed(self, start, stop, steps=None, *, dtype=torch.float32, device=None):
        return change(gf.schedulers.Uniform.times(self, start, stop, steps, dtype=dtype, device=device))

    return type("Broken", (gf.schedulers.Uniform,), {"times": changed})(5)


class Fixed(Scheduler):
    def __init__(self, count=4):
        self.steps = count

    def times(self, start, stop, steps=None, *, dtype=torch.float32, device=None):
        return torch.linspace(start, stop, (steps or self.steps) + 1, dtype=dtype)


class Noise(gf.schedulers.LinearInterpolant):
    def sigma_dot(self, t):
        return 2 * super().sigma_dot(t)


class Inverse(gf.schedulers.LinearInterpolant):
    def time_of(self, log_snr):
        return super().time_of(-log_snr)


SCHEDULERS = {
    "has the shape": times(lambda t: t[1:]),
    "is torch.float64": times(torch.Tensor.double),
    "not from end to end": times(lambda t: t * 0.99),
    "not strictly monotone": times(lambda t: torch.cat([t[:1], t[1:-1].flip(0), t[-1:]])),
    "sigma_dot is not the derivative": Noise(),
    "time_of is not the inverse": Inverse(),
}


@pytest.mark.parametrize("reason", SCHEDULERS)
def test_a_scheduler_that_breaks_one_promise_is_told_which(reason):
    broken(check_scheduler, SCHEDULERS[reason], reason)


def test_a_scheduler_that_can_not_take_other_steps():
    with pytest.raises((BrokenPromise, TypeError), match="steps"):
        check_scheduler(Fixed())


def test_functions_are_checked_as_well():
    check_scheduler(lambda start, stop, steps: torch.linspace(start, stop, steps + 1, dtype=torch.float64))
    check_velocity(lambda x, t, condition: torch.sin(x), shape=3)

    def euler(dynamics, state, times):
        for t, h in zip(times, times.diff()):
            rate = dynamics(t, state)
            state = (
                state + h * rate if isinstance(state, torch.Tensor) else tuple(a + h * b for a, b in zip(state, rate))
            )
        return state

    check_integrator(euler)


@pytest.mark.parametrize(
    ("check", "function", "reason"),
    [
        (check_divergence, lambda v, x, t, p, c: v.divergence(x, t, c)[1], "returned a tensor of the shape"),
        (check_divergence, lambda v, x, t, p, c: (v(x, t, c), x.sum()), r"returned the shape \(\), one number"),
        (check_divergence, lambda v, x, t, p: v.divergence(x, t), r"takes \(v, x, t, p\); one that takes"),
        (check_divergence, lambda v, x, t, p, c: v.spread(x), r"it fails \(AttributeError: .* 'spread'"),
        (check_divergence, gf.divergences.Exact, "the class Exact came"),
        (check_integrator, lambda dynamics, state: state, r"takes \(dynamics, state\); one that takes"),
        (check_integrator, gf.solvers.RK4, "the class RK4 came"),
        (check_scheduler, lambda start, stop: [start, stop], r"takes \(start, stop\); one that takes"),
        (functools.partial(check_velocity, shape=3), lambda x, t: x, r"takes \(x, t\); one that takes"),
    ],
)
def test_what_can_not_be_called_breaks_a_promise_too(check, function, reason):
    broken(check, function, reason)


Matching = functools.partial(gf.models.FlowMatching, width=8)


def model(**methods):
    return type("Broken", (gf.models.FlowMatching,), methods)


MODELS = {
    "sums to": model(log_prob=lambda self, x, c=None, g=None: gf.Flow.log_prob(self, x, c, g) + 0.5),
    "depends on the other rows": model(
        log_prob=lambda self, x, c=None, g=None: gf.Flow.log_prob(self, x, c, g) + (len(x) == 7)
    ),
    "from one seed differ": model(sample=lambda self, shape, c=None, g=None: gf.Flow.sample(self, shape)),
    "do not depend on the seed": model(
        sample=lambda self, shape, c=None, g=None: gf.Flow.sample(
            self, shape, generator=torch.Generator().manual_seed(0)
        )
    ),
    r"sample\(\(3, 5\)\) has the shape": model(
        sample=lambda self, shape, c=None, g=None: gf.Flow.sample(self, 15, generator=g)
    ),
    "no gradient of log_prob": model(log_prob=lambda self, x, c=None, g=None: gf.Flow.log_prob(self, x, c, g).detach()),
    "is not x": model(
        decode=lambda self, z, c=None: gf.Flow.decode(self, z) * 1.1,
        settle=lambda self, x, c=None: None,  # no grid would be fine enough
    ),
    "an InputError is promised": model(has_log_prob=False),
}


@pytest.mark.parametrize("reason", MODELS)
def test_a_model_that_breaks_one_promise_is_told_which(reason):
    broken(check_model, MODELS[reason], reason, iterations=3, width=8, steps=8)


def test_a_model_that_loses_something_in_its_checkpoint(monkeypatch):
    class Forgetful(gf.models.FlowMatching):
        def settle(self, x, condition=None):
            self.shift = 0.25  # no buffer: it is not saved

        def log_prob(self, x, condition=None, generator=None):
            return super().log_prob(x - getattr(self, "shift", 0.0), condition, generator)

    module = type(inspect)("forgetful_models")
    module.Forgetful = Forgetful
    Forgetful.__module__, Forgetful.__qualname__ = "forgetful_models", "Forgetful"
    monkeypatch.setitem(__import__("sys").modules, "forgetful_models", module)
    broken(check_model, Forgetful, "another density", iterations=3, width=8)


def test_an_order_is_measured_not_believed():
    assert math.isclose(RK4().order, 4)
    broken(check_integrator, integrator(Euler, order=2), "its order is 2")
