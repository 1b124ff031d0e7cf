"""Divergence estimators: how fast a velocity spreads the mass."""

from genflow.divergences.compiled import Compiled
from genflow.divergences.exact import Exact
from genflow.divergences.finite_difference import FiniteDifference
from genflow.divergences.function import FunctionDivergence, as_divergence
from genflow.divergences.hutchinson import Hutchinson

__all__ = ["Compiled", "Exact", "FiniteDifference", "FunctionDivergence", "Hutchinson", "as_divergence"]
