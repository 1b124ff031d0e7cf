"""Models as files: the same after a round trip, refused in one line where something is wrong, never half-written."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

import genflow as gf
from genflow import InputError

MODELS = {
    "jko-iflow": lambda: gf.models.JKOiFlow(2, blocks=2, width=8),
    "cnf": lambda: gf.models.CNF(2, width=8, divergence=gf.divergences.Hutchinson(2)),
    "flow-matching": lambda: gf.models.FlowMatching(2, coupling="ot", width=8),
    "score-sde": lambda: gf.baselines.ScoreSDE(2, width=8),
    "nsf": lambda: gf.baselines.NSF(2, transforms=2, width=8),
    "maf": lambda: gf.baselines.MAF(2, transforms=2, width=8),
    "nsf-coupling": lambda: gf.baselines.CouplingNSF(2, transforms=2, width=8),
    "realnvp": lambda: gf.baselines.RealNVP(2, transforms=2, width=8),
    "naf": lambda: gf.baselines.NAF(2, transforms=2, width=8),
    "gaussian": lambda: gf.baselines.Gaussian(2),
    "gaussian-mixture": lambda: gf.baselines.GaussianMixture(2),
    "kde": lambda: gf.baselines.KernelDensity(2),
    "copula": lambda: gf.baselines.Copula(2),
}


@pytest.fixture(scope="module")
def moons():
    return gf.data.load(gf.data.load("two-moons").train[:300].numpy())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small model; tests copy what they damage."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    gf.Flow(gf.velocities.Shallow(2, 8)).save(folder)
    return folder


@pytest.fixture
def damaged(saved, tmp_path):
    """Its copy, whose files may be changed."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def refused(folder, match, **options):
    with pytest.raises(InputError, match=match) as error:
        gf.load(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_is_the_same_after_a_round_trip(moons, tmp_path, name):
    torch.manual_seed(0)
    model = MODELS[name]().fit(moons, iterations=6)
    model.save(tmp_path / "run")
    loaded = gf.load(tmp_path / "run")

    def log_prob(which):
        with torch.no_grad():
            return which.log_prob(moons.test, generator=torch.Generator().manual_seed(1))

    assert type(loaded.model) is type(model.model)
    assert torch.equal(log_prob(loaded), log_prob(model))
    assert loaded.history == json.loads(json.dumps(model.history))
    assert loaded.columns == model.columns
    draws = [which.sample(5, generator=torch.Generator().manual_seed(2)) for which in (loaded, model)]
    assert torch.equal(*draws)
    assert {path.suffix for path in (tmp_path / "run").iterdir()} == {".json", ".safetensors"}


def test_parts_and_dtype_come_back(tmp_path):
    flow = gf.Flow(
        gf.velocities.Shallow(3, 8, interval=(0.5, 2.0)).double(),
        gf.schedulers.Warped(5, 2.0),
        gf.solvers.Adaptive("dopri5", rtol=1e-7),
        gf.divergences.Hutchinson(3),
    )
    flow.save(tmp_path / "run")
    loaded = gf.load(tmp_path / "run")
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    assert loaded.velocity.interval == (0.5, 2.0)
    assert loaded.integrator.rtol == 1e-7
    for name in ("scheduler", "integrator", "divergence"):
        assert getattr(loaded, name).config() == getattr(flow, name).config()
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())


def test_what_a_training_has_seen_may_be_infinite(moons, tmp_path):
    model = gf.models.FlowMatching(2, width=8).fit(moons, iterations=1)
    model.history[0]["validation"] = math.inf  # none was made before the time was up
    model.save(tmp_path / "run")
    assert gf.load(tmp_path / "run").history[0]["validation"] == math.inf


def test_a_folder_that_exists_is_left_alone(saved, tmp_path):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(InputError, match="exists already") as error:
        gf.Flow(gf.velocities.Shallow(2, 8)).save(saved)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        gf.Flow(gf.velocities.Shallow(2, 8)).save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_part_that_is_no_component_is_refused_before_anything_is_written(tmp_path):
    flow = gf.Flow(gf.velocities.Shallow(2, 8), base=torch.distributions.Normal(0, 1))
    with pytest.raises(InputError, match="a Normal can't be written"):
        flow.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_no_model_there(tmp_path):
    refused(tmp_path, "no model there")
    refused(tmp_path / "nowhere", "no model there")


@pytest.mark.parametrize("keep", [0, 1, 30, 200])
def test_a_truncated_structure(damaged, keep):
    path = damaged / "model.json"
    path.write_text(path.read_text()[:keep])
    refused(damaged, "damaged")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": 1}', '{"format": "one", "model": {}}', "\x00\xff"])
def test_a_structure_that_is_none(damaged, text):
    (damaged / "model.json").write_text(text)
    refused(damaged, "damaged")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(damaged, keep):
    path = damaged / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(damaged, "model.safetensors: missing or damaged")


def test_missing_weights(damaged):
    (damaged / "model.safetensors").unlink()
    refused(damaged, "model.safetensors: missing or damaged")


def changed(folder, change):
    document = json.loads((folder / "model.json").read_text())
    change(document)
    (folder / "model.json").write_text(json.dumps(document))


def test_a_newer_format(damaged):
    changed(damaged, lambda document: document.update(format=3))
    assert "install a newer genflow" in refused(damaged, "format 3 came")


def test_weights_of_another_structure(damaged):
    changed(damaged, lambda document: document["model"]["arguments"]["velocity"]["arguments"].update(width=9))
    refused(damaged, "do not belong together")


def test_arguments_that_do_not_fit(damaged):
    changed(damaged, lambda document: document["model"]["arguments"]["velocity"]["arguments"].update(depth=9))
    refused(damaged, "can't be built from the checkpoint")


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported, with a velocity in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "foreign_module.py").write_text(
        "import pathlib, genflow as gf\n"
        f"pathlib.Path({str(tmp_path / 'trace')!r}).touch()\n"
        "class Mine(gf.velocities.Shallow):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield tmp_path / "trace"
    sys.modules.pop("foreign_module", None)


def test_a_foreign_class_is_not_imported_unless_it_is_trusted(damaged, foreign):
    changed(damaged, lambda d: d["model"]["arguments"]["velocity"].update({"class": "foreign_module:Mine"}))
    assert 'load it with trust=["foreign_module:Mine"]' in refused(damaged, "foreign class 'foreign_module:Mine'")
    refused(damaged, "foreign class", trust=["foreign_module:Other"])
    assert not foreign.exists()
    assert "foreign_module" not in sys.modules
    for words in ("foreign_module", ["foreign_module:"], [7], True):
        refused(damaged, "trust: .* came; a module and a name in it, such as my_flows:MyFlow, would do", trust=words)
    loaded = gf.load(damaged, trust="foreign_module:Mine")
    assert foreign.exists()
    assert type(loaded.velocity).__name__ == "Mine"


def test_a_class_is_trusted_by_its_file_in_any_folder(damaged, tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    source = "import genflow as gf\n\n\nclass Elsewhere(gf.velocities.Shallow):\n    pass\n"
    (tmp_path / "parts" / "elsewhere_parts.py").write_text(source)
    changed(damaged, lambda d: d["model"]["arguments"]["velocity"].update({"class": "elsewhere_parts:Elsewhere"}))
    refused(damaged, r'name that, as in trust=\["folder/elsewhere_parts\.py:Elsewhere"\]',
            trust="elsewhere_parts:Elsewhere")  # fmt: skip
    refused(damaged, r"trust: 'nowhere\.py:Elsewhere' can't be imported", trust="nowhere.py:Elsewhere")
    loaded = gf.load(damaged, trust=f"{tmp_path / 'parts' / 'elsewhere_parts.py'}:Elsewhere")
    assert type(loaded.velocity).__name__ == "Elsewhere"


@pytest.mark.parametrize(
    "path", ["os:system", "builtins:eval", "genflow_evil:Mine", "genflowx.module:Mine", "", ":", "torch.nn:Linear"]
)
def test_other_foreign_names(damaged, path):
    changed(damaged, lambda d: d["model"]["arguments"]["velocity"].update({"class": path}))
    refused(damaged, "foreign class")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("genflow.checkpoint:load", "is not a component"),
        ("genflow.checkpoint:json", "is not a component"),
        ("genflow.errors:InputError", "is not a component"),
        ("genflow.__main__:x", "is not a component"),
        ("genflow.cli:main", "is not a component"),
        ("genflow.data:load", "is not a component"),
        ("genflow.flow:Flow.replace", "is not a component"),
        ("genflow.nowhere:Mine", "is not there in this version"),
        ("genflow.flow:Nothing", "is not there in this version"),
        ("genflow.:Flow", "is not there in this version"),
    ],
)
def test_a_name_of_genflow_that_is_no_component(damaged, path, reason):
    changed(damaged, lambda d: d["model"]["arguments"]["velocity"].update({"class": path}))
    refused(damaged, reason)


def test_folders_of_format_1_stay_readable():
    from pathlib import Path

    from genflow.checkpoint import load

    for folder in sorted(path for path in (Path(__file__).parent / "format1").iterdir() if path.is_dir()):
        assert all(parameter.isfinite().all() for parameter in load(folder).parameters())
