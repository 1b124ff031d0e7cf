"""How trials are carried out: records, processes, other executors, the clock, and what goes on where it was cut off."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.errors import InputError
from genflow.extras import MissingExtra
from genflow.studies import Board, compare
from genflow.studies.comparison.evaluation import reference
from genflow.studies.comparison.executors import executor_for
from genflow.studies.comparison.processes import Died, Processes
from genflow.studies.comparison.records import Outcome, Terms, Trial
from genflow.training.snapshots import snapshot_in

pytestmark = pytest.mark.usefixtures("few_rows", "no_pictures")

TERMS = Terms(None, 5, 60.0, points=50)
FEW = {"iterations": 5, "points": 50, "progress": False}

MODELS = '''
"""Models that do something when they are trained."""
import os, signal, sys, time
from pathlib import Path
from genflow.baselines import NSF

class Talks(NSF):
    """Says that it is trained."""
    def next_stage(self, data, history):
        if not history:
            print("trained in", os.getpid())
        return super().next_stage(data, history)

class Second(Talks):
    pass

class FailsOnce(NSF):
    def next_stage(self, data, history):
        if not Path("failed").exists():
            Path("failed").touch()
            raise RuntimeError("not yet")
        return super().next_stage(data, history)

class DiesOnce(NSF):
    """Takes its process along, the first time."""
    def next_stage(self, data, history):
        if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().next_stage(data, history)

class Sleeps(NSF):
    """Takes time, but not of a processor."""
    def next_stage(self, data, history):
        time.sleep(1.5)
        return super().next_stage(data, history)

class CutOnce(NSF):
    """Waits in the middle of its training, the first time; says at how many steps its loss was asked for."""
    def next_stage(self, data, history):
        stage = super().next_stage(data, history)
        if stage is None:
            return None
        loss, before = stage.loss, 0
        def counted(batch, generator):
            nonlocal before
            before += 1
            if before == 30 and not Path("begun").exists():
                Path("begun").write_text(str(os.getpid()))
                time.sleep(600)
            Path("steps").write_text(str(before))
            return loss(batch, generator)
        stage.loss = counted
        return stage
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with models of the user's own."""
    (tmp_path / "acting.py").write_text(MODELS, encoding="utf-8")
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(300, 2)))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("acting", None)
    return tmp_path


# Records


def test_records_are_what_their_files_say():
    trial = Trial("a b", "a-b", "nsf", "nsf-seed1", "nsf", {"width": 8}, 1, TERMS)
    outcome = Outcome("ok; a remark", {"nll": 1.5, "w2": float("nan")}, [{"stage": "fit"}], 10.0, 0.5, "said", "")
    row = json.loads(json.dumps(trial.to_json() | outcome.to_json()))
    assert Trial.from_json(row) == trial
    again = Outcome.from_json({**row, "figures": {"nll": 1.5, "w2": None}})
    assert np.isnan(again.figures["w2"])
    assert replace(again, figures={}) == replace(outcome, figures={})


def test_a_row_of_an_earlier_version_is_read():
    row = {"data": "a", "home": "a", "label": "m", "name": "m", "model": "m", "options": {}, "seed": 0}
    row |= {"budget": 5.0, "iterations": None, "threads": None, "evaluation": 30.0, "several": False}
    assert Trial.from_json(row).terms == Terms(5.0, None, 30.0)
    assert not Outcome.from_json({**row, "status": "not done"}).ended


# Processes


def test_what_ended_a_process_is_known_while_others_start():
    """Its server says an exit code once: read by two threads, one of them had 255 for it, a fifth of 300."""
    with Processes(6) as processes:
        calls = [processes.submit(os.kill, 0, signal.SIGKILL) for _ in range(60)]
        assert {call.exception().code for call in calls} == {-signal.SIGKILL}


def test_each_call_has_a_process_of_its_own_and_what_ends_one_ends_no_other():
    with Processes(2) as processes:
        killed = processes.submit(os.kill, 0, signal.SIGKILL)
        quits = processes.submit(os._exit, 3)
        first, second = processes.submit(os.getpid), processes.submit(os.getpid)
        refused = processes.submit(int, "three")
        assert len({first.result(), second.result(), os.getpid()}) == 3
        with pytest.raises(Died, match=r"ended by SIGKILL .out of memory"):
            killed.result()
        with pytest.raises(Died, match="code 3"):
            quits.result()
        with pytest.raises(ValueError, match="three"):
            refused.result()


def test_what_runs_is_ended_where_nobody_waits_for_it():
    processes = Processes(1)
    running, waiting = processes.submit(time.sleep, 600), processes.submit(time.sleep, 600)
    while not running.running():
        time.sleep(0.01)
    processes.shutdown(cancel_futures=True)
    assert waiting.cancelled()
    assert running.done()
    assert running.exception() is not None


@pytest.mark.slow
def test_a_script_is_not_run_again_in_the_processes(tmp_path):
    script = "import genflow as gf\nimport numpy as np\nprint('once')\n" + (
        "class Mine(gf.baselines.NSF):\n    pass\n"
        "rows = np.random.default_rng(0).normal(size=(60, 2))\n"
        "board = gf.compare(rows, [Mine], iterations=1, points=50, progress=False)\n"
        "print(board.runs[0]['status'])\n"
    )
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    known = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=known, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["once", "ok"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("0.1, time.perf_counter, folder", "took more than 0 s"),
        # Asleep, it takes no time of a processor.
        ("60, time.process_time, folder, patience=2.0", "did nothing for 2 s"),
    ],
)
def test_a_training_that_overruns_or_sleeps_is_ended(tmp_path, monkeypatch, limits, said):
    (tmp_path / "overrunning.py").write_text(
        "import time\nfrom genflow.studies.comparison.work import end_after\n"
        f"def overrun(folder):\n    end_after({limits})\n    time.sleep(600)\n",
        encoding="utf-8",
    )
    monkeypatch.delitem(sys.modules, "overrunning", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    overrun = importlib.import_module("overrunning").overrun
    with Processes() as processes, pytest.raises(Died):
        processes.submit(overrun, tmp_path).result()
    assert (tmp_path / "overrun").read_text(encoding="utf-8") == f"training {said}, its process was ended"


def test_a_model_that_holds_on_to_what_cannot_be_sent_is_refused(tmp_path):
    lock = threading.Lock()

    class Mine(gf.baselines.NSF):
        def next_stage(self, data, history):
            with lock:
                return super().next_stage(data, history)

    with pytest.raises(InputError, match="models: Mine can't be sent to another process"):
        compare("two-moons", [Mine], out=tmp_path / "b", **FEW)
    assert not list(tmp_path.iterdir())


# What goes on


@pytest.mark.slow
def test_more_names_are_added_and_what_is_done_stays(place):
    first = compare("two-moons", ["acting:Talks"], out="b", **FEW)
    (row,) = first.runs
    board = compare(
        ["two-moons", "pinwheel"], ["acting:Talks", "acting:Second"], seeds=[0, 1], out="b", resume=True, **FEW
    )
    assert board.state == "done"
    assert len(board.runs) == 8
    assert board.frame["status"].eq("ok").all()
    assert {**board.runs[0], "threads": 1} == {**row, "threads": 1}  # its process and its seconds, too
    assert len({run["name"] for run in board.runs if run["data"] == "two-moons"}) == 4
    again = compare(
        ["two-moons", "pinwheel"], ["acting:Talks", "acting:Second"], seeds=[0, 1], out="b", resume=True, **FEW
    )
    assert again.runs == board.runs
    assert not list(place.glob("b/unfinished"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iterations": 6}, "iterations 5 is there, 6 came"),
        ({"models": ["maf"]}, "the models nsf is there, maf came"),
        ({"seeds": [1]}, "the seeds 0 is there, 1 came"),
        ({"data": "pinwheel"}, "the data two-moons is there, pinwheel came"),
        ({"options": {"nsf": {"width": 8}}}, r"the options of nsf none is there, .\"width\": 8. came"),
        ({"points": 60}, "points 50 is there, 60 came"),
        ({"clock": "cpu"}, "clock wall is there, cpu came"),
        ({"threads": 2}, "threads 1 is there, 2 came"),
    ],
)
@pytest.mark.slow
def test_another_plan_in_the_same_folder_is_refused_in_one_line(shared_board, change, said):
    before = (shared_board / "runs.json").read_text(encoding="utf-8")
    given = {"data": "two-moons", "models": ["nsf"], **FEW, **change}
    with pytest.raises(InputError, match=f"a comparison with {said}; name another folder") as error:
        compare(**given, out=shared_board, resume=True)
    assert "\n" not in str(error.value)
    assert (shared_board / "runs.json").read_text(encoding="utf-8") == before


@pytest.fixture(scope="module")
def shared_board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "b"
    compare("two-moons", ["nsf"], out=folder, **FEW)
    return folder


def test_rows_that_have_changed_or_are_read_in_another_way_are_refused(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    np.save(tmp_path / "t.npy", rows)
    compare(tmp_path / "t.npy", ["nsf"], out=tmp_path / "b", **FEW)
    with pytest.raises(InputError, match="missing value is there, drop came"):
        compare(tmp_path / "t.npy", ["nsf"], missing="drop", out=tmp_path / "b", resume=True, **FEW)
    np.save(tmp_path / "t.npy", rows + 1)
    with pytest.raises(InputError, match="rows of t of the digest"):
        compare(tmp_path / "t.npy", ["nsf", "maf"], out=tmp_path / "b", resume=True, **FEW)


def test_something_else_is_not_gone_on_with(tmp_path):
    with pytest.raises(InputError, match="resume: no folder came"):
        compare("two-moons", ["nsf"], resume=True, **FEW)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        compare("two-moons", ["nsf"], out=tmp_path / "mine", resume=True, **FEW)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    (tmp_path / "mine" / "config.json").write_text('{"study": "study of solvers"}', encoding="utf-8")
    with pytest.raises(InputError, match="a study of solvers is there, and no comparison"):
        compare("two-moons", ["nsf"], out=tmp_path / "mine", resume=True, **FEW)


@pytest.mark.slow
def test_what_failed_is_run_again_and_the_rest_is_not(place, capsys):
    words = "compare two-moons --models acting:Talks acting:FailsOnce --iterations 5 --points 50 --out b --resume"
    assert main(words.split()) == 0
    first = Board("b")
    assert first.frame.set_index("model")["status"]["FailsOnce"] == "failed: RuntimeError: not yet"
    assert main(words.split()) == 0
    again = Board("b")
    assert again.frame["status"].tolist() == ["ok", "ok"]
    assert again.runs[0] == first.runs[0]
    capsys.readouterr()
    assert main(["board", "b"]) == 0
    assert "FailsOnce" in capsys.readouterr().out
    assert main(["board", "nowhere"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_was_cut_off_goes_on_from_its_own_snapshot(place, number):
    words = ["compare", "few.npy", "--models", "acting:CutOnce", "--iterations", "60", "--points", "50"]
    words = [sys.executable, "-P", "-m", "genflow", *words, "--resume", "--out", "b"]
    known = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    process = subprocess.Popen(words, env=known, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (place / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    if number == signal.SIGINT:
        assert "0 of 1 trials, and a training that was cut off, are in b" in said.splitlines()[-1]
        assert said.splitlines()[-1].endswith("the same with --resume goes on")
        assert not list(place.glob("b/**/.*"))
    assert snapshot_in(place / "b" / "unfinished" / "few" / "CutOnce" / "snapshot") is not None
    ended = subprocess.run(words, env=known, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    resumed = Board("b")
    assert resumed.frame["status"].tolist() == ["ok"]
    assert int((place / "steps").read_text()) <= 60 - 24  # validated, and kept, at every twentieth of the steps
    assert not list(place.glob("b/unfinished"))
    ended = subprocess.run([*words[:-1], "whole"], env=known, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for name, array in Board("whole").arrays("few", "CutOnce").items():
        np.testing.assert_array_equal(array, resumed.arrays("few", "CutOnce")[name])


# The clock


@pytest.mark.slow
def test_a_clock_of_processors_does_not_count_what_others_take(place):
    board = compare("two-moons", ["acting:Sleeps"], budget="1s", clock="cpu", points=50, progress=False, out="b")
    assert board.frame["status"].str.startswith("ok").all()
    assert board.frame["train_steps"][0] > 0  # on a wall the time would have been over
    assert board.frame["train_seconds"][0] < 1.5
    assert "1s of a processor" in (place / "b" / "report.html").read_text(encoding="utf-8")
    assert "--clock cpu" in board.config["command"]


@pytest.mark.parametrize(
    ("given", "clock"), [({}, "wall"), ({"jobs": 2}, "cpu"), ({"jobs": 2, "clock": "wall"}, "wall")]
)
def test_trials_that_run_together_are_timed_by_processors(tmp_path, given, clock):
    board = compare("two-moons", ["nsf"], out=tmp_path / "b", **FEW, **given)
    assert board.config["arguments"]["clock"] == clock
    assert board.runs[0]["clock"] == clock


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clock": "sun"}, "clock: 'sun' came; wall or cpu"),
        ({"jobs": 0}, "jobs: 0 came; at least 1"),
        ({"executor": "slurm:8"}, "executor: 'slurm:8' came; dask:ADDRESS"),
        ({"executor": "dask"}, "executor: 'dask' came; dask:ADDRESS"),
        ({"executor": 3}, "executor: 3 came"),
    ],
)
def test_what_is_no_clock_and_no_executor_is_refused(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        compare("two-moons", ["nsf"], out=tmp_path / "b", **FEW, **given)
    assert not list(tmp_path.iterdir())


def test_what_figures_are_held_against_depends_on_the_seed_alone():
    data = gf.data.load("two-moons")
    first = reference(data, points=100)
    torch.rand(3)
    assert reference(data, points=100) == first


# Other executors


def figures(board):
    """All that does not depend on time and memory."""
    left_out = ["train_seconds", "sample_seconds", "peak_mb"]
    return board.frame.drop(columns=left_out).sort_values(["data", "model", "seed"]).to_dict("records")


@pytest.fixture(scope="module")
def by_processes():
    return figures(compare("two-moons", ["nsf", "maf"], seeds=[0, 1], jobs=2, **FEW))


class Elsewhere(Executor):
    """A machine that sees none of our folders."""

    def __init__(self):
        self.threads = ThreadPoolExecutor(2)

    def submit(self, fn, /, order):
        return self.threads.submit(fn, replace(order, folder=Path("/nowhere"), data=Path("/nowhere")))


@pytest.mark.slow
def test_any_executor_finds_the_same(by_processes):
    with ThreadPoolExecutor(2) as threads:
        board = compare("two-moons", ["nsf", "maf"], seeds=[0, 1], executor=threads, **FEW)
        assert threads.submit(int, "3").result() == 3  # it is left running
    assert json.dumps(figures(board)) == json.dumps(by_processes)


@pytest.mark.slow
def test_a_worker_that_sees_no_folder_of_ours_finds_the_same(by_processes, tmp_path):
    board = compare("two-moons", ["nsf", "maf"], seeds=[0, 1], executor=Elsewhere(), out=tmp_path / "b", **FEW)
    assert json.dumps(figures(board)) == json.dumps(by_processes)
    assert board.model("two-moons", "nsf", 1).dim == 2
    assert board.frame["peak_mb"].isna().sum() >= 3  # a process that has held other things before


def test_an_executor_that_breaks_leaves_its_trials_undone(tmp_path):
    from concurrent.futures.process import BrokenProcessPool

    class Broken(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = ThreadPoolExecutor(1).submit(int, 3)
            future.result()
            future._exception = BrokenProcessPool("a worker is gone")
            return future

    board = compare("two-moons", ["nsf"], executor=Broken(), out=tmp_path / "b", **FEW)
    assert board.frame["status"].tolist() == ["not done: BrokenProcessPool: a worker is gone"]
    assert board.state.startswith("broken off")
    assert compare("two-moons", ["nsf"], clock="cpu", out=tmp_path / "b", resume=True, **FEW).state == "done"


def test_an_executor_whose_library_is_missing_says_what_to_install(monkeypatch):
    for library in ("ray", "distributed"):
        monkeypatch.setitem(sys.modules, library, None)
    for name, installed in (("ray:auto", "ray"), ("dask:tcp://127.0.0.1:1", "dask")):
        with pytest.raises(MissingExtra, match=rf"pip install 'genflow\[{installed}\]'"), executor_for(name):
            pass


@pytest.mark.slow
def test_dask_finds_the_same_and_a_lost_worker_is_replaced(by_processes, place, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", f"{Path(gf.__file__).parent.parent}:{os.environ.get('PYTHONPATH', '')}")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            board = compare("two-moons", ["nsf", "maf"], seeds=[0, 1], executor=client.get_executor(pure=False), **FEW)
        assert json.dumps(figures(board)) == json.dumps(by_processes)
        words = "compare two-moons --models acting:DiesOnce nsf --iterations 5 --points 50 --out b --executor"
        assert main([*words.split(), f"dask:{cluster.scheduler_address}"]) == 0
    assert (place / "died").exists()
    assert Board("b").frame["status"].tolist() == ["ok", "ok"]


@pytest.mark.slow
def test_ray_finds_the_same_and_a_lost_worker_is_replaced(by_processes, place, monkeypatch):
    ray = pytest.importorskip("ray")
    from genflow.studies.comparison.executors import RayExecutor

    monkeypatch.setenv("PYTHONPATH", f"{Path(gf.__file__).parent.parent}:{os.environ.get('PYTHONPATH', '')}")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        board = compare("two-moons", ["nsf", "maf"], seeds=[0, 1], executor=RayExecutor(), **FEW)
        assert json.dumps(figures(board)) == json.dumps(by_processes)
        assert board.frame["peak_mb"].notna().all()  # a worker ends with its call
        board = compare("two-moons", ["acting:DiesOnce", "nsf"], executor="ray:auto", out="b", **FEW)
    finally:
        ray.shutdown()
    assert (place / "died").exists()
    assert board.frame["status"].tolist() == ["ok", "ok"]
