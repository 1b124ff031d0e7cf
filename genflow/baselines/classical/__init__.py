"""What people use without a neural network: a Gaussian, mixtures of them, kernels, a copula."""

from __future__ import annotations

from genflow.baselines.classical.copula import Copula
from genflow.baselines.classical.estimated import Estimated
from genflow.baselines.classical.gaussian import Gaussian
from genflow.baselines.classical.kernels import KernelDensity
from genflow.baselines.classical.mixture import GaussianMixture

__all__ = ["Copula", "Estimated", "Gaussian", "GaussianMixture", "KernelDensity"]
