"""Velocities: what a network computes by hand equals what automatic differentiation computes from its forward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow.interfaces import Velocity
from genflow.velocities import ACTIVATIONS, Chain, Hollow, Parallel, PotentialGradient, ResidualMLP, Shallow, UNet


def randomized(velocity: Velocity, seed: int, scale: float = 0.5) -> Velocity:
    """The same network in float64 with all weights random: none of its terms vanishes."""
    generator = torch.Generator().manual_seed(seed)
    velocity.double()
    for parameter in velocity.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return velocity


@st.composite
def networks(draw, max_dim: int = 8, condition_dim: int | None = 0):
    """Recipes of random networks of every kind: a function that builds it, its dimension, that of its condition."""
    dim = draw(st.integers(1, max_dim))
    condition = draw(st.integers(0, 3)) if condition_dim is None else condition_dim
    arguments = {
        "width": draw(st.integers(1, 12)),
        "activation": draw(st.sampled_from(sorted(ACTIVATIONS))),
        "condition_dim": condition,
        "time_features": draw(st.integers(1, 5)),
        "interval": (0.0, draw(st.sampled_from([0.5, 1.0, 2.0]))),
    }
    kind = draw(st.sampled_from(["shallow", "residual", "parallel", "potential", "hollow"]))
    layers, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**31))

    def build() -> Velocity:
        if kind == "parallel":
            return randomized(Parallel([Shallow(dim, **arguments) for _ in range(layers)]), seed)
        if kind == "residual":
            return randomized(ResidualMLP(dim, depth=layers, **arguments), seed)
        if kind == "potential":
            return randomized(PotentialGradient(dim, depth=layers - 1, **arguments), seed)
        if kind == "hollow":
            wide = {**arguments, "width": arguments["width"] + 1}
            return randomized(Hollow(dim, depth=layers, units=1 + seed % 3, **wide), seed)
        return randomized(Shallow(dim, **arguments), seed)

    return build, dim, condition


def points(dim: int, condition_dim: int, rows: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    condition = torch.randn(rows, condition_dim, generator=generator, dtype=torch.float64) if condition_dim else None
    return x, condition


@settings(max_examples=40)
@given(networks(condition_dim=None), st.booleans(), st.floats(0, 1))
def test_pushed_pulled_and_closed_form_agree_with_automatic_differentiation(network, per_row, time):
    build, dim, condition_dim = network
    velocity = build()
    x, condition = points(dim, condition_dim)
    t = torch.tensor(time * velocity.interval[1], dtype=torch.float64)
    t = t.expand(len(x)) if per_row else t
    tangents = torch.randn(3, *x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v = velocity(x, t, condition)
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda y, i=i: velocity(
                    y[None], t[i : i + 1] if per_row else t, None if condition is None else condition[i : i + 1]
                )[0],
                x[i],
            )
            for i in range(len(x))
        ]
    )
    close = {"rtol": 1e-10, "atol": 1e-10}
    v1, pushed = velocity.pushforward(x, t, tangents, condition)
    torch.testing.assert_close(v1, v, **close)
    torch.testing.assert_close(pushed, torch.einsum("bij,nbj->nbi", jacobian, tangents), **close)
    v2, pulled = velocity.pullback(x, t, tangents, condition)
    torch.testing.assert_close(v2, v, **close)
    torch.testing.assert_close(pulled, torch.einsum("bij,nbi->nbj", jacobian, tangents), **close)
    trace = torch.einsum("bii->b", jacobian)
    v3, divergence = velocity.divergence(x, t, condition)
    torch.testing.assert_close(v3, v, **close)
    torch.testing.assert_close(divergence, trace, **close)
    torch.testing.assert_close(Velocity.divergence(velocity, x, t, condition)[1], trace, **close)
    torch.testing.assert_close(Velocity.pushforward(velocity, x, t, tangents, condition)[1], pushed, **close)


class _Method(torch.nn.Module):
    """A method of a velocity as a forward, for `functional_call`."""

    def __init__(self, velocity, method):
        super().__init__()
        self.velocity, self.method = velocity, method

    def forward(self, *arguments):
        return getattr(self.velocity, self.method)(*arguments)


def fused_and_inputs(method, dim, width, activation, rows=3, tangents=2):
    """A fused method of a random `Shallow` as a function of points, tangents and weights; all of these."""
    velocity = randomized(Shallow(dim, width, activation=activation), seed=0, scale=0.3)
    x, _ = points(dim, 0, rows)
    t = torch.tensor(0.3, dtype=torch.float64)
    data = [x]
    if method == "pushforward":
        data.append(torch.randn(tangents, rows, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    names = [f"velocity.{name}" for name, _ in velocity.named_parameters()]

    def function(*inputs):
        (y, *directions), weights = inputs[: len(data)], inputs[len(data) :]
        return torch.func.functional_call(
            _Method(velocity, method), dict(zip(names, weights, strict=True)), (y, t, *directions)
        )

    weights = [parameter.detach() for parameter in velocity.parameters()]
    return function, tuple(tensor.requires_grad_() for tensor in (*data, *weights))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("method", ["divergence", "pushforward"])
@pytest.mark.slow
def test_what_is_fused_has_right_first_and_second_derivatives(method, activation):
    function, inputs = fused_and_inputs(method, 3, 5, activation)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@given(
    st.sampled_from(["divergence", "pushforward"]),
    st.integers(1, 6),
    st.integers(1, 12),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.integers(1, 4),
)
def test_what_is_fused_equals_automatic_differentiation_of_the_plain_formulas(method, dim, width, activation, n):
    function, inputs = fused_and_inputs(method, dim, width, activation, rows=4, tangents=n)
    fused = function(*inputs)
    names = {output.grad_fn.name() for output in fused}
    assert names == {"_DivergenceBackward" if method == "divergence" else "_PushedBackward"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genflow.velocities.fused._can_fuse", lambda *tensors: False)
        plain = function(*inputs)
    bars = [torch.randn_like(output) for output in plain]
    torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad(fused, inputs, bars), torch.autograd.grad(plain, inputs, bars), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("method", ["divergence", "pushforward"])
def test_what_is_fused_keeps_nothing_without_gradients_and_may_go_back_twice(method):
    function, inputs = fused_and_inputs(method, 3, 5, "silu")
    outputs = function(*inputs)
    with torch.no_grad():
        torch.testing.assert_close(function(*inputs), outputs)
    bars = [torch.ones_like(output) for output in outputs]
    first = torch.autograd.grad(outputs, inputs, bars, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(outputs, inputs, bars), first, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["divergence", "pushforward"])
def test_what_is_fused_works_under_function_transforms_and_autocast(method):
    velocity = randomized(Shallow(3, 5), seed=0)
    x, _ = points(3, 0)
    t = torch.tensor(0.3, dtype=torch.float64)
    extra = (torch.ones_like(x)[None],) if method == "pushforward" else ()

    def total(y):
        return getattr(velocity, method)(y, t, *extra)[1].sum()

    (expected,) = torch.autograd.grad(total(x.requires_grad_()), x)
    torch.testing.assert_close(torch.func.grad(total)(x), expected)
    _, directional = torch.func.jvp(total, (x.detach(),), (torch.ones_like(x),))
    torch.testing.assert_close(directional, expected.sum())
    velocity, x, extra = velocity.float(), x.detach().float().requires_grad_(), [tensor.float() for tensor in extra]
    with torch.autocast("cpu", torch.bfloat16):
        rough = getattr(velocity, method)(x, t.float(), *extra)[1].float().sum()
    (gradient,) = torch.autograd.grad(rough, x)
    torch.testing.assert_close(gradient.double(), expected, rtol=0.1, atol=0.1)


@given(st.integers(1, 40))
def test_divergence_in_chunks_equals_the_whole(rows):
    velocity = randomized(ResidualMLP(5, 6, 2), seed=rows)
    x, _ = points(5, 0, rows)
    t = torch.tensor(0.1, dtype=torch.float64)
    whole = velocity.divergence(x, t)[1]
    one_by_one = gf.interfaces.Velocity.divergence
    import genflow.interfaces as interfaces

    before = interfaces._PUSHED_ELEMENTS
    try:
        interfaces._PUSHED_ELEMENTS = 1
        chunked = one_by_one(velocity, x, t)[1]
    finally:
        interfaces._PUSHED_ELEMENTS = before
    torch.testing.assert_close(chunked, whole)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("held", [1, 100, 1 << 20])
def test_the_residual_networks_divergence_is_its_pushed_identity_whatever_is_held_at_once(monkeypatch, depth, held):
    monkeypatch.setattr("genflow.velocities.residual._CACHED_ELEMENTS", held)
    velocity = randomized(ResidualMLP(5, 6, depth), seed=depth)
    x, _ = points(5, 0, 7)
    x.requires_grad_()
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    v, trace = velocity.divergence(x, t)
    expected_v, expected = gf.interfaces.trace(lambda columns: velocity.pushforward(x, t, columns), x, velocity)
    torch.testing.assert_close(v, expected_v)
    torch.testing.assert_close(trace, expected)
    leaves = [x, *velocity.parameters()]
    gradients = torch.autograd.grad((trace**2).sum(), leaves, allow_unused=True)
    theirs = torch.autograd.grad((expected**2).sum(), leaves, allow_unused=True)
    assert sum(gradient is None for gradient in gradients) == 1  # the last bias alone does not enter
    for ours, wanted in zip(gradients, theirs, strict=True):
        assert (ours is None) == (wanted is None)
        if ours is not None:
            torch.testing.assert_close(ours, wanted)


def test_a_network_starts_as_the_zero_field_and_scales():
    for velocity in (Shallow(3), ResidualMLP(3), PotentialGradient(3), Hollow(3)):
        assert not velocity(torch.randn(4, 3), torch.tensor(0.5)).any()
    assert not UNet((1, 4, 4), width=8)(torch.randn(2, 1, 4, 4), torch.tensor(0.5)).any()
    for velocity in (Shallow(3, 5), ResidualMLP(3, 5), PotentialGradient(3, 5), Hollow(3, 5)):
        randomized(velocity, seed=1)
        x, _ = points(3, 0)
        before = velocity(x, torch.tensor(0.5))
        velocity.scale_output(0.25)
        torch.testing.assert_close(velocity(x, torch.tensor(0.5)), 0.25 * before)


def test_a_chain_picks_the_block_of_each_time():
    blocks = [randomized(Shallow(2, 4, interval=(float(i), i + 1.0)), seed=i) for i in range(3)]
    chain = Chain(blocks)
    x, _ = points(2, 0, rows=7)
    t = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5, 2.5, 3.0], dtype=torch.float64)
    expected = torch.stack([blocks[k](x[i], t[i]) for i, k in enumerate([0, 0, 0, 1, 1, 2, 2])])
    torch.testing.assert_close(chain(x, t), expected)
    torch.testing.assert_close(chain(x, torch.tensor(1.5)), blocks[1](x, torch.tensor(1.5)))
    assert [piece[1:] for piece in chain.pieces()] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    with pytest.raises(gf.InputError, match="adjoin"):
        chain.append(Shallow(2, interval=(4.0, 5.0)))


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 3), st.integers(0, 100))
def test_a_potential_field_is_minus_the_gradient_of_its_potential(dim, width, depth, seed):
    velocity = randomized(PotentialGradient(dim, width, depth, condition_dim=2), seed)
    x, condition = points(dim, 2, seed=seed)
    t = torch.rand(len(x), dtype=torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(velocity.potential(x, t, condition).sum(), x)
    torch.testing.assert_close(velocity(x, t, condition), -gradient)


def test_the_laplacian_in_chunks_of_columns_equals_the_whole(monkeypatch):
    velocity = randomized(PotentialGradient(5, 6, 2), seed=0)
    x, _ = points(5, 0)
    t = torch.tensor(0.1, dtype=torch.float64)
    whole = velocity.divergence(x, t)[1]
    monkeypatch.setattr("genflow.interfaces._PUSHED_ELEMENTS", 1)
    torch.testing.assert_close(velocity.divergence(x, t)[1], whole)


@pytest.mark.parametrize("velocity", [PotentialGradient(3, 4, 2), Hollow(3, 4, 2, 2)])
def test_closed_forms_have_right_derivatives_in_points_and_weights(velocity):
    randomized(velocity, seed=2)
    x, _ = points(3, 0, rows=2)
    t = torch.tensor(0.3, dtype=torch.float64)
    x.requires_grad_()
    inputs = (x, *velocity.parameters())
    closed, pushed = (method(velocity, x, t)[1].sum() for method in (type(velocity).divergence, Velocity.divergence))
    gradients = (torch.autograd.grad(total, inputs, allow_unused=True) for total in (closed, pushed))
    for first, second in zip(*gradients, strict=True):  # biases of the field enter neither
        assert first is None or second is None or torch.allclose(first, second, rtol=1e-9, atol=1e-9)
        assert first is not None or second is None or not second.any()


@given(st.integers(2, 7), st.integers(2, 20), st.integers(1, 3))
def test_the_conditioner_of_a_hollow_network_does_not_see_its_own_entry(dim, width, depth):
    velocity = randomized(Hollow(dim, width, depth, units=2), seed=dim)
    for own in (velocity.own, velocity.skip):  # what x_i does by itself, taken away
        own.data.zero_()
    x, _ = points(dim, 0, rows=1)
    jacobian = torch.autograd.functional.jacobian(lambda y: velocity(y, torch.tensor(0.2, dtype=torch.float64)), x[0])
    assert not jacobian.diagonal().any()
    if width >= 2 * dim:  # a unit of each degree in each half: every entry is steered by all others
        assert (jacobian != 0).sum() == dim * (dim - 1)


@settings(max_examples=12)
@given(
    st.sampled_from([(1, 4, 4), (2, 4, 6), (3, 2, 2)]),
    st.integers(1, 2),
    st.integers(1, 2),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
)
def test_a_unet_pushes_and_pulls_what_automatic_differentiation_does(shape, levels, depth, attention, size, per_row):
    velocity = randomized(UNet(shape, 4, levels, depth, attention, groups=2, condition_dim=size), seed=depth, scale=0.4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, *shape, dtype=torch.float64, generator=generator)
    t = torch.rand((2, 2) if per_row else (), dtype=torch.float64, generator=generator)
    condition = torch.randn(2, 2, size, dtype=torch.float64, generator=generator) if size else None
    tangents = torch.randn(3, *x.shape, dtype=torch.float64, generator=generator)
    v, pushed = velocity.pushforward(x, t, tangents, condition)
    torch.testing.assert_close(v, velocity(x, t, condition))
    torch.testing.assert_close(pushed, Velocity.pushforward(velocity, x, t, tangents, condition)[1])
    pulled = velocity.pullback(x, t, tangents, condition)[1]
    pairs = [
        torch.einsum("n...,m...->nm", a.flatten(1), b.flatten(1)) for a, b in ((pushed, tangents), (tangents, pulled))
    ]
    torch.testing.assert_close(*pairs)  # <J u, w> = <u, Jᵀ w>


def test_a_unet_treats_rows_alike_and_its_exact_divergence_is_the_trace():
    velocity = randomized(UNet((1, 2, 4), 4, 2, groups=2), seed=0, scale=0.4)
    x = torch.randn(3, 1, 2, 4, dtype=torch.float64)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    v, divergence = velocity.divergence(x, t)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda y, i=i: velocity(y[None], t[i])[0], x[i]).reshape(8, 8)
        torch.testing.assert_close(divergence[i], jacobian.trace())
        torch.testing.assert_close(v[i], velocity(x[i], t[i]))


def test_derivatives_of_what_a_unet_pulls_reach_points_and_weights():
    velocity = randomized(UNet((1, 2, 2), 2, 1, groups=1), seed=0, scale=0.4)
    x = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    probe, t = torch.randn(1, 2, 1, 2, 2, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    inputs = (x, velocity.lift.weight, velocity.modulation)
    pulled = (velocity.pullback(x, t, probe)[1] * probe).sum()
    pushed = (velocity.pushforward(x, t, probe)[1] * probe).sum()
    torch.testing.assert_close(torch.autograd.grad(pulled, inputs), torch.autograd.grad(pushed, inputs))
    with torch.no_grad():
        assert not velocity.pullback(x, t, probe)[1].requires_grad


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda: UNet((1, 5, 4)), "levels"),
        (lambda: UNet((1, 4, 4), width=6), "groups"),
        (lambda: UNet((4, 4)), "shape"),
        (lambda: UNet((1, 4, 4))(torch.zeros(2, 3, 4, 4), torch.tensor(0.0)), "pictures"),
        (lambda: PotentialGradient(3, depth=-1), "depth"),
        (lambda: Hollow(3, width=1), "width"),
        (lambda: PotentialGradient(2, condition_dim=3)(torch.zeros(4, 2), torch.tensor(0.0)), "condition"),
        (lambda: UNet((1, 4, 4), condition_dim=3)(torch.zeros(1, 1, 4, 4), torch.tensor(0.0)), "condition"),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong, name):
    with pytest.raises(gf.InputError, match=name):
        wrong()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: UNet((1, 4, 4), 8), (1, 4, 4)),
        (lambda: PotentialGradient(3, 5, 2), (3,)),
        (lambda: Hollow(3, 6), (3,)),
        (lambda: gf.velocities.Linear(torch.randn(2, 3, 3), [0.0, 1.0]), (3,)),
    ],
)
def test_networks_are_saved_and_read_back(build, shape, tmp_path):
    flow = gf.Flow(randomized(build(), seed=3).float(), gf.schedulers.Uniform(2))
    flow.save(tmp_path / "run")
    x = torch.randn(2, *shape)
    torch.testing.assert_close(gf.load(tmp_path / "run").log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize("network", [Shallow, ResidualMLP])
def test_a_condition_that_is_missing_or_of_another_size_is_named(network):
    x, t = torch.randn(4, 2), torch.tensor(0.0)
    with pytest.raises(gf.InputError, match="condition: a vector of dimension 3 is wanted, none came"):
        network(2, condition_dim=3)(x, t)
    with pytest.raises(gf.InputError, match="one of dimension 2"):
        network(2, condition_dim=3)(x, t, torch.randn(4, 2))
    with pytest.raises(gf.InputError, match="condition_dim=0"):
        network(2)(x, t, torch.randn(4, 3))


def test_a_plain_function_is_a_velocity():
    velocity = gf.as_velocity(lambda x, t, condition: t * x)
    assert gf.as_velocity(velocity) is velocity
    x = torch.randn(5, 3)
    torch.testing.assert_close(velocity.divergence(x, torch.tensor(2.0))[1], torch.full((5,), 6.0))
    _, pulled = gf.as_velocity(lambda x, t, c: torch.ones_like(x)).pullback(x, torch.tensor(0.0), x[None])
    assert not pulled.any()
