"""What people type and how they are answered: each argument by the name that it is typed by, in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.cli import main

COMMANDS = ("compare", "fit", "sample", "score", "evaluate", "solvers", "divergences", "experiment", "list")
QUICK = "--model maf --iterations 2 --set transforms=1 width=8"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of one's own, with a table of two columns."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(60, 2))
    pd.DataFrame(rows, columns=["a", "b"]).to_csv("t.csv", index=False)
    return tmp_path


def answered(capsys, words: str) -> tuple[int, str, str]:
    code = main(words.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, words: str) -> str:
    """The single line that a wrong input gets; nothing new may be left in the folder."""
    before = sorted(os.listdir())
    code, _, err = answered(capsys, words)
    assert code == 2, (words, code, err)
    assert err.startswith("genflow: error: ")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit", ["DATA and --out RUN are missing", "usage: genflow fit DATA --out RUN"]),
        ("fit t.csv", ["--out RUN is missing"]),
        ("fit -o run", ["DATA is missing"]),
        ("compare", ["DATA is missing", "usage: genflow compare DATA"]),
        ("score run", ["DATA and --out FILE are missing"]),
        ("sample", ["RUN and --out FILE are missing"]),
        ("evaluate", ["RUN is missing"]),
        ("solvers", ["RUN is missing"]),
        ("divergences", ["RUN is missing"]),
        ("fit t.csv --condition a t.csv -o", ["--out: no RUN came"]),
        ("fit --condition a t.csv -o run", ["t.csv was taken for a value of --condition"]),
        ("fit t.csv -o run --seed abc", ["--seed: 'abc' came; a whole number would do"]),
        ("fit t.csv -o run --iterations 1.5", ["--iterations: '1.5' came; a whole number"]),
        ("compare t.csv --seeds 1 b", ["--seeds: 'b' came; a whole number"]),
        ("solvers run --tolerances small", ["--tolerances: 'small' came; a number"]),
        ("fit t.csv -o run --bugdet 3s", ["did you mean --budget?"]),
        ("fit t.csv u.csv -o run", ["t.csv u.csv came; one data set would do"]),
        ("fitt t.csv", ["did you mean fit?"]),
        ("fit t.csv -o run --threads 0", ["--threads: 0 came"]),
        ("fit t.csv -o run --budget 3s --iterations 3", ["--budget, --iterations: both came"]),
        ("fit t.csv -o run --atoms maybe", ["--atoms: 'maybe' came"]),
        ("compare t.csv --points 3", ["--points: 3 came"]),
    ],
)
def test_an_argument_is_named_as_it_is_typed(capsys, folder, words, said):
    error = refused(capsys, words)
    for part in said:
        assert part in error
    for command in COMMANDS:
        assert f"{command}." not in error  # where the parser keeps it


def test_data_may_be_named_by_place_or_by_flag(capsys, folder):
    for place, words in enumerate(("t.csv", "--data t.csv")):
        assert answered(capsys, f"fit {words} {QUICK} -o run{place}")[0] == 0
        compared = f"compare {words} --models maf --iterations 2 --points 20 --set maf.transforms=1 --out board{place}"
        assert answered(capsys, compared)[0] == 0
    by_place, by_flag = (gf.studies.Board(f"board{place}").frame["nll"] for place in (0, 1))
    assert by_place.tolist() == by_flag.tolist()


def test_options_that_come_twice_add_up(capsys, folder):
    words = "fit t.csv --model maf --iterations 2 --set transforms=1 --set width=8 -o run"
    assert answered(capsys, words)[0] == 0
    assert "width=999" not in refused(capsys, words)  # the folder is there
    assert '"transforms": 1' in Path("run/run.json").read_text()
    assert '"width": 8' in Path("run/run.json").read_text()


def test_columns_are_chosen_by_name_or_position(capsys, folder):
    rows = np.random.default_rng(1).normal(size=(60, 3))
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    frame["word"] = ["tall", "small"] * 30
    frame.to_csv("words.csv", index=False)
    error = refused(capsys, f"fit words.csv {QUICK} -o run")
    assert "'tall'" in error
    assert "--columns" in error
    assert "columns=" not in error
    assert answered(capsys, f"fit words.csv --columns a 2 {QUICK} -o run")[0] == 0
    assert gf.load("run").columns == ["a", "c"]


def test_remarks_name_flags(capsys, folder):
    rows = np.random.default_rng(0).integers(0, 3, size=(60, 2)) + np.array([[0.0, 1.0]])
    rows[:, 1] += np.random.default_rng(1).normal(size=60)
    pd.DataFrame(rows, columns=["few", "b"]).to_csv("few.csv", index=False)
    _, out, err = answered(capsys, f"fit few.csv {QUICK} -o run")
    assert "--atoms dequantize" in err
    assert "atoms=" not in out + err
    words = "compare few.csv --models maf --iterations 2 --points 20 --set maf.transforms=1 --out board"
    _, out, err = answered(capsys, words)
    assert "--atoms dequantize" in out
    assert "atoms=" not in out + err


@pytest.mark.parametrize("seconds", [0.02, 0.3, 1.0])
def test_an_interrupt_while_importing_is_no_traceback(tmp_path, seconds):
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    # A file says that Python itself is up: before that, no code of ours can catch anything.
    code = "import sys; from genflow.cli import main; open('up', 'w').close(); sys.exit(main(['list', 'latent']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    while not (tmp_path / "up").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode in (0, 130)  # it may have been through already
    assert process.returncode == 0 or err.startswith("genflow: interrupted")


def test_the_command_line_imports_nothing_heavy_before_it_can_be_interrupted():
    code = (
        "import sys; import genflow.cli; print(sorted({'torch', 'jsonargparse', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
