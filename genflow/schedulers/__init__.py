"""Schedulers: grids of times, block boundaries, and the noise schedules of diffusions."""

from genflow.paths import LinearInterpolant, VariancePreserving
from genflow.schedulers.function import FunctionScheduler, as_scheduler
from genflow.schedulers.grids import EqualLogSNR, Uniform, Warped
from genflow.schedulers.jko import JKOSteps, refine, reparameterize
from genflow.schedulers.karras import Karras

__all__ = [
    "EqualLogSNR",
    "FunctionScheduler",
    "JKOSteps",
    "Karras",
    "LinearInterpolant",
    "Uniform",
    "VariancePreserving",
    "Warped",
    "as_scheduler",
    "refine",
    "reparameterize",
]
