"""A comparison against its surroundings: names, backends, locales, files of the current folder, interrupts."""

from __future__ import annotations

import ast
import json
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
from genflow.errors import InputError
from genflow.studies import Board, compare
from genflow.studies.reporting.drawing import picture, plain, subplots

pytestmark = pytest.mark.usefixtures("few_rows")

PACKAGE = Path(gf.__file__).parent
GENFLOW = [sys.executable, "-c", "import sys; sys.path.pop(0); from genflow.cli import main; sys.exit(main())"]
SMALL = ["--models", "nsf", "--iterations", "2", "--points", "50", "--threads", "1"]
HOSTILE = [
    "cost_$_%_$",
    "two\nlines",
    "long" * 5000,
    "<script>alert(1)</script>",
    "back\\slash\\{",
    "🦊 $x^$",
    "_under",
]


def command(*words, cwd, **environment):
    """Runs the command line in a process of its own, as a shell in `cwd` would."""
    known = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*GENFLOW, *words], cwd=cwd, env=known, capture_output=True, text=True, errors="replace")


def table(path, columns=("a", "b"), rows=60):
    values = np.random.default_rng(0).normal(size=(rows, len(columns)))
    pd.DataFrame(values, columns=list(columns)).to_csv(path, index=False)
    return path


def test_any_name_can_be_drawn():
    def draw():
        figure, axis = subplots(figsize=(2, 2))
        axis.set_title(plain(name))
        axis.plot([0, 1], label=plain(name))
        axis.legend()
        figure.tight_layout()
        return figure

    for name in [*HOSTILE, "$", "", "\x00", "\ud800", "_$"]:
        drawn, failure = picture("names", draw)
        assert drawn.startswith(b"\x89PNG"), failure
        assert "\n" not in plain(name)
        assert len(plain(name)) < 60


def test_a_picture_that_fails_is_one_line():
    drawn, failure = picture("broken", lambda: 1 / 0)
    assert drawn == b""
    assert "broken" in failure
    assert "ZeroDivisionError" in failure
    assert "\n" not in failure


def test_the_style_is_ours_whatever_the_users_is():
    import matplotlib

    def drawn():
        return picture("p", lambda: subplots(figsize=(1, 1))[0])[0]

    plainly = drawn()
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "red", "savefig.dpi": 7}):
        assert drawn() == plainly


@pytest.mark.parametrize(
    "backend",
    [
        "module://absent_backend",
        pytest.param("TkAgg", marks=pytest.mark.slow),
        pytest.param("no-such-backend", marks=pytest.mark.slow),
    ],
)
def test_no_backend_of_the_users_is_asked(backend):
    # In a fresh process: matplotlib reads MPLBACKEND when it is imported, and refuses names that it does not know.
    script = (
        "from genflow.studies.reporting.drawing import picture, subplots\n"
        "drawn, failure = picture('p', lambda: subplots(figsize=(1, 1))[0])\n"
        "assert drawn.startswith(b'\\x89PNG'), failure\n"
        "import os, sys\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r}\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    known = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "MPLBACKEND": backend, "DISPLAY": ""}
    ended = subprocess.run([sys.executable, "-c", script], env=known, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_no_text_file_goes_by_the_locale():
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            given = {keyword.arg for keyword in node.keywords}
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            text = (name in ("read_text", "write_text") and owner) or (  # of a path; our own `read_text` reads bytes
                name in ("open", "fdopen") and owner not in ("Image", "os") and not any("b" in mode for mode in modes)
            )
            if text and "encoding" not in given:
                found.append(f"{path.name}:{node.lineno}")
    assert not found


@pytest.fixture
def planted(tmp_path):
    """A folder with files that have the names of libraries, installed ones and missing ones."""
    for name in ("ot", "zuko", "sklearn", "json5", "matplotlib", "jinja2", "scipy"):
        (tmp_path / f"{name}.py").write_text(
            "import pathlib\npathlib.Path('ran').write_text(__file__)\nraise SystemExit('planted')\n", encoding="utf-8"
        )
    (tmp_path / "helping.py").write_text("SHIFT = 0.0\n", encoding="utf-8")
    (tmp_path / "late.py").write_text("SHIFT = 0.0\n", encoding="utf-8")
    (tmp_path / "own_flows.py").write_text(
        "import sys\n"
        "from helping import SHIFT\n"
        "from genflow.baselines import NSF\n"
        "class Mine(NSF):\n"
        "    def log_prob(self, *arguments, **named):\n"
        "        from late import SHIFT\n"
        "        return super().log_prob(*arguments, **named) + SHIFT\n"
        "    def sample(self, *arguments, **named):\n"
        "        print('said while sampling', file=sys.stderr)\n"
        "        return super().sample(*arguments, **named)\n",
        encoding="utf-8",
    )
    return tmp_path


@pytest.mark.slow
def test_no_file_of_the_current_folder_is_run_but_what_was_named(planted):
    words = ["compare", "--data", "two-moons", *SMALL, "--out", "b"]
    words[words.index("nsf")] = "own_flows:Mine"
    ended = command(*words, cwd=planted)
    assert ended.returncode == 0, ended.stderr
    assert not (planted / "ran").exists()
    assert pd.read_csv(planted / "b" / "leaderboard.csv")["status"].tolist() == ["ok"]
    assert "said while sampling" in ended.stderr


@pytest.mark.slow
def test_python_dash_m_runs_no_file_of_the_current_folder(planted):
    known = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    words = [sys.executable, "-m", "genflow", "fit", "two-moons", "--model", "nsf", "--iterations", "1", "-o", "run"]
    ended = subprocess.run(words, cwd=planted, env=known, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not (planted / "ran").exists()


@pytest.mark.slow
def test_the_next_comparison_has_the_same_process_in_its_own_folder_and_environment(tmp_path, monkeypatch):
    code = """
import os
from genflow.baselines import Gaussian
print(os.getppid(), os.environ["WHO"], "{}")
class Mine(Gaussian):
    pass
"""
    said = []
    for who in ("first", "second"):
        folder = tmp_path / who
        folder.mkdir()
        (folder / f"flows_of_{who}.py").write_text(code.replace("{}", f"in {who}"), encoding="utf-8")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("WHO", who)
        board = compare("two-moons", [f"flows_of_{who}:Mine"], iterations=1, points=50, threads=1, progress=False)
        said.append(board.runs[0]["output"].split(maxsplit=1))
    (parent, first), (same, second) = said
    assert parent == same
    assert [first, second] == ["first in first", "second in second"]


def test_what_a_worker_says_is_handed_on(tmp_path, monkeypatch):
    # A module that can't be imported where the trials run, though it can here.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", str(os.getpid()))
    (tmp_path / "flows_of_one_process.py").write_text(
        "import os\n"
        "from genflow.baselines import Gaussian\n"
        "class Mine(Gaussian):\n"
        "    pass\n"
        "if os.environ['HERE'] != str(os.getpid()):\n"
        "    raise RuntimeError('the library is broken')\n",
        encoding="utf-8",
    )
    board = compare(
        "two-moons", ["flows_of_one_process:Mine"], iterations=1, points=50, threads=1, progress=False, out="b"
    )
    (run,) = board.runs
    assert run["status"].startswith("failed")
    assert "RuntimeError: the library is broken" in run["status"]
    assert "the library is broken" in run["traceback"]


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://absent_backend", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"MPLBACKEND": "no-such-backend", "PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda environment: "-".join(environment.values()),
)
@pytest.mark.slow
def test_no_setting_of_the_users_ends_it(tmp_path, environment):
    table(tmp_path / "größe.csv", ["höhe", "$"])
    ended = command("compare", "--data", "größe.csv", *SMALL, "--out", "b", cwd=tmp_path, **environment)
    assert ended.returncode == 0, ended.stderr
    report = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "größe" in report
    assert report.count("<figure>") == 5
    assert Board(tmp_path / "b").data_names == ["größe"]


@pytest.mark.slow
def test_a_locale_that_lacks_characters_ends_nothing(tmp_path):
    # Names that it can't spell are read again, and what it can't print is said in plain characters.
    table(tmp_path / "größe.csv", ["höhe", "b"])
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["fit", "größe.csv", "--model", "nsf", "--iterations", "1", "-o", "run"]
    ended = command(*words, cwd=tmp_path, **ascii_only)
    assert ended.returncode == 0, ended.stderr
    assert " +-" in ended.stdout
    assert "?" not in ended.stdout.replace("gr??e", "")  # the user's own name is all that has no spelling
    assert gf.load(tmp_path / "run").record.data == "größe"
    ended = command("evaluate", "run", "--points", "30", cwd=tmp_path, **ascii_only)
    assert ended.returncode == 0, ended.stderr


def test_hostile_names_reach_the_end(tmp_path):
    data = pd.DataFrame(np.random.default_rng(0).normal(size=(60, len(HOSTILE))), columns=HOSTILE)
    board = compare(data, ["nsf"], iterations=2, points=50, threads=1, progress=False, out=tmp_path / "b")
    assert board.frame["status"].tolist() == ["ok"]
    report = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert report.count("<script") == 1
    assert report.count("<figure>") == 6
    assert len(list((tmp_path / "b" / "plots").glob("*.png"))) == 6


@pytest.mark.slow
def test_names_that_are_alike_as_files_stay_apart(tmp_path):
    (tmp_path / "a b").mkdir()
    table(tmp_path / "x+.csv", rows=60)
    table(tmp_path / "x .csv", ["a"], rows=70)
    table(tmp_path / "X .csv", ["a", "b", "c"], rows=80)
    sources = [tmp_path / name for name in ("x+.csv", "x .csv", "X .csv")]
    board = compare(sources, ["nsf"], iterations=1, points=50, threads=1, progress=False, out=tmp_path / "b")
    assert board.frame["status"].tolist() == ["ok"] * 3
    for name, columns in zip(board.data_names, (2, 1, 3), strict=True):
        parts, _ = board.data(name)
        assert parts["test"].shape[1] == columns
        assert board.model(name, "nsf").dim == columns


WAITING = """
import os, sys, time
from genflow.baselines import NSF

class Quick(NSF):
    pass

class Waits(NSF):
    "Trains until it is interrupted, and says when it has begun."
    def next_stage(self, data, history):
        open("begun", "w", encoding="utf-8").write(str(os.getpid()))
        time.sleep(600)

class Never(NSF):
    pass

class WaitsLater(NSF):
    "Is trained at once; its evaluation waits."
    def sample(self, *arguments, **named):
        open("begun", "w", encoding="utf-8").write(str(os.getpid()))
        time.sleep(600)
"""


def waiting(folder, *words, names=("Quick", "Waits", "Never")):
    """A comparison whose second training waits, once it has begun to."""
    (folder / "waiting.py").write_text(WAITING, encoding="utf-8")
    models = [f"waiting:{name}" for name in names]
    words = [*GENFLOW, "compare", "two-moons", "--models", *models, "--iterations", "2", "--points", "50", *words]
    known = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, cwd=folder, env=known, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (folder / "begun").exists() or not (folder / "begun").read_text(encoding="utf-8"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def gone(folder):
    """Whether the training that waited has ended; it takes a moment where nobody waits for it."""
    child = int((folder / "begun").read_text(encoding="utf-8"))
    for _ in range(200):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done(tmp_path):
    process = waiting(tmp_path, "--out", "b")
    # The name is taken from the start, and says by whom.
    with pytest.raises(InputError, match=f"under way there .process {process.pid}, 1 of 3 trials are done"):
        compare("two-moons", ["nsf"], iterations=1, progress=False, out=tmp_path / "b")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted: 1 of 3 trials are in b" in said.splitlines()[-1]
    assert gone(tmp_path)
    board = Board(tmp_path / "b")
    assert board.state == "interrupted"
    status = board.frame.set_index("model")["status"]
    assert status["Quick"] == "ok"
    assert status["Waits"] == "not done: interrupted in its training"
    assert status["Never"] == "not done"
    kept = pd.read_csv(tmp_path / "b" / "leaderboard.csv").set_index("model")
    assert np.isfinite(kept.loc["Quick", "nll"])
    assert board.arrays("two-moons", "Quick")["samples"].shape == (50, 2)
    assert (tmp_path / "b" / "models" / "two-moons" / "Quick").is_dir()
    report = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "interrupted: 1 of 3 trials are done" in report
    assert not list((tmp_path / "b").rglob(".*"))
    assert "1 of 3 trials are done" in str(board)
    with pytest.raises(
        InputError, match="was interrupted is there, 1 of 3 trials are done; go on with resume=True, remove"
    ):
        compare("two-moons", ["nsf"], iterations=1, progress=False, out=tmp_path / "b")


@pytest.mark.parametrize(
    ("names", "number"), [(("WaitsLater", "Never"), signal.SIGTERM), (("Waits", "Never"), signal.SIGINT)]
)
@pytest.mark.slow
def test_an_interrupt_before_the_first_outcome_keeps_a_model_that_was_trained_and_else_nothing(tmp_path, names, number):
    process = waiting(tmp_path, "--out", "b", names=names)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    if names[0] == "Waits":
        assert said.splitlines()[-1] == "genflow: interrupted, nothing was written"
        assert not (tmp_path / "b").exists()
    else:
        assert "0 of 2 trials, and a model whose evaluation was cut off, are in b" in said.splitlines()[-1]
        assert (tmp_path / "b" / "models" / "two-moons" / "WaitsLater" / "model.json").exists()
        assert Board(tmp_path / "b").frame["status"][0] == "not done: interrupted in its evaluation"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow
def test_a_kill_leaves_what_is_done_no_orphan_and_an_explanation(tmp_path):
    process = waiting(tmp_path, "--out", "b")
    process.kill()
    process.communicate(timeout=300)
    assert gone(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "b",
        "begun",
        "waiting.py",
    ]
    assert Board(tmp_path / "b").frame["status"].tolist()[0] == "ok"
    with pytest.raises(InputError, match="that was cut off is there, 1 of 3 trials are done; go on with resume=True"):
        compare("two-moons", ["nsf"], iterations=1, progress=False, out=tmp_path / "b")


def test_a_refused_input_leaves_no_folder_and_no_parents(tmp_path):
    with pytest.raises(InputError, match="no-such-data"):
        compare("no-such-data", ["nsf"], iterations=1, progress=False, out=tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="integrates no velocity"):
        gf.studies.solvers(gf.baselines.NSF(2, transforms=1, width=8), out=tmp_path / "s" / "t")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no folder can be made there"):
        compare("two-moons", ["nsf"], iterations=1, progress=False, out=tmp_path / "a" / ("b" * 300))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="no folder can be made there"):
        compare("two-moons", ["nsf"], iterations=1, progress=False, out=tmp_path / "file" / "b")


def test_what_the_end_needs_is_tried_before_the_training(tmp_path, monkeypatch):
    from genflow.studies.reporting import html

    def broken(name):
        raise RuntimeError("the templates are gone")

    monkeypatch.setattr(html, "template", broken)
    with pytest.raises(InputError, match="the templates are gone"):
        compare("two-moons", ["nsf"], budget="1h", progress=False, out=tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_no_failure_at_the_end_takes_the_results_along(tmp_path, monkeypatch):
    from genflow.studies.comparison import board as boards
    from genflow.studies.comparison.pictures import clouds

    def broken(view):
        raise ValueError("no <picture>\nof this")

    monkeypatch.setattr(clouds, "densities", broken)
    board = compare("two-moons", ["nsf"], iterations=1, points=50, threads=1, progress=False, out=tmp_path / "b")
    (note,) = board.config["notes"]
    assert note == "the picture two-moons-density could not be drawn (ValueError: no <picture> of this)"
    report = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "ValueError: no &lt;picture&gt; of this" in report
    assert "two-moons-marginals" in report
    assert "two-moons-density" not in report.replace(note.replace("<", "&lt;").replace(">", "&gt;"), "")

    def interrupted(plots):
        raise KeyboardInterrupt

    monkeypatch.setattr(boards, "hang", interrupted)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        compare("two-moons", ["nsf"], iterations=1, points=50, threads=1, progress=False, out=tmp_path / "c")
    assert "1 of 1 trials are in" in interrupt.value.__notes__[0]
    assert Board(tmp_path / "c").frame["status"].tolist() == ["ok"]
    assert (tmp_path / "c" / "paired.csv").exists()


def test_a_model_that_was_trained_is_kept_though_its_evaluation_fails(tmp_path):
    class Unsampled(gf.baselines.NSF):
        def sample(self, *arguments, **named):
            raise RuntimeError("no samples today")

    board = compare("two-moons", [Unsampled], iterations=1, points=50, threads=1, progress=False, out=tmp_path / "b")
    assert board.frame["status"].tolist() == ["failed: RuntimeError: no samples today"]
    assert (tmp_path / "b" / "models" / "two-moons" / "Unsampled" / "model.json").exists()


def test_a_study_takes_its_name_at_the_start_and_keeps_its_figures(tmp_path, monkeypatch):
    from genflow.studies.solver_study import findings as solver_findings

    flow = gf.Flow(gf.velocities.Shallow(2), gf.schedulers.Uniform(2))
    few = {"rows": 4, "steps": (2,), "repeats": 1}

    def interrupted(*arguments):
        with pytest.raises(InputError, match="a study of solvers is under way there"):
            gf.studies.solvers(flow, ["euler"], out=tmp_path / "s", **few)
        raise KeyboardInterrupt

    monkeypatch.setattr(solver_findings, "_work", interrupted)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        gf.studies.solvers(flow, ["euler"], out=tmp_path / "s", **few)
    assert "the figures are in" in interrupt.value.__notes__[0]
    assert len(pd.read_csv(tmp_path / "s" / "findings.csv")) == 2

    def broken(*arguments):
        raise ValueError("no ink")

    monkeypatch.setattr(solver_findings, "_work", broken)
    found = gf.studies.solvers(flow, ["euler"], out=tmp_path / "t", **few)
    assert "the picture work-precision could not be drawn (ValueError: no ink)" in found.notes
    report = (tmp_path / "t" / "report.html").read_text(encoding="utf-8")
    assert "no ink" in report
    assert json.loads((tmp_path / "t" / "config.json").read_text(encoding="utf-8"))["rows"] == 4


def test_rich_makes_nothing_of_names():
    from rich.console import Console

    from genflow.studies.comparison.display import Live
    from genflow.studies.reporting.terminal import as_it_is

    trial = {"data": "[/red] [b]\nx :smile:", "label": "[m]", "seed": 0, "several": False}
    console = Console(width=200, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(Live([trial], 1.0)._table())
    console.print(as_it_is("[/red]"))
    shown = console.export_text()
    assert "[/red] [b] x :smile:"[:20] in shown
    assert "[m]" in shown
