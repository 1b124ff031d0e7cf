"""What a folder means does not change: all arguments are kept, and folders of format 1 are read as they were."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import genflow
import genflow as gf
from genflow.interfaces import Component
from genflow.storage.components import _MOVED, construct, describe, is_own
from genflow.storage.format1 import DEFAULTS

OLD = Path(__file__).parent / "format1"
EXPECTED = json.loads((OLD / "expected.json").read_text())


def plain_euler(dynamics, state, times):
    for t, h in zip(times, times.diff()):
        state = tuple(part + h * rate for part, rate in zip(state, dynamics(t, state)))
    return state


def components():
    """Every component that genflow defines, by its name."""
    for module in pkgutil.walk_packages(genflow.__path__, "genflow."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting, found = [Component], {}
    while waiting:
        for cls in waiting.pop().__subclasses__():
            waiting.append(cls)
            if cls.__module__.split(".")[0] == "genflow":
                found[f"{cls.__module__}:{cls.__qualname__}"] = cls
    return found


def arguments(folder, *path):
    """The arguments of a part of a saved model."""
    node = json.loads((folder / "model.json").read_text())["model"]
    for name in path:
        node = node["arguments"][name]
    return node["arguments"]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_of_format_1_is_the_model_that_it_was(name):
    """Written by the version that had format 1, with what it gave; the tolerance is for sums in another order."""
    model, expected = gf.load(OLD / name), EXPECTED[name]
    rows = torch.tensor(expected["rows"], dtype=torch.float64)
    given = expected["condition"]
    with torch.no_grad():
        samples = model.sample(2, given, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(samples.double(), torch.tensor(expected["samples"]).double(), rtol=1e-4, atol=1e-4)
        if "log_prob" in expected:
            log_p = model.log_prob(rows, given, generator=torch.Generator().manual_seed(2))
            wanted = torch.tensor(expected["log_prob"], dtype=log_p.dtype)
            torch.testing.assert_close(log_p, wanted, rtol=1e-4, atol=1e-4)


def test_rules_of_format_1_mean_what_they_meant():
    """What its authors' text says: 2 blocks from 0.4 growing fourfold above the plane, frequencies (1, 20) in it."""
    jko, cnf = gf.load(OLD / "jko-iflow").model.config(), gf.load(OLD / "cnf").model.config()
    assert {name: jko[name] for name in ("blocks", "first", "growth", "matching", "joint", "depth")} == {
        "blocks": 2, "first": 0.4, "growth": 4.0, "matching": 0.1, "joint": 0.75, "depth": 0,
    }  # fmt: skip
    assert cnf["frequencies"] == (1.0, 20.0)


def test_a_default_that_changed_is_kept_for_format_1():
    """Whoever changes a default says in `genflow.storage.format1` what it was."""
    now = components()
    for name, old in json.loads((OLD / "defaults.json").read_text()).items():
        cls = now.get(_MOVED.get(name, name))
        if cls is None:  # refused in one line, as what is not there in this version
            continue
        defaults = {key: json.loads(json.dumps(value)) for key, value in cls.defaults().items()}
        for argument, value in old.items():
            meant = DEFAULTS.get(name, {}).get(argument, defaults.get(argument, value))
            assert meant == value, f"{name}: {argument}"


def test_what_older_files_call_by_another_name_is_there(tmp_path):
    assert set(_MOVED.values()) <= set(components())
    flow = gf.Flow(
        gf.velocities.Shallow(dim=2, width=4), integrator=gf.as_integrator(plain_euler), base=gf.StandardNormal(2)
    )
    flow.save(tmp_path / "run")
    file = tmp_path / "run" / "model.json"
    text = file.read_text()
    assert "genflow.solvers.function:FunctionIntegrator" in text
    file.write_text(text.replace("genflow.solvers.function:", "genflow.functions:"))
    loaded = gf.load(tmp_path / "run", trust=[f"{__name__}:plain_euler"])
    assert type(loaded.integrator).__name__ == "FunctionIntegrator"


def test_every_component_that_can_be_saved_is_known_beforehand():
    aside = {"genflow.studies.divergence_study.study:Pushed"}  # lives within a study only
    unknown = [name for name, cls in components().items() if not is_own(name) and not inspect.isabstract(cls)]
    assert set(unknown) <= aside


TRAINED = {
    "jko-iflow": lambda: gf.models.JKOiFlow(2, blocks=1, width=8),
    "jko-iflow of a part": lambda: gf.models.JKOiFlow(2, blocks=1, block=gf.velocities.ResidualMLP(2, 8, 1)),
    "published": lambda: gf.models.PublishedJKOiFlow(2, blocks=1, width=8),
    "cnf": lambda: gf.models.CNF(2, width=8, divergence=gf.divergences.Hutchinson(2)),
    "flow-matching": lambda: gf.models.FlowMatching(2, width=8, integrator=gf.solvers.Adaptive("dopri5")),
    "score-sde": lambda: gf.baselines.ScoreSDE(2, width=8),
    "nsf": lambda: gf.baselines.NSF(2, transforms=1, width=8),
    "maf": lambda: gf.baselines.MAF(2, transforms=1, width=8),
    "gaussian-mixture": lambda: gf.baselines.GaussianMixture(2),
    "kde": lambda: gf.baselines.KernelDensity(2),
    "copula": lambda: gf.baselines.Copula(2),
}


@pytest.fixture(scope="module")
def moons():
    return gf.data.load(gf.data.load("two-moons").train[:200].numpy())


@pytest.mark.parametrize("name", TRAINED)
def test_all_arguments_are_kept_and_give_the_same_model(moons, tmp_path, name):
    torch.manual_seed(0)
    fitted = TRAINED[name]().fit(moons, iterations=3)
    fitted.save(tmp_path / "run")
    loaded = gf.load(tmp_path / "run")
    kept = arguments(tmp_path / "run", "model")
    assert kept.keys() >= set(fitted.model.defaults())
    assert describe(loaded) == describe(fitted)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    densities = [model.log_prob(moons.test, generator=g) for model, g in zip((loaded, fitted), generators)]
    assert torch.equal(*densities)


def test_what_rules_chose_is_kept(moons, tmp_path):
    gf.models.JKOiFlow(2).fit(moons, iterations=3).save(tmp_path / "jko")
    kept = arguments(tmp_path / "jko", "model")
    assert all(
        kept[name] is not None
        for name in ("blocks", "first", "growth", "width", "matching", "joint", "frequencies", "sharpness")
    )
    gf.models.CNF(2, width=8).save(tmp_path / "cnf")
    assert arguments(tmp_path / "cnf")["frequencies"] == {"tuple": [1.0, 20.0]}
    gf.baselines.ScoreSDE(2, width=8).save(tmp_path / "sde")
    assert arguments(tmp_path / "sde", "noise")["beta_max"] == 20.0
    gf.Flow(gf.velocities.Shallow(2, 8)).save(tmp_path / "flow")
    assert arguments(tmp_path / "flow").keys() == {"velocity", "scheduler", "integrator", "divergence", "base"}
    assert arguments(tmp_path / "flow", "velocity")["activation"] == "silu"


def test_a_changed_default_or_rule_does_not_change_a_folder(moons, tmp_path, monkeypatch):
    gf.models.CNF(2, width=8).fit(moons, iterations=2).save(tmp_path / "run")
    before = gf.load(tmp_path / "run")
    monkeypatch.setattr("genflow.models.cnf.initial_frequencies", lambda *_: (7.0, 8.0))
    init = inspect.unwrap(gf.velocities.Shallow.__init__)  # the tests check types around it
    changed = tuple("tanh" if default == "silu" else default for default in init.__defaults__)
    monkeypatch.setattr(init, "__defaults__", changed)
    assert gf.velocities.Shallow(2).config()["activation"] == "tanh"
    after = gf.load(tmp_path / "run")
    assert torch.equal(after.log_prob(moons.test), before.log_prob(moons.test))
    assert after.model.config()["frequencies"] == (1.0, 20.0)


def test_a_rule_chooses_again_where_other_arguments_are_asked_for():
    estimator = gf.divergences.HutchPlusPlus(9)
    assert estimator.config()["sketch"] == 3
    assert estimator.rebuilt(n=12).config()["sketch"] == 4
    assert gf.divergences.HutchPlusPlus(9, sketch=2).rebuilt(n=12).config()["sketch"] == 2
    assert gf.schedulers.Warped(5, 3.0).with_steps(7).config() == {"steps": 7, "power": 3.0}


@pytest.mark.parametrize(
    "value",
    [
        {"tuple": [1]},
        {"function": 2},
        {"class": "a", "arguments": {}},
        {"object": {"object": 1}},
        {"a": (1, [None, "x"])},
    ],
)
def test_a_dictionary_is_not_mistaken_for_anything_else(value):
    assert construct(json.loads(json.dumps(describe(value))), (), "test") == value


def test_numbers_of_numpy_are_numbers():
    assert describe([np.int64(2), np.float32(0.5), np.float64(0.1)]) == [2, 0.5, 0.1]
    assert {type(value) for value in describe([np.int64(2), np.float32(0.5)])} == {int, float}
