"""Names find their classes, and wrong ones say what would do."""

from __future__ import annotations

import sys

import pytest

from genflow.errors import InputError
from genflow.interfaces import Component
from genflow.naming import registry
from genflow.naming.parts import part, ready


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_built_in_name_loads_and_is_known_by_it(kind):
    for entry in registry.entries(kind):
        loaded = entry.load()
        assert callable(loaded)
        assert registry.name_of(loaded) == entry.name


def test_spelling_of_case_and_hyphens_does_not_matter():
    assert registry.lookup("model", "JKOiFlow") is registry.lookup("model", "jko-iflow")
    assert registry.lookup("model", "flow_matching") is registry.lookup("model", "flow-matching")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("jko-flow", "jko-iflow"), ("flowmatchin", "flow-matching"), ("nfs", "nsf")]
)
def test_an_unknown_name_gets_a_suggestion_and_the_list(wrong, meant):
    with pytest.raises(InputError, match=f"did you mean .*{meant}") as error:
        registry.lookup("model", wrong)
    assert "score-sde" in str(error.value)
    assert "\n" not in str(error.value)


def test_module_and_name_are_looked_up_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_parts_of_registry.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    mine = registry.lookup("model", "my_parts_of_registry:Mine")
    assert mine.__name__ == "Mine"
    assert sys.path == before
    assert registry.name_of(mine) == "my_parts_of_registry:Mine"


def test_a_file_is_a_module_in_its_folder(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "file_of_registry.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    mine = registry.lookup("model", "own/file_of_registry.py:Mine")
    assert mine.__module__ == "file_of_registry"
    assert sys.path == before
    # Another process finds it by this name, and the module's alone would not do.
    assert registry.lookup("model", registry.name_of(mine)) is mine
    assert registry.name_of(mine) == "own/file_of_registry.py:Mine"
    (tmp_path / "file_of_registry.py").write_text("raise RuntimeError\n")
    with pytest.raises(InputError, match="another module has the name file_of_registry"):
        registry.lookup("model", "file_of_registry.py:Mine")


@pytest.mark.parametrize(
    ("kind", "name", "first", "of", "would"),
    [
        ("velocity", "guided", (2,), "velocity, weight", "shallow, residual-mlp"),
        ("velocity", "guided,weight=2", (2,), "velocity", "shallow, residual-mlp"),
        ("velocity", "chain", (2,), "blocks", "shallow, residual-mlp"),
        ("velocity", "graph-attention", (2,), "adjacency", "shallow, residual-mlp"),
        ("velocity", "probability-flow", (2,), "network, noise", "shallow, residual-mlp"),
        ("velocity", "linear", (2,), "matrices", "shallow, residual-mlp"),
        ("divergence", "control-variate,estimator=exact", (), "surrogate", "exact, hutchinson"),
        ("scheduler", "karras", (), "noise", "uniform, warped, jko-steps"),
        ("noise", "karras", (), "noise", "variance-preserving, linear-interpolant"),
    ],
)
def test_what_is_made_of_more_than_its_name_says_so(kind, name, first, of, would):
    plain = name.partition(",")[0]
    message = f"^{kind}: {plain} is made of {of}, which Python alone can give it; {would}(, [a-z0-9+-]+)* would do$"
    with pytest.raises(InputError, match=message) as error:
        part(kind, name, *first)
    assert f" {plain}," not in str(error.value).partition(";")[2]


@pytest.mark.parametrize("kind", ["velocity", "divergence", "integrator", "scheduler", "noise"])
def test_what_is_said_to_do_does(kind):
    first = (2,) if kind == "velocity" else ()
    for name in ready(kind, *first):
        assert isinstance(part(kind, name, *first), Component)


@pytest.mark.parametrize(
    "wrong", ["no_such_module_at_all:Name", "genflow.errors:Nothing", "genflow.errors:__doc__", "json:"]
)
def test_a_module_or_a_name_that_is_not_there(wrong):
    with pytest.raises(InputError, match="model: "):
        registry.lookup("model", wrong)


def test_an_installed_package_adds_names_but_takes_none_over(tmp_path, monkeypatch):
    package = tmp_path / "other_flows-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-flows\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[genflow.models]\nmy-flow = other_flows:Mine\ncnf = other_flows:Mine\n")
    (tmp_path / "other_flows.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {entry.name: entry for entry in registry.entries("model")}
    assert found["my-flow"].source == "other-flows"
    assert registry.lookup("model", "my-flow").__name__ == "Mine"
    assert found["cnf"].target == "genflow.models:CNF"


def test_an_unknown_kind():
    with pytest.raises(InputError, match="velocity"):
        registry.entries("colour")
