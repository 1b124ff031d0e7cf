"""Parts and arguments of the wrong form are refused where they come, in one line that says what would do."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import genflow as gf
from genflow.divergences import ControlVariate, Exact, Hutchinson
from genflow.errors import InputError
from genflow.interfaces import Component
from genflow.models import CNF, FlowMatching, JKOiFlow
from genflow.solvers import RK4, Heun
from genflow.velocities import Shallow


def refused(call, *said):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
    for words in said:
        assert words in str(error.value)


def exact(velocity, x, t, probes, condition):
    return velocity.divergence(x, t, condition)


def alone(velocity, x, t, probes, condition):
    return velocity.divergence(x, t, condition)[1]


def swapped(velocity, x, t, probes, condition):
    return velocity.divergence(x, t, condition)[::-1]


def unconditional(velocity, x, t, probes):
    return velocity.divergence(x, t)


# Parts


PARTS = [
    ("integrator", "heun", "integrator: 'heun' came; an Integrator such as gf.solvers.RK4()"),
    ("integrator", Heun, "integrator: the class Heun came; an Integrator such as Heun()"),
    ("integrator", Exact(), "integrator: an Exact came; an Integrator such as gf.solvers.RK4()"),
    ("divergence", "hutchinson", "divergence: 'hutchinson' came; a DivergenceEstimator such as"),
    ("divergence", Hutchinson, "divergence: the class Hutchinson came; a DivergenceEstimator such as Hutchinson()"),
    ("divergence", Heun(), "divergence: a Heun came; a DivergenceEstimator such as gf.divergences.Hutchinson(4)"),
    ("velocity", Shallow, "velocity: the class Shallow came; a Velocity such as Shallow(…)"),
    ("velocity", Heun(), "velocity: a Heun came; a Velocity such as gf.velocities.Shallow(dim)"),
    ("scheduler", 8, "scheduler: 8 came; a Scheduler such as gf.schedulers.Uniform(8)"),
    ("base", "normal", "base: 'normal' came; a Base such as StandardNormal(dim) would do"),
    ("base", gf.StandardNormal, "base: the class StandardNormal came; a Base such as StandardNormal(dim) would do"),
]
MODELS = [FlowMatching, CNF, JKOiFlow, gf.baselines.ScoreSDE, gf.baselines.MeanFlow, gf.baselines.ddpm]


@pytest.mark.parametrize(("name", "part", "said"), PARTS, ids=[f"{name}={part!r:.20}" for name, part, _ in PARTS])
def test_what_is_no_such_part_is_refused_where_it_comes(name, part, said):
    for model in MODELS[:-1] if name == "velocity" else MODELS:
        refused(lambda model=model: model(3, **{name: part}), said)
    refused(lambda: FlowMatching(3, width=8).replace(**{name: part}), said)


def test_a_plain_function_is_told_what_makes_a_part_of_it_and_replace_does_that_itself():
    refused(lambda: FlowMatching(3, divergence=exact), "the function exact came; gf.as_divergence(exact) would do")
    refused(lambda: gf.Flow(torch.nn.Linear(3, 3)), "velocity: a Linear came; gf.as_velocity(…) would do")
    refused(lambda: gf.Flow(None), "velocity: None came")
    flow, x = FlowMatching(3, width=8), torch.zeros(5, 3)
    torch.testing.assert_close(flow.replace(divergence=exact).log_prob(x), flow.log_prob(x))
    other = flow.replace(velocity=torch.nn.Identity(), scheduler=lambda a, b, n: torch.linspace(a, b, n + 1))
    assert isinstance(other.velocity, gf.Velocity)
    assert isinstance(other.scheduler, gf.Scheduler)


def test_parts_of_parts_are_asked_for_as_well():
    refused(lambda: ControlVariate("hutchinson", Shallow(3)), "estimator: 'hutchinson' came")
    refused(lambda: CNF(3, train_divergence=Hutchinson), "train_divergence: the class Hutchinson came")
    refused(lambda: gf.baselines.ScoreSDE(3, noise="vp"), "noise: 'vp' came; a GaussianPath such as")


def test_what_a_subclass_hands_over_is_checked_too():
    class Mine(FlowMatching):
        def __init__(self, dim, **options):
            super().__init__(dim, **{"integrator": RK4, **options})

    refused(lambda: Mine(3), "integrator: the class RK4 came")
    assert Mine(3, integrator=RK4(), width=8, depth=1).velocity.dim == 3
    refused(lambda: Mine(3, integrator=RK4(), hidden=3), "Mine: no option 'hidden'")


def test_a_function_is_asked_for_its_arguments_before_it_is_called():
    flow = FlowMatching(3, width=8)
    refused(
        lambda: flow.replace(divergence=unconditional),
        "divergence: unconditional takes (velocity, x, t, probes); one that takes (velocity, x, t, probes, condition)",
    )
    refused(lambda: flow.replace(velocity=lambda x, t: x), "takes (x, t); one that takes (x, t, condition)")
    refused(lambda: gf.as_divergence(unconditional), "one that takes (velocity, x, t, probes, condition)")
    refused(lambda: gf.as_divergence(Exact), "the class Exact came")
    assert gf.as_divergence(lambda *given: given[0].divergence(*given[1:3])) is not None


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (alone, "alone returned a tensor of the shape (2,); the velocity, (2, 3), and its divergence, (2,), would do"),
        (swapped, "swapped returned the shape (2, 3), one number for each point, (2,), is wanted"),
        (lambda v, x, t, p, c: None, "<lambda> returned None; the velocity"),
        (lambda v, x, t, p, c: (v(x, t)[:1], x.sum(-1)), "a velocity of the shape (1, 3)"),
    ],
)
def test_what_a_function_returns_is_told_from_an_estimate(function, said):
    # Two rows: a tensor of as many could be taken for a pair.
    refused(lambda: FlowMatching(3, width=8).replace(divergence=function).log_prob(torch.zeros(2, 3)), said)


# The events of a velocity and of a model


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("velocity", FlowMatching),
        ("velocity", CNF),
        ("velocity", gf.baselines.ffjord),
        ("block", JKOiFlow),
        ("predictor", gf.baselines.ScoreSDE),
    ],
)
def test_a_velocity_of_another_dimension_is_refused_at_construction(name, model):
    refused(
        lambda: model(3, **{name: Shallow(2)}),
        f"{name}: a Shallow of events of the shape (2,) came beside dim=3; one of 3 numbers, or dim=2, would do",
    )


def test_a_replaced_velocity_has_the_events_of_the_base():
    flow = gf.Flow(Shallow(3, width=8))
    refused(
        lambda: flow.replace(velocity=Shallow(2)), "velocity: its events have the shape (2,), those of the base (3,)"
    )
    refused(lambda: flow.replace(base=gf.StandardNormal(2)), "base: its events have the shape (2,)")
    refused(lambda: flow.replace(base=None), "base: None came; a Base such as StandardNormal(dim) would do")
    both = flow.replace(velocity=Shallow(2), base=gf.StandardNormal(2))
    assert both.sample(4).shape == (4, 2)


# Numbers, and names that there are not


def test_a_dimension_is_a_number():
    data = gf.data.load("two-moons", rows=200)
    for model in (FlowMatching, CNF, JKOiFlow, gf.baselines.NSF, gf.baselines.ddpm, Shallow):
        refused(lambda model=model: model(data), "dim: a Dataset came; data.dim would do")
    refused(lambda: FlowMatching("two-moons"), "dim: 'two-moons' came; a whole number would do")
    refused(lambda: FlowMatching(2.0), "dim: 2.0 came; a whole number such as 2 would do")
    refused(lambda: FlowMatching(0), "dim: 0 came; at least 1 would do")
    refused(lambda: FlowMatching(np.zeros((4, 2))), "dim: a ndarray came; a whole number such as data.dim would do")
    assert FlowMatching(np.int64(2), width=8).sample(3).shape == (3, 2)


def test_numbers_are_told_from_what_is_none():
    refused(lambda: Hutchinson("hadamard"), "n: 'hadamard' came; a whole number would do")
    refused(lambda: gf.as_divergence(exact, n=2.5), "n: 2.5 came; a whole number would do")
    refused(lambda: gf.as_divergence(exact, probes=None, n=2.5), "n: 2.5 came")
    refused(lambda: FlowMatching(2, width="64"), "width: '64' came; a whole number would do")
    refused(lambda: FlowMatching(2, learning_rate="fast"), "learning_rate: 'fast' came; a number would do")
    refused(lambda: gf.models.Discretization(compile="no"), "compile: 'no' came; True or False would do")
    assert FlowMatching(2, width=8, learning_rate=np.float32(1e-3)).learning_rate == pytest.approx(1e-3)


def test_an_option_that_there_is_not_gets_the_nearest_and_all():
    refused(
        lambda: FlowMatching(5, widht=3), "FlowMatching: no option 'widht'; did you mean width? known: coupling, width"
    )
    refused(
        lambda: FlowMatching(5, hidden=3), "FlowMatching: no option 'hidden'; known: ", "integrator, divergence, base"
    )
    refused(lambda: gf.baselines.NSF(5, transform=3), "NSF: no option 'transform'; did you mean transforms?")
    refused(
        lambda: Hutchinson(distibution="hadamard"), "Hutchinson: no option 'distibution'; did you mean distribution?"
    )
    refused(lambda: JKOiFlow(5, block_count=3), "JKOiFlow: no option 'block_count'; did you mean ", "blocks")


def test_components_without_annotations_take_anything():
    class Free(Component):
        def __init__(self, n, dim=None, velocity=None):
            self.n = n

    assert Free("many", dim="wide", velocity=Shallow).n == "many"
    annotated = FlowMatching(2, width=8)
    assert copy.deepcopy(annotated).dim == pickle.loads(pickle.dumps(annotated)).dim == 2


# Models that are built already


def test_models_are_named_and_not_built():
    built = gf.baselines.NSF(2)
    said = "models: a NSF came, which is built already; its class NSF"
    refused(lambda: gf.compare("two-moons", models=[built], iterations=1), said)
    fitted = gf.baselines.Gaussian(2).fit("two-moons", iterations=1)
    said = "models: a Transformed came, which is built already; its class Gaussian"
    refused(lambda: gf.compare("two-moons", models=[fitted], iterations=1), said)
    refused(lambda: gf.compare("two-moons", models=[3], iterations=1), "models: 3 came; a name, module:Name, a class")


def test_an_estimator_takes_a_class_as_well():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    named, typed = (gf.DensityEstimator(model, iterations=1).fit(rows) for model in ("gaussian", gf.baselines.Gaussian))
    np.testing.assert_array_equal(named.score_samples(rows), typed.score_samples(rows))
    refused(lambda: gf.DensityEstimator(gf.baselines.NSF(2)).fit(rows), "model: a NSF came, which is built already")


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (gf.as_velocity, gf.velocities.Shallow, "velocity: the class Shallow came"),
        (gf.as_velocity, lambda x: x, r"velocity: <lambda> takes \(x\); one that takes \(x, t, condition\) would do"),
        (gf.as_integrator, gf.solvers.Heun, r"integrator: the class Heun came; an Integrator such as Heun\(\)"),
        (gf.as_integrator, "heun", "integrator: 'heun' came"),
        (gf.as_scheduler, gf.schedulers.Uniform, "scheduler: the class Uniform came"),
        (gf.as_scheduler, lambda a, b: [a, b], r"scheduler: <lambda> takes \(a, b\); one that takes"),
    ],
)
def test_what_is_no_function_of_a_part_is_refused_as_it_is_made(make, given, words):
    with pytest.raises(InputError, match=words):
        make(given)


def test_one_seed_beside_several_is_refused():
    with pytest.raises(InputError, match=r"seed, seeds: 1 and \[0\] came; one of them would do"):
        gf.compare("two-moons", ["gaussian"], seed=1, seeds=[0], iterations=1, progress=False)


def test_what_a_user_builds_is_not_refused():
    """Sizes by `*`, options that a class of one's own makes parts of, what torch.compile makes of a velocity."""

    class Field(gf.Velocity):
        def __init__(self, *sizes: int):
            super().__init__()
            self.sizes = sizes

        def forward(self, x, t, condition=None):
            return x

    class Named(FlowMatching):
        def __init__(self, dim: int, **options):
            if options.get("integrator") == "heun":
                options["integrator"] = Heun()
            super().__init__(dim, **options)

    assert Field(2, 8).sizes == (2, 8)
    assert type(Named(2, width=8, integrator="heun").integrator) is Heun
    compiled = torch.compile(Shallow(2), backend="eager")
    assert gf.Flow(compiled).log_prob(torch.zeros(3, 2)).shape == (3,)

    class Sampler(FlowMatching):
        def __init__(self, dim: int):
            super().__init__(dim, width=8)
            self.has_log_prob = False

    assert not Sampler(2).has_log_prob


def test_a_log_density_of_ones_own_is_the_one_that_counts():
    class Shifted(FlowMatching):
        def log_prob(self, x, condition=None, generator=None):
            return super().log_prob(x, condition, generator) + 100.0

    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    fitted = Shifted(2, width=8).fit(rows, iterations=2)
    noisy = fitted.replace(divergence=Hutchinson(2))
    before = torch.get_rng_state()
    log_p, error = noisy.log_prob_with_error(rows[:5], generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert (log_p > 80).all()
    assert error.isnan().all()
    assert (noisy.log_prob(rows[:5], generator=torch.Generator().manual_seed(0)) - log_p).abs().max() < 1e-5


def test_a_base_of_ones_own_needs_no_shape():
    class Base:
        def log_prob(self, z):
            return -z.square().sum(-1)

        def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
            return torch.randn(*batch, 2, generator=generator, dtype=dtype, device=device)

        def to(self, *args, **options):
            return self

    fitted = FlowMatching(2, width=8, base=Base()).fit(torch.randn(60, 2), iterations=2)
    assert fitted.log_prob([[0.0, 0.0]]).isfinite().all()


@pytest.mark.parametrize("estimator", [Hutchinson(2), gf.divergences.Compiled(Hutchinson(2), backend="eager")])
def test_scores_by_an_estimator_are_those_of_the_model_that_is_loaded(estimator, tmp_path):
    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    fitted = FlowMatching(2, width=8, divergence=estimator).fit(rows, iterations=2)
    assert len(fitted.scores())
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert again.comparable
    assert again.noise == fitted.noise != ""
    masked = FlowMatching(2, width=8, condition_dim=4).fit(rows, iterations=2, masks=True)
    assert not masked.noisy
    assert masked.replace(divergence=estimator).noisy


class Careless(gf.Integrator):
    """Euler's method, without a thought of `save`."""

    order = 1

    def solve(self, dynamics, state, times, *, generator=None, save="last"):
        for t, h in zip(times, times.diff(), strict=False):
            state = gf.solvers.move(state, (h, dynamics(t, state)))
        return gf.Solution(state, nfe=len(times) - 1, steps=len(times) - 1)


class Paired(gf.DivergenceEstimator):
    """Returns a pair, as a function may."""

    def probes(self, x, event_ndim, generator=None):
        return None

    def __call__(self, velocity, x, t, probes=None, condition=None):
        return tuple(velocity.divergence(x, t, condition))[:2]


class Wide(gf.Velocity):
    """Returns one number too many."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.linear = torch.nn.Linear(dim, dim + 1)

    def forward(self, x, t, condition=None):
        return self.linear(x)


def test_states_that_were_asked_for_and_are_missing_get_one_line():
    flow = gf.Flow(Shallow(2, width=8), integrator=Careless())
    assert flow.encode(torch.zeros(3, 2)).shape == (3, 2)
    refused(lambda: flow.trajectory(torch.zeros(3, 2)), "integrator: Careless returned no states for save='all'")


def test_an_estimator_that_returns_a_pair_gets_one_line():
    flow = gf.Flow(Shallow(2, width=8), divergence=Paired())
    refused(lambda: flow.log_prob(torch.zeros(3, 2)), "divergence: Paired returned a tuple; an Estimate would do")


@pytest.mark.parametrize("model", [FlowMatching, CNF])
def test_a_velocity_of_another_dimension_gets_one_line(model):
    refused(
        lambda: model(2, velocity=Wide(2)).fit("two-moons", iterations=3),
        "velocity: Wide returned the shape (", ", 3) for points of the shape (",
    )  # fmt: skip
    refused(lambda: gf.Flow(Wide(2)).decode(torch.zeros(4, 2)), "velocity: Wide returned the shape (4, 3)")


@pytest.mark.parametrize("model", [FlowMatching, CNF])
def test_a_field_that_is_known_has_nothing_to_train(model):
    def swirl(x, t, condition):
        return torch.stack([-x[..., 1], x[..., 0]], -1)

    refused(
        lambda: model(2, velocity=gf.as_velocity(swirl)).fit("two-moons", iterations=3),
        "velocity: it has no parameters", "gf.Flow(velocity)",
    )  # fmt: skip
    known = gf.Flow(gf.as_velocity(swirl), base=gf.StandardNormal(2))
    assert known.log_prob(torch.zeros(3, 2)).isfinite().all()
