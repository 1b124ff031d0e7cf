"""Whatever happened to a file, it is one line, and nothing is allocated or run because of it."""

from __future__ import annotations

import copy
import json
import random
import resource
import shutil
import struct
import subprocess
import sys

import pytest
import torch

import genflow as gf
from genflow import InputError
from genflow.storage import documents
from genflow.studies import Board

VALUES = [
    None, True, 0, -1, 10**9, 10**30, 0.5, -2.5, 1e308, float("nan"), float("-inf"), "", "os:system", "\ud800", [],
    [[[[]]]], {}, {"class": "genflow.__main__:x", "arguments": {}}, {"tuple": [1]}, {"function": "os:system"},
    {"class": "genflow.solvers.fixed:Euler", "arguments": {}},
]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small model of two columns."""
    moons = gf.data.load(gf.data.load("two-moons").train[:200].numpy())
    folder = tmp_path_factory.mktemp("saved") / "run"
    gf.models.CNF(2, width=4).fit(moons, iterations=2).save(folder)
    return folder


@pytest.fixture
def damaged(saved, tmp_path):
    """Its copy, whose files may be changed."""
    return shutil.copytree(saved, tmp_path / "run")


def places(node, at=()):
    """Every place in a document."""
    yield at
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def changed(document, at, change):
    """A copy of a document with something else in a place."""
    document = copy.deepcopy(document)
    parent = document
    for key in at[:-1]:
        parent = parent[key]
    if change == "delete":
        del parent[at[-1]]
    elif change == "rename" and isinstance(parent, dict):
        parent["other"] = parent.pop(at[-1])
    else:
        parent[at[-1]] = change
    return document


def fine_or_refused(folder, what):
    """A folder is read, and gives samples; or it is refused in one line that names it."""
    try:
        model = gf.load(folder)
        said, samples = "", model.sample(3, generator=torch.Generator().manual_seed(0))
    except InputError as error:
        said = str(error)
    assert (str(folder) in said and "\n" not in said) or (not said and samples.isfinite().all()), what


def rewritten(folder, change):
    document = json.loads((folder / "model.json").read_text())
    change(document)
    (folder / "model.json").write_text(json.dumps(document))


@pytest.mark.parametrize("seed", range(3))
def test_anything_else_in_any_place_of_the_structure(damaged, seed):
    document = json.loads((damaged / "model.json").read_text())
    draw = random.Random(seed)
    candidates = [at for at in places(document) if at]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        at, change = draw.choice(candidates), draw.choice([*VALUES, "delete", "rename"])
        (damaged / "model.json").write_text(json.dumps(changed(document, at, change)))
        fine_or_refused(damaged, (at, change))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300 * 1024  # kilobytes: what a limit of 16 MB leaves garbage of, against 40 GB


@pytest.mark.parametrize("field", ["data", "seconds", "steps", "nll", "nll_rows", "scores"])
def test_a_component_in_the_place_of_a_value_is_one_line(damaged, field):
    euler = {"class": "genflow.solvers.fixed:Euler", "arguments": {}}

    def change(document):
        record = document["model"]["arguments"]["record"]["arguments"]
        record[field] = [euler] if field == "scores" else euler

    rewritten(damaged, change)
    with pytest.raises(InputError, match=rf"FitRecord can't be built from the checkpoint, {field}.*a Euler came; "):
        gf.load(damaged)


@pytest.mark.parametrize("old", [False, True])
def test_cut_and_turned_bytes_of_weights(damaged, old):
    """A checksum finds every bit that is turned; format 1 has none, there only what can be told is refused."""
    if old:
        rewritten(damaged, lambda document: (document.update(format=1), document.pop("checksums")))
    path, draw = damaged / "model.safetensors", random.Random(0)
    whole = path.read_bytes()
    for _ in range(30):
        data = bytearray(whole)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        else:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        if old:
            fine_or_refused(damaged, "turned")
        else:
            with pytest.raises(InputError, match=r"model\.safetensors: missing or damaged"):
                gf.load(damaged)


def test_a_header_that_promises_much(damaged):
    rewritten(damaged, lambda document: (document.update(format=1), document.pop("checksums")))
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}).encode()
    for text in (header, b"[" * 5000, b"{}"):
        (damaged / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(InputError):
            gf.load(damaged)


@pytest.mark.parametrize("name", ["width", "time_features"])
@pytest.mark.parametrize("value", [10**6, 10**12])
def test_what_the_weights_do_not_have_is_not_allocated(damaged, name, value):
    text = (damaged / "model.json").read_text()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    document = json.loads(text)
    document["model"]["arguments"]["model"]["arguments"]["velocity"]["arguments"][name] = value
    (damaged / "model.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"do not belong together|can't be built"):
        gf.load(damaged)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize(
    ("velocity", "change"),
    [
        (lambda: gf.velocities.ResidualMLP(2, 8, 1), {"depth": 10**9}),
        (lambda: gf.velocities.UNet((1, 4, 4), width=8, groups=4), {"width": 2**24}),
        (lambda: gf.velocities.Hollow(2, 8), {"units": 10**7}),
    ],
)
def test_what_other_networks_do_not_have_is_not_allocated(tmp_path, velocity, change):
    gf.Flow(velocity()).save(tmp_path / "run")
    gf.load(tmp_path / "run")
    rewritten(tmp_path / "run", lambda d: d["model"]["arguments"]["velocity"]["arguments"].update(change))
    with pytest.raises(InputError, match="do not belong together"):
        gf.load(tmp_path / "run")


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "[" * 90_000, '{"a":' * 5000 + "1" + "}" * 5000, "1" * 5000])
def test_depth_and_length_without_end(damaged, text):
    (damaged / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json: damaged") as error:
        gf.load(damaged)
    assert len(str(error.value)) < 400
    nested = json.loads("[" * 150 + "]" * 150)
    rewrite = {"format": 2, "model": {"class": "genflow.flow:Flow", "arguments": {"velocity": nested}}}
    (damaged / "model.json").write_text(json.dumps(rewrite))
    with pytest.raises(InputError, match="deep"):
        gf.load(damaged)


def test_weights_that_are_not_finite_are_said(tmp_path):
    flow = gf.Flow(gf.velocities.Shallow(2, 8))
    with torch.no_grad():
        next(flow.parameters()).view(-1)[:3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    flow.save(tmp_path / "run")
    with pytest.raises(InputError, match=r"3 of the \d+ numbers of velocity\.\S+ are not finite"):
        gf.load(tmp_path / "run")


def test_all_foreign_names_are_said_at_once(damaged):
    def foreign(document):
        arguments = document["model"]["arguments"]["model"]["arguments"]
        arguments["velocity"]["class"] = "mine:Field"
        arguments["integrator"]["class"] = "other.place:Solver"

    rewritten(damaged, foreign)
    with pytest.raises(InputError) as error:
        gf.load(damaged)
    assert 'trust=["mine:Field", "other.place:Solver"]' in str(error.value)
    assert 'trust=["mine:Field", "other.place:Solver"]' in str(error.value)
    assert "\n" not in str(error.value)


def test_a_change_by_hand_that_fits_is_read(damaged):
    rewritten(damaged, lambda document: document["model"]["arguments"].update(columns=["height", "weight"]))
    assert gf.load(damaged).columns == ["height", "weight"]


@pytest.mark.parametrize("command", [["sample", "run", "-n", "2", "-o", "s.csv"], ["evaluate", "run"]])
def test_the_command_line_ends_with_2(damaged, command, capsys, monkeypatch):
    from genflow.cli import main

    monkeypatch.chdir(damaged.parent)
    for change in ([], {"class": "genflow.__main__:x", "arguments": {}}, float("nan")):
        shutil.copytree(damaged, damaged.parent / "kept", dirs_exist_ok=True)
        rewritten(damaged, lambda document, change=change: document["model"]["arguments"].update(model=change))
        assert main(command) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("genflow: error: run")
        shutil.copytree(damaged.parent / "kept", damaged, dirs_exist_ok=True)
    assert not (damaged.parent / "s.csv").exists()


def test_snapshots_that_are_damaged(tmp_path):
    def fit():
        return gf.models.FlowMatching(2, width=4, depth=1).fit(moons, iterations=2, checkpoint=tmp_path / "state")

    moons = gf.data.load(gf.data.load("two-moons").train[:200].numpy())
    first = fit()
    path = tmp_path / "state" / "training.safetensors"
    whole, draw = path.read_bytes(), random.Random(0)
    assert torch.equal(fit().log_prob(moons.test), first.log_prob(moons.test))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for _ in range(60):
        data = bytearray(whole)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        else:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"training\.safetensors: .*damaged") as error:
            fit()
        assert "\n" not in str(error.value)


def test_a_snapshot_of_another_default_is_another_training(tmp_path, monkeypatch):
    moons = gf.data.load(gf.data.load("two-moons").train[:200].numpy())
    gf.models.FlowMatching(2, width=4, depth=1).fit(moons, iterations=2, checkpoint=tmp_path)
    same = gf.models.FlowMatching(2, width=4, depth=1, learning_rate=2e-3)  # the default, typed
    same.fit(moons, iterations=2, checkpoint=tmp_path)
    with pytest.raises(InputError, match=r"model\.learning_rate"):
        gf.models.FlowMatching(2, width=4, depth=1, learning_rate=1e-3).fit(moons, iterations=2, checkpoint=tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "3", "\x00", '{"data": 3}', '{"data": {"a": 1}}', "[" * 5000, '[{"data": 1}]']
)
def test_a_board_that_is_damaged(tmp_path, text):
    for damaged, other in (("config.json", "runs.json"), ("runs.json", "config.json")):
        (tmp_path / damaged).write_text(text)
        (tmp_path / other).write_text("[]" if other == "runs.json" else '{"data": {}, "arguments": {"seeds": [0]}}')
        if (damaged, text) == ("runs.json", "[]"):
            continue
        with pytest.raises(InputError, match=damaged) as error:
            Board(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"data": {}}', '{"data": "two-moons", "paths": 3}', "[" * 5000])
def test_a_record_of_a_run_that_is_damaged(damaged, text, capsys):
    from genflow.cli import main

    (damaged / "run.json").write_text(text)
    assert main(["evaluate", str(damaged)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "run.json: damaged" in said


@pytest.mark.parametrize(
    ("value", "schema", "answer"),
    [
        (3, int, ""),
        (True, int, "True came; a whole number would do"),
        (3, float, ""),
        ("3", float | None, "'3' came; a number would do"),
        (None, float | None, ""),
        ([1, "a"], list[int], "[1]: 'a' came; a whole number would do"),
        ([1, 2], tuple[int, int], ""),
        ([1], tuple[int, int], "a list came; a list of 2 would do"),
        ({"a": 1}, dict[str, int], ""),
        ({"a": []}, dict[str, int], "['a']: a list came; a whole number would do"),
    ],
)
def test_what_a_schema_wants(value, schema, answer):
    assert documents.expectation(value, schema) == answer


def test_the_limits_cost_no_import():
    """Torch's compiler and sympy would take seconds at every load."""
    code = (
        "import sys, genflow as gf, tempfile, pathlib; path = pathlib.Path(tempfile.mkdtemp()) / 'run';"
        "gf.Flow(gf.velocities.Shallow(2, 8)).save(path); gf.load(path);"
        "print(sorted({'sympy', 'torch._dynamo', 'torch._inductor'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
