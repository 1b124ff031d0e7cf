"""Figures of merit: pure functions of tensors that know no model.

=========================  =========================================================  ===============================
function                   question                                                   at its best
=========================  =========================================================  ===============================
`mean_and_se`              how likely are the test rows, and how sure is that?        the entropy of the data
`paired_difference`        is one model better than another on the same rows?         --
`wasserstein2`             how far must samples be carried to become data?            train against test, the floor
`gaussian_wasserstein2`    the same between two Gaussians, in closed form             0
`mmd`, `mmd_threshold`     does a kernel see a difference, and is it significant?     below the threshold
`c2st`                     can a classifier tell samples from data?                   0.5
`inversion_error`          does decoding undo encoding?                               0
=========================  =========================================================  ===============================
"""

from __future__ import annotations

from genflow.metrics.inversion import inversion_error
from genflow.metrics.likelihood import mean_and_se, paired_difference
from genflow.metrics.mmd import mmd, mmd_threshold
from genflow.metrics.two_sample import TwoSampleTest, c2st
from genflow.metrics.wasserstein import gaussian_wasserstein2, wasserstein2

__all__ = [
    "TwoSampleTest",
    "c2st",
    "gaussian_wasserstein2",
    "inversion_error",
    "mean_and_se",
    "mmd",
    "mmd_threshold",
    "paired_difference",
    "wasserstein2",
]
