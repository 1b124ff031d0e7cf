"""Any estimator, compiled."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genflow.interfaces import DivergenceEstimator, Estimate, Velocity
from genflow.wrappers import WrappedEstimator

__all__ = ["Compiled"]


class Compiled(WrappedEstimator):
    """One evaluation of a velocity with its divergence, and its backward pass, through `torch.compile`.

    The solver's loop stays outside, so that one compilation serves all its stages, and all its steps. It takes half a
    minute or more at the first evaluation, and again for another batch shape. What it gains depends on the network: see
    "The cost of a training step" in the documentation. First derivatives only.

    Args:
        estimator: The estimator.
        backend: The compiler; see `torch.compile`.

    Warns:
        Nothing is compiled on a machine without the C++ compiler that the default backend needs.

    Example:
        >>> import genflow as gf
        >>> estimator = gf.divergences.Compiled(gf.divergences.Hutchinson(4), backend="aot_eager")
        >>> model = gf.models.CNF(2, divergence=estimator)
        >>> model.divergence.has_per_probe
        True
    """

    def __init__(self, estimator: DivergenceEstimator, backend: str = "inductor"):
        self.estimator = estimator
        self.evaluate: Callable[..., Estimate] = estimator
        if backend == "inductor" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
            warnings.warn("compile: no C++ compiler was found, so nothing is compiled; g++ would do", stacklevel=2)
        else:
            self.evaluate = torch.compile(estimator.__call__, backend=backend, dynamic=False)

    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        return self.evaluate(velocity, x, t, probes, condition)
