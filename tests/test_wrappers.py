"""Parts that are made of other parts pass on what those declare."""

from __future__ import annotations

import copy

import pytest
import torch

import genflow as gf
from genflow.schedulers import LinearInterpolant, VariancePreserving
from genflow.testing import BrokenPromise, check_velocity, check_wrapper
from genflow.wrappers import Composed, WrappedEstimator, Wrapper, pass_on

v = gf.velocities
NOISE = VariancePreserving(t_min=0.01)
CONDITION = torch.tensor([0.5, -1.0])


def shallow(conditions=0, **arguments):
    return v.Shallow(2, width=6, condition_dim=conditions, **arguments)


def diffusion(conditions=0):
    return v.ProbabilityFlow(shallow(conditions), NOISE, "v")


def graph(conditions=0):
    return v.Chebyshev([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], width=4, condition_features=conditions)


# How each is built around one part, the parts that it is tried with, and the condition.
WRAPPERS = {
    "Guided": (lambda f: v.Guided(f, 1.5), [v.NullCondition(shallow(2)), v.NullCondition(diffusion(2), 2)], CONDITION),
    "OptionalCondition": (v.OptionalCondition, [shallow(3), diffusion(3)], CONDITION),
    "NullCondition": (lambda f: v.NullCondition(f, 2), [shallow(2), diffusion(2)], CONDITION),
    "Flattened": (v.Flattened, [graph(), v.UNet((1, 4, 4), width=8, groups=2)], None),
    "ProbabilityFlow": (lambda f: v.ProbabilityFlow(f, NOISE), [shallow(), v.ResidualMLP(2, 6)], None),
    "MeanVelocity": (gf.baselines.MeanVelocity, [shallow(3), diffusion(3)], CONDITION),
    "Chain": (lambda f: v.Chain([f]), [shallow(), diffusion()], None),
    "Parallel": (lambda f: v.Parallel([f]), [shallow(), v.ResidualMLP(2, 6)], None),
    "Mean": (lambda f: v.Mean([f]), [shallow(), diffusion()], None),
}


def built_in(base):
    """The classes of the library that derive from a base, without the base classes and the ones of tests."""
    found = set()
    for cls in base.__subclasses__():
        found |= ({cls} if cls.__module__.startswith("genflow.") else set()) | built_in(cls)
    return found - {Wrapper}


def test_no_wrapper_is_forgotten():
    public = {cls.__name__ for cls in built_in(Composed) if not cls.__name__.startswith("_")}
    assert public == set(WRAPPERS)
    assert {cls.__name__ for cls in built_in(WrappedEstimator)} == {"Compiled", "ControlVariate"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_passes_on_what_is_declared(name, number):
    torch.manual_seed(0)
    build, parts, condition = WRAPPERS[name]
    check_wrapper(build, parts[number], condition=condition)


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_declared_one_day_is_passed_on_too(name, monkeypatch):
    """An attribute that the interface gets tomorrow: no wrapper may lose it, and the check asks for it."""
    monkeypatch.setitem(gf.Velocity.__annotations__, "stiffness", "float")
    monkeypatch.setattr(gf.Velocity, "stiffness", 0.0, raising=False)
    build, parts, condition = WRAPPERS[name]
    with pytest.raises(BrokenPromise, match="stiffness"):  # the class was made before that
        check_wrapper(build, parts[0], condition=condition)
    monkeypatch.setattr(Composed, "stiffness", pass_on(gf.Velocity, "stiffness"), raising=False)
    check_wrapper(build, parts[0], condition=condition)


@pytest.mark.parametrize(
    "build",
    [
        lambda e: gf.divergences.Compiled(e, backend="eager"),
        lambda e: gf.divergences.ControlVariate(e, v.Linear([torch.eye(3).tolist()])),
    ],
    ids=["compiled", "control variate"],
)
@pytest.mark.parametrize(
    "inner", [gf.divergences.Hutchinson(3), gf.divergences.Exact(), gf.divergences.FiniteDifference(n=2)]
)
def test_every_estimator_around_another_passes_on_its_own(build, inner):
    check_wrapper(build, inner)


def test_a_module_as_a_plain_function_passes_on_what_it_declares():
    class Net(torch.nn.Module):
        dim, condition_dim, noise = 2, 3, NOISE

        def __init__(self):
            super().__init__()
            self.layer, self.channels = torch.nn.Linear(2, 2), [8, 16]  # channels in a sense of its own

        def denoise(self, t, x, condition=None):
            return 0 * x

        def forward(self, x, t, condition):
            return self.layer(x)

    field = gf.as_velocity(Net())
    assert (field.dim, field.condition_dim, field.noise, field.event()) == (2, 3, NOISE, (2,))
    assert field.channels == 1
    assert not field.closed_form
    assert field.denoise(torch.tensor(0.5), torch.ones(3, 2)).shape == (3, 2)
    assert gf.Flow(field).base.shape == (2,)
    assert gf.as_velocity(lambda x, t, condition: x).event() is None
    check_velocity(field)


def test_what_is_spatial_in_a_part_is_spatial():
    class Pixels(gf.velocities.ResidualMLP):
        spatial = True

    parts = [gf.velocities.ResidualMLP(3, 4, 1), Pixels(3, 4, 1)]
    assert gf.velocities.Parallel(parts).spatial
    assert not gf.velocities.Parallel(parts[:1]).spatial


def test_a_network_may_use_the_names_that_the_interface_declares():
    class Own(gf.Velocity):
        def __init__(self):
            super().__init__()
            self.noise, self.diffusion = torch.nn.Linear(2, 2), torch.nn.Parameter(torch.ones(2))

        def forward(self, x, t, condition=None):
            return self.noise(x) * self.diffusion

    x = torch.randn(3, 2)
    field = Own()
    torch.testing.assert_close(field(x, torch.tensor(0.0)), field.noise(x))
    assert {name for name, _ in field.named_parameters()} == {"noise.weight", "noise.bias", "diffusion"}
    assert field.denoise is None
    assert copy.deepcopy(field).double().diffusion.dtype == torch.float64


def test_around_a_chain_of_blocks_the_solver_stops_at_the_boundaries():
    """v = (1 + w) v_c - w v_0, v_c = a_k c and v_0 = 0 on block k: x(1) is exact for Euler with one step a block."""

    class Push(gf.Velocity):
        dim, condition_dim, condition_optional = 1, 1, True

        def __init__(self, strength, interval):
            super().__init__()
            self.strength, self.interval = strength, interval

        def forward(self, x, t, condition=None):
            return 0 * x if condition is None else 0 * x + self.strength * condition

    chain = v.Chain([Push(2.0, (0.0, 0.3)), Push(-5.0, (0.3, 1.0))])
    guided = v.Guided(chain, 1.0)
    flow = gf.Flow(guided, gf.schedulers.Uniform(1), gf.solvers.Euler(), base=gf.StandardNormal(1))
    end = flow.encode(torch.zeros(1, 1), torch.tensor([1.0]))
    torch.testing.assert_close(end, torch.tensor([[2 * (2.0 * 0.3 - 5.0 * 0.7)]]))


@pytest.mark.parametrize("clock", ["time", "log_snr"])
def test_a_diffusion_of_a_chain_has_its_pieces_where_the_clock_shows_their_ends(clock):
    network = v.Chain([shallow(interval=ends) for ends in ((0.0, 0.6), (0.6, 1.0))])
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    flow = v.ProbabilityFlow(network, NOISE, "v", clock).double()
    pieces = flow.pieces()
    assert [piece.network for piece, _, _ in pieces] == list(network)
    assert pieces[0][1] == NOISE.t_min
    assert pieces[0][2] == pieces[1][1]
    assert pieces[1][2] == NOISE.t_max
    x = torch.randn(4, 2, dtype=torch.float64)
    for piece, start, stop in pieces:
        for share in (0.1, 0.9):
            t = torch.tensor(start + share * (stop - start), dtype=torch.float64)
            torch.testing.assert_close(piece(x, t), flow(x, t))


def test_a_conditional_picture_network_serves_for_rows():
    """A vector that conditions all pixels is no condition for each of them."""
    field = v.Flattened(v.UNet((2, 4, 4), width=8, groups=2, condition_dim=3))
    assert (field.dim, field.condition_dim) == (32, 3)
    assert field(torch.randn(5, 32), torch.tensor(0.5), torch.randn(5, 3)).shape == (5, 32)
    nodes = v.Flattened(graph(2))
    assert (nodes.dim, nodes.condition_dim) == (3, 6)
    assert nodes(torch.randn(5, 3), torch.tensor(0.5), torch.randn(5, 6)).shape == (5, 3)


def test_blocks_agree_on_a_noise_that_was_copied():
    """What a checkpoint builds again is not the same object."""
    blocks = [v.ProbabilityFlow(shallow(), copy.deepcopy(NOISE)) for _ in range(2)]
    blocks[0].interval, blocks[1].interval = (0.01, 0.5), (0.5, 1.0)
    chain = v.Chain(blocks)
    assert type(chain.noise) is VariancePreserving
    other = v.ProbabilityFlow(shallow(), LinearInterpolant())
    other.interval = (1.0, 1.5)
    chain.append(other)
    assert chain.noise is None


@pytest.mark.parametrize("per_row", [False, True])
def test_a_chain_answers_block_by_block(per_row):
    chain = v.Chain([shallow(1, interval=(0.0, 0.4)), shallow(1, interval=(0.4, 1.0))]).double()
    for parameter in chain.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64)
    x, tangents = torch.randn(4, 2, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    t = torch.tensor([0.1, 0.8, 0.4, 0.2], dtype=torch.float64) if per_row else torch.tensor(0.7, dtype=torch.float64)
    c = torch.randn(4, 1, dtype=torch.float64)
    value, divergence = chain.divergence(x, t, c)
    pulled, pushed = chain.pullback(x, t, tangents, c)[1], chain.pushforward(x, t, tangents, c)[1]
    for i in range(4):
        row = (x[i : i + 1], t[i] if per_row else t)
        given, block = c[i : i + 1], chain[int(row[1] >= 0.4)]
        torch.testing.assert_close(value[i], block(*row, given)[0])
        torch.testing.assert_close(divergence[i], gf.Velocity.divergence(block, *row, given)[1][0])
        torch.testing.assert_close(pulled[:, i], block.pullback(*row, tangents[:, i : i + 1], given)[1][:, 0])
        torch.testing.assert_close(pushed[:, i], block.pushforward(*row, tangents[:, i : i + 1], given)[1][:, 0])
    empty = v.Chain()
    assert empty.divergence(x, t)[1].eq(0).all()
    assert empty.pushforward(x, t, tangents)[1].shape == tangents.shape


class Unaware(gf.DivergenceEstimator):
    """As the interface shows it: every argument is given, and nothing else is said."""

    def probes(self, x, event_ndim, generator):
        return None

    def __call__(self, velocity, x, t, probes, condition):
        return gf.Estimate(*velocity.divergence(x, t, condition))


def test_an_estimator_as_the_interface_shows_it_serves_everywhere(tmp_path):
    from genflow.testing import check_divergence

    check_divergence(Unaware())
    flow = gf.models.CNF(2, width=8, divergence=Unaware())
    x = torch.randn(6, 2)
    torch.testing.assert_close(flow.log_prob(x), flow.replace(divergence=gf.divergences.Exact()).log_prob(x))
    assert flow.audit(x).standard_error is None
    around = gf.divergences.Compiled(Unaware(), backend="eager")
    assert (around.has_per_probe, around.n, around.estimates(None)) == (False, None, 0)
    findings = gf.studies.divergences(flow, data=x, divergences=["exact", Unaware()], draws=2)
    assert len(findings.frame) >= 2
