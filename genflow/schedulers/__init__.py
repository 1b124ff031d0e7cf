"""Schedulers: grids of times, block boundaries, and the noise schedules of diffusions."""

from genflow.schedulers.grids import EqualLogSNR, Uniform, Warped
from genflow.schedulers.jko import JKOSteps, refined, reparameterized
from genflow.schedulers.noise import LinearInterpolant, VariancePreserving

__all__ = [
    "EqualLogSNR",
    "JKOSteps",
    "LinearInterpolant",
    "Uniform",
    "VariancePreserving",
    "Warped",
    "refined",
    "reparameterized",
]
