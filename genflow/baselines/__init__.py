"""Models to compare with."""

from __future__ import annotations

from genflow.baselines.discrete import MAF, NSF, DiscreteFlow

__all__ = ["MAF", "NSF", "DiscreteFlow"]
