"""One row of the study of integrators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from genflow.interfaces import Integrator, Scheduler

__all__ = ["Setting"]


@dataclass
class Setting:
    """An integrator with its grid, and what came of it.

    Attributes:
        label: The integrator's name.
        setting: Its steps or its tolerance, in words.
        integrator: The integrator.
        scheduler: The grid of times.
        own: Whether it is the model's own.
        figures: What was measured.
        samples: Its samples, where they were kept.
        status: `ok`, or what it could not do and why.
        stochastic: Whether it draws noise of its own, so that nothing but the law of its samples can be judged.
        inapplicable: Whether it is for another kind of model: it gives neither log p nor samples of this one.
        reverse_equation: Whether it solves the model's reverse stochastic equation in the place of the velocity's.
    """

    label: str
    setting: str
    integrator: Integrator
    scheduler: Scheduler
    own: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
    samples: Tensor | None = None
    status: str = "ok"
    stochastic: bool = False
    inapplicable: bool = False
    reverse_equation: bool = False
