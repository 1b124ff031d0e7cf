"""Parts of somebody who has read one paragraph of the README work in every command, whichever way they are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.naming import registry

# Fifteen lines each, as the paragraph "Your own part in every command" has it.
PARTS = """
import torch
import genflow as gf


class Wave(gf.Velocity):
    def __init__(self, dim, width=16):
        super().__init__()
        self.dim = dim
        self.first, self.second = torch.nn.Linear(dim + 1, width), torch.nn.Linear(width, dim)

    def forward(self, x, t, condition=None):
        time = t.expand(x.shape[:-1])[..., None]
        return self.second(torch.sin(self.first(torch.cat([x, time], -1))))


class Pairs(gf.DivergenceEstimator):
    def __init__(self, n=1):
        self.n = n

    def probes(self, x, event_ndim, generator=None):
        return torch.randn(self.n, *x.shape, generator=generator).to(x)

    def __call__(self, velocity, x, t, probes=None, condition=None):
        v, pushed = velocity.pushforward(x, t, probes, condition)
        return gf.Estimate(v, (pushed * probes).sum(-1).mean(0), pushes=len(probes))


class Ralston(gf.Integrator):
    order = 2

    def solve(self, dynamics, state, times, *, generator=None, save="last"):
        def moved(y, h, k):
            return y + h * k if isinstance(y, torch.Tensor) else tuple(a + h * b for a, b in zip(y, k))

        kept = [state]
        for t, h in zip(times, times.diff()):
            k1 = dynamics(t, state)
            k2 = dynamics(t + 2 / 3 * h, moved(state, 2 / 3 * h, k1))
            state = moved(moved(state, h / 4, k1), 3 * h / 4, k2)
            kept.append(state)
        states = torch.stack(kept) if save == "all" and isinstance(state, torch.Tensor) else None
        return gf.Solution(state, states=states, nfe=2 * (len(times) - 1), steps=len(times) - 1)


def backwards(velocity, x, t, probes, condition):
    v, pulled = velocity.pullback(x, t, probes, condition)
    return v, (pulled * probes).sum(-1).mean(0)


def euler(dynamics, state, times):
    for t, h in zip(times, times.diff()):
        k = dynamics(t, state)
        state = state + h * k if isinstance(state, torch.Tensor) else tuple(a + h * b for a, b in zip(state, k))
    return state


def squared(start, stop, steps):
    return [start + (stop - start) * (k / steps) ** 2 for k in range(steps + 1)]


def swirl(x, t, condition):
    return torch.stack([-x[..., 1], x[..., 0]], -1)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with parts of one's own, and a model trained with them."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "my_plugin_parts.py").write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = "fit two-moons --model cnf --iterations 50 --threads 1 -o run --set steps=4 width=8"
        assert main(words.split()) == 0  # after few steps the best weights may still be those of the zero field
        own = "velocity=my_plugin_parts:Wave divergence=my_plugin_parts:backwards integrator=my_plugin_parts:euler"
        assert main([*words.replace("50", "10").replace("-o run", "-o own").split(), *own.split()]) == 0
    yield folder
    sys.modules.pop("my_plugin_parts", None)


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture
def mine():
    """The module of these parts, as the commands imported it."""
    return sys.modules[registry.lookup("velocity", "my_plugin_parts:Wave").__module__]


@pytest.mark.slow
def test_they_are_compared(capsys):
    settings = [
        "cnf.velocity=my_plugin_parts:Wave",
        "cnf.divergence=my_plugin_parts:Pairs,n=2",
        "cnf.integrator=my_plugin_parts:Ralston",
        "flow-matching.integrator=my_plugin_parts:euler",
        "flow-matching.divergence=my_plugin_parts:backwards",
        "flow-matching.scheduler=my_plugin_parts:squared",
    ]
    words = "compare --data two-moons --models cnf flow-matching --iterations 5 --points 30 --threads 1 --out board"
    assert main([*words.split(), "--set", *settings]) == 0
    table = pd.read_csv("board/leaderboard.csv")
    assert table["status"].str.startswith("ok").all(), table["status"].tolist()
    model = gf.studies.Board("board").model("two-moons", "flow-matching")
    assert type(model.model.integrator).__name__ == "FunctionIntegrator"


def ran(words: str) -> int:
    return main(words.split())


@pytest.mark.slow
def test_they_are_studied():
    own = "my_plugin_parts:Ralston my_plugin_parts:euler rk4"
    assert ran(f"solvers run --integrators {own} --rows 20 --steps 2 4 --repeats 1 --out s") == 0
    table = pd.read_csv("s/findings.csv")
    assert set(table["integrator"]) == {"own", "Ralston", "euler", "rk4"}
    assert (table["error_log_p"] >= 0).all()
    own = "my_plugin_parts:Pairs my_plugin_parts:backwards"
    assert ran(f"divergences run --divergences {own} --rows 20 --draws 4 --probes 1 4 --out d") == 0
    table = pd.read_csv("d/findings.csv")
    assert {"exact", "Pairs", "backwards"} <= set(table["divergence"])
    assert "<svg " in Path("d/report.html").read_text()


def test_they_replace_the_parts_of_a_trained_model(mine):
    model = gf.load("run")
    x = model.sample(6, generator=torch.Generator().manual_seed(0))
    exact = model.log_prob(x).detach()
    for integrator in (mine.Ralston(), mine.euler):
        other = model.replace(integrator=integrator, scheduler=gf.schedulers.Uniform(200))
        torch.testing.assert_close(other.log_prob(x).detach(), exact, atol=0.05, rtol=0)
    for divergence in (mine.Pairs(n=2000), gf.as_divergence(mine.backwards, n=2000)):
        estimate = model.replace(divergence=divergence).log_prob(x, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(estimate.detach(), exact, atol=0.3, rtol=0)
    assert model.replace(scheduler=mine.squared).log_prob(x).shape == (6,)
    flow = gf.Flow(gf.velocities.Shallow(2)).replace(velocity=mine.swirl)
    assert torch.allclose(flow.log_prob(torch.ones(1, 2)), flow.base.log_prob(torch.ones(1, 2)), atol=1e-4)


def test_a_model_that_holds_functions_is_loaded_where_they_are_trusted(capsys):
    assert main(["sample", "own", "-n", "3", "-o", "no.csv"]) == 2
    assert "foreign" in capsys.readouterr().err
    trusted = "--trust my_plugin_parts:Wave my_plugin_parts:backwards my_plugin_parts:euler"
    assert main(f"sample own -n 3 -o samples.csv {trusted}".split()) == 0
    assert len(pd.read_csv("samples.csv")) == 3


def test_another_integrator_is_one_flag(capsys):
    assert ran("sample run -n 40 --seed 1 -o rk4.csv --steps 64") == 0
    assert ran("sample run -n 40 --seed 1 -o dopri5.csv --integrator dopri5,rtol=1e-6,atol=1e-6") == 0
    assert ran("sample run -n 40 --seed 1 -o own.csv --integrator my_plugin_parts:euler --steps 1") == 0
    fine, adaptive, coarse = (pd.read_csv(f"{name}.csv").to_numpy() for name in ("rk4", "dopri5", "own"))
    # A tolerance of 1e-6 grows with the field by a factor of some ten; a single step misses the bend of the paths, a
    # tenth of their length or more (seeds 0 to 2: 0.15 to 0.75).
    assert abs(fine - adaptive).max() < 1e-3
    assert abs(fine - coarse).max() > 1e-2
    own = "--integrator heun --steps 8 --divergence my_plugin_parts:Pairs"
    assert ran(f"score run two-moons -o score.csv {own}") == 0
    capsys.readouterr()
    for wrong in ("my_plugin_parts:nothing", "hutchinson", "my_plugin_parts:Wave"):
        assert ran(f"sample run -n 4 -o x.csv --integrator {wrong}") == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_estimator_that_does_not_fit_is_refused_in_one_line(capsys):
    for words in (
        "solvers run --integrators rk5 --out n",
        "solvers run --steps 0 --out n",
        "solvers run --tolerances -1 --out n",
        "solvers run --dtype int8 --out n",
        "solvers run --integrators rk4 rk4 --out n",
        "divergences run --divergences rk4 --out n",
        "divergences run --probes 0 --out n",
        "divergences run --draws 1 --out n",
        "divergences run --wanted 0 --out n",
        "divergences nowhere --out n",
    ):
        assert main(words.split()) == 2, words
        err = capsys.readouterr().err
        assert err.startswith("genflow: error: ")
        assert err.count("\n") == 1
