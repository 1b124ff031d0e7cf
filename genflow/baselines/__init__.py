"""Models to compare with."""

from __future__ import annotations

from genflow.baselines.cnf import ffjord, ot_flow, rnode
from genflow.baselines.discrete import MAF, NSF, DiscreteFlow
from genflow.baselines.score_sde import ScoreSDE

__all__ = ["MAF", "NSF", "DiscreteFlow", "ScoreSDE", "ffjord", "ot_flow", "rnode"]
