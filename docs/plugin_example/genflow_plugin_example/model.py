"""A model: what it can do, and how it is trained."""

from __future__ import annotations

import torch

from genflow.model import GenerativeModel
from genflow.training import Stage


class DiagonalNormal(GenerativeModel):
    """A normal law with independent columns."""

    def __init__(self, dim, learning_rate=0.05):
        super().__init__()
        self.dim, self.learning_rate = dim, learning_rate
        self.mean = torch.nn.Parameter(torch.zeros(dim))
        self.log_scale = torch.nn.Parameter(torch.zeros(dim))

    def log_prob(self, x, condition=None, generator=None):
        return torch.distributions.Normal(self.mean, self.log_scale.exp()).log_prob(x).sum(-1)

    def sample(self, shape, condition=None, generator=None):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return self.mean + self.log_scale.exp() * torch.randn(*shape, self.dim, generator=generator)

    def next_stage(self, data, history):
        if history:  # one stage, and it is done
            return None
        return Stage(
            name="likelihood",
            parameters=list(self.parameters()),
            train=data.train,
            validation=data.validation,
            loss=lambda batch, generator: -self.log_prob(batch).mean(),
            validate=lambda rows, generator: -self.log_prob(rows),
            learning_rate=self.learning_rate,
        )
