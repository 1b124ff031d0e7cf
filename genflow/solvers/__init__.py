"""Integrators: how to get from one time to another."""

from genflow.solvers.adaptive import ADAPTIVE_METHODS, FIXED_METHODS, Adaptive
from genflow.solvers.brownian import SRK, Milstein
from genflow.solvers.elucidated import EDMSampler
from genflow.solvers.embedded import DOP853, BogackiShampine, DormandPrince, Embedded, Tsitouras
from genflow.solvers.exponential import DDIM, Ancestral, DPMSolver, PredictorCorrector
from genflow.solvers.fixed import RK4, RK438, Euler, FixedStep, Heun, Midpoint, Ralston, RK4Simpson, RungeKutta
from genflow.solvers.function import FunctionIntegrator, as_integrator
from genflow.solvers.gradients import GRADIENTS
from genflow.solvers.multistep import AdamsBashforth
from genflow.solvers.states import move, stack
from genflow.solvers.stochastic import EulerMaruyama, Stochastic, StochasticHeun

__all__ = [
    "ADAPTIVE_METHODS",
    "AdamsBashforth",
    "Adaptive",
    "Ancestral",
    "BogackiShampine",
    "DDIM",
    "DOP853",
    "DPMSolver",
    "DormandPrince",
    "EDMSampler",
    "Embedded",
    "Euler",
    "EulerMaruyama",
    "FIXED_METHODS",
    "FixedStep",
    "FunctionIntegrator",
    "GRADIENTS",
    "Heun",
    "Midpoint",
    "Milstein",
    "PredictorCorrector",
    "RK4",
    "RK438",
    "RK4Simpson",
    "Ralston",
    "RungeKutta",
    "SRK",
    "Stochastic",
    "StochasticHeun",
    "Tsitouras",
    "as_integrator",
    "move",
    "stack",
]
