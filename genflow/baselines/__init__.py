"""Models to compare with: each opens with its equation and its reference."""

from __future__ import annotations

from genflow.baselines.classical import Copula, Gaussian, GaussianMixture, KernelDensity
from genflow.baselines.cnf import ffjord, ot_flow, rnode
from genflow.baselines.couplings import CouplingNSF, RealNVP
from genflow.baselines.ddpm import ddpm, ddpm_cosine, v_diffusion, vdm
from genflow.baselines.discrete import MAF, NSF, DiscreteFlow
from genflow.baselines.edm import edm
from genflow.baselines.interpolants import interpolant, lipman_cfm, ot_cfm, sb_cfm, vp_cfm
from genflow.baselines.mean_flow import MeanFlow, MeanVelocity
from genflow.baselines.naf import NAF
from genflow.baselines.rectified import RectifiedFlow
from genflow.baselines.score_sde import ScoreSDE, score_sde_subvp, score_sde_ve

__all__ = [
    "MAF",
    "NAF",
    "NSF",
    "Copula",
    "CouplingNSF",
    "DiscreteFlow",
    "Gaussian",
    "GaussianMixture",
    "KernelDensity",
    "MeanFlow",
    "MeanVelocity",
    "RealNVP",
    "RectifiedFlow",
    "ScoreSDE",
    "ddpm",
    "ddpm_cosine",
    "edm",
    "ffjord",
    "interpolant",
    "lipman_cfm",
    "ot_cfm",
    "ot_flow",
    "rnode",
    "sb_cfm",
    "score_sde_subvp",
    "score_sde_ve",
    "v_diffusion",
    "vdm",
    "vp_cfm",
]
