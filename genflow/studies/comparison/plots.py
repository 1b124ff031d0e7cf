"""Which pictures a comparison has: the leaderboard, samples and densities beside the data, errors, the training."""

from __future__ import annotations

import numpy as np

from genflow.studies.comparison.effort import ONE_PASS
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.comparison.pictures import calibration, clouds, columns, effort, images, likelihood, training
from genflow.studies.comparison.pictures.view import View
from genflow.studies.comparison.ranks import ranks_of
from genflow.studies.reporting.plot import Plot

__all__ = ["plots_of"]


def plots_of(board: Outcomes, data: str | None = None) -> list[Plot]:
    """The pictures of one data set, or with `None` those of the whole comparison."""
    if data is None:
        return _of_all(board)
    if data not in board.row_log_prob:
        return []
    view, name = View(board, data), board.home(data)
    found = []
    if view.dim == 2 and not view.description.get("condition"):
        found.append(Plot(f"{name}-density", "Samples and density", _DENSITY, lambda: clouds.densities(view)))
    elif view.description["image_shape"]:
        caption = _IMAGES + (_CLASSES if images.has_classes(view) else "")
        found.append(Plot(f"{name}-samples", "Samples", caption, lambda: images.samples(view)))
    elif view.dim > 1:
        found.append(Plot(f"{name}-pairs", "Pairs of columns", _PAIRS, lambda: clouds.pairs(view)))
    if not view.description["image_shape"]:
        found.append(Plot(f"{name}-marginals", "Single columns", _MARGINALS, lambda: columns.marginals(view)))
    if view.dim > 2:
        caption = _CORRELATIONS
        found.append(Plot(f"{name}-correlations", "Correlations", caption, lambda: columns.correlation_errors(view)))
    if calibration.encoded(view):
        found.append(Plot(f"{name}-calibration", "Calibration", _CALIBRATION, lambda: calibration.calibration(view)))
    if "true_log_prob" in view.parts and any(np.isfinite(shown.arrays["log_prob"]).any() for shown in view.models):
        found.append(Plot(f"{name}-truth", "Beside the true density", _TRUTH, lambda: calibration.against_truth(view)))
    if any(one.solver != ONE_PASS for efforts in effort.efforts_of(view).values() for one in efforts):
        caption = _EFFORT
        found.append(Plot(f"{name}-effort", "Samples against work", caption, lambda: effort.against_work(board, view)))
    if any(run["data"] == data and any(e.get("curve") for e in run.get("history") or ()) for run in board.runs):
        found.append(Plot(f"{name}-training", "Training", _TRAINING, lambda: training.training(board, data)))
    return found


def _of_all(board: Outcomes) -> list[Plot]:
    if not np.isfinite(board.frame["nll"]).any():
        return []
    found = [Plot("leaderboard", "Likelihood", _LEADERBOARD, lambda: likelihood.leaderboard(board))]
    if (ranks := ranks_of(board)) is not None:
        found.append(Plot("ranks", "Ranks", _RANKS, lambda: likelihood.ranks(board, ranks)))
    if np.isfinite(board.frame["nfe"]).any() and len(board.model_names) > 1:
        found.append(Plot("work", "Likelihood against work", _WORK, lambda: likelihood.against_work(board)))
    return found


_LEADERBOARD = (
    "Test NLL of each model with its standard error over the test rows, and how far it lies above the "
    "best model on the same rows; this paired difference has a much smaller standard error, and is the one to "
    "judge by. Lower is better."
)
_RANKS = (
    "The mean rank of each model by NLL, 1 is best. A bar joins models that differ by less than the critical "
    "difference of Nemenyi's test: chance would explain them."
)
_WORK = (
    "How far each model lies above the best, against the evaluations of its velocity that one log density takes with "
    "the solver that it was saved with; down and left is better. genflow solvers draws the whole curve of one model."
)
_DENSITY = (
    "Above: test rows and as many samples of each model. Below: log density in nats, one scale of colours for all; "
    "under the data stands the true density where it is known, otherwise a histogram of the training rows. "
    "∫p is the model's mass on the square that is shown."
)
_IMAGES = "Test rows and samples of each model as pictures, on one scale, drawn at random."
_CLASSES = " Each line is a class: test rows of it, and samples under that condition."
_PAIRS = "The pairs of columns that depend most on each other (rank correlation): test rows and samples."
_MARGINALS = (
    "Shaded: test rows. Lines: samples of each model. Outermost half per cent of the test rows not shown. The "
    "figure is the largest difference of samples and test rows in the share below any value (Kolmogorov-Smirnov), that "
    "of the worst model."
)
_CORRELATIONS = (
    "Rank correlation of any two columns among the samples less that among test rows: red too high, blue too low, no "
    "colour where they agree. Training rows are the floor; the figure is the mean size of the error."
)
_CALIBRATION = (
    "Test rows, carried to the noise, should be N(0, I). Above: all of their coordinates, beside the normal law. "
    "Below: where the norm of each stands among those of N(0, I), flat for a model that is right; heaped at 1 where "
    "test rows lie too far out. KS is its largest distance from flat, below 1.36/√n with 95 % probability."
)
_EFFORT = (
    "W2 of up to 500 samples and as many test rows, in standardized units, for so many evaluations of the velocity: "
    "each flow by Euler's method and by RK4 with 1 to 32 steps in each of its pieces; left and down is better. A model "
    "without a solver is a line across."
)
_TRUTH = (
    "Log density of each test row less the true one, against the true one: zero is right, below zero the model gives "
    "the row too little. The figure is the mean, whose negative is what the model lacks in NLL."
)
_TRAINING = (
    "The objective of each stage on the validation rows against the seconds of training. Each model has its "
    "own objective: compare a curve with itself. Shades separate stages; the weights at the "
    "lowest point of each are kept."
)
