"""Training: stages, the budget that they share, and the one loop that runs them all."""

from genflow.training.budget import Budget, parse_seconds
from genflow.training.optimization import Optimization, Regime
from genflow.training.progress import Progress
from genflow.training.rows import Rows, Stream, TrainingData, pair, pick, unpair
from genflow.training.sequence import History, train
from genflow.training.stage import Refinement, Stage, TrainingError
from genflow.training.tracking import TensorBoard, Tracked, Tracker

__all__ = [
    "Budget",
    "History",
    "Optimization",
    "Progress",
    "Refinement",
    "Regime",
    "Rows",
    "Stage",
    "Stream",
    "TensorBoard",
    "Tracked",
    "Tracker",
    "TrainingData",
    "TrainingError",
    "pair",
    "parse_seconds",
    "pick",
    "train",
    "unpair",
]
