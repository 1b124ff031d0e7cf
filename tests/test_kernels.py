"""The kernels in C say what the formulas say, and nobody needs them."""

import math
import os
import subprocess
import sys

import pytest
import torch

import genflow as gf
from genflow.numerics.kernels import compilation, library, two_layers
from genflow.velocities import fused, fused_in_c
from genflow.velocities.two_layers import plain_divergence, plain_pushed

WITH_KERNELS = pytest.mark.skipif(two_layers() is None, reason="no compiler here")
UNIT = 2.0**-24  # float32's unit of rounding


def inputs(rows: int, dim: int, width: int, scale: float = 1.0, dtype: torch.dtype = torch.float64):
    """x and the weights, then the gradients of velocity and divergence."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, dim), (dim, width), (width, width), (dim, width), (dim, dim), (4 * width + dim,)]
    drawn = [scale * torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    bars = [torch.randn(shape, generator=generator, dtype=dtype) for shape in [(rows, dim), (rows,)]]
    drawn[2] = drawn[2] / math.sqrt(width)
    return drawn, bars


def values(operation, drawn, bars):
    """The two outputs and the six gradients."""
    variables = [tensor.clone().requires_grad_() for tensor in drawn]
    outputs = operation(fused_in_c.silu, *variables)
    return [*outputs, *torch.autograd.grad(outputs, variables, bars)]


@WITH_KERNELS
@pytest.mark.parametrize(("rows", "dim", "width"), [(1, 1, 1), (3, 2, 5), (50, 2, 32), (17, 7, 33), (20, 16, 64)])
def test_values_and_gradients_are_the_formulas(rows, dim, width):
    # A sum of m products errs by at most m units of the sum of their absolute values; those of random sign cancel to
    # 1 / sqrt(m) of it. m: the longest chain of sums, over rows and twice the hidden units.
    drawn, bars = inputs(rows, dim, width)
    exact = values(plain_divergence, drawn, bars)
    found = values(
        fused_in_c.DivergenceInC.apply, [tensor.float() for tensor in drawn], [tensor.float() for tensor in bars]
    )
    longest = rows + 2 * width + dim + 10
    for wanted, came in zip(exact, found, strict=True):
        assert (came.double() - wanted).abs().max() <= longest**1.5 * UNIT * wanted.abs().max().clamp_min(1.0)


@WITH_KERNELS
@pytest.mark.parametrize(("rows", "dim", "width"), [(1, 1, 1), (3, 2, 5), (50, 2, 32), (17, 7, 33), (20, 16, 64)])
def test_a_pushed_tangent_and_its_gradients_are_the_formulas(rows, dim, width):
    (x, *weights), (v_bar, _) = inputs(rows, dim, width)
    generator = torch.Generator().manual_seed(1)
    tangents, pushed_bar = torch.randn(2, 1, rows, dim, generator=generator, dtype=torch.float64)

    def of(operation, dtype):
        variables = [tensor.to(dtype).requires_grad_() for tensor in (x, *weights)]
        outputs = operation(fused_in_c.silu, variables[0], tangents.to(dtype), *variables[1:])
        return [*outputs, *torch.autograd.grad(outputs, variables, [v_bar.to(dtype), pushed_bar.to(dtype)])]

    longest = 2 * (rows + 2 * width + dim) + 10
    for wanted, came in zip(
        of(plain_pushed, torch.float64), of(fused_in_c.PushedInC.apply, torch.float32), strict=True
    ):
        assert (came.double() - wanted).abs().max() <= longest**1.5 * UNIT * wanted.abs().max().clamp_min(1.0)


@WITH_KERNELS
def test_which_tangents_go_there():
    velocity, t = gf.velocities.Shallow(2, 8), torch.tensor(0.3)
    x, tangents = torch.zeros(5, 2, requires_grad=True), torch.ones(1, 5, 2)
    names = [
        type(velocity.pushforward(x, t, each)[1].grad_fn).__name__
        for each in (tangents, tangents.expand(2, -1, -1), tangents.clone().requires_grad_())
    ]
    assert names == ["PushedInCBackward", "_PushedBackward", "_PushedBackward"]


@WITH_KERNELS
def test_steep_layers_neither_overflow_nor_lose_what_is_not_a_number():
    drawn, bars = inputs(40, 2, 16, scale=300.0, dtype=torch.float32)
    assert all(torch.isfinite(part).all() for part in values(fused_in_c.DivergenceInC.apply, drawn, bars)[:2])
    drawn, _ = inputs(3, 2, 4, dtype=torch.float32)
    drawn[0][1, 0] = math.nan
    v, divergence = fused_in_c.DivergenceInC.apply(fused_in_c.silu, *drawn)
    assert torch.isnan(v).any(1).tolist() == torch.isnan(divergence).tolist() == [False, True, False]


@WITH_KERNELS
def test_a_velocity_uses_them_where_they_hold_and_may_be_differentiated_twice():
    velocity = gf.velocities.Shallow(2, 8)
    for parameter in velocity.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-1, 1, 10).reshape(5, 2).requires_grad_()
    t = torch.tensor(0.3)
    divergence = velocity.divergence(x, t)[1]
    assert type(divergence.grad_fn).__name__ == "DivergenceInCBackward"
    (gradient,) = torch.autograd.grad(divergence.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    double, y = velocity.double(), x.detach().double().requires_grad_()
    wanted = double.divergence(y, t.double())[1]
    assert type(wanted.grad_fn).__name__ == "_DivergenceBackward"
    (gradient,) = torch.autograd.grad(wanted.sum(), y, create_graph=True)
    (exact,) = torch.autograd.grad(gradient.square().sum(), y)
    assert torch.allclose(second.double(), exact, rtol=1e-3, atol=1e-3 * exact.abs().max().item())


def test_not_for_other_activations_devices_and_dimensions():
    x = torch.zeros(4, 2)
    tanh = gf.velocities.Shallow(2, 8, activation="tanh").activation
    assert not fused_in_c.is_compiled(tanh, x)
    assert not fused_in_c.is_compiled(fused_in_c.silu, x.double())
    assert not fused_in_c.is_compiled(fused_in_c.silu, torch.zeros(4, 17))
    assert not fused_in_c.is_compiled(fused_in_c.silu, torch.zeros(4, 2, device="meta"))


@pytest.mark.parametrize("reason", ["switched off", "no compiler", "a compiler that fails", "what is no library"])
def test_without_them_the_formulas_do(monkeypatch, tmp_path, reason):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if reason == "switched off":
        monkeypatch.setenv("GENFLOW_KERNELS", "0")
    elif reason == "no compiler":
        monkeypatch.setenv("CC", "no-such-compiler")
    elif reason == "a compiler that fails":
        monkeypatch.setenv("CC", "false")
    else:
        (tmp_path / "text.so").write_text("no library")
        monkeypatch.setattr(library, "compiled", lambda source: tmp_path / "text.so")
    assert library.two_layers.__wrapped__() is None
    assert not list(tmp_path.glob("genflow/*"))  # nothing half made stays
    monkeypatch.setattr(fused_in_c, "_found", lambda: None)
    v, divergence = fused.velocity_and_divergence(fused_in_c.silu, *inputs(4, 2, 8, dtype=torch.float32)[0])
    assert v.shape == (4, 2)
    assert divergence.shape == (4,)


@WITH_KERNELS
def test_compiled_once_for_a_source_a_compiler_and_a_processor(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "one.c"
    source.write_text("float one(void) { return 1.0f; }\n")
    first = compilation.compiled(source)
    stamp = first.stat().st_mtime_ns
    assert compilation.compiled(source) == first
    assert first.stat().st_mtime_ns == stamp
    monkeypatch.setattr(compilation, "_processor", lambda: "another")
    assert compilation.compiled(source) != first
    source.write_text("float one(void) { return 2.0f; }\n")
    assert len({compilation.compiled(source), first}) == 2
    assert len(list((tmp_path / "genflow").iterdir())) == 3


@WITH_KERNELS
def test_a_cache_that_cannot_be_written_to(monkeypatch, tmp_path):
    (tmp_path / "genflow").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "one.c"
    source.write_text("float one(void) { return 1.0f; }\n")
    assert compilation.compiled(source).is_file()


def test_nothing_is_compiled_on_import(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import genflow; genflow.velocities.Shallow(2)"], env=environment, check=True)
    assert not (tmp_path / "genflow").exists()


@WITH_KERNELS
def test_a_wrong_library_is_not_used(monkeypatch):
    right = two_layers()

    class Wrong:
        def __getattr__(self, name):
            return getattr(right, name)

    broken = Wrong()
    broken.coupling = lambda w, d, w1, w2, w3, c: right.coupling(w, d, w1, w2, -w3, c)
    assert fused_in_c._agrees(right)
    assert not fused_in_c._agrees(broken)
