"""The paper's experiments: one configuration each, run by the comparison of `genflow.studies`.

A configuration is a file of YAML in `configurations`: data, models with their options, budgets for a laptop (`small`)
and for the real thing (`full`), and the figures that the paper has. To add one is to add a file.

Example:
    >>> from genflow import experiments
    >>> experiments.read("rose").title
    'a rose: a drawing as a density in the plane'
"""

from __future__ import annotations

from genflow.experiments.configuration import Experiment, Scale, names, read
from genflow.experiments.running import run

__all__ = ["Experiment", "Scale", "names", "read", "run"]
