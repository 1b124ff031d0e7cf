"""What the server that trials are forked from imports and pays once: a module that is imported for that alone."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

# One that is broken says so in the trial that needs it.
with contextlib.suppress(Exception):
    import torch

    from genflow.training.warming import warm_up

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale that lacks a character must not end a trial
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # no pool of threads may exist when a process is forked
    warm_up()
    # What the first figures of a process cost.
    import ot  # noqa: F401
    import sklearn.ensemble  # noqa: F401

    import genflow.studies.comparison.work  # noqa: F401
