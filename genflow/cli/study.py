"""What the studies of one trained model have in common on the command line."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace as Arguments

from genflow.cli.files import fresh
from genflow.cli.models import set_threads
from genflow.interrupts import keeping

__all__ = ["run_study"]


def run_study(name: str, chosen: Arguments, **options: Any) -> None:
    """Runs a study of `genflow.studies`, prints what it found and says where the report is.

    Args:
        name: The study's name.
        chosen: What was typed, with the flags of `add_study`.
        options: The study's own options; its default stands where one is `None`.
    """
    out = Path(chosen.out or fresh(name))
    set_threads(chosen.threads)
    from genflow import studies

    found = {"solvers": studies.solvers, "divergences": studies.divergences}[name](
        chosen.run,
        rows=chosen.rows,
        data=chosen.data,
        wanted=chosen.wanted,
        seed=chosen.seed,
        trust=chosen.trust,
        out=out,
        progress=True,
        command=shlex.join(["genflow", *sys.argv[1:]]),
        **{option: value for option, value in options.items() if value is not None},
    )
    with keeping(f"what was found is in {out}"):
        found.print()
        print(f"report: {out / 'report.html'}")
