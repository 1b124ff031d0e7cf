"""A model in the user's units: what `fit` returns, and what is saved."""

from __future__ import annotations

from genflow.fitted.transformed import Transformed
from genflow.fitting import FitRecord

__all__ = ["FitRecord", "Transformed"]
