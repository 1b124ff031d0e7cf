"""How the weights of a stage are moved: arguments that stages have, and many models."""

from __future__ import annotations

from dataclasses import dataclass

from genflow.groups import Group

__all__ = ["Optimization", "Regime"]


@dataclass(frozen=True)
class Optimization(Group):
    r"""The optimizer of a stage of training.

    Args:
        optimizer: `adam`, or `soap`, which pays where a step costs many evaluations of a small network.
        learning_rate: Peak learning rate.
        batch_size: Rows in a batch.
        weight_decay: Decoupled weight decay.
        sharpness: Radius :math:`\rho` of sharpness-aware minimization: the gradient is that at
            :math:`w + \rho \, g / |g|`, g the one at w, so that flat minima are found, for a second gradient a step;
            0 for none, `None` for the model's own choice. Foret et al. 2021, https://arxiv.org/abs/2010.01412.
        annealed: Whether the rate rises at first and falls to zero like a cosine, or stays.
        clip: Largest norm of the gradient.
        average: Decay per step of the moving average of the weights that is validated and kept; 0 for none.

    Example:
        >>> import genflow as gf
        >>> from genflow.training import Optimization
        >>> model = gf.models.CNF(2, optimization=Optimization("adam", learning_rate=1e-3))
        >>> model.optimization.batch_size, gf.models.CNF(2, optimizer="adam").optimization.optimizer
        (512, 'adam')
    """

    optimizer: str = "soap"
    learning_rate: float = 1e-2
    batch_size: int = 512
    weight_decay: float = 0.0
    sharpness: float | None = None
    annealed: bool = True
    clip: float = 10.0
    average: float = 0.99


@dataclass(frozen=True)
class Regime(Group):
    """What few stages want otherwise of the loop that runs them.

    Args:
        betas: Decay of Adam's two moments.
        warmup: Share of the stage in which the learning rate rises.
        sharp_after: How often every row is seen before sharpness-aware minimization begins.
        lean: Whether gradients keep their memory from step to step: where much is computed again, they would else come
            to lie among it, each time elsewhere.
        settled: Whether it begins with a model that was found otherwise, which stays unless validation rows are better
            by more than two standard errors of the difference: of many looks one is good by chance.
        abandons: Whether it ends before its time, from the middle on, where its best weights are long past and every
            validation is worse than the one before: of rows that are learned by heart no more is to be expected.
        steps: The most steps of the stage, whose schedule ends with them where its share is not spent before; `None`
            for as many as that allows.
        enough: After so many steps it ends as soon as its best weights are not of the second half of those taken;
            `None` for never.
        validations: How often to validate; in the beginning more often, at distances that grow up to this one.

    Example:
        >>> from genflow.training import Regime
        >>> Regime(lean=True).warmup
        0.02
    """

    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.02
    sharp_after: float = 6.0
    lean: bool = False
    settled: bool = False
    abandons: bool = False
    steps: int | None = None
    enough: int | None = None
    validations: int = 20
