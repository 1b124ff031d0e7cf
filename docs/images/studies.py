"""Draws the pictures of docs/studies.md: trains two models where they are not there yet, and studies them.

    python docs/images/studies.py [FOLDER [quick]]

Models and full reports go to FOLDER, by default studies/. With `quick` on fewer rows and draws, and with every setting
run once: for a look at the pictures.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

import genflow as gf
from genflow.cli import main

IMAGES = Path(__file__).parent
MODELS = {"moons": ("two-moons", "70s", 256, 3), "digits": ("digits", "100s", 128, 3)}


def run(folder: Path, quick: bool = False) -> None:
    """Trains, studies, and puts the pictures that the page shows beside this file."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    for name, (data, budget, rows, repeats) in MODELS.items():
        model = folder / name
        if not model.exists():
            main(["fit", data, "--model", "jko-iflow", "--budget", budget, "--threads", "1", "-o", str(model)])
        rows, repeats, draws = (rows // 3, 1, 4) if quick else (rows, repeats, 16)
        found = gf.studies.divergences(model, rows=rows, draws=draws, progress=True)
        keep(found, folder / f"{name}-divergences", {"cost": f"divergences-{name}"})
        found = gf.studies.solvers(model, rows=rows, repeats=repeats, progress=True)
        shown = {"work-precision": f"solvers-{name}", "samples": f"solvers-{name}-samples"}
        keep(found, folder / f"{name}-solvers", shown)


def keep(found: gf.studies.Findings, folder: Path, shown: dict[str, str]) -> None:
    """Prints what was found, saves all of it, and copies what the page shows."""
    found.print()
    shutil.rmtree(folder, ignore_errors=True)
    found.save(folder)
    for plot, name in shown.items():
        shrunk(folder / "plots" / f"{plot}.png", IMAGES / f"{name}.png")


def shrunk(source: Path, target: Path) -> None:
    """A picture in a palette, which makes the file some times smaller."""
    from PIL import Image

    with Image.open(source) as image:
        image.convert("RGB").quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "studies"), quick="quick" in sys.argv[2:])
