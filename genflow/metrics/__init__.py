"""Figures of merit: pure functions of tensors that know no model.

=========================  =========================================================  ===============================
function                   question                                                   at its best
=========================  =========================================================  ===============================
`mean_and_se`              how likely are the test rows, and how sure is that?        the entropy of the data
`paired_difference`        is one model better than another on the same rows?         --
`wasserstein2`             how far must samples be carried to become data?            train against test, the floor
`gaussian_wasserstein2`    the same between two Gaussians, in closed form             0
`mmd`, `mmd_threshold`     does a kernel see a difference, and is it significant?     below the threshold
`frechet_distance`         how far are the first two moments of two samples apart?    that of training rows, the floor
`picture_figures`          are pictures like those of the data, to a classifier?      the floors
`c2st`                     can a classifier tell samples from data?                   0.5
`inversion_error`          does decoding undo encoding?                               0
=========================  =========================================================  ===============================
"""

from __future__ import annotations

from genflow.metrics.frechet import frechet_distance
from genflow.metrics.inversion import inversion_error
from genflow.metrics.likelihood import mean_and_se, paired_difference
from genflow.metrics.mmd import mmd, mmd_threshold
from genflow.metrics.pictures import PictureClassifier, picture_figures
from genflow.metrics.two_sample import TwoSampleTest, c2st
from genflow.metrics.wasserstein import gaussian_wasserstein2, wasserstein2

__all__ = [
    "PictureClassifier",
    "TwoSampleTest",
    "c2st",
    "frechet_distance",
    "gaussian_wasserstein2",
    "inversion_error",
    "mean_and_se",
    "mmd",
    "mmd_threshold",
    "paired_difference",
    "picture_figures",
    "wasserstein2",
]
