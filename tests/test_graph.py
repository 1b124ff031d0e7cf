"""Velocities on graphs: exact derivatives, symmetry, locality; and the sensor network whose law they learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import genflow as gf
from genflow.data import SensorNetwork
from genflow.experiments.graph import on_sensors
from genflow.interfaces import Velocity
from genflow.training import Budget, TrainingData, train
from genflow.velocities import ACTIVATIONS, Chebyshev, Flattened, GraphAttention

KINDS = [Chebyshev, GraphAttention]
_each_kind = pytest.mark.parametrize("kind", KINDS)
EXACT = {"rtol": 1e-10, "atol": 1e-10}
PATH = [[float(abs(i - j) == 1) for j in range(9)] for i in range(9)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomized(velocity: Velocity, seed: int = 0, scale: float = 0.5) -> Velocity:
    """The same network in float64 with all weights random: none of its terms vanishes."""
    source = generator(seed)
    velocity.double()
    for parameter in velocity.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=source, dtype=torch.float64)
    return velocity


def random_graph(nodes: int, seed: int) -> torch.Tensor:
    """A sparse graph with weights; some nodes have no edge."""
    weights = torch.rand(nodes, nodes, generator=generator(seed), dtype=torch.float64)
    upper = torch.where(weights > 0.5, weights, 0.0).triu(1)
    return upper + upper.mT


@st.composite
def settings(draw):
    """A random network of either kind, points, a condition and a time."""
    nodes, features, condition_features = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    seed, kind = draw(st.integers(0, 2**31)), draw(st.sampled_from(KINDS))
    arguments = {"order": draw(st.integers(1, 3))} if kind is Chebyshev else {"heads": draw(st.sampled_from([1, 2, 4]))}
    velocity = kind(
        random_graph(nodes, seed),
        features,
        width=4,
        depth=draw(st.integers(1, 3)),
        condition_features=condition_features,
        activation=draw(st.sampled_from(sorted(ACTIVATIONS))),
        time_features=draw(st.integers(1, 4)),
        interval=(0.5, draw(st.sampled_from([1.0, 2.5]))),
        **arguments,
    )
    x = torch.randn(3, nodes, features, generator=generator(seed), dtype=torch.float64)
    c = torch.randn(3, nodes, condition_features, generator=generator(seed + 1), dtype=torch.float64)
    t = torch.tensor(draw(st.floats(0.5, 1.0)), dtype=torch.float64)
    t = t + torch.arange(3) / 10 if draw(st.booleans()) else t
    return randomized(velocity, seed), x, t, c if condition_features else None


def rows_of(t, condition, i):
    """Time and condition of one row, with the axis of the batch."""
    return t[i : i + 1] if t.ndim else t, None if condition is None else condition[i : i + 1]


@given(settings())
def test_derivatives_by_hand_agree_with_automatic_differentiation(setting):
    velocity, x, t, condition = setting
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda y, i=i: velocity(y.reshape(1, *x.shape[1:]), *rows_of(t, condition, i)).flatten(),
                x[i].flatten(),
            )
            for i in range(len(x))
        ]
    )
    v = velocity(x, t, condition)
    tangents, cotangents = torch.randn(2, 4, *x.shape, generator=generator(7), dtype=torch.float64)
    v1, pushed = velocity.pushforward(x, t, tangents, condition)
    torch.testing.assert_close(v1, v, **EXACT)
    torch.testing.assert_close(pushed.flatten(2), torch.einsum("bij,nbj->nbi", jacobian, tangents.flatten(2)), **EXACT)
    torch.testing.assert_close(pushed, Velocity.pushforward(velocity, x, t, tangents, condition)[1], **EXACT)
    v2, divergence = velocity.divergence(x, t, condition)
    torch.testing.assert_close(v2, v, **EXACT)
    torch.testing.assert_close(divergence, torch.einsum("bii->b", jacobian), **EXACT)
    torch.testing.assert_close(divergence, Velocity.divergence(velocity, x, t, condition)[1], **EXACT)
    _, pulled = velocity.pullback(x, t, cotangents, condition)
    inner = ((pushed * cotangents).sum((-2, -1)), (tangents * pulled).sum((-2, -1)))
    torch.testing.assert_close(*inner, **EXACT)


@given(settings(), st.randoms(use_true_random=False))
def test_relabelled_nodes_give_the_relabelled_field(setting, random):
    velocity, x, t, condition = setting
    order = list(range(x.shape[1]))
    random.shuffle(order)
    other = type(velocity)(**{**velocity.config(), "adjacency": velocity.adjacency[order][:, order]}).double()
    other.load_state_dict({**velocity.state_dict(), **dict(other.named_buffers())})
    moved = None if condition is None else condition[:, order]
    # The polynomials of the graph are rounded to float32 when the network is built.
    torch.testing.assert_close(other(x[:, order], t, moved), velocity(x, t, condition)[:, order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("velocity", "hops"),
    [(Chebyshev(PATH, order=k, depth=d, width=4), k * d) for k, d in itertools.product((1, 2, 3), (1, 2))]
    + [(GraphAttention(PATH, depth=d, width=4, heads=2), d) for d in (1, 2, 3)],
)
def test_a_node_sees_as_far_as_the_layers_reach_and_no_further(velocity, hops):
    velocity = randomized(velocity)
    x = torch.randn(9, 1, generator=generator(), dtype=torch.float64)
    seen = torch.autograd.functional.jacobian(lambda y: velocity(y, torch.tensor(0.3))[0, 0], x).squeeze(-1)
    assert seen[: hops + 1].all()
    assert not seen[hops + 1 :].any()


@_each_kind
def test_it_starts_as_the_zero_field_scales_and_feels_its_condition(kind):
    x, c = torch.randn(2, 4, 9, 1, generator=generator(), dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)
    velocity = kind(PATH, condition_features=1, width=8).double()
    assert not velocity(x, t, c).any()
    randomized(velocity)
    before = velocity(x, t, c)
    assert before.dtype == torch.float64
    assert (before - velocity(x, t, c + 1)).abs().min() > 0
    torch.testing.assert_close(velocity(x, t, c[0]), velocity(x, t, c[:1].expand_as(c)))  # one condition for all rows
    velocity.scale_output(0.25)
    torch.testing.assert_close(velocity(x, t, c), 0.25 * before)


@_each_kind
@pytest.mark.parametrize("of", ["forward", "divergence"])
def test_gradients_reach_every_parameter(kind, of):
    velocity = randomized(kind(random_graph(4, 0), 2, width=8, condition_features=1))
    x, c = torch.randn(5, 4, 2, dtype=torch.float64), torch.randn(5, 4, 1, dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)
    value = velocity(x, t, c) if of == "forward" else velocity.divergence(x, t, c)[1]
    value.square().sum().backward()
    for name, parameter in velocity.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@given(st.sampled_from(KINDS), st.integers(1, 3), st.integers(0, 1000))
def test_the_divergence_has_the_right_gradient(kind, depth, seed):
    velocity = randomized(kind(random_graph(3, seed), 2, width=4, depth=depth), seed, 0.3)
    x = torch.randn(2, 3, 2, generator=generator(seed), dtype=torch.float64, requires_grad=True)
    t = torch.tensor(0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: velocity.divergence(y, t)[1], (x,))


@_each_kind
def test_an_edge_of_no_weight_is_no_edge(kind):
    graph = random_graph(5, 3)
    i, j = (graph == 0).logical_and(~torch.eye(5, dtype=torch.bool)).nonzero()[0].tolist()
    faint = graph.clone()
    faint[i, j] = faint[j, i] = 1e-9
    x, t = torch.randn(4, 5, 1, generator=generator(), dtype=torch.float64), torch.tensor(0.3)
    fields = []
    for adjacency in (graph, faint):
        torch.manual_seed(0)
        fields.append(randomized(kind(adjacency, width=4))(x, t))
    torch.testing.assert_close(*fields, rtol=1e-5, atol=1e-5)


@_each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_flow_comes_back(kind, dtype, tmp_path):
    graph = random_graph(4, 1)
    flow = gf.Flow(randomized(kind(graph, 2, width=8, condition_features=1), scale=0.2).to(dtype))
    assert flow.base.shape == (4, 2)
    x, c = torch.randn(5, 4, 2, generator=generator(), dtype=dtype), torch.randn(4, 1, dtype=dtype)
    flow.save(tmp_path / "flow")
    again = gf.load(tmp_path / "flow")
    assert torch.equal(again.log_prob(x, c), flow.log_prob(x, c))
    torch.testing.assert_close(again.velocity.adjacency, graph.to(dtype), rtol=1e-6, atol=0)
    assert again.velocity.adjacency.dtype == dtype


@_each_kind
@pytest.mark.parametrize(
    ("adjacency", "what"),
    [
        ([[0.0, 1.0]], r"the shape \(1, 2\) came"),
        (1.0, r"the shape \(\) came"),
        ([], r"the shape \(0,\) came"),
        ([[0.0, 1.0], [0.0, 0.0]], r"asymmetric came, entry \[0, 1\] is 1"),
        ([[0.0, -1.0], [-1.0, 0.0]], "negative came"),
        ([[0.0, math.nan], [math.nan, 0.0]], r"not finite came, entry \[0, 1\] is nan"),
        ([[0.0, math.inf], [math.inf, 0.0]], "not finite came"),
        ([[0.0, 1.0], [1.0]], "a list came that is no matrix"),
        ("path", "a str came"),
    ],
)
def test_a_wrong_adjacency_is_named(kind, adjacency, what):
    with pytest.raises(gf.InputError, match=f"^adjacency: {what}.*would do$") as error:
        kind(adjacency)
    assert "\n" not in str(error.value)


@_each_kind
def test_tensors_arrays_and_lists_serve_and_nodes_may_stand_alone(kind):
    x, t = torch.randn(2, 3, 1, generator=generator(), dtype=torch.float64), torch.tensor(0.3)
    alone = []
    for adjacency in (torch.zeros(3, 3), np.zeros((3, 3)), [[0] * 3] * 3, torch.zeros(3, 3).to_sparse(), torch.eye(3)):
        velocity = randomized(kind(adjacency, width=4))
        alone.append(velocity(x, t))
        torch.testing.assert_close(velocity(x + torch.eye(3)[:1].mT, t)[:, 1:], alone[-1][:, 1:], **EXACT)
    assert alone[0].isfinite().all()
    for other in alone[1:4]:
        assert torch.equal(other, alone[0])


@pytest.mark.parametrize("arguments", [{"width": 0}, {"depth": 0}, {"features": 0}, {"condition_features": -1}])
@_each_kind
def test_settings_without_sense_are_refused(kind, arguments):
    with pytest.raises(gf.InputError, match=" came; at least "):
        kind(PATH, **arguments)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(gf.InputError, match="heads: 3 came for the width 32"):
        GraphAttention(PATH, heads=3)


@_each_kind
def test_points_of_another_shape_are_named(kind):
    with pytest.raises(gf.InputError, match=r"x: node features \(\*batch, 9, 1\) are wanted, the shape \(4, 9\) came"):
        kind(PATH)(torch.randn(4, 9), torch.tensor(0.0))


@_each_kind
def test_random_divergences_agree_with_the_exact_one_within_their_error(kind):
    exact = gf.Flow(randomized(kind(PATH, width=8), scale=0.2))
    random = exact.replace(divergence=gf.divergences.Hutchinson(200))
    x = torch.randn(3, 9, 1, generator=generator(), dtype=torch.float64)
    transport = random.integrate(x, generator=generator(1))
    assert (transport.log_det - exact.integrate(x).log_det).abs().lt(5 * transport.standard_error).all()


@_each_kind
def test_a_condition_that_is_missing_or_of_another_shape_is_named(kind):
    x, t = torch.randn(4, 9, 1), torch.tensor(0.0)
    with pytest.raises(gf.InputError, match=r"condition: node features \(\*batch, 9, 2\) are wanted, none came"):
        kind(PATH, condition_features=2)(x, t)
    with pytest.raises(gf.InputError, match=r"the shape \(4, 9, 1\) came"):
        kind(PATH, condition_features=2)(x, t, x)
    with pytest.raises(gf.InputError, match="condition_features=0"):
        kind(PATH)(x, t, x)


# The sensor network


def integral(network: SensorNetwork, condition: torch.Tensor | None, weight=None) -> float:
    """The integral over two sensors of a density, by the trapezoidal rule in arsinh x, where it is nearly Gaussian."""
    u = torch.linspace(-9, 9, 301, dtype=torch.float64)
    x = torch.stack(torch.meshgrid(u.sinh(), u.sinh(), indexing="ij"), -1).unsqueeze(-1)
    jacobian = u.cosh()[:, None] * u.cosh()
    density = network.log_prob(x, condition).exp() * jacobian
    return ((density if weight is None else density * weight(x)).sum() * (u[1] - u[0]) ** 2).item()


@given(st.integers(0, 100), st.floats(0, 0.9), st.floats(0, 5), st.floats(-1, 1), st.floats(0.3, 1.0))
def test_densities_of_the_sensor_network_integrate_to_one(seed, memory, coupling, skew, tail):
    network = SensorNetwork(2, seed, memory=memory, coupling=coupling, skew=skew, tail=tail, noise=0.8)
    yesterday = torch.randn(2, 1, generator=generator(seed), dtype=torch.float64)
    assert integral(network, yesterday) == pytest.approx(1, abs=1e-6)
    assert integral(network, None) == pytest.approx(1, abs=1e-6)


def test_yesterday_integrated_out_leaves_the_law_of_a_day():
    network = SensorNetwork(2, 0, memory=0.7, noise=0.7)
    today = torch.tensor([[0.4], [-1.0]], dtype=torch.float64)
    # p(today) = ∫ p(today | yesterday) p(yesterday)
    mixed = integral(network, None, lambda yesterday: network.log_prob(today.expand_as(yesterday), yesterday).exp())
    assert mixed == pytest.approx(network.log_prob(today).exp().item(), rel=1e-6)


def test_samples_have_the_law_that_the_density_says():
    network = SensorNetwork(5, seed=1)
    x, yesterday = network.sample(40_000, generator())
    again = network.sample(40_000, generator())
    assert torch.equal(x, again[0])
    assert torch.equal(yesterday, again[1])
    # y, undone by hand: white after the filter and the noise's root, so that its moments are those of N(0, I).
    y, y0 = ((u.squeeze(-1).asinh() - network.skew) / network.tail for u in (x, yesterday))
    for white in (
        (y - y0 @ network.filter) @ torch.linalg.cholesky(network.precision),
        y @ torch.linalg.cholesky(network.stationary_precision),
        y0 @ torch.linalg.cholesky(network.stationary_precision),
    ):
        torch.testing.assert_close(white.mean(0), torch.zeros(5).double(), rtol=0, atol=5 / math.sqrt(40_000))
        torch.testing.assert_close(white.mT.cov(), torch.eye(5).double(), rtol=0, atol=5 * math.sqrt(2 / 40_000))
    # The entropy of the conditional law, from its parts: that of the Gaussian field, and the mean log-slope of sinh.
    slope = (network.tail * (1 + x.squeeze(-1).square()).sqrt()).log().sum(-1)
    gaussian = 2.5 * math.log(2 * math.pi * math.e) - 0.5 * torch.linalg.slogdet(network.precision)[1]
    excess = -network.log_prob(x, yesterday) - slope
    assert abs(excess.mean() - gaussian) < 4 * excess.std() / math.sqrt(len(x))


def test_the_law_belongs_to_the_graph():
    network = SensorNetwork(8, seed=2)
    adjacency = network.adjacency
    assert torch.equal(adjacency, adjacency.mT)
    assert not adjacency.diagonal().any()
    assert ((adjacency > 0).sum(-1) >= 3).all()
    Chebyshev(adjacency)
    # A Markov field: given the others and yesterday, sensors without a link do not feel each other.
    x, yesterday = (u[0] for u in network.sample(1, generator()))
    hessian = torch.autograd.functional.hessian(lambda u: network.log_prob(u, yesterday), x).squeeze()
    linked = (adjacency > 0) | torch.eye(8, dtype=torch.bool)
    assert hessian[linked].all()
    assert hessian[~linked].abs().max() < 1e-12
    assert network.log_prob(x.float(), yesterday.float()).dtype == torch.float32


@pytest.mark.parametrize("nodes", [1, 2])
def test_few_sensors_are_a_network(nodes):
    network = SensorNetwork(nodes)
    assert network.log_prob(*network.sample(3, generator())).isfinite().all()


@pytest.mark.parametrize("arguments", [{"nodes": 0}, {"memory": 1.0}, {"noise": 0.0}, {"coupling": -1.0}, {"tail": 0}])
def test_sensor_networks_without_sense_are_refused(arguments):
    with pytest.raises(gf.InputError, match=r" came; .* would do"):
        SensorNetwork(**arguments)


def test_measurements_of_other_sensors_are_refused():
    with pytest.raises(gf.InputError, match=r"x: the shape \(3, 5, 1\) came"):
        SensorNetwork(4).log_prob(torch.zeros(3, 5, 1))
    with pytest.raises(gf.InputError, match=r"condition: the shape \(4,\) came"):
        SensorNetwork(4).log_prob(torch.zeros(3, 4, 1), torch.zeros(4))


# Flows on the sensor network


@_each_kind
@pytest.mark.slow
def test_a_conditional_flow_comes_towards_the_truth_and_not_beyond_it(kind):
    network = SensorNetwork(4, seed=0)
    torch.manual_seed(0)
    flow = gf.Flow(kind(network.adjacency, width=8, condition_features=1), gf.schedulers.Uniform(3))
    x, yesterday = (u.float() for u in network.sample(2000, generator()))
    test = [u.float() for u in network.sample(1000, generator(1))]
    truth = network.log_prob(*test)

    def gap() -> tuple[float, float]:
        with torch.no_grad():
            difference = truth - flow.replace(scheduler=gf.schedulers.Uniform(6)).log_prob(*test)
        return difference.mean().item(), (difference.std() / math.sqrt(len(truth))).item()

    before, _ = gap()
    optimizer = torch.optim.Adam(flow.parameters(), 2e-2)
    for step in range(60):
        rows = (torch.arange(128) + 128 * step) % len(x)
        optimizer.zero_grad()
        (-flow.log_prob(x[rows], yesterday[rows])).mean().backward()
        optimizer.step()
    after, se = gap()
    assert -5 * se < after < before / 5  # over seeds, 0.02 ± 0.006 and 0.065 ± 0.012 of it are left


@pytest.mark.slow
def test_jko_iflow_is_built_of_blocks_on_the_graph(tmp_path):
    network = SensorNetwork(5, seed=0)
    rows = network.sample(2500, generator())[0].float()
    data = TrainingData(rows[:1800], rows[1800:2000])
    test, truth = rows[2000:], network.log_prob(rows[2000:])
    model = gf.models.JKOiFlow(
        5, block=Chebyshev(network.adjacency, width=8), steps=4, batch_size=128, learning_rate=2e-2, joint=0.5
    )
    assert model.base.shape == (5, 1)
    assert not list(model.parameters())  # the prototype's weights are not the model's
    before = (truth - model.base.log_prob(test)).mean()
    history = train(model, data, Budget(iterations=60))
    assert [entry["kind"] for entry in history] == ["local matching"] * 2 + ["block"] * 2 + ["joint likelihood"]
    assert [type(block) for block in model.velocity] == [Chebyshev] * 2
    with torch.no_grad():
        gap = truth - model.log_prob(test)
    # Over seeds, 0.115 ± 0.026 of the gap are left.
    assert -5 * gap.std() / math.sqrt(len(gap)) < gap.mean() < before / 3
    assert model.sample(3, generator=generator()).shape == (3, 5, 1)
    model.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    assert torch.equal(again.log_prob(test), model.log_prob(test))


def test_a_new_block_of_the_users_kind_is_warm_started_where_it_can_be():
    like = torch.empty(0)
    graph = gf.models.JKOiFlow(9, block=Chebyshev(PATH, width=4), first=0.5, growth=2.0)
    first = graph._block(0, like)
    torch.nn.init.normal_(first.readout)
    second = graph._block(1, like)
    assert (first.interval, second.interval) == ((0.0, 0.5), (0.5, 1.5))
    torch.testing.assert_close(second.readout, first.readout / 2)
    plain = gf.models.JKOiFlow(3, block=gf.velocities.ResidualMLP(3, width=8), first=0.5, growth=2.0)
    assert [plain._block(k, like).interval for k in range(2)] == [(0.0, 0.5), (0.5, 1.5)]


def test_a_block_that_does_not_fit_is_refused():
    with pytest.raises(gf.InputError, match=r"block: .* shape \(9, 1\) came beside dim=4; .* dim=9, would do"):
        gf.models.JKOiFlow(4, block=Chebyshev(PATH))
    with pytest.raises(gf.InputError, match="block: Chain came, which takes no interval"):
        gf.models.JKOiFlow(4, block=gf.velocities.Chain())


# Rows


@_each_kind
@given(seed=st.integers(0, 2**31), batch=st.sampled_from([(4,), (2, 3)]))
def test_on_rows_it_is_the_same_field(kind, seed, batch):
    graph = randomized(kind(random_graph(3, seed), 2, width=4, condition_features=1), seed)
    rows = Flattened(graph)
    assert (rows.dim, rows.interval, rows.closed_form) == (6, graph.interval, graph.closed_form)
    x, c = (torch.randn(*batch, 3, k, generator=generator(seed), dtype=torch.float64) for k in (2, 1))
    tangents, t = torch.randn(5, *x.shape, generator=generator(seed), dtype=torch.float64), torch.tensor(0.3)
    assert torch.equal(rows(x.flatten(-2), t, c.flatten(-2)), graph(x, t, c).flatten(-2))
    for name in ("pushforward", "pullback"):
        v, moved = getattr(rows, name)(x.flatten(-2), t, tangents.flatten(-2), c.flatten(-2))
        w, theirs = getattr(graph, name)(x, t, tangents, c)
        torch.testing.assert_close(v, w.flatten(-2), **EXACT)
        torch.testing.assert_close(moved, theirs.flatten(-2), **EXACT)
    torch.testing.assert_close(
        rows.divergence(x.flatten(-2), t, c.flatten(-2))[1], graph.divergence(x, t, c)[1], **EXACT
    )


def test_a_flattened_velocity_is_a_copy_that_moves_and_scales():
    graph = randomized(Chebyshev(PATH, width=4))
    moved = Flattened(graph).on((0.0, 2.0))
    assert (graph.interval, moved.velocity.interval) == ((0.0, 1.0), (0.0, 2.0))
    x, t = torch.randn(3, 9, generator=generator(), dtype=torch.float64), torch.tensor(0.5)
    before = moved(x, t)
    moved.scale_output(0.5)
    torch.testing.assert_close(moved(x, t), before / 2, **EXACT)
    assert not torch.equal(moved.velocity.readout, graph.readout)
    with pytest.raises(gf.InputError, match="without event_shape"):
        Flattened(gf.velocities.Shallow(2))
    with pytest.raises(gf.InputError, match="rows of 8 columns came; 9"):
        moved(x[:, :8], t)


@pytest.mark.slow
def test_a_table_of_measurements_is_fitted_by_blocks_on_the_graph(tmp_path):
    data = gf.data.load("sensors", rows=1500)
    assert (data.dim, data.condition_dim) == (12, 12)
    truth = float(data.remarks[0].split(" is ")[1].split()[0])  # the NLL of the law, on the same rows
    block = on_sensors(12, condition_dim=12, width=8)
    model = gf.models.JKOiFlow(12, block=block, whiten=False, condition_dim=12, steps=4, batch_size=128, joint=0.5)
    fitted = model.fit(data, iterations=60)
    assert {type(block) for block in fitted.model.velocity} == {Flattened}
    log_p = fitted.log_prob(data.test, data.condition.test)
    independent = torch.distributions.Normal(data.train.mean(0), data.train.std(0)).log_prob(data.test).sum(-1)
    error = log_p.std().item() / math.sqrt(len(log_p))
    assert truth - 3 * error < -log_p.mean() < -independent.mean()
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert torch.equal(again.log_prob(data.test, data.condition.test), log_p)
