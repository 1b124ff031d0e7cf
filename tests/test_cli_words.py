"""What people type and how they are answered: each argument by the name that it is typed by, in one line."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genflow as gf
import genflow.naming.registry
from genflow.cli import main
from genflow.cli.parsing import parse
from genflow.studies.comparison.table import leaderboard_table

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
        ("board", ["DIR is missing", "usage: genflow board DIR"]),
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
        ("fit t.csv -o run --budget 3s --evaluations 3", ["--budget, --evaluations: both came"]),
        ("compare t.csv --seeds 0 --seed 1", ["--seed, --seeds: both came; give one of them"]),
        (
            "fit t.csv -o run --model cnf --velocity shallow --set velocity=residual-mlp",
            ["--velocity, --set: both say velocity; give one of them"],
        ),
        ("fit t.csv -o run --refine 1 --set refine=2", ["--refine, --set: both say refine"]),
        ("sample run -n 5 -o new.csv --divergence exact", ["no option --divergence; did you mean --device?"]),
        ("score run t.csv u.csv v.csv -o new.csv", ["came; one data set would do"]),
        ("list maf cnf", ["cnf came at the end, more than there is a place for"]),
        ("fit t.csv --model cnf --set widht=3 -o run", ["did you mean width? known: width"]),
        ("compare t.csv --evaluations 0", ["--evaluations: 0 came; a whole number from 1 on"]),
        ("fit t.csv -o run --atoms maybe", ["--atoms: 'maybe' came"]),
        ("compare t.csv --points 3", ["--points: 3 came"]),
        ("fit t.csv -o run --budget -1s", ["--budget: '-1s' came; a time"]),
        ("fit t.csv -o run --evaluation-budget -.5h", ["--evaluation-budget: '-.5h' came; a time"]),
        ("fit t.csv -o run --atoms -1", ["--atoms: '-1' came"]),
        ("compare t.csv --evaluation-budget 0s", ["--evaluation-budget: '0s' came"]),
        ("compare t.csv --seeds 1 -2", ["--seeds: -2 came"]),
        ("compare t.csv --models maf --set nsf.width=8", ["--set: 'nsf' is not among the models maf"]),
        ("sample run -o new.csv --guidance -inf", ["--guidance: '-inf' came; a number"]),
        ("fit t.csv -o run --threads 1e3", ["--threads: '1e3' came; a whole number"]),
        ("fit t.csv -o run --threads=1e3 --seed 7", ["--threads: '1e3' came; a whole number"]),
        ("compare t.csv --seeds 1 1e3 --budget 1s", ["--seeds: '1e3' came; a whole number"]),
        ("fit t.csv -o run --columns 7", ["no column '7'; it has a, b"]),
        ("fit t.csv -o run --columns -1", ["no column '-1'; it has a, b, at positions 0 to 1"]),
        ("fit t.csv -o run --drop -1", ["no column '-1'"]),
        ("fit t.csv -o run --kind -1=class", ["no column '-1'"]),
        ("fit t.csv -o run --condition -1", ["no column '-1'"]),
        ("fit t.csv -o run --test t.csv", ["--test: the very rows that are trained on came"]),
    ],
)
def test_an_argument_is_named_as_it_is_typed(capsys, folder, words, said):
    error = refused(capsys, words)
    for part in said:
        assert part in error
    for command in COMMANDS:
        assert f"{command}." not in error  # where the parser keeps it


def test_data_may_be_named_by_place_or_by_flag(capsys, folder):
    for command in (f"fit DATA {QUICK} -o run", "compare DATA --models maf --iterations 2 --out board"):
        by_place, by_flag = (parse(command.replace("DATA", data).split()) for data in ("t.csv", "--data t.csv"))
        assert by_place == by_flag
        assert "t.csv" in by_flag[1].data
    assert answered(capsys, f"fit --data t.csv {QUICK} -o run")[0] == 0


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
    frame["typo"] = [*range(59), "1O"]
    frame.to_csv("words.csv", index=False)
    error = refused(capsys, f"fit words.csv --missing refuse {QUICK} -o run")
    assert "'1O'" in error
    assert "--drop" in error
    assert "drop=" not in error
    assert answered(capsys, f"fit words.csv --columns a 2 {QUICK} -o run")[0] == 0
    assert gf.load("run").columns == ["a", "c"]


def test_a_file_of_options_says_what_came(capsys, folder):
    Path("options.yaml").write_text("threads: many\n")
    assert "--threads: 'many' came; a whole number" in refused(capsys, "compare t.csv --config options.yaml")


@pytest.mark.parametrize("command", ["score", "sample", "impute"])
def test_all_files_that_can_be_written_are_in_the_help(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out.partition("new file: ")[2].partition("\n  --")[0]
    assert re.findall(r"\.\w+", shown) == list(gf.data.WRITABLE)


def test_remarks_name_flags(capsys, folder):
    rows = np.random.default_rng(0).integers(0, 3, size=(60, 2)) + np.array([[0.0, 1.0]])
    rows[:, 1] += np.random.default_rng(1).normal(size=60)
    pd.DataFrame(rows, columns=["few", "b"]).to_csv("few.csv", index=False)
    _, out, err = answered(capsys, f"fit few.csv --atoms keep {QUICK} -o run")
    assert "--atoms cells, dequantize or drop" in err
    assert "atoms=" not in out + err
    words = "compare few.csv --atoms keep --models maf --iterations 2 --points 20 --set maf.transforms=1 --out board"
    _, out, err = answered(capsys, words)
    assert "--atoms cells, dequantize or drop" in out
    assert "atoms=" not in out + err


@pytest.mark.parametrize("seconds", [0.02, 0.3, 1.0])
def test_an_interrupt_while_importing_is_no_traceback(tmp_path, seconds):
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    # A file says that Python itself is up: before that, no code of ours can catch anything, nor while it shuts down.
    code = (
        "import os, signal, sys; from genflow.cli import main; sys.argv = ['genflow', 'list', 'latent']; "
        "open('up', 'w').close(); code = main(); "
        "signal.signal(signal.SIGINT, signal.SIG_IGN); os._exit(code)"
    )
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


def test_an_interrupt_while_a_class_is_made_is_one_as_well(capsys, monkeypatch):
    """Python 3.11 makes a RuntimeError of whatever ends `__set_name__`, as happens while a library is imported."""

    class Interrupting:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    monkeypatch.setattr("genflow.cli.parsing.parse", lambda words: type("Owner", (), {"part": Interrupting()}))
    assert main(["list", "latent"]) == 130
    assert capsys.readouterr().err == "genflow: interrupted, nothing was written\n"


def test_the_command_line_imports_nothing_heavy_before_it_can_be_interrupted():
    code = (
        "import sys; import genflow.cli; print(sorted({'torch', 'jsonargparse', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_a_remark_of_data_that_are_named_like_a_flag(capsys, folder):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    pd.DataFrame(np.concatenate([rows, rows[:1]]), columns=["a", "b"]).to_csv("test.csv", index=False)
    _, _, err = answered(capsys, f"fit test.csv {QUICK} -o run")
    assert err.startswith("test: 1 row of 61 repeated exactly")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A folder with a model of two columns under a number and a class, and one of a velocity in the plane."""
    folder = tmp_path_factory.mktemp("trees")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)), columns=["age", "height", "2"])
    frame["kind"] = rng.choice(["ash", "fir=red"], 80)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame.to_csv("trees.csv", index=False)
        Path("gaps.csv").write_text("x,y\n0.5,\n0.1,0.2\n")
        assert main(f"fit trees.csv --condition 0 kind {QUICK} -o run".split()) == 0
        assert (
            main(
                ["fit", "two-moons", "--model", "cnf", "--iterations", "2", "--set", "width=8", "steps=2", "-o", "flow"]
            )
            == 0
        )
    return folder


@pytest.fixture
def in_trees(trees, monkeypatch):
    monkeypatch.chdir(trees)


def test_columns_of_a_condition_by_position(in_trees, capsys):
    model = gf.load("run")
    assert model.encoding.columns == ["age", "kind"]
    assert model.columns == ["height", "2"]
    # A name that looks like a position is a name.
    assert answered(capsys, f"fit trees.csv --condition 2 --columns 0 height {QUICK} -o named")[0] == 0
    assert gf.load("named").encoding.columns == ["2"]
    assert gf.load("named").columns == ["age", "height"]
    assert "no column '7'" in refused(capsys, f"fit trees.csv --condition 7 --columns 0 height {QUICK} -o new")


def test_a_condition_by_name_or_in_order(in_trees, capsys):
    for place, words in enumerate(("kind=fir=red age=30", "30 fir=red", "age=30 kind=fir=red")):
        assert main(["sample", "run", "-n", "5", "-o", f"s{place}.csv", "--condition", *words.split()]) == 0
    texts = {Path(f"s{place}.csv").read_text() for place in range(3)}
    assert len(texts) == 1
    capsys.readouterr()
    for words in ("age=30", "age=30 fir=red", "30 ash 4", "age=30 age=31"):
        error = refused(capsys, f"sample run -n 5 -o new.csv --condition {words}")
        assert error.startswith("genflow: error: --condition: ")
        assert "age, kind" in error
        assert "NAME=VALUE" in error
    assert "a number would do" in refused(capsys, "sample run -n 5 -o new.csv --condition age=old kind=ash")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample flow -o new.csv --integrator heun,steps=4", ["--integrator: heun has no option 'steps'", "--steps 4"]),
        ("sample flow -o new.csv --integrator dopri5,rtol=small", ["dopri5: rtol=small came; a number would do"]),
        ("sample flow -o new.csv --integrator heun,gradient=none", ["gradient"]),
        ("sample flow -o new.csv --integrator ,", ["--integrator: '' came"]),
        ("score flow two-moons -o new.csv --divergence hutchinson,n=many", ["n=many came; a whole number"]),
        ("score flow two-moons -o new.csv --divergence hutchinson,probes=3", ["no option 'probes'", "distribution"]),
        ("solvers flow --integrators heun,steps=4", ["--integrators: heun has no option 'steps'"]),
        ("sample flow -o new.csv --steps 0", ["--steps: 0 came"]),
        ("sample run -o new.csv --condition 3 ash --steps 4", ["--steps: maf integrates no velocity"]),
        ("sample flow -o new.csv -n 0", ["--number: 0 came"]),
        ("sample flow -o new.csv --seed -1", ["--seed: -1 came"]),
        ("sample flow -o new.csv --seed 99999999999999999999", ["--seed: 99999999999999999999 came"]),
        ("sample flow -o new.csv -n 99999999999999999999", ["--number: 99999999999999999999 came"]),
        ("sample flow -o new.csv --condition 3", ["--condition: one came, but the model was trained without any"]),
        ("sample run -o new.csv", ["--condition: none came"]),
        ("sample trees.csv -o new.csv", ["no model there"]),
        ("score flow . -o new.csv", ["a folder"]),
        ("score flow digits -o new.csv", ["64 columns", "trained on 2"]),
        ("evaluate flow --points -3", ["--points: -3 came"]),
        ("evaluate flow --columns x", ["--columns: "]),
        ("compare two-moons --metrics nothing --out new", ["--metrics: no 'nothing'"]),
        ("compare two-moons --models nothing --out new", ["--models: no 'nothing'"]),
        ("fit two-moons --model cnf --set width=wide -o new", ["width=wide came; a whole number"]),
        ("fit two-moons --model cnf --set width=-3 -o new", ["width=-3 came; at least 1"]),
        ("fit two-moons --model cnf --set integrator=heun,steps=3 -o new", ["heun has no option 'steps'"]),
        ("fit two-moons --model cnf --iterations 0 -o new", ["iterations: 0 came"]),
        ("fit two-moons --model cnf --iterations -5 -o new", ["iterations: -5 came"]),
        ("fit two-moons --model cnf --budget 0s -o new", ["budget: "]),
        ("list hutchinsen", ["did you mean hutchinson"]),
        ("evaluate flow --evaluation-budget soon", ["--evaluation-budget: 'soon' came"]),
        ("impute flow gaps.csv -o new.csv --chain-steps 0", ["--chain-steps: 0 came"]),
        ("impute flow gaps.csv -o new.csv --steps 0", ["--steps: 0 came"]),
        ("impute flow gaps.csv -o new.csv --draws -2", ["--draws: -2 came"]),
        ("sample flow -o new.csv --trust foo", ["--trust: 'foo' came; a module and a name in it"]),
        ("fit two-moons --model cnf --velocity guided -o new", ["guided is made of velocity, weight", "shallow"]),
        ("fit two-moons --model cnf --velocity chain -o new", ["--velocity: chain is made of blocks, which Python"]),
        ("fit two-moons --model cnf --set velocity=linear -o new", ["linear is made of matrices", "residual-mlp"]),
        (
            "fit two-moons --model cnf --set scheduler=karras -o new",
            ["karras is made of noise", "uniform, warped"],
        ),
    ],
)
def test_what_can_not_be_is_said_in_one_line(in_trees, capsys, words, said):
    error = refused(capsys, words)
    for part in said:
        assert part in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full, of Linux")
@pytest.mark.parametrize(
    "words", [[], ["list"], ["list", "exact"], ["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)]
)
def test_standard_output_that_is_full_is_one_line(capsys, monkeypatch, words):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr("genflow.cli.output._OUTPUT", full.fileno())
        code = main(words)
        sys.stdout.flush()  # as at the end of the process: it is said once
    err = capsys.readouterr().err
    assert code == 1
    assert err.startswith("genflow: error: standard output: it can't be written (No space left on device); ")
    assert err.count("\n") == 1


def test_memory_that_is_not_there_is_one_line(in_trees, capsys):
    # 2^50 rows of two numbers: more than any machine has, and no library tries for long.
    code, _, err = answered(capsys, f"sample flow -n {2**50} -o new.csv")
    assert code == 1
    assert err.count("\n") == 1
    assert "memory" in err.lower()


def test_every_name_is_described_for_a_reader_of_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for kind in gf.naming.registry.KINDS:
        for name in gf.naming.registry.names(kind):
            code, out, _ = answered(capsys, f"list {name}")
            assert code == 0
            assert not {"\\", "`"} & set(out), out
            assert "ee above" not in out
            assert "formulas above" not in out
            assert max(map(len, out.splitlines()[1:])) <= 100
    for name in ("two-moons", "rings", "power"):
        assert name in answered(capsys, f"list {name}")[1]


def numbers_in(text: str) -> list[str]:
    return re.findall(r"[+-]?\d[\d.]*(?:e[+-]?\d+)?", text)


@pytest.mark.parametrize("width", [25, 40, 60, 80, 100, 200])
def test_no_number_of_a_leaderboard_is_cut(width):
    row = {"status": "ok", "nll_se": 0.123, "w2": 0.4512, "mmd": 1.2e-3, "c2st": 0.51, "inversion_error": 1e-12}
    row |= {"nfe": 1234.0, "train_steps": 176000.0, "train_seconds": 60.0, "peak_mb": 123.0, "tied": False}
    names = ("jko-iflow", "a-model-of-a-very-long-name-indeed", "nsf")
    rows = [
        {**row, "model": name, "nll": nll, "nll_standardized": nll / 2, "best": nll < 0}
        for name, nll in zip(names, (-12345.6789, 99.123, 3.4e7), strict=True)
    ]
    text = printed(lambda console: leaderboard_table(pd.DataFrame(rows), "title", console), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    whole = printed(lambda console: leaderboard_table(pd.DataFrame(rows), "title", console), 300)
    assert set(numbers_in(text)) <= set(numbers_in(whole))
    for nll in ("-12345.679", "99.123", "3.4e+07"):  # what is asked for is there at any width
        assert nll in text


def printed(table, width: int) -> str:
    from rich.console import Console

    file = io.StringIO()
    console = Console(width=width, file=file, color_system=None)
    console.print(table(console))
    return file.getvalue()


@pytest.mark.parametrize("width", ["40", "60", "80"])
def test_no_figure_of_an_evaluation_is_cut(in_trees, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", "200")
    whole = answered(capsys, "evaluate flow --points 20 --seed 1")[1]
    figures = {line.split()[0]: line.split()[1] for line in whole.splitlines() if len(line.split()) > 2}
    monkeypatch.setenv("COLUMNS", width)
    text = answered(capsys, "evaluate flow --points 20 --seed 1")[1]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= int(width)
    for name in ("nll", "nll_standardized", "w2_floor", "inversion_error", "parameters"):
        assert re.search(rf"{name} +{re.escape(figures[name])}(\s|$)", text), (name, text)


def test_solvers_that_do_not_apply_are_one_line(in_trees, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = "solvers flow --integrators euler ddim dpm-solver euler-maruyama --steps 2 --rows 4 --repeats 1 --out work"
    code, out, _ = answered(capsys, words)
    assert code == 0
    (line,) = [line for line in out.splitlines() if "ddim" in line]
    assert line.startswith("not applicable here: ddim, dpm-solver, euler-maruyama (")
    assert pd.read_csv("work/findings.csv", dtype=str)["nfe"].str.fullmatch(r"\d+").all()


def test_progress_is_said_where_there_is_no_terminal(monkeypatch, capsys):
    from genflow.studies.reporting.terminal import follow

    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))  # two seconds for each item
    assert list(follow(range(10), 10, "integrating", True)) == list(range(10))
    lines = capsys.readouterr().err.splitlines()
    # Items are 2 s apart, lines at least 5: one in three items.
    assert [line.partition(",")[0] for line in lines] == [
        "integrating: 2 of 10",
        "integrating: 5 of 10",
        "integrating: 8 of 10",
    ]
    assert list(follow(range(10), 10, "integrating", False)) == list(range(10))
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="written in the shell's words")
@pytest.mark.parametrize(
    "streams",
    ["2>&1 | true", *(pytest.param(s, marks=pytest.mark.slow) for s in ("2> >(true)", ">&-", ">&- 2>&- <&-"))],
)
def test_a_model_is_not_lost_with_those_who_read_of_it(tmp_path, streams):
    code = "import sys; from genflow.cli import main; sys.exit(main())"
    fit = f"{sys.executable} -c '{code}' fit two-moons --model gaussian --iterations 1 -o run"
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    words = ["bash", "-c", f"set -o pipefail; {fit} {streams}"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert gf.load(tmp_path / "run").dim == 2


ADAPTIVE = [
    "dormand-prince", "dormand-prince,per_row=true", "bogacki-shampine", "tsitouras", "dop853", "adaptive", "dopri8",
    "scipy_solver",
]  # fmt: skip


@pytest.mark.parametrize("integrator", ADAPTIVE)
def test_steps_beside_a_solver_that_chooses_its_own_are_said_to_play_no_part(in_trees, capsys, integrator):
    Path("few.csv").write_text("x,y\n0.5,0.3\n0.1,0.2\n")
    texts = set()
    for steps in ("", "--steps 1", "--steps 7"):
        for words in ("score flow few.csv", "sample flow -n 3"):
            code, _, err = answered(capsys, f"{words} -o new.csv --integrator {integrator} {steps}")
            assert code == 0
            name = {"adaptive": "dopri5"}.get(integrator, integrator.partition(",")[0])
            assert (f"--steps plays no part: {name} chooses its own steps" in err) == bool(steps)
            texts.add((words, Path("new.csv").read_text()))
            Path("new.csv").unlink()
    assert len(texts) == 2  # which is true


def test_steps_of_a_solver_on_a_grid_play_their_part(in_trees, capsys):
    Path("few.csv").write_text("x,y\n0.5,0.3\n0.1,0.2\n")
    texts = set()
    for steps in (1, 2):
        code, _, err = answered(capsys, f"score flow few.csv -o new.csv --integrator heun --steps {steps}")
        assert code == 0
        assert "plays no part" not in err
        texts.add(Path("new.csv").read_text())
        Path("new.csv").unlink()
    assert len(texts) == 2


def test_one_row_is_one_row(in_trees, capsys):
    Path("one.csv").write_text("x,y\n0.5,0.3\n")
    out = answered(capsys, "score flow one.csv -o scores.csv --flag 1%")[1]
    (score,) = pd.read_csv("scores.csv")["log_prob"]
    assert f"mean log density {score:.4f} nats per row, 1 row: scores.csv" in out
    assert "of 1 row below" in out
    assert answered(capsys, "sample flow -n 1 -o sample.csv")[1] == "1 sample: sample.csv\n"
    Path("gap.csv").write_text("x,y\n0.5,\n")
    out = answered(capsys, "impute flow gap.csv -o filled.csv --draws 1 --chain-steps 1")[1]
    assert out == "1 missing entry in 1 of 1 row drawn: filled.csv\n"


def test_columns_that_a_model_needs_are_not_to_be_left_out(in_trees, capsys):
    Path("bad.csv").write_text("x,y\nbig,0.3\nbigger,0.2\n")
    for words in ("score flow bad.csv -o new.csv", "impute flow bad.csv -o new.csv", "evaluate flow bad.csv"):
        error = refused(capsys, words)
        assert "'big' is not a number; mend it" in error
        assert "drop" not in error
    frame = pd.DataFrame({"x": [np.zeros(2)], "y": [1.0]})
    frame.to_parquet("nested.parquet")
    error = refused(capsys, "score flow nested.parquet -o new.csv")
    assert error.endswith("; mend it\n")


def test_what_stands_for_a_missing_value_is_said_when_a_model_is_fitted(in_trees, capsys):
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(2)
    rows[:10, 0] = -200
    pd.DataFrame(rows, columns=["x", "y"]).to_csv("far.csv", index=False)
    assert "fit a model with --missing-values -200\n" in answered(capsys, "evaluate flow far.csv")[1]
    assert "--missing-values -200 says so\n" in "".join(map(str, answered(capsys, "describe far.csv")))


def test_a_part_is_named_by_its_file(in_trees, capsys, monkeypatch):
    Path("parts").mkdir()
    text = "import genflow as gf\nfrom {helper} import N\n\nclass Pairs(gf.divergences.Hutchinson):\n    more = N\n"
    for folder, name in (("", "own_here"), ("parts", "own_there")):
        Path(folder, f"{name}_helper.py").write_text("N = 3\n")
        Path(folder, f"{name}.py").write_text(text.format(helper=f"{name}_helper"))
    files = ("own_here:Pairs", "own_here.py:Pairs", "parts/own_there.py:Pairs", Path("parts/own_there.py").resolve())
    for place, part in enumerate([*files[:3], f"{files[3]}:Pairs", "hutchinson"]):
        words = f"score flow trees.csv -o by{place}.csv --divergence {part},n=8"
        Path("rows.csv").write_text("x,y\n0.5,0.3\n0.1,0.2\n")
        assert answered(capsys, words.replace("trees.csv", "rows.csv"))[0] == 0
    assert len({Path(f"by{place}.csv").read_text() for place in range(5)}) == 1
    Path("random.py").write_text("raise SystemExit\n")
    score = "score flow rows.csv -o new.csv --divergence"
    assert "another module has the name random" in refused(capsys, f"{score} random.py:Pairs")
    assert "no file nowhere.py" in refused(capsys, f"{score} nowhere.py:Pairs")
    Path("random.py").unlink()


def test_progress_of_a_fit_stands_before_its_results(folder, capsys, monkeypatch):
    from genflow.studies.reporting import terminal

    monkeypatch.setattr(terminal, "_PATIENCE", -1.0)
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # as of `fit … 2>&1`
    assert main(f"fit t.csv {QUICK} -o run".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    said, result = (next(i for i, line in enumerate(lines) if line.startswith(s)) for s in ("log p", "maf on t: "))
    assert said < result
    assert not [line for line in lines[result:] if line.startswith("log p")]
    assert [line.partition(" ")[0] for line in lines[result:]] == ["maf", "maf:", "test", "model:"]


def test_list_has_every_option_that_can_be_set(capsys, monkeypatch):
    from genflow.naming.options import option_names

    monkeypatch.setenv("COLUMNS", "120")
    for name in gf.naming.registry.names("model"):
        model = gf.naming.registry.lookup("model", name)
        out = answered(capsys, f"list {name}")[1]
        for further in re.findall(r"^and those of (\S+)", out, re.MULTILINE):
            out += answered(capsys, f"list {further}")[1]
        listed = set(re.findall(r"^  (\w+)", out, re.MULTILINE))
        assert {*option_names(model)} - {"condition_dim"} <= listed, name
    for model in ("flow-matching", "ffjord"):
        out = answered(capsys, f"list {model}")[1]
        parts = gf.naming.registry.lookup("model", model)(2).parts()
        for name in ("scheduler", "integrator", "divergence"):
            default = getattr(parts[name], "method", "") or gf.naming.registry.name_of(type(parts[name]))
            assert re.search(rf"^  {name} .*; by default {default}\.$", out, re.MULTILINE)
        assert re.search(r"^  base .*; by default standard normal\.$", out, re.MULTILINE)


def test_no_column_left(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{k * k % 17},{k % 7}\n" for k in range(40)))
    assert main(["describe", str(tmp_path / "t.csv"), "--drop", "a", "b"]) == 2
    assert "t.csv came; leave at least one to be modelled" in capsys.readouterr().err
