"""Divergence estimators: how fast a velocity spreads the mass."""

from genflow.divergences.compiled import Compiled
from genflow.divergences.control_variate import ControlVariate
from genflow.divergences.exact import Exact
from genflow.divergences.finite_difference import FiniteDifference
from genflow.divergences.function import FunctionDivergence, as_divergence
from genflow.divergences.hutch_plus_plus import HutchPlusPlus
from genflow.divergences.hutchinson import Hutchinson

__all__ = [
    "Compiled",
    "ControlVariate",
    "Exact",
    "FiniteDifference",
    "FunctionDivergence",
    "HutchPlusPlus",
    "Hutchinson",
    "as_divergence",
]
