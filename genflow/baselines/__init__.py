"""Models to compare with."""

from __future__ import annotations

from genflow.baselines.classical import Copula, Gaussian, GaussianMixture, KernelDensity
from genflow.baselines.couplings import CouplingNSF, RealNVP
from genflow.baselines.discrete import MAF, NSF, DiscreteFlow
from genflow.baselines.naf import NAF
from genflow.baselines.score_sde import ScoreSDE

__all__ = [
    "Copula",
    "CouplingNSF",
    "DiscreteFlow",
    "Gaussian",
    "GaussianMixture",
    "KernelDensity",
    "MAF",
    "NAF",
    "NSF",
    "RealNVP",
    "ScoreSDE",
]
