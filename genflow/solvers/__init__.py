"""Integrators: how to get from one time to another."""

from genflow.solvers.adaptive import ADAPTIVE_METHODS, FIXED_METHODS, Adaptive
from genflow.solvers.fixed import RK4, Euler, FixedStep, Heun, Midpoint
from genflow.solvers.stochastic import EulerMaruyama

__all__ = [
    "ADAPTIVE_METHODS",
    "FIXED_METHODS",
    "Adaptive",
    "Euler",
    "EulerMaruyama",
    "FixedStep",
    "Heun",
    "Midpoint",
    "RK4",
]
