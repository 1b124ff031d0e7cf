"""What every registered integrator promises: its order, its evaluations, its gradients, failures within a bound.

The tests take their solvers from the registry, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from pathlib import Path

import pytest
import torch

import genflow as gf
from genflow import Dynamics, InputError, SolverError
from genflow.naming import registry
from genflow.solvers import Adaptive, Embedded, RungeKutta

float64 = torch.float64
NAMES = registry.names("integrator")
every_integrator = pytest.mark.parametrize("name", NAMES)


def built(name, **arguments):
    return registry.lookup("integrator", name)(**arguments)


def seed(number=0):
    return torch.Generator().manual_seed(number)


def is_adaptive(solver):
    return isinstance(solver, Embedded | Adaptive)


class Everything(Dynamics):
    """The dynamics of a field, with what any solver asks for: a diffusion, and the denoiser that makes this field.

    The probability flow v = (σ'/σ)(x - αD) + α'D is solved for D.
    """

    def __init__(self, function, tensors=(), noise=None, g=0.0):
        super().__init__(function, tensors, diffusion=lambda t, x: g)
        self.noise = noise or gf.schedulers.LinearInterpolant()
        self.calls = 0

    def __call__(self, t, state):
        self.calls += 1
        assert self.calls < 20_000
        return super().__call__(t, state)

    def denoise(self, t, x):
        alpha, sigma = self.noise.alpha(t), self.noise.sigma(t)
        rate = self.noise.sigma_dot(t) / sigma
        return (self(t, x) - rate * x) / (self.noise.alpha_dot(t) - alpha * rate)


class GaussianData(Dynamics):
    r"""The diffusion of data N(m, s²): D = m + α s² / (α² s² + σ²) (x - α m), all in closed form.

    The probability flow keeps (x - α m) / √(α² s² + σ²).
    """

    mean, deviation = 0.7, 0.5

    def __init__(self):
        super().__init__(self.flow)
        self.noise = gf.schedulers.VariancePreserving(beta_min=0.1, beta_max=8.0, t_min=1e-2)

    def variance(self, t):
        return self.noise.alpha(t) ** 2 * self.deviation**2 + self.noise.sigma(t) ** 2

    def denoise(self, t, x):
        alpha = self.noise.alpha(t)
        return self.mean + alpha * self.deviation**2 / self.variance(t) * (x - alpha * self.mean)

    def flow(self, t, x):
        alpha, sigma, d = self.noise.alpha(t), self.noise.sigma(t), self.denoise(t, x)
        return self.noise.sigma_dot(t) / sigma * (x - alpha * d) + self.noise.alpha_dot(t) * d

    def moved(self, x, start, stop):
        """Where the probability flow takes a point."""
        alpha = self.noise.alpha
        z = (x - alpha(start) * self.mean) / self.variance(start).sqrt()
        return alpha(stop) * self.mean + self.variance(stop).sqrt() * z

    def grid(self, steps):
        return gf.schedulers.EqualLogSNR(self.noise).times(1.0, 1e-2, steps, dtype=float64)


def slopes(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def swing(t, state):
    """y' = y cos t, l' = cos t: y = exp(sin t) and l = sin t."""
    y, _ = state
    return y * torch.cos(t), torch.cos(t).expand_as(y)


def swing_error(solver, steps, power=1.3):
    times = 2 * torch.linspace(0, 1, steps + 1, dtype=float64) ** power
    one = torch.ones(1, dtype=float64)
    y, log_y = solver.solve(swing, (one, 0 * one), times).state
    return max(abs(y.item() - math.exp(math.sin(2))), abs(log_y.item() - math.sin(2)))


def sampler_error(solver, steps):
    """Of a deterministic sampler: the error of the point."""
    dynamics, x = GaussianData(), torch.tensor([1.3], dtype=float64)
    times = dynamics.grid(steps)
    end = solver.solve(dynamics, x, times).state
    return (end - dynamics.moved(x, times[0], times[-1])).abs().item()


def moment_error(solver, steps):
    """Of a random sampler: the error of mean and variance, without sampling.

    Everything is linear, so the law behind n steps follows from the map of 0 and 1 without noise and from the
    responses to each draw: the solver is run on one row for each.
    """
    dynamics = GaussianData()
    times = dynamics.grid(steps)
    start = dynamics.variance(times[0]).sqrt(), dynamics.noise.alpha(times[0]) * dynamics.mean
    return _error_of_moments(solver, dynamics, times, start, dynamics.variance(times[-1]), dynamics.noise.alpha(
        times[-1]) * dynamics.mean)  # fmt: skip


def ou_error(solver, steps):
    """Of a solver of stochastic equations: the error of mean and variance of dx = -x dt + √2 e^{-t/2} dW.

    Mean 2 e^{-t}; variance v' = -2 v + 2 e^{-t}, so v = 2 e^{-t} - 1.75 e^{-2t} from 0.25.
    """
    dynamics = Dynamics(lambda t, x: -x, diffusion=lambda t, x: math.sqrt(2) * torch.exp(-t / 2))
    times = torch.linspace(0, 1, steps + 1, dtype=float64)
    variance, mean = 2 / math.e - 1.75 * math.exp(-2), 2 / math.e
    return _error_of_moments(solver, dynamics, times, (torch.tensor(0.5), torch.tensor(2.0)), variance, mean)


def _error_of_moments(solver, dynamics, times, start, variance, mean):
    deviation, centre = (float(value) for value in start)
    count = 64
    draws = _UnitDraws(count)
    x = torch.full((count, 1), centre, dtype=float64)
    x[1, 0] += deviation  # row 1 is moved in place of the initial noise, row k + 2 by draw k
    with draws:
        end = solver.solve(dynamics, x, times).state[:, 0]
    assert draws.used <= count - 2
    responses = end[1:] - end[0]
    return max(abs(end[0].item() - float(mean)), abs(responses.square().sum().item() - float(variance)))


class _UnitDraws:
    """In place of `torch.randn`: draw k is 1 in row k + 2 and 0 elsewhere."""

    def __init__(self, rows):
        self.rows, self.used = rows, 0

    def __call__(self, *size, **options):
        drawn = torch.zeros(self.rows, 1, dtype=float64)
        drawn[self.used + 2] = 1.0
        self.used += 1
        return drawn

    def __enter__(self):
        self.original, torch.randn = torch.randn, self
        return self

    def __exit__(self, *_):
        torch.randn = self.original


def stock_error(solver, steps, paths=4000):
    """The mean error of the path of dx = a x dt + b x dW against x = exp((a - b²/2) t + b W), with its own W."""
    a, b = 0.5, 0.8
    dynamics = Dynamics(lambda t, x: a * x, diffusion=lambda t, x: b * x)
    with torch.no_grad(), _Motion() as motion:
        end = solver.solve(
            dynamics, torch.ones(paths, 1, dtype=float64), torch.linspace(0, 1, steps + 1, dtype=float64),
            generator=seed(steps),
        ).state  # fmt: skip
    return (end - torch.exp(a - b**2 / 2 + b * motion.end)).abs().mean().item()


class _Motion:
    """Watches where the Brownian motion of a solve ends, whichever way it is drawn."""

    def __enter__(self):
        import torchsde

        self.end, self.original, self.interval = 0.0, torch.randn, torchsde.BrownianInterval
        self.drawn = []

        def randn(*size, **options):
            self.drawn.append(self.original(*size, **options))
            return self.drawn[-1]

        def interval(*arguments, **options):
            self.motion = self.interval(*arguments, **options)
            self.end = self.motion(*arguments[:2])
            return self.motion

        torch.randn, torchsde.BrownianInterval = randn, interval
        return self

    def __exit__(self, *_):
        import torchsde

        torch.randn, torchsde.BrownianInterval = self.original, self.interval
        if self.drawn and isinstance(self.end, float):
            self.end = sum(self.drawn) / math.sqrt(len(self.drawn))


def of_table(solver):
    """The higher order method of a pair, on a given grid."""
    fixed = type("OfTable", (RungeKutta,), {"tableau": solver.tableau, "evaluations": len(solver.tableau.c)})
    return fixed()


@every_integrator
def test_order_of_convergence(name):
    """Halving the steps divides the error by 2^order. A measured slope may be higher where the problem is kind."""
    solver = built(name)
    if isinstance(solver, Adaptive):
        for method, order in gf.solvers.FIXED_METHODS.items():
            # torchdiffeq's Adams methods take all steps for equal.
            observed = slopes([swing_error(Adaptive(method, 1e-12, 1e-12), steps, power=1.0) for steps in (48, 96)])
            assert observed[0] > order - 0.3, (method, observed)
        return
    if isinstance(solver, Embedded):
        observed = slopes([swing_error(of_table(solver), steps) for steps in (12, 24)])
    elif name == "adams-bashforth":
        for order in (2, 3, 4):
            observed = slopes([swing_error(built(name, order=order), steps) for steps in (64, 128)])
            assert order - 0.25 < observed[0] < order + 0.6, observed
        return
    elif solver.carries_density:
        observed = slopes([swing_error(solver, steps) for steps in (32, 64)])
    elif hasattr(solver, "strong_order"):
        if name in ("milstein", "srk"):
            observed = slopes([stock_error(solver, steps) for steps in (8, 32)])
            assert observed[0] / 2 == pytest.approx(solver.strong_order, abs=0.25)
            return
        strong = slopes([stock_error(solver, steps) for steps in (8, 32)])
        assert strong[0] / 2 == pytest.approx(0.5, abs=0.2)  # multiplicative noise
        observed = slopes([ou_error(solver, steps) for steps in (16, 32)])
    elif solver.random:
        observed = slopes([moment_error(solver, steps) for steps in (15, 30)])
    else:
        observed = slopes([sampler_error(solver, steps) for steps in (64, 128)])
    assert solver.order - 0.25 < observed[-1] < solver.order + 1.1, observed


@every_integrator
def test_nfe_is_the_number_of_calls(name):
    solver, field = built(name), Everything(lambda t, x: -x, g=0.1)
    times = torch.linspace(0.9, 0.1, 6, dtype=float64)
    with torch.no_grad():
        solution = solver.solve(field, torch.ones(3, 2, dtype=float64), times, generator=seed())
    assert solution.nfe == field.calls > 0
    assert solution.steps > 0
    if not is_adaptive(solver):
        assert solution.nfe == solver.nfe(5)
        assert solution.steps == 5
        if name != "adams-bashforth":
            assert solution.nfe == 5 * solver.evaluations


@every_integrator
def test_all_states_begin_with_the_first_and_end_with_the_last(name):
    solver, x = built(name), torch.randn(3, 2, generator=seed())
    before, times = x.clone(), torch.linspace(0.9, 0.1, 6)
    solution = solver.solve(Everything(lambda t, y: -y, g=0.1), x, times, generator=seed(), save="all")
    assert solution.states.shape == (6, 3, 2)
    assert torch.equal(solution.states[0], before)
    assert torch.equal(solution.states[-1], solution.state)
    assert torch.equal(x, before), "the caller's state was changed"
    if not is_adaptive(solver):
        last = solver.solve(Everything(lambda t, y: -y, g=0.1), x, times, generator=seed()).state
        assert torch.equal(last, solution.state)


@every_integrator
def test_a_log_determinant_rides_along_or_is_refused_in_one_line(name):
    model = gf.baselines.ScoreSDE(2, width=8).replace(integrator=built(name))
    x = torch.randn(3, 2, generator=seed())
    if model.integrator.carries_density:
        with torch.no_grad():
            assert model.log_prob(x).shape == (3,)
        return
    with pytest.raises(InputError, match="log p needs an ODE solver") as caught:
        model.log_prob(x)
    assert "\n" not in str(caught.value)


@every_integrator
def test_a_diffusion_is_sampled(name):
    model = gf.baselines.ScoreSDE(2, width=8, steps=10, noise=gf.schedulers.VariancePreserving()).replace(
        integrator=built(name)
    )
    x = model.sample(5, generator=seed())
    assert x.shape == (5, 2)
    assert x.isfinite().all()
    assert torch.equal(x, model.sample(5, generator=seed()))


@every_integrator
def test_gradients_agree(name):
    """`checkpoint` gives the gradient of `backprop` bit for bit nearly; the adjoint up to the error of the solve."""
    known = getattr(type(built(name)), "gradients", gf.solvers.GRADIENTS)
    a = torch.tensor(0.7, dtype=float64, requires_grad=True)
    x = torch.randn(3, 2, dtype=float64, generator=seed()).requires_grad_()
    times = torch.linspace(0.9, 0.1, 81, dtype=float64)
    found = {}
    for gradient in gf.solvers.GRADIENTS:
        if gradient not in known:
            with pytest.raises(InputError, match="gradient: "):
                built(name, gradient=gradient)
            continue
        tight = {"rtol": 1e-8, "atol": 1e-8} if is_adaptive(built(name)) else {}
        field = Everything(lambda t, y: torch.sin(a * y + t), tensors=[a], g=0.1)
        state = built(name, gradient=gradient, **tight).solve(field, x, times, generator=seed()).state
        found[gradient] = torch.autograd.grad(state.square().sum(), (a, x))
    order = built(name).order
    for gradient, gradients in found.items():
        # An adjoint of order 1 or 2 on 80 steps is off by a multiple of h^p; a checkpoint by rounding alone. Adaptive
        # methods take other steps where they stop at the grid.
        tolerance = 3e-2 if order == 1 else 1e-4 if order == 2 else 1e-6
        tolerance = 1e-12 if gradient == "checkpoint" and name != "adaptive" else tolerance
        for one, other in zip(gradients, found["backprop"], strict=True):
            assert torch.allclose(one, other, rtol=tolerance, atol=tolerance), (gradient, one, other)
            assert one.abs().max() > 1e-3


FAILURES = {
    "stiff": lambda t, x: -1e12 * x,
    "blow-up": lambda t, x: -1e3 * x.abs() ** 3 * x,
    "not a number": lambda t, x: x * math.nan,
}


@every_integrator
@pytest.mark.parametrize("failure", [*FAILURES, "tolerance"])
def test_failures_have_a_name_and_come_within_a_bound(name, failure):
    solver = built(name)
    if failure == "tolerance":
        if not is_adaptive(solver):
            pytest.skip("no tolerance to meet")
        solver = built(name, rtol=1e-14, atol=1e-14)
        field = Everything(lambda t, x: -torch.sin(20 * t) * x)
    else:
        field = Everything(FAILURES[failure], g=0.1)
    bound = 1000
    if is_adaptive(solver):
        solver = copy.copy(solver)
        solver.max_evaluations = bound
    times = torch.linspace(0.9, 0.1, 41)
    with torch.no_grad(), pytest.raises(SolverError) as caught:
        solver.solve(field, torch.ones(3, 2), times, generator=seed())
    assert field.calls <= 2 * max(bound, 40 * 11)
    error = caught.value
    assert "\n" not in str(error)
    assert 0.1 <= error.time <= 0.9 + 1e-6
    assert error.state.shape == (3, 2)
    assert error.state.isfinite().all(), "the last state that was good"
    if not (failure == "not a number" and is_adaptive(solver)):
        assert abs(error.step) > 0


@pytest.mark.parametrize("ratio", [0.05, 0.16])
def test_correcting_keeps_the_law_up_to_its_bias(ratio):
    """Langevin steps keep the mean, and enlarge the variance by less than r² of σ²: far below what the steps err."""
    plain = moment_error(gf.solvers.Ancestral(), 20)
    corrected = moment_error(gf.solvers.PredictorCorrector(ratio=ratio), 20)
    sigma = GaussianData().noise.sigma(torch.tensor(1e-2)).item()
    assert corrected < 1.5 * plain + ratio**2 * sigma**2


def test_the_table_of_the_docs_names_every_integrator():
    text = (Path(__file__).parent.parent / "docs" / "solvers.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (?:weak )?(\d).*\| (yes|no) \| [^|]*\|$", text, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == NAMES
    for name, order, density in rows:
        assert built(name).carries_density == (density == "yes")
        if name not in ("adams-bashforth", "adaptive"):
            assert built(name).order == int(order)


class OfTensors(gf.solvers.FixedStep):
    order, evaluations = 1, 1

    def step(self, f, t, t_next, h, y):
        return y + h * f(t, y)


def of_tensors(dynamics, x, times):
    return x + (times[-1] - times[0]) * dynamics(times[0], x)


def of_both(dynamics, x, times):
    rate, h = dynamics(times[0], x), times[-1] - times[0]
    return x + h * rate if isinstance(x, torch.Tensor) else tuple(part + h * k for part, k in zip(x, rate))


def of_neither(dynamics, x, times):
    raise ValueError("a fault of another kind")


@pytest.mark.parametrize(
    ("integrator", "name"), [(OfTensors(), "OfTensors"), (gf.as_integrator(of_tensors), "of_tensors")]
)
def test_an_integrator_of_single_tensors_has_samples_and_no_log_p(integrator, name):
    flow = gf.Flow(gf.velocities.Shallow(2), integrator=integrator)
    assert not flow.has_log_prob
    assert flow.sample(3).shape == (3, 2)
    line = f"integrator: {name} came, which moves points alone; log p needs an ODE solver such as RK4()"
    with pytest.raises(InputError, match=re.escape(line)):
        flow.log_prob(torch.zeros(1, 2))
    fitted = gf.models.FlowMatching(2, width=8, integrator=integrator).fit("two-moons", iterations=2)
    assert f"{name} moves points alone: there are samples, and no log p" in fitted.remarks
    for model in (gf.models.CNF, gf.models.JKOiFlow):
        steps = []
        with pytest.raises(InputError, match=re.escape(line)):
            model(2, width=8, integrator=integrator).fit("two-moons", iterations=20, progress=steps.append)
        assert not steps


def test_what_rides_along_is_found_out_without_a_trace():
    before = torch.get_rng_state()
    assert gf.as_integrator(of_both).carries_density
    assert gf.as_integrator(of_neither).carries_density  # it is not the pair that it fails of
    noisy = gf.as_integrator(lambda dynamics, x, times: x + torch.randn_like(x))
    assert not noisy.carries_density
    assert torch.equal(torch.get_rng_state(), before)
    for name in NAMES:
        assert isinstance(type(built(name)).carries_density, bool)  # said by its class
