"""One thread for a training unless more are asked for: on a busy machine, threads that wait for each other crawl."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.numerics.threads import choose, hindrance

pytestmark = pytest.mark.usefixtures("few_rows", "no_pictures")

_SCRIPT = """
import json, sys, torch
from genflow.cli import main
torch.set_num_threads(2)  # what torch chooses on two cores
code = main(sys.argv[1:])
print(json.dumps({"code": code, "threads": torch.get_num_threads()}))
"""


@pytest.mark.parametrize(("flags", "threads"), [([], 1), (["--threads", "2"], 2)])
@pytest.mark.slow
def test_fit_takes_one_thread_unless_more_are_asked_for(tmp_path, flags, threads):
    words = ["fit", "two-moons", "--model", "maf", "--iterations", "3", "-o", str(tmp_path / "run"), *flags]
    ended = subprocess.run([sys.executable, "-c", _SCRIPT, *words], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout.splitlines()[-1]) == {"code": 0, "threads": threads}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["threads"] == threads


@pytest.mark.parametrize("given", [None, 2])
def test_a_trial_takes_one_thread_whatever_the_environment_offers(tmp_path, monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    board = gf.compare("two-moons", ["maf"], iterations=3, points=30, threads=given, progress=False)
    (run,) = board.runs
    assert run["threads"] == (given or 1)


class Local(gf.baselines.MAF):
    """Remembers the threads that it was trained on."""

    seen: list[int] = []

    def next_stage(self, data, history):
        self.seen.append(torch.get_num_threads())
        return super().next_stage(data, history)


def test_a_model_that_only_this_process_knows_is_trained_in_another_all_the_same():
    def build(dim, **options):
        sys.stdout.write(f"process {os.getpid()} threads {torch.get_num_threads()}\n")
        return gf.baselines.MAF(dim, **options)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (run,) = gf.compare("two-moons", [build], iterations=3, points=30, progress=False).runs
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    _, process, _, threads = run["output"].split()
    assert (int(process) != os.getpid(), threads) == (True, "1")
    assert run["figures"]["peak_mb"] is not None


@pytest.mark.parametrize(
    ("limit", "said"), [({"iterations": 3}, "the same number of steps"), ({"budget": "1s"}, "the same time")]
)
def test_the_report_says_what_was_equal(tmp_path, limit, said):
    gf.compare("two-moons", ["maf"], points=30, progress=False, out=tmp_path / "board", **limit)
    text = (tmp_path / "board" / "report.html").read_text()
    sentence = next(line for line in text.splitlines() if "trained on the same rows" in line)
    assert f"for {said}," in sentence
    assert ("the same time" in text) == (said == "the same time")


@pytest.mark.parametrize("threads", [0, 100_000, 2**40])
@pytest.mark.parametrize("words", [["fit", "two-moons", "-o"], ["compare", "--data", "two-moons", "--out"]])
def test_a_number_of_threads_that_is_none_is_refused(tmp_path, capsys, words, threads):
    assert main([*words, str(tmp_path / "run"), "--iterations", "1", "--threads", str(threads)]) == 2
    assert f"--threads: {threads} came; 1 to " in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("worse", "within"), [(60.0, 1), (0.8, 2)])
def test_python_trains_on_one_thread_where_several_wait_for_each_other(monkeypatch, worse, within):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("genflow.numerics.threads.hindrance", lambda: worse)
    monkeypatch.setattr("genflow.numerics.threads._chosen", None)
    monkeypatch.setattr(Local, "seen", [])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fitted = Local(2).fit("two-moons", iterations=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(Local.seen) == {within}
    assert any(remark.startswith("trained on one thread") for remark in fitted.remarks) == (within == 1)


@pytest.mark.parametrize("said", ["choose", "OMP_NUM_THREADS"])
def test_threads_that_were_asked_for_are_kept(monkeypatch, said):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("genflow.numerics.threads.hindrance", lambda: 60.0)
    monkeypatch.setattr("genflow.numerics.threads._chosen", None)
    monkeypatch.setattr(Local, "seen", [])
    before = torch.get_num_threads()
    try:
        if said == "choose":
            choose(2)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", "2")
            torch.set_num_threads(2)
        Local(2).fit("two-moons", iterations=3)
    finally:
        torch.set_num_threads(before)
    assert set(Local.seen) == {2}


def test_the_threads_are_as_before_when_they_were_measured():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert hindrance() > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
