"""Velocities: what a network computes by hand equals what automatic differentiation computes from its forward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import genflow as gf
from genflow.interfaces import Velocity
from genflow.velocities import ACTIVATIONS, Chain, Parallel, ResidualMLP, Shallow


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
    kind = draw(st.sampled_from(["shallow", "residual", "parallel"]))
    layers, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**31))

    def build() -> Velocity:
        if kind == "parallel":
            return randomized(Parallel([Shallow(dim, **arguments) for _ in range(layers)]), seed)
        if kind == "residual":
            return randomized(ResidualMLP(dim, depth=layers, **arguments), seed)
        return randomized(Shallow(dim, **arguments), seed)

    return build, dim, condition


def points(dim: int, condition_dim: int, rows: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    condition = torch.randn(rows, condition_dim, generator=generator, dtype=torch.float64) if condition_dim else None
    return x, condition


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


def test_a_network_starts_as_the_zero_field_and_scales():
    for velocity in (Shallow(3), ResidualMLP(3)):
        assert not velocity(torch.randn(4, 3), torch.tensor(0.5)).any()
    velocity = randomized(Shallow(3, 5), seed=1)
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
