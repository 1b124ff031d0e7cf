"""`genflow fit` that is stopped in the middle: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import genflow as gf
from genflow.cli import main
from genflow.training.snapshots import FILE

COMMAND = [
    "fit",
    "two-moons",
    "--model",
    "flow-matching",
    "--set",
    "width=8",
    "--seed",
    "3",
    "--evaluation-budget",
    "1s",
]


def start(folder, *words):
    known = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "genflow", *COMMAND, *words, "-o", "run"],
        cwd=folder, env=known, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def wait_for_snapshots(process, folder, count):
    """Until the snapshot has been written so many times."""
    file, seen = folder / FILE, set()
    end = time.monotonic() + 120
    while len(seen) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        if file.exists():
            seen.add(file.stat().st_mtime_ns)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder where a command was killed in the middle of its training."""
    folder = tmp_path_factory.mktemp("stopped")
    process = start(folder, "--iterations", "400")
    wait_for_snapshots(process, folder / "run.unfinished", 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "run").exists()
    return folder


@pytest.fixture
def copy(stopped, tmp_path, monkeypatch):
    shutil.copytree(stopped / "run.unfinished", tmp_path / "run.unfinished")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on_to_the_same_weights(copy, capsys):
    assert main([*COMMAND, "--iterations", "400", "-o", "run", "--resume"]) == 0
    assert "goes on from run.unfinished" in capsys.readouterr().err
    assert not (copy / "run.unfinished").exists()
    assert main([*COMMAND, "--iterations", "400", "-o", "whole"]) == 0
    weights = [(copy / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    steps = [gf.load(copy / name).history[0]["curve"][-1][1] for name in ("run", "whole")]
    assert steps[0] == steps[1] == 400


@pytest.mark.slow
def test_hours_of_work_are_not_replaced_unasked(copy, capsys):
    before = (copy / "run.unfinished" / FILE).read_bytes()
    assert main([*COMMAND, "--iterations", "400", "-o", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--resume goes on" in line
    assert "--anew" in line
    assert main([*COMMAND, "--iterations", "400", "-o", "run", "--resume", "--anew"]) == 2
    assert "both came" in capsys.readouterr().err
    assert (copy / "run.unfinished" / FILE).read_bytes() == before
    assert not (copy / "run").exists()
    assert main([*COMMAND, "--iterations", "5", "-o", "run", "--anew"]) == 0
    assert not (copy / "run.unfinished").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--iterations", "400", "--seed", "4"], "--seed 3, now --seed 4 came"),
        (["--iterations", "9"], "--iterations 400, now --iterations 9 came"),
        (["--budget", "5s"], "no --budget, now --budget 5s came"),
        (["--iterations", "400", "--model", "cnf"], "--model flow-matching, now --model cnf came"),
        (["--iterations", "400", "--set", "width=9"], "--set width=8, now --set width=9 came"),
        (["--iterations", "400", "--data", "swiss-roll"], "other rows of two-moons, now those of swiss-roll came"),
    ],
)
def test_another_command_does_not_go_on(copy, capsys, words, wanted):
    command = COMMAND if "--data" not in words else [word for word in COMMAND if word != "two-moons"]
    before = (copy / "run.unfinished" / FILE).read_bytes()
    assert main([*command, *words, "-o", "run", "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
    assert (copy / "run.unfinished" / FILE).read_bytes() == before
    assert not (copy / "run").exists()


def test_nothing_to_go_on_from_is_a_beginning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--iterations", "2", "-o", "run", "--resume"]) == 0
    assert "run.unfinished holds no unfinished training: it begins anew" in capsys.readouterr().err
    assert os.listdir() == ["run"]


def test_what_can_not_be_trained_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "two-moons", "--model", "cnf", "--autocast", "--iterations", "2", "-o", "run"]) == 2
    assert os.listdir() == []


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(tmp_path):
    process = start(tmp_path, "--iterations", "100000", "--checkpoint", "kept")
    wait_for_snapshots(process, tmp_path / "kept", 1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted: the training is kept in kept, the same command with --resume goes on" in said
    assert (tmp_path / "kept" / FILE).is_file()
