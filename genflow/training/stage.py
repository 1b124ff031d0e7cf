"""One stage of a training: what is trained, on what, by which loss, and what happens at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genflow.training.rows import Rows

__all__ = ["Stage", "StageState", "TrainingError"]

StageState = tuple[dict[str, Tensor], dict[str, Any]]
"""Where a stage that runs is: tensors, and facts for JSON."""


class TrainingError(RuntimeError):
    """A training that could not go on: the loss stayed non-finite."""


@dataclass
class Stage:
    r"""One stage of a training.

    Attributes:
        name: What the progress display calls it.
        parameters: What is trained.
        train: Training rows, one tensor or several that share their leading axis; a batch is drawn from them.
        validation: Validation rows in the form of `train`. On a clock, the first of them that it can afford are used.
        loss: `(batch, generator) -> scalar`, the mean loss of a batch, which has the form of `train`.
        validate: `(rows, generator) -> (m,)`, the loss of each of these validation rows; the weights that are best on
            average are kept. The generator starts anew every time, so that two validations can be compared.
        share: Its share of the budget that is left when it begins.
        finish: Called at the end with the stage's entry of the history; may change the model, and adds to the entry.
            The entry says how many rows were affordable in a validation, `rows`: it should look at no more of them.
        closing: What `finish` takes, in validations; on a clock its time is left for it.
        batch_size: Rows in a batch.
        optimizer: `adam`, or `soap`, which pays where a step costs many evaluations of a small network.
        learning_rate: Peak learning rate.
        annealed: Whether the rate warms up over the first hundredths and falls to zero like a cosine, or stays.
        betas: Decay of Adam's two moments.
        weight_decay: Decoupled weight decay.
        sharpness: Radius :math:`\rho` of sharpness-aware minimization: the gradient is that at
            :math:`w + \rho \, g / |g|`, g the one at w, so that flat minima are found, for a second gradient a step;
            0 for none. Foret et al. 2021, https://arxiv.org/abs/2010.01412.
        sharp_after: How often every row is seen before that begins.
        clip: Largest norm of the gradient.
        average: Decay per step of the moving average of the weights that is validated and kept; 0 for none.
        coarse: The same as `validate` on the grid that is trained on, where that one is coarser.
        refine: `(level) -> None`, makes that grid finer. Called with 1, 2, … each time the two means differ by more
            than `tolerance`; the stage then goes back to its best weights.
        lean: Whether gradients keep their memory from step to step: where much is computed again, they would else come
            to lie among it, each time elsewhere.
        tolerance: The largest difference that is let pass, in nats.
        warmup: Share of the stage in which the learning rate rises.
        validations: How often to validate.
    """

    name: str
    parameters: list[nn.Parameter]
    train: Rows
    validation: Rows
    loss: Callable[[Any, torch.Generator], Tensor]
    validate: Callable[[Any, torch.Generator], Tensor]
    share: float = 1.0
    finish: Callable[[dict[str, Any]], None] = lambda entry: None
    closing: float = 0.0
    batch_size: int = 512
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    annealed: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    sharpness: float = 0.0
    sharp_after: float = 6.0
    clip: float = 10.0
    average: float = 0.0
    coarse: Callable[[Any, torch.Generator], Tensor] | None = None
    refine: Callable[[int], None] = lambda level: None
    lean: bool = False
    tolerance: float = 0.02
    warmup: float = 0.02
    validations: int = 20

    @property
    def points(self) -> Tensor:
        """The first of the tensors that `train` consists of."""
        return self.train if isinstance(self.train, Tensor) else self.train[0]
