"""Runs an experiment: the comparison of its models on its data, and the paper's figures beside theirs."""

from __future__ import annotations

import shlex
from os import PathLike
from pathlib import Path
from typing import Any

from genflow.errors import InputError
from genflow.experiments.configuration import Experiment, read
from genflow.experiments.figures import as_text, beside_the_paper, draw
from genflow.interrupts import keeping
from genflow.studies import Board, compare
from genflow.studies.reporting.frames import write_csv
from genflow.studies.reporting.place import refuse_taken, write_json

__all__ = ["run"]


def run(
    name: str,
    *,
    scale: str = "small",
    folder: str | PathLike[str] | None = None,
    budget: str | float | None = None,
    iterations: int | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    out: str | PathLike[str],
    progress: bool = True,
) -> Board:
    """Trains and judges what an experiment says, and writes it all into a folder.

    The folder is that of a comparison (see `genflow.studies.Board`), with `figures.csv` and `plots/published.png`, the
    paper's figures beside those of this run; the report has both.

    Args:
        name: The experiment; see `names`.
        scale: `small`, minutes on a laptop, or `full`.
        folder: Where the files of a download are.
        budget: Wall time of each training, in the place of the scale's.
        iterations: Optimizer steps of each training instead.
        evaluations: Evaluations of the network in the steps of each training instead.
        seed: Seed of everything random.
        threads: Threads of each training; 1 by default.
        out: The folder for the results; it must not exist.
        progress: Whether to show where it stands, on standard error.

    Returns:
        The `Board`.

    Raises:
        InputError: Before anything is trained: an unknown experiment or scale, data that are missing, a folder that
            exists.
    """
    from genflow.data import downloads, load

    experiment = read(name)
    if scale not in experiment.scales:
        raise InputError(f"scale: {scale!r} came; {' or '.join(experiment.scales)} would do")
    chosen = experiment.scales[scale]
    refuse_taken(out)
    if folder is not None and experiment.data not in downloads():
        raise InputError(f"folder: {experiment.name} needs none, its data are built in; leave it out")
    where: dict[str, Any] = {}
    if experiment.data in downloads():
        where = {"folder": folder, "checksums": experiment.checksums}
    data = load(experiment.data, rows=chosen.rows, **where)
    if budget is None and iterations is None and evaluations is None:
        budget = chosen.budget
    board = compare(
        data,
        list(experiment.models),
        budget=budget,
        iterations=iterations,
        evaluations=evaluations,
        seed=seed,
        threads=threads,
        options={model: options for model, options in experiment.options(scale).items() if options},
        points=chosen.points,
        progress=progress,
        out=out,
    )
    words = ["genflow", "experiment", name, "--scale", scale]
    limits = {"budget": budget, "iterations": iterations, "evaluations": evaluations}
    for flag, value in {"folder": folder, **limits, "seed": seed or None}.items():
        words += [] if value is None else [f"--{flag}", str(value)]
    with keeping(f"the comparison is in {out}"):
        _add_figures(experiment, scale, shlex.join([*words, "--out", "NEW"]), board.folder)
    return Board(out)


def _add_figures(experiment: Experiment, scale: str, command: str, home: Path) -> None:
    """Puts the paper's figures beside those of a comparison, into its folder and its report."""
    board = Board(home)
    figures = beside_the_paper(experiment, board)
    write_csv(figures, home / "figures.csv")
    board.config["command"] = command
    board.config["experiment"] = {
        "name": experiment.name,
        "title": experiment.title,
        "reference": experiment.reference,
        "scale": scale,
        "remarks": experiment.remarks,
        "table": as_text(figures),
    }
    failure = draw(experiment, board, figures, home / "plots" / "published.png")
    board.config.setdefault("notes", []).extend([failure] if failure else [])
    write_json(home / "config.json", board.config)
    board.report(home / "report.html")
