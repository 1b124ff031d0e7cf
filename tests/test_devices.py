"""Where models compute, and in what precision they are trained."""

from __future__ import annotations

import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.devices import device_named
from genflow.errors import InputError
from genflow.models.flow_matching import matching_loss
from genflow.velocities import Flattened, ResidualMLP, UNet

WITHOUT = [
    "fit two-moons --iterations 1 -o new",
    "compare two-moons --iterations 1 --out new",
    "sample run -n 1 -o new.csv",
    "score run two-moons -o new.csv",
    "evaluate run",
]


@pytest.mark.parametrize("words", WITHOUT)
def test_a_device_that_is_not_there_gets_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name, said in (("cuda", "torch finds no CUDA device here"), ("gpu", "'gpu' came; cpu, cuda, cuda:1 or auto")):
        assert main([*words.split(), "--device", name]) == 2
        err = capsys.readouterr().err
        assert err.startswith("genflow: error: --device: ")
        assert said in err
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_auto_takes_the_device_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_named("auto") == torch.device("cuda")
    assert device_named("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="cuda:2 came, and there are 2"):
        device_named("cuda:2")


def moved(velocity, seed=0):
    """A field that is not zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return velocity


FIELDS = {
    "residual-mlp": lambda: (ResidualMLP(16, width=32, depth=2, condition_dim=2), 6),
    "unet": lambda: (Flattened(UNet((1, 4, 4), width=8, groups=2, levels=1, condition_dim=2)), 14),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_loss_under_autocast_is_that_of_float32_up_to_bfloat16(name):
    r"""Each of k layers rounds what it takes and gives by at most :math:`u = 2^{-9}`, relative to the size of it, so
    that the velocity is off by about :math:`\delta = 2 k u |v|` and a squared error :math:`|e|^2` by
    :math:`2 |e| \delta + \delta^2`."""
    velocity, layers = FIELDS[name]()
    velocity = moved(velocity)
    x, z, t = torch.randn(64, 16), torch.randn(64, 16), torch.rand(64)
    c = torch.eye(2)[torch.arange(64) % 2]
    with torch.no_grad():
        exact = matching_loss(velocity, x, z, t, c)
        size = velocity(torch.lerp(x, z, t[:, None]), t, c).norm(dim=-1).max()
        with torch.autocast("cpu", torch.bfloat16):
            rough = matching_loss(velocity, x, z, t, c)
    delta = 2 * layers * 2**-9 * size
    assert rough.dtype == torch.float32  # the error and its square are summed in full
    assert ((rough - exact).abs() <= 2 * exact.sqrt() * delta + delta**2).all()
    assert not torch.equal(rough, exact)


class Watched(ResidualMLP):
    """Remembers the precision that it answered in, and whether for a gradient."""

    seen: set[tuple[torch.dtype, bool]] = set()

    def forward(self, x, t, condition=None):
        v = super().forward(x, t, condition)
        self.seen.add((v.dtype, torch.is_grad_enabled()))
        return v


def diffusion():
    return gf.baselines.ScoreSDE(2, predictor=Watched(2, width=8, depth=1), steps=4)


def matching():
    return gf.models.FlowMatching(2, velocity=Watched(2, width=8, depth=1), steps=4)


@pytest.mark.parametrize("make", [matching, diffusion])
def test_training_alone_is_in_bfloat16(make):
    for autocast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        Watched.seen.clear()
        fitted = make().fit("two-moons", iterations=2, autocast=autocast)
        log_p = fitted.log_prob(gf.data.load("two-moons", rows=20).test)
        assert Watched.seen == {(dtype, True), (torch.float32, False)}  # validation and log p in full
        assert log_p.isfinite().all()
        assert {parameter.dtype for parameter in fitted.parameters()} == {torch.float32}


@pytest.mark.parametrize("model", ["cnf", "jko-iflow", "nsf"])
def test_log_densities_are_not_trained_on_in_bfloat16(model):
    with pytest.raises(InputError, match=r"autocast: .* log densities, which want float32"):
        gf.naming.registry.lookup("model", model)(2).fit("two-moons", iterations=1, autocast=True)


def test_a_training_goes_on_in_the_precision_that_it_began_in(tmp_path):
    model = gf.models.FlowMatching(2, width=8)
    model.fit("two-moons", iterations=2, autocast=True, checkpoint=tmp_path)
    with pytest.raises(InputError, match="a training with autocast True"):
        model.fit("two-moons", iterations=2, checkpoint=tmp_path)


def test_a_fit_stays_in_the_precision_and_on_the_device_of_its_model(tmp_path):
    fitted = gf.models.FlowMatching(2, width=8, steps=4).double().fit("two-moons", iterations=2)
    assert {parameter.dtype for parameter in fitted.parameters()} == {torch.float64}
