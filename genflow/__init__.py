"""genflow: generative modelling by transport.

A generative model is a velocity field, integrated over a schedule of times, with its divergence accumulated on the way.
Four interchangeable parts follow from it, and every continuous model is an assembly of them; `genflow.interfaces` is
the file to read first.

Example:
    >>> import torch, genflow as gf
    >>> flow = gf.Flow(gf.velocities.Shallow(dim=2))
    >>> x, log_p = flow.sample_with_log_prob(4, generator=torch.Generator().manual_seed(0))
    >>> x.shape, log_p.shape
    (torch.Size([4, 2]), torch.Size([4]))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genflow.errors import InputError, Remark, SolverError
from genflow.version import __version__ as __version__

if TYPE_CHECKING:
    from genflow import (
        baselines,
        data,
        divergences,
        experiments,
        metrics,
        models,
        paths,
        schedulers,
        solvers,
        studies,
        velocities,
    )
    from genflow.base import Base, StandardNormal
    from genflow.divergences import as_divergence
    from genflow.estimator import DensityEstimator
    from genflow.flow import Flow
    from genflow.interfaces import (
        Component,
        DivergenceEstimator,
        Dynamics,
        Estimate,
        GaussianPath,
        Integrator,
        NoiseSchedule,
        Path,
        Scheduler,
        Solution,
        Velocity,
    )
    from genflow.normal_mixture import NormalMixture
    from genflow.scale_mixture import ScaleMixture
    from genflow.schedulers.function import as_scheduler
    from genflow.solvers.function import as_integrator
    from genflow.storage.checkpoint import load
    from genflow.studies import compare
    from genflow.velocities import as_velocity

__all__ = [
    "Base",
    "Component",
    "DensityEstimator",
    "DivergenceEstimator",
    "Dynamics",
    "Estimate",
    "Flow",
    "GaussianPath",
    "InputError",
    "Integrator",
    "NoiseSchedule",
    "NormalMixture",
    "Path",
    "Remark",
    "ScaleMixture",
    "Scheduler",
    "Solution",
    "SolverError",
    "StandardNormal",
    "Velocity",
    "as_divergence",
    "as_integrator",
    "as_scheduler",
    "as_velocity",
    "baselines",
    "compare",
    "data",
    "divergences",
    "experiments",
    "load",
    "metrics",
    "models",
    "paths",
    "schedulers",
    "solvers",
    "studies",
    "velocities",
]

# Loaded at first use, torch with the first of them: the command line can be interrupted before that.
_HOME = {
    **dict.fromkeys(("Component", "DivergenceEstimator", "Dynamics", "Estimate", "Integrator"), "genflow.interfaces"),
    **dict.fromkeys(
        ("GaussianPath", "NoiseSchedule", "Path", "Scheduler", "Solution", "Velocity"), "genflow.interfaces"
    ),
    "Base": "genflow.base",
    "DensityEstimator": "genflow.estimator",
    "Flow": "genflow.flow",
    "NormalMixture": "genflow.normal_mixture",
    "ScaleMixture": "genflow.scale_mixture",
    "StandardNormal": "genflow.base",
    "as_divergence": "genflow.divergences",
    "as_integrator": "genflow.solvers.function",
    "as_scheduler": "genflow.schedulers.function",
    "as_velocity": "genflow.velocities",
    "compare": "genflow.studies",
    "load": "genflow.storage.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in __all__:
        return importlib.import_module(f"genflow.{name}")
    raise AttributeError(f"module 'genflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
