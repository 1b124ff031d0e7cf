"""A comparison that is killed again and again, and resumed each time, against one that is left alone.

Four models, three data sets, two seeds, two trials at once, counted in optimizer steps. The killed one ends at random
instants by SIGKILL, which no process can see coming; the last run is left to its end. All figures but those of time and
memory, every row's log density and every sample must be those of the unbroken run, to the last bit; no process and no
hidden file may be left.

    python benchmarks/interrupted.py [--kills 30] [--iterations 60] [--jobs 2]
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

MODELS = ["jko-iflow", "flow-matching", "nsf", "maf"]
DATA = ["two-moons", "pinwheel", "checkerboard"]
SEEDS = ["0", "1"]
OF_TIME = ["train_seconds", "sample_seconds", "peak_mb"]
SMALL = ["jko-iflow.blocks=2", "jko-iflow.width=16", "nsf.width=16", "maf.width=16", "flow-matching.width=32"]


def command(out: Path, iterations: int, jobs: int) -> list[str]:
    words = ["compare", *DATA, "--models", *MODELS, "--seeds", *SEEDS, "--set", *SMALL, "--points", "200"]
    words += ["--iterations", str(iterations), "--jobs", str(jobs), "--out", str(out), "--resume"]
    return [sys.executable, "-P", "-m", "genflow", *words, "--evaluation-budget", "1h"]


def run(words: list[str], seconds: float | None = None) -> bool:
    """Whether it came to its end; by default it is let."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        sys.exit(said)
    return True


def orphans(out: Path) -> list[str]:
    """The processes that still have a file or a folder of the comparison."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [str(path.readlink()) for path in [*(process / "fd").iterdir(), process / "cwd"]]
        except OSError:
            continue
        if any(place.startswith(str(out)) for place in places) and "interrupted" not in words:
            found.append(f"{process.name}: {words[:80]}")
    return found


def differences(one: Path, other: Path) -> list[str]:
    """What two comparisons do not have in common, times and memory left out."""
    found = []
    tables = [pd.read_csv(folder / "leaderboard.csv").drop(columns=OF_TIME) for folder in (one, other)]
    found += [f"leaderboard.csv: {name}" for name in tables[0] if not tables[0][name].equals(tables[1][name])]
    for file in sorted(one.glob("evaluation/*/*.npz")):
        with np.load(file) as a, np.load(other / file.relative_to(one)) as b:
            found += [f"{file.name}: {name}" for name in a if not np.array_equal(a[name], b[name], equal_nan=True)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="interrupted-") as home:
        whole, killed = Path(home) / "whole", Path(home) / "killed"
        began = time.perf_counter()
        run(command(whole, chosen.iterations, chosen.jobs))
        took = time.perf_counter() - began
        print(f"unbroken: {took:.0f} s", flush=True)
        kills, ended = 0, False
        while kills < chosen.kills and not ended:
            ended = run(command(killed, chosen.iterations, chosen.jobs), chance.uniform(2.0, max(8.0, took / 6)))
            kills += not ended
            if not ended:
                time.sleep(0.5)
                if left := orphans(killed):
                    sys.exit(f"after kill {kills} there are still {'; '.join(left)}")
        ended = ended or run(command(killed, chosen.iterations, chosen.jobs))
        hidden = [str(path) for path in [*Path(home).rglob(".*"), *killed.glob("unfinished")]]
        different = differences(whole, killed)
        print(f"killed {kills} times and resumed: {different or 'the same to the last bit'}")
        if different or hidden:
            sys.exit(f"left behind: {hidden}")


if __name__ == "__main__":
    main()
