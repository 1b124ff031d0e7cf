"""Missing entries of rows drawn from their law given the seen ones, for every model."""

from __future__ import annotations

from genflow.imputation.chains import Acceptance, Chains
from genflow.imputation.drawing import Drawn, Imputation
from genflow.imputation.kernels import KernelLaw
from genflow.imputation.masked import Masked, random_masks

__all__ = ["Acceptance", "Chains", "Drawn", "Imputation", "KernelLaw", "Masked", "random_masks"]
