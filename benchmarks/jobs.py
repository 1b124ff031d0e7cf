"""The time of a comparison with two trials at once by that with one, with the same optimizer steps.

Two cores that have nothing else to do should come to half, and a little more for what is not shared: the reading of the
data, the pictures.

    python benchmarks/jobs.py [--iterations 400] [--jobs 2]
"""

from __future__ import annotations

import argparse
import time

import genflow as gf

DATA = ["two-moons", "pinwheel"]
MODELS = ["flow-matching", "nsf"]


def seconds(jobs: int, iterations: int) -> float:
    began = time.perf_counter()
    gf.compare(DATA, MODELS, seeds=[0, 1], iterations=iterations, points=500, jobs=jobs, progress=False)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    gf.compare("two-moons", ["nsf"], iterations=1, progress=False)  # what is paid once
    one, several = seconds(1, chosen.iterations), seconds(chosen.jobs, chosen.iterations)
    print(f"--jobs 1: {one:.1f} s, --jobs {chosen.jobs}: {several:.1f} s, ratio {several / one:.2f}")


if __name__ == "__main__":
    main()
