"""The one writer: whole or not at all, whatever fails; what a kill leaves is found; modes as the user's umask says."""

from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.data.writing import _write_excel
from genflow.errors import InputError, WriteError
from genflow.storage import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(code, *words, limit=None):
    """Python in a process of its own, whose files may not grow beyond a limit: a full disk on every machine."""
    begin = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    begin += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" if limit is not None else ""
    return subprocess.run([sys.executable, "-c", begin + code, *map(str, words)], capture_output=True, text=True)


def test_a_folder_appears_whole(tmp_path):
    with atomic.folder(tmp_path / "deep" / "run") as part:
        (part / "sub").mkdir()
        (part / "sub" / "a.txt").write_text("a")
        assert not (tmp_path / "deep" / "run").exists()
    assert (tmp_path / "deep" / "run" / "sub" / "a.txt").read_text() == "a"
    assert names(tmp_path / "deep") == ["run"]


def test_a_file_replaces_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic.file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.suffix == ".txt"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("other"), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [atomic.file, atomic.folder])
def test_what_fails_in_the_middle_leaves_nothing(tmp_path, write, error):
    expected = WriteError if isinstance(error, OSError) else type(error)

    def fail():
        with write(tmp_path / "out") as part:
            (part / "half" if part.is_dir() else part).write_text("half")
            raise error

    with pytest.raises(expected) as caught:
        fail()
    assert names(tmp_path) == []
    if expected is WriteError:
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value).startswith(f"{tmp_path / 'out'}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_the_umask(tmp_path, umask):
    old = os.umask(umask)
    try:
        with atomic.folder(tmp_path / "run") as part:
            (part / "a.txt").write_text("a")
        with atomic.file(tmp_path / "b.npy") as part:
            np.save(part, np.zeros(3))
        with atomic.file(tmp_path / "c.parquet") as part:
            pd.DataFrame({"a": [1.0]}).to_parquet(part)
    finally:
        os.umask(old)
    mode = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    plain, whole = 0o666 & ~umask, 0o777 & ~umask
    assert mode == {"run": whole, "a.txt": plain, "b.npy": plain, "c.parquet": plain}


@pytest.mark.parametrize(
    "write",
    [
        "part.write_bytes(bytes(50_000))",
        "np.save(part, np.random.default_rng(0).random(9000))",
        "np.savetxt(part, np.random.default_rng(0).random(9000))",
        "pd.DataFrame(np.random.default_rng(0).random((3000, 3))).to_csv(part)",
        "pd.DataFrame(np.random.default_rng(0).random((3000, 3)), columns=list('abc')).to_parquet(part)",
    ],
)
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path, write):
    path = tmp_path / "out.npy"
    path.write_text("old")
    code = f"""
import sys, numpy as np, pandas as pd
from genflow.errors import WriteError
from genflow.storage import atomic
try:
    with atomic.file(sys.argv[1]) as part:
        {write}
except WriteError as error:
    print(error)
"""
    done = run(code, path, limit=20_000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: it can't be written (")
    assert done.stdout.count("\n") == 1
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.npy"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full, of Linux")
def test_a_sheet_on_a_full_disk_complains_once(monkeypatch):
    complaints: list = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(OSError, match="No space left on device"):
        _write_excel(Path("/dev/full"), pd.DataFrame(np.eye(3)))
    gc.collect()
    assert not complaints


def test_copying_a_folder_to_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(bytes(50_000))
    code = """
import shutil, sys
from genflow.errors import WriteError
from genflow.storage import atomic
try:
    with atomic.folder(sys.argv[2]) as part:
        shutil.copytree(sys.argv[1], part, dirs_exist_ok=True)
except WriteError as error:
    print(error)
"""
    done = run(code, tmp_path / "from", tmp_path / "to", limit=20_000)
    assert done.stdout.startswith(f"{tmp_path / 'to'}: it can't be written ("), done.stderr
    assert done.stdout.count("\n") == 1
    assert names(tmp_path) == ["from"]


def test_a_model_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    code = """
import sys, genflow as gf
from genflow.errors import WriteError
try:
    gf.Flow(gf.velocities.Shallow(2, 128)).save(sys.argv[1])
except WriteError as error:
    print(error)
"""
    done = run(code, tmp_path / "run", limit=20_000)
    assert done.stdout.startswith(f"{tmp_path / 'run'}: it can't be written (File too large"), done.stderr
    assert done.stdout.count("\n") == 1
    assert names(tmp_path) == []


@pytest.mark.slow
def test_a_command_on_a_full_disk_ends_with_one_line(tmp_path):
    words = ["fit", "two-moons", "--model", "flow-matching", "--iterations", "2", "--out", str(tmp_path / "run")]
    code = "import sys, genflow.cli; sys.exit(genflow.cli.main(sys.argv[1:]))"
    done = run(code, *words, limit=20_000)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"genflow: error: {tmp_path / 'run'}: it can't be written (")
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == []


def test_saved_weights_are_as_readable_as_the_rest(tmp_path):
    old = os.umask(0o022)
    try:
        gf.Flow(gf.velocities.Shallow(2, 8)).save(tmp_path / "run")
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()} == {0o644}


def killed(path):
    """A process that was killed while it wrote a folder, and its leavings."""
    code = """
import os, signal, sys
from genflow.storage import atomic
with atomic.folder(sys.argv[1]) as part:
    (part / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(code, path).returncode < 0
    (left,) = atomic.leftovers(path)
    return left


def test_what_a_kill_leaves_is_found_and_goes_with_the_next_run(tmp_path):
    left = killed(tmp_path / "run")
    assert not left.alive
    assert left.path.name.startswith(".run.partial-")
    assert "can be removed" in str(left)
    assert (left.path / "half").exists()
    with atomic.folder(tmp_path / "run") as part:
        (part / "a").write_text("a")
    assert names(tmp_path) == ["run"]


def test_it_may_be_kept_for_a_look(tmp_path):
    left = killed(tmp_path / "run")
    with atomic.folder(tmp_path / "run", clean=False):
        pass
    assert (left.path / "half").exists()
    assert [found.path for found in atomic.sweep(tmp_path / "run")] == [left.path]
    assert names(tmp_path) == ["run"]


def test_what_others_have_left_stays(tmp_path):
    left = killed(tmp_path / "run")
    for name in ("run2", "un", "runs", ".run"):
        with atomic.folder(tmp_path / name):
            assert atomic.sweep(tmp_path / name) == []
    with atomic.file(tmp_path / "run.csv") as part:
        part.write_text("a")
    assert left.path.exists()


def test_a_process_of_another_machine_may_be_alive(tmp_path):
    (tmp_path / ".run.partial-1-somewhere_else").mkdir()
    (left,) = atomic.leftovers(tmp_path / "run")
    assert left.alive
    assert left.machine == "somewhere_else"
    with pytest.raises(InputError, match=r"taken.* on somewhere_else"), atomic.folder(tmp_path / "run"):
        pass
    assert left.path.exists()


def test_of_two_runs_with_one_name_the_second_fails_at_its_start(tmp_path):
    with atomic.folder(tmp_path / "run") as part:
        began = False
        with pytest.raises(InputError, match="name is taken"), atomic.folder(tmp_path / "run"):
            began = True
        assert not began
        assert part.exists()
    assert names(tmp_path) == ["run"]


def test_of_many_at_once_one_gets_the_name(tmp_path):
    entered, refused, gate = [], [], threading.Barrier(8)

    def write():
        gate.wait()
        try:
            with atomic.folder(tmp_path / "run"):
                entered.append(1)
                done.wait()
        except InputError:
            refused.append(1)

    done = threading.Event()
    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(refused) + len(entered) < 8:
        done.wait(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(entered), len(refused)) == (1, 7)
    assert names(tmp_path) == ["run"]


def test_places_where_nothing_can_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(InputError) as error, atomic.folder(path):
            pass
        assert "\n" not in str(error.value)
    for path in (tmp_path, tmp_path / "nowhere" / "a.txt"):
        with pytest.raises(InputError), atomic.file(path):
            pass
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file"]
