"""Divergence estimators: how fast a velocity spreads the mass."""

from genflow.divergences.exact import Exact
from genflow.divergences.hutchinson import Hutchinson

__all__ = ["Exact", "Hutchinson"]
