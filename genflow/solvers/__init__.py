"""Integrators: how to get from one time to another."""

from genflow.solvers.fixed import RK4, Euler, FixedStep, Heun, Midpoint

__all__ = ["RK4", "Euler", "FixedStep", "Heun", "Midpoint"]
